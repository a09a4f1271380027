//! Builds, boots, tests and measures Ferroxen: `cargo xtask COMMAND`.
//!
//! One module for each subject; a subcommand that finds something missing calls the part of
//! `setup` that provides it.

mod anchors;
mod apt;
mod bench;
mod branches;
mod cells;
mod compile;
mod cpio;
mod demo;
mod elf;
mod exec;
mod image;
mod kmod;
mod mutants;
mod paths;
mod process;
mod qemu;
mod run;
mod setup;
mod suite;
mod support;
mod symbols;
mod testing;
mod trace;
mod unsafe_report;
mod userland;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
/// Builds, boots, tests and measures Ferroxen.
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the machine lacks and fetch the distribution's kernels and tools.
    Setup(setup::Args),
    /// Fetch and unpack the distribution's kernels, tools and reference hypervisor.
    #[command(hide = true)]
    Fetch(anchors::Args),
    /// Build the hypervisor into target/dist.
    Build(compile::Args),
    /// Boot the small dom0 in QEMU with its console on this terminal.
    Run(run::Args),
    /// Run a script in dom0, under one of the two hypervisors with one of the two sets of tools.
    Exec(exec::Args),
    /// Boot, start a guest, show that it works, shut down.
    Demo(demo::Args),
    /// Run every test: lints, host tests, ABI headers, QEMU.
    Test(testing::Args),
    /// Take checks out of the hypervisor one by one and show that guests' tests notice.
    Mutants(mutants::Args),
    /// Count instructions beside the reference hypervisor.
    Bench(bench::Args),
    /// Make docs/support.md of the hypervisor's tables of operations and of what the tests show.
    Support(support::Args),
    /// Write down a boot's page-table calls and answers, for model/pages to replay.
    Trace(trace::Args),
    /// Count unsafe code, after macro expansion, and assembly lines for each crate.
    UnsafeReport(unsafe_report::Args),
}

fn main() -> std::process::ExitCode {
    let result = match Cli::parse().command {
        Command::Setup(args) => setup::main(&args),
        Command::Fetch(args) => anchors::main(&args),
        Command::Build(args) => compile::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Exec(args) => exec::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Test(args) => testing::main(&args),
        Command::Mutants(args) => mutants::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Support(args) => support::main(&args),
        Command::Trace(args) => trace::main(&args),
        Command::UnsafeReport(args) => unsafe_report::main(&args),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
