//! `run`: the small dom0 with its console on this terminal.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::anchors::Anchors;
use crate::exec::Tools;
use crate::image::{Recipe, Toolstack};
use crate::qemu::Machine;
use crate::qemu::machine::{EAGER_FPU, Icount, hypervisor_args};
use crate::suite::Suite;
use crate::{compile, setup, userland};

/// Arguments of `run`.
#[derive(clap::Args, Clone)]
#[group(skip)]
pub struct Args {
    /// Number of CPUs of the machine.
    #[arg(long, default_value_t = 1)]
    pub smp: u32,
    /// Memory of the machine in MiB.
    #[arg(long, default_value_t = 2048)]
    pub mem: u32,
    /// Memory of dom0 in MiB.
    #[arg(long, default_value_t = 768)]
    pub dom0_mem: u32,
    /// Whose kernel and tools are dom0.
    #[arg(long, value_enum, default_value_t = Suite::Trixie)]
    pub suite: Suite,
    /// Whose tools dom0 has.
    #[arg(long, value_enum, default_value_t = Tools::Rust)]
    pub tools: Tools,
    /// Appended to the hypervisor's command line.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub cmdline: String,
    /// Appended to dom0's command line.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub guest_cmdline: String,
    /// Repeatable time by counting instructions.
    #[arg(long)]
    pub icount: bool,
    /// Wait for a debugger on TCP port 1234.
    #[arg(long)]
    pub gdb: bool,
    /// Another hypervisor: a multiboot ELF file, `reference` for the distribution's own Xen, or
    /// `none` for the bare machine.
    #[arg(long)]
    pub hypervisor: Option<String>,
    /// Another kernel in dom0's place.
    #[arg(long)]
    pub kernel: Option<PathBuf>,
    /// Another first file system.
    #[arg(long)]
    pub initrd: Option<PathBuf>,
    /// QEMU's CPU model and flags.
    #[arg(long)]
    pub cpu: Option<String>,
    /// Further arguments for QEMU, after `--`.
    #[arg(last = true)]
    pub qemu: Vec<String>,
    #[command(flatten)]
    pub build: compile::Args,
}

/// Runs `run`.
pub fn main(args: &Args) -> Result<()> {
    let machine = machine(args)?;
    eprintln!("console of the machine follows; Ctrl-a x ends it, Ctrl-a c is QEMU's monitor");
    let mut command = machine.command("mon:stdio")?;
    let status = command.status().context("start QEMU")?;
    if !status.success() {
        bail!("QEMU failed ({status})");
    }
    Ok(())
}

/// The machine that the arguments describe; builds and fetches what it needs.
pub fn machine(args: &Args) -> Result<Machine> {
    let anchors = setup::for_boot(args.suite)?;
    let hypervisor = match args.hypervisor.as_deref() {
        None => Some(compile::build(&args.build)?.elf),
        Some("none") => None,
        Some("reference") => Some(anchors.reference_hypervisor()),
        Some(path) => Some(PathBuf::from(path)),
    };
    let kernel = args.kernel.clone().unwrap_or_else(|| anchors.vmlinuz());
    let mut machine = Machine::new(hypervisor.as_deref(), &kernel);
    machine.initrd = match (&args.initrd, &args.kernel) {
        (Some(path), _) => Some(path.clone()),
        // A program of one's own in the kernel's place has no use for dom0's files.
        (None, Some(_)) => None,
        (None, None) => Some(dom0(&anchors, args.tools)?),
    };
    let console = if hypervisor.is_some() { "console=hvc0" } else { "console=ttyS0" };
    let tools = format!("TOOLS={}", args.tools.word());
    machine.kernel_args = join(&[console, &tools, &args.guest_cmdline]);
    let eager = if args.hypervisor.as_deref() == Some("reference") { EAGER_FPU } else { "" };
    machine.hypervisor_args = join(&[&hypervisor_args(args.dom0_mem), eager, &args.cmdline]);
    machine.smp = args.smp;
    machine.mem = args.mem;
    machine.cpu.clone_from(&args.cpu);
    machine.gdb = args.gdb;
    machine.icount = args.icount.then_some(Icount { seed: 1, plugin: None });
    machine.extra.clone_from(&args.qemu);
    for path in [machine.hypervisor.as_ref(), Some(&machine.kernel), machine.initrd.as_ref()]
        .into_iter()
        .flatten()
    {
        if !path.is_file() {
            bail!("there is no file {}", path.display());
        }
    }
    Ok(machine)
}

/// dom0's first file system, with the tools that are asked for and no others.
fn dom0(anchors: &Anchors, tools: Tools) -> Result<PathBuf> {
    let own = match tools {
        Tools::Rust => userland::build()?,
        Tools::C => Vec::new(),
    };
    let toolstack = match tools {
        Tools::Rust => Toolstack::Own(&own),
        Tools::C => Toolstack::Distribution,
    };
    let name = format!("{}-{}", anchors.suite.name(), tools.word());
    Ok(Recipe { toolstack, ..Recipe::new(anchors, &name) }.make()?.dom0)
}

fn join(words: &[&str]) -> String {
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}
