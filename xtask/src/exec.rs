//! `exec`: a script in dom0's shell, under {this, the distribution's} hypervisor with {these, the
//! distribution's} tools; prints what it printed and ends with its exit code.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::image::{Recipe, Toolstack};
use crate::qemu::machine::{EAGER_FPU, hypervisor_args};
use crate::qemu::tests::{BOOT, log_path};
use crate::qemu::{Console, Machine};
use crate::suite::Suite;
use crate::{compile, setup, userland};

/// Whose tools.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tools {
    /// The ones of this tree.
    Rust,
    /// The distribution's.
    C,
}

impl Tools {
    /// As dom0's start-up script takes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
        }
    }
}

/// Arguments of `exec`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// The script.
    script: PathBuf,
    /// A multiboot ELF file, or `reference` for the distribution's own Xen; this tree's if left out.
    #[arg(long)]
    hypervisor: Option<String>,
    /// Whose tools are first in the search path, and whose daemons run.
    #[arg(long, value_enum, default_value_t = Tools::Rust)]
    tools: Tools,
    /// A folder of programs built before, in place of a build.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// A further file in dom0, `PATH=FILE`; may be repeated.
    #[arg(long)]
    file: Vec<String>,
    /// Number of CPUs of the machine.
    #[arg(long, default_value_t = 1)]
    smp: u32,
    /// Memory of the machine in MiB.
    #[arg(long, default_value_t = 2048)]
    mem: u32,
    /// Appended to dom0's command line: `STORED=c`, ...
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    guest_cmdline: String,
    /// Seconds that the script may take.
    #[arg(long, default_value_t = 300)]
    limit: u64,
    /// Show the whole console.
    #[arg(long)]
    show: bool,
}

/// Runs `exec`.
pub fn main(args: &Args) -> Result<()> {
    let name = format!("exec-{}", std::process::id());
    let result = run(args, &name);
    // Each run's image is its own, so that several can run at once.
    let _ = std::fs::remove_dir_all(crate::paths::images().join(&name));
    result
}

fn run(args: &Args, name: &str) -> Result<()> {
    let machine = machine(args, name)?;
    let log = log_path(name);
    eprintln!("booting; the console is logged in {}", log.display());
    let mut console = Console::start(&machine, &log)?;
    console.echo(args.show);
    console.expect("dom0: begin script\n", BOOT)?;
    let limit = Duration::from_secs(args.limit);
    let found = console.expect(r"(?s)(.*)dom0: end script rc=(\d+)\n", limit)?;
    if !args.show {
        print!("{}", found[1]);
    }
    console.wait_end(BOOT)?;
    match found[2].as_str() {
        "0" => Ok(()),
        code => bail!("the script ended with code {code}"),
    }
}

fn machine(args: &Args, name: &str) -> Result<Machine> {
    let anchors = setup::for_boot(Suite::Trixie)?;
    let hypervisor = match args.hypervisor.as_deref() {
        None => compile::build(&compile::Args::default())?.elf,
        Some("reference") => anchors.reference_hypervisor(),
        Some(path) => std::path::absolute(path).with_context(|| format!("find {path}"))?,
    };
    let own = match &args.programs {
        None => userland::build()?,
        Some(folder) => userland::built_in(folder)?,
    };
    let mut files = vec![("etc/dom0/script.sh".to_owned(), read(&args.script)?)];
    for word in &args.file {
        let (path, file) =
            word.split_once('=').with_context(|| format!("{word} is no PATH=FILE"))?;
        files.push((path.trim_start_matches('/').to_owned(), read(Path::new(file))?));
    }
    let extra: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let recipe =
        Recipe { toolstack: Toolstack::Both(&own), extra: &extra, ..Recipe::new(&anchors, name) };
    let images = recipe.make()?;
    let mut machine = Machine::new(Some(&hypervisor), &anchors.vmlinuz());
    machine.initrd = Some(images.dom0);
    machine.smp = args.smp;
    machine.mem = args.mem;
    machine.hypervisor_args = hypervisor_args(768);
    if args.hypervisor.as_deref() == Some("reference") {
        machine.hypervisor_args = format!("{} {EAGER_FPU}", machine.hypervisor_args);
    }
    machine.kernel_args =
        format!("console=hvc0 DOM0_DO=script TOOLS={} {}", args.tools.word(), args.guest_cmdline);
    Ok(machine)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}
