//! `trace`: writes down what dom0 asks of the hypervisor for its page tables and frames while it
//! boots, and what it is answered, for `model/pages` to replay. The plugin `benches/trace.c` does
//! it, from outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::anchors::Anchors;
use crate::qemu::machine::{Icount, hypervisor_args};
use crate::qemu::{Console, Machine};
use crate::suite::Suite;
use crate::{bench, compile, image, paths, process, setup};

/// dom0 is up, and has run some hundred programs: the marker that its first program then executes.
const UNTIL: &str = "02";
/// The plugin looks at each entry to the hypervisor: a boot takes many times what it takes otherwise.
const BOOT: Duration = Duration::from_secs(1800);
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
    machine.initrd = Some(image_with_markers(&anchors, &folder)?);
    machine.kernel_args = "console=hvc0 nokaslr norandmaps DOM0_DO=off".into();
    let plugin = format!("{},out={},until={UNTIL}", plugin.display(), text.display());
    machine.icount = Some(Icount { seed: 1, plugin: Some(plugin) });
    println!("booting dom0 under {} ...", elf.display());
    let mut console = Console::start(&machine, &folder.join("dom0-boot.log"))?;
    console.expect("dom0: off", BOOT)?;
    console.wait_end(BOOT)?;
    check_whole(&text)?;
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

/// dom0's image with the program that executes markers.
fn image_with_markers(anchors: &Anchors, folder: &Path) -> Result<PathBuf> {
    let program = folder.join("microbench");
    bench::cc("microbench.c", &program, &["-static"])?;
    let program = fs::read(&program).context("read the program that executes markers")?;
    let extra = [("usr/bin/microbench", &program[..])];
    Ok(image::Recipe { extra: &extra, ..image::Recipe::new(anchors, "trace") }.make()?.dom0)
}

/// The plugin says at the marker which tables are in use, and nothing after it.
fn check_whole(text: &Path) -> Result<()> {
    let bytes = fs::read(text).with_context(|| format!("read {}", text.display()))?;
    let last = bytes.trim_ascii_end().rsplit(|&byte| byte == b'\n').next().unwrap_or(&[]);
    ensure!(
        last.starts_with(b"table "),
        "{}: dom0 did not come to marker {UNTIL}: the record ends in {:?}",
        text.display(),
        String::from_utf8_lossy(last)
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
