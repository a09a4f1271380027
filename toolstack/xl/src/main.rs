//! The administrator's programs, one binary under several names: see `xl::main`.

fn main() -> std::process::ExitCode {
    xl::main(std::env::args_os())
}
