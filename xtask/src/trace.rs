//! `trace`: writes down what dom0 asks of the hypervisor for its page tables and frames while it
//! boots, and what it is answered, for `model/pages` to replay. The plugin `benches/trace.c` does
//! it, from outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::qemu::machine::{Icount, hypervisor_args};
use crate::qemu::{Console, Machine};
use crate::suite::Suite;
use crate::{bench, compile, image, paths, process, setup};

/// dom0 is up, and has run some hundred programs.
const UNTIL: &str = "02";
const BOOT: Duration = Duration::from_secs(600);
const END: Duration = Duration::from_secs(120);
const PACK: Duration = Duration::from_secs(120);
/// As little memory as it boots with: most of the trace is the tables that map it. MiB.
const DOM0: u32 = 256;
const MACHINE: u32 = 1024;

/// Arguments of `trace`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Whose answers: `reference` for the distribution's Xen, `ours`, or a file.
    #[arg(long, default_value = "reference")]
    hypervisor: String,
    /// Where to write it [default: target/trace/dom0-boot.trace.xz]
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Runs `trace`.
pub fn main(args: &Args) -> Result<()> {
    let anchors = setup::for_boot(Suite::Trixie)?;
    let folder = paths::target().join("trace");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let plugin = folder.join("trace.so");
    bench::cc("trace.c", &plugin, &["-shared", "-fPIC"])?;
    let elf = match args.hypervisor.as_str() {
        "reference" => anchors.reference_hypervisor(),
        "ours" => compile::build(&compile::Args::default())?.elf,
        path => path.into(),
    };
    let text = folder.join("dom0-boot.trace");
    let mut machine = Machine::new(Some(&elf), &anchors.vmlinuz());
    machine.hypervisor_args = hypervisor_args(DOM0);
    machine.mem = MACHINE;
    machine.initrd = Some(image::Recipe::new(&anchors, anchors.suite.name()).make()?.dom0);
    machine.kernel_args = "console=hvc0 nokaslr norandmaps DOM0_DO=off".into();
    let plugin = format!("{},out={},until={UNTIL}", plugin.display(), text.display());
    machine.icount = Some(Icount { seed: 1, plugin: Some(plugin) });
    println!("booting dom0 under {} ...", elf.display());
    let mut console = Console::start(&machine, &folder.join("dom0-boot.log"))?;
    console.expect("dom0: user space", BOOT)?;
    console.wait_end(END)?;
    let output = args.output.clone().unwrap_or_else(|| folder.join("dom0-boot.trace.xz"));
    pack(&text, &output)?;
    println!(
        "{} lines, {} bytes: {}\nreplay it: PAGES_TRACE={} cargo test -p pages a_real_boot",
        fs::read(&text)?.iter().filter(|&&byte| byte == b'\n').count(),
        fs::metadata(&output)?.len(),
        output.display(),
        std::path::absolute(&output)?.display(),
    );
    Ok(())
}

/// As the test's decoder wants it.
fn pack(text: &Path, output: &Path) -> Result<()> {
    let mut command = Command::new("xz");
    command.args(["-9e", "--check=crc32", "--stdout"]).arg(text);
    let packed = process::capture_bytes(&mut command, PACK, "xz")?;
    fs::write(output, packed).with_context(|| format!("write {}", output.display()))
}
