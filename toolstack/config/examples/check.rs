//! `check FILE [key=value ...]`: parses, validates, asks the host, prints what is wrong, then what
//! `xl create -n` prints on a host of 8 CPUs: JSON, or S-expressions where SXP is set.
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(file) = words.next() else { return ExitCode::FAILURE };
    let words: Vec<String> = words.collect();
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let document = match xl_config::parse_with_words(&bytes, &file, &words) {
        Ok(document) => document,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    let validated = match xl_config::validate(&document, &xl_config::Lax::default()) {
        Ok(validated) => validated,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    eprint!("{}", xl_config::report(&validated.warnings, false));
    let mut config = validated.config;
    let missing = xl_config::check_host(&config, Some(&document), &xl_config::Host::default());
    eprint!("{}", xl_config::report(&missing, false));
    let host = xl_config::HostCpus { cpus: xl_config::CpuSet::first(8), nodes: Vec::new() };
    if let Err(error) = config.resolve_cpus(&host) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    match std::env::var_os("SXP") {
        Some(_) => print!("{}", config.to_sxp(None)),
        None => print!("{}", config.to_json()),
    }
    ExitCode::SUCCESS
}
