//! `build`: the hypervisor's ELF, its compressed form and its symbols, under `target/dist`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, ProgramHeader};

use crate::{paths, process, setup, symbols};

/// The package whose program is the hypervisor's image.
const PACKAGE: &str = "image";
/// That program.
const PROGRAM: &str = "ferroxen";
const COMPILE_LIMIT: Duration = Duration::from_secs(1800);
const STRIP_LIMIT: Duration = Duration::from_secs(60);

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
    /// QEMU's `-kernel` starts it. Without what only debuggers read.
    pub elf: PathBuf,
    /// The same with that: types and line numbers.
    pub debug: PathBuf,
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
            debug: dir.join("ferroxen.debug"),
            gz: dir.join("ferroxen.gz"),
            syms: dir.join("ferroxen.syms"),
        }
    }
}

/// Runs `build`.
pub fn main(args: &Args) -> Result<()> {
    let dist = build(args)?;
    for path in [&dist.elf, &dist.gz, &dist.syms, &dist.debug] {
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
    replace(&dist.debug, &bytes)?;
    strip(&dist.debug, &dist.elf)?;
    replace(&dist.gz, &gzip(&bare(&bytes)?)?)?;
    Ok(dist)
}

/// What the compiler is told for the bare machine.
fn base_flags(root: &Path) -> Vec<String> {
    let script = root.join("hypervisor/link.ld");
    vec![
        "-Crelocation-model=pic".to_owned(),
        // An indirect branch less for each `match`: part of the answer to speculation.
        "-Cjump-tables=no".to_owned(),
        // Backtraces walk the frames.
        "-Cforce-frame-pointers=yes".to_owned(),
        "-Clink-arg=-no-pie".to_owned(),
        "-Clink-arg=--no-dynamic-linker".to_owned(),
        "-Clink-arg=-zmax-page-size=4096".to_owned(),
        format!("-Clink-arg=-T{}", script.display()),
    ]
}

/// The rest of the answer to speculation: retpolines, one thunk for all returns (both in
/// machine/src/thunk.rs), and direct calls of `memcpy` and its like.
const HARDENING: [&str; 3] =
    ["-Zretpoline-external-thunk=yes", "-Zfunction-return=thunk-extern", "-Zplt=yes"];

/// The flags as arguments: settings per target go through `--config`, so that the host's crates and
/// the user's own RUSTFLAGS stay apart.
fn target_settings(flags: &[String]) -> [String; 2] {
    let list: Vec<String> = flags.iter().map(|flag| format!("\"{flag}\"")).collect();
    ["--config".into(), format!("target.{}.rustflags=[{}]", setup::BARE_TARGET, list.join(","))]
}

/// A cargo command for the image's package, `verb` being `build`, `clippy` and the like.
pub fn cargo(verb: &str) -> Command {
    cargo_for(PACKAGE, verb)
}

/// The same for another package that is made for the bare machine.
pub fn cargo_for(package: &str, verb: &str) -> Command {
    let root = paths::root();
    command(&root, package, verb, &base_flags(&root))
}

/// Builds the hypervisor of another tree into `target` there, quickly and so less optimised, and
/// without the hardening; answers the program.
pub fn build_quickly(root: &Path) -> Result<PathBuf> {
    let target = root.join("target");
    let mut command = command(root, PACKAGE, "build", &base_flags(root));
    command.args(["--release", "--quiet"]).env("CARGO_TARGET_DIR", &target);
    for setting in ["lto=\"off\"", "codegen-units=16", "incremental=true", "debug=false"] {
        command.args(["--config", &format!("profile.release.{setting}")]);
    }
    let log = target.join("build.log");
    fs::create_dir_all(&target).with_context(|| format!("create {}", target.display()))?;
    process::run_logged(&mut command, &log, COMPILE_LIMIT, "build of the changed hypervisor")?;
    Ok(target.join(setup::BARE_TARGET).join("release").join(PROGRAM))
}

fn command(root: &Path, package: &str, verb: &str, flags: &[String]) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root).arg(verb);
    command.args(["--package", package, "--target", setup::BARE_TARGET]);
    command.args(target_settings(flags));
    // An inherited RUSTFLAGS would take the place of the settings above.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// The build of what runs. The hardening concerns `core` and `alloc` too, so these are compiled
/// from their sources. All of it is unstable in the compiler, which is the stable one, told to
/// allow it.
fn hardened() -> Command {
    let root = paths::root();
    let mut flags = base_flags(&root);
    flags.extend(HARDENING.map(str::to_owned));
    let mut command = command(&root, PACKAGE, "build", &flags);
    command.args(["-Zbuild-std=core,alloc,compiler_builtins"]);
    command.args(["-Zbuild-std-features=compiler-builtins-mem"]);
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}

fn cargo_build(args: &Args) -> Result<PathBuf> {
    let mut command = hardened();
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

/// The ELF without its sections, of which a boot loader needs none: symbols and line numbers for
/// debuggers make up most of the file.
fn bare(elf: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(elf).context("parse the hypervisor's ELF")?;
    let endian = header.endian().context("byte order of the hypervisor's ELF")?;
    let segments = header.program_headers(endian, elf).context("its segments")?;
    let ends = segments.iter().map(|s| s.p_offset(endian).saturating_add(s.p_filesz(endian)));
    let end = usize::try_from(ends.max().context("an ELF without segments")?)?;
    let mut bytes = elf.get(..end).context("a segment beyond the file's end")?.to_vec();
    // e_shoff, and e_shnum with e_shstrndx.
    for field in [0x28..0x30, 0x3c..0x40] {
        bytes.get_mut(field).context("a short ELF header")?.fill(0);
    }
    Ok(bytes)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).context("compress the hypervisor")?;
    packer.finish().context("compress the hypervisor")
}

/// Leaves out what only debuggers read; symbols stay.
fn strip(from: &Path, to: &Path) -> Result<()> {
    let beside = to.with_extension("new");
    let mut command = Command::new("objcopy");
    command.arg("--strip-debug").arg(from).arg(&beside);
    process::run(&mut command, STRIP_LIMIT, "leave out what debuggers read")?;
    fs::rename(&beside, to).with_context(|| format!("rename to {}", to.display()))
}

/// Writes beside, then renames: a QEMU that still has the old file open keeps it whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).with_context(|| format!("write {}", beside.display()))?;
    fs::rename(&beside, path).with_context(|| format!("rename to {}", path.display()))
}
