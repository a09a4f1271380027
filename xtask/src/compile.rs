//! `build`: the hypervisor's ELF, its compressed form and its symbols, under `target/dist`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{paths, process, setup, symbols};

/// The package whose program is the hypervisor's image.
const PACKAGE: &str = "image";
/// That program.
const PROGRAM: &str = "ferroxen";
const COMPILE_LIMIT: Duration = Duration::from_secs(1800);

/// Arguments of `build`.
#[derive(clap::Args, Clone, Default)]
#[group(skip)]
pub struct Args {
    /// Debug assertions and overflow checks on.
    #[arg(long)]
    pub debug: bool,
    /// Further features of the hypervisor's crate, comma-separated.
    #[arg(long, default_value = "")]
    pub features: String,
}

/// What `build` leaves under `target/dist`.
pub struct Dist {
    /// As linked; QEMU's `-kernel` starts it.
    pub elf: PathBuf,
    /// The same, compressed, for boot loaders.
    pub gz: PathBuf,
    /// `address name` lines, sorted by address.
    pub syms: PathBuf,
}

impl Dist {
    fn here() -> Self {
        let dir = paths::dist();
        Self {
            elf: dir.join("ferroxen.elf"),
            gz: dir.join("ferroxen.gz"),
            syms: dir.join("ferroxen.syms"),
        }
    }
}

/// Runs `build`.
pub fn main(args: &Args) -> Result<()> {
    let dist = build(args)?;
    for path in [&dist.elf, &dist.gz, &dist.syms] {
        let size = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.len();
        println!("{:>9} bytes  {}", size, path.display());
    }
    Ok(())
}

/// Builds the hypervisor and fills `target/dist`.
pub fn build(args: &Args) -> Result<Dist> {
    setup::rust()?;
    let linked = cargo_build(args)?;
    let dist = Dist::here();
    fs::create_dir_all(paths::dist()).context("create target/dist")?;
    let mut bytes = fs::read(&linked).with_context(|| format!("read {}", linked.display()))?;
    let table = symbols::table(&bytes)?;
    symbols::embed(&mut bytes, &table)?;
    fs::write(&dist.syms, symbols::text(&table)).context("write the symbols")?;
    replace(&dist.elf, &bytes)?;
    replace(&dist.gz, &gzip(&bytes)?)?;
    Ok(dist)
}

/// The arguments that make cargo compile for the bare machine: settings per target go through
/// `--config`, so that the host's crates and the user's own RUSTFLAGS stay apart.
fn target_settings() -> Vec<String> {
    let script = paths::root().join("hypervisor/link.ld");
    let flags = [
        "-Crelocation-model=pic".to_owned(),
        // An indirect branch less for each `match`: part of the answer to speculation.
        "-Cjump-tables=no".to_owned(),
        // Backtraces walk the frames.
        "-Cforce-frame-pointers=yes".to_owned(),
        "-Clink-arg=-no-pie".to_owned(),
        "-Clink-arg=--no-dynamic-linker".to_owned(),
        "-Clink-arg=-zmax-page-size=4096".to_owned(),
        format!("-Clink-arg=-T{}", script.display()),
    ];
    let list: Vec<String> = flags.iter().map(|flag| format!("\"{flag}\"")).collect();
    vec!["--config".into(), format!("target.{}.rustflags=[{}]", setup::BARE_TARGET, list.join(","))]
}

/// A cargo command for the image's package, `verb` being `build`, `clippy` and the like.
pub fn cargo(verb: &str) -> Command {
    cargo_for(PACKAGE, verb)
}

/// The same for another package that is made for the bare machine.
pub fn cargo_for(package: &str, verb: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(paths::root()).arg(verb);
    command.args(["--package", package, "--target", setup::BARE_TARGET]).args(target_settings());
    // An inherited RUSTFLAGS would take the place of the settings above.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

fn cargo_build(args: &Args) -> Result<PathBuf> {
    let mut command = cargo("build");
    if !args.debug {
        command.arg("--release");
    }
    if !args.features.is_empty() {
        command.args(["--features", &args.features]);
    }
    process::run(&mut command, COMPILE_LIMIT, "build of the hypervisor")?;
    let profile = if args.debug { "debug" } else { "release" };
    Ok(paths::cargo_target().join(setup::BARE_TARGET).join(profile).join(PROGRAM))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).context("compress the hypervisor")?;
    packer.finish().context("compress the hypervisor")
}

/// Writes beside, then renames: a QEMU that still has the old file open keeps it whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).with_context(|| format!("write {}", beside.display()))?;
    fs::rename(&beside, path).with_context(|| format!("rename to {}", path.display()))
}
