//! What a bare Debian 12 or 13 machine lacks: packages, Rust targets, the distribution's kernels.
//!
//! Where this may not install, it prints the one command that does and fails.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::anchors::{self, Anchors};
use crate::apt::Apt;
use crate::{paths, process};

/// Older ones get software interrupts and ring-3 `iret` of long mode wrong.
const QEMU_MAJOR: u32 = 10;
/// The target the hypervisor is built for.
pub const BARE_TARGET: &str = "x86_64-unknown-none";
/// The target the userland is built for.
pub const MUSL_TARGET: &str = "x86_64-unknown-linux-musl";
const INSTALL_LIMIT: Duration = Duration::from_secs(1800);
const QUERY_LIMIT: Duration = Duration::from_secs(60);

/// Arguments of `setup`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Only this machine's packages and Rust targets; fetch nothing else.
    #[arg(long)]
    no_fetch: bool,
    #[command(flatten)]
    fetch: anchors::Args,
}

/// A program that is needed, and the package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { program: "cc", package: "gcc" },
    Tool { program: "ld", package: "binutils" },
    Tool { program: "xz", package: "xz-utils" },
    Tool { program: "zstd", package: "zstd" },
];

/// Runs `setup`.
pub fn main(args: &Args) -> Result<()> {
    println!("checking this machine");
    host_tools()?;
    rust()?;
    if !args.no_fetch {
        anchors::main(&args.fetch)?;
    }
    println!("setup is complete");
    Ok(())
}

/// Installs missing packages, QEMU among them; quick when nothing is missing.
pub fn host_tools() -> Result<()> {
    let mut packages: Vec<&str> = TOOLS
        .iter()
        .filter(|tool| !process::exists(tool.program))
        .map(|tool| tool.package)
        .collect();
    if !Path::new("/usr/include/stdio.h").exists() {
        packages.push("libc6-dev");
    }
    if !Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() {
        packages.push("debian-archive-keyring");
    }
    if qemu_major().is_none_or(|major| major < QEMU_MAJOR) {
        packages.extend(["qemu-system-x86", "seabios"]);
    }
    if packages.is_empty() {
        return Ok(());
    }
    println!("  missing: {}", packages.join(" "));
    install(&packages)?;
    match qemu_major() {
        Some(major) if major >= QEMU_MAJOR => Ok(()),
        found => bail!("QEMU {QEMU_MAJOR} or later is needed; after installing, found {found:?}"),
    }
}

/// Major version of the QEMU on the search path.
fn qemu_major() -> Option<u32> {
    if !process::exists("qemu-system-x86_64") {
        return None;
    }
    let mut command = Command::new("qemu-system-x86_64");
    let text = process::capture(command.arg("--version"), QUERY_LIMIT, "QEMU's version").ok()?;
    let version =
        text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version.split('.').next()?.parse().ok()
}

/// Installs packages from this release and, on Debian 12, from its backports suite.
fn install(packages: &[&str]) -> Result<()> {
    let release = os_release("VERSION_CODENAME")?;
    let backports = format!("{release}-backports");
    let updates = format!("{release}-updates");
    let suites: &[&str] = match release.as_str() {
        "trixie" => &["trixie", &updates],
        "bookworm" => &["bookworm", &updates, &backports],
        other => bail!("this machine is {other:?}; Debian 12 (bookworm) or 13 (trixie) is needed"),
    };
    let folder = paths::target().join("apt-host");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let apt = Apt::new(&folder, suites, false)?;
    let mut words =
        vec!["apt-get".to_owned(), "install".into(), "-y".into(), "--no-install-recommends".into()];
    if release == "bookworm" {
        words.extend(["-t".into(), backports.clone()]);
    }
    words.extend(packages.iter().map(|&name| name.to_owned()));
    let config = format!("APT_CONFIG={}", apt.config_file().display());
    let Some(prefix) = privilege() else {
        bail!(
            "packages are missing and this user may not install them; run\n\n    \
             sudo env {config} {}\n",
            words.join(" ")
        );
    };
    let mut line: Vec<String> = prefix.iter().map(|&word| word.to_owned()).collect();
    line.extend(["env".into(), config, "DEBIAN_FRONTEND=noninteractive".into()]);
    line.extend(words);
    println!("  {}", line.join(" "));
    let (program, rest) = line.split_first().context("empty command")?;
    let mut command = Command::new(program);
    process::run(command.args(rest).stdin(Stdio::null()), INSTALL_LIMIT, "installation of packages")
}

/// What to put before a command so that it runs as root; nothing when that isn't allowed.
fn privilege() -> Option<&'static [&'static str]> {
    let id = process::capture(Command::new("id").arg("-u"), QUERY_LIMIT, "id -u").ok()?;
    if id.trim() == "0" {
        return Some(&[]);
    }
    let asked =
        process::capture(Command::new("sudo").args(["-n", "true"]), QUERY_LIMIT, "sudo -n true");
    asked.is_ok().then_some(&["sudo", "-n"])
}

fn os_release(key: &str) -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value.trim_matches('"').to_owned())
        .with_context(|| format!("/etc/os-release has no {key}"))
}

/// Adds the Rust target and components that are missing.
pub fn rust() -> Result<()> {
    let mut dir = String::new();
    for target in [MUSL_TARGET, BARE_TARGET] {
        let mut command = Command::new("rustc");
        command.args(["--print", "target-libdir", "--target", target]);
        dir = process::capture(&mut command, QUERY_LIMIT, "rustc --print target-libdir")?;
        if !Path::new(dir.trim()).is_dir() {
            rustup(&["target", "add", target])?;
        }
    }
    let sources = Path::new(dir.trim()).join("../../src/rust/library/core");
    if !sources.is_dir() {
        rustup(&["component", "add", "rust-src"])?;
    }
    for (tool, component) in [("clippy", "clippy"), ("fmt", "rustfmt")] {
        let mut command = Command::new("cargo");
        if process::capture(
            command.args([tool, "--version"]),
            QUERY_LIMIT,
            "a cargo tool's version",
        )
        .is_err()
        {
            rustup(&["component", "add", component])?;
        }
    }
    Ok(())
}

fn rustup(arguments: &[&str]) -> Result<()> {
    let line = format!("rustup {}", arguments.join(" "));
    if !process::exists("rustup") {
        bail!(
            "a part of the Rust toolchain is missing and rustup is not here to add it; install rustup, then run\n\n    {line}\n"
        );
    }
    println!("  {line}");
    process::run(Command::new("rustup").args(arguments), INSTALL_LIMIT, &line)
}

/// What booting in QEMU needs: the host's programs and one suite's packages.
pub fn for_boot(suite: crate::suite::Suite) -> Result<Anchors> {
    host_tools()?;
    Anchors::get(suite)
}
