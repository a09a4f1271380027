//! The boots that are counted: our own small dom0, or the measurement lab's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::counts::Run;
use crate::anchors::Anchors;
use crate::image::Images;
use crate::qemu::machine::{Icount, hypervisor_args};
use crate::qemu::{Console, Machine};
use crate::{image, paths, process};

const COMPILE_LIMIT: Duration = Duration::from_secs(120);
/// Counting makes a boot several times slower.
const BOOT: Duration = Duration::from_secs(1800);
/// What the lab's dom0 does.
const LAB_COMMANDS: &str = "info:bench:hostio:pv";

/// What our own dom0 does; the guest does `GUEST` and the disk and network parts.
const HOST: &str = "\
sleep 3
microbench
microbench mark 6; dd if=/dev/urandom of=/dev/null bs=1024 count=10000 2>/dev/null; microbench mark 7
make-disk
nc -l -p 5001 >/dev/null &
sed -e 's/GUEST_DISK/GUEST_DO=bench nokaslr GUEST_DISK/; s/^memory.*/memory = 256/; s/preserve/destroy/' \
    -e '$atsc_mode = \"native\"' -e \"s/^vcpus.*/vcpus = $(nproc)/\" /root/pv.cfg >/tmp/bench.cfg
microbench mark 8
xl create -c /tmp/bench.cfg </dev/console
microbench mark 9
";
const GUEST: &str = "\
sleep 3
microbench
microbench mark 6; dd if=/dev/urandom of=/dev/null bs=1024 count=10000 2>/dev/null; microbench mark 7
microbench mark 66; dd if=/dev/xvda of=/dev/null bs=64k count=256 2>/dev/null; microbench mark 67
microbench mark 66; dd if=/dev/zero of=/dev/xvda bs=64k seek=256 count=128 conv=fsync 2>/dev/null; microbench mark 67
microbench mark 64; dd if=/dev/zero bs=64k count=256 2>/dev/null | nc 10.77.0.1 5001; microbench mark 65
";

/// What is booted: a name for files and tables, and the program.
pub struct Subject {
    pub name: &'static str,
    pub elf: PathBuf,
}

/// Boots and counts.
pub struct Lab {
    folder: PathBuf,
    plugin: PathBuf,
    kernel: PathBuf,
    images: Images,
    /// The measurement lab's folder, for its boots in place of ours.
    outside: Option<PathBuf>,
    /// Take what an earlier boot counted.
    pub reuse: bool,
}

impl Lab {
    /// Compiles what is needed.
    pub fn new(anchors: &Anchors, outside: Option<PathBuf>) -> Result<Self> {
        let folder = paths::target().join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let plugin = folder.join("count.so");
        cc("count.c", &plugin, &["-shared", "-fPIC"])?;
        let program = folder.join("microbench");
        cc("microbench.c", &program, &["-static"])?;
        let program = fs::read(&program).context("read the benchmark program")?;
        let extra = [
            ("usr/bin/microbench", &program[..]),
            ("etc/dom0/bench.sh", HOST.as_bytes()),
            ("etc/guest/bench.sh", GUEST.as_bytes()),
        ];
        let images =
            image::Recipe { extra: &extra, ..image::Recipe::new(anchors, "bench") }.make()?;
        let outside = outside.map(fs::canonicalize).transpose().context("the lab's folder")?;
        Ok(Self { folder, plugin, kernel: anchors.vmlinuz(), images, outside, reuse: false })
    }

    /// A file that belongs to one boot.
    pub fn file(&self, subject: &Subject, seed: u32, cpus: u32, ending: &str) -> PathBuf {
        let whose = if self.outside.is_some() { "lab" } else { "own" };
        let name = subject.name.to_lowercase();
        self.folder.join(format!("{whose}-{name}-{seed}-cpus{cpus}.{ending}"))
    }

    /// One boot's counts.
    pub fn run(&self, subject: &Subject, seed: u32, cpus: u32) -> Result<Run> {
        let counts = self.file(subject, seed, cpus, "count");
        if self.reuse && counts.exists() {
            println!("{}, seed {seed}, {cpus} CPU(s): as counted before", subject.name);
        } else {
            println!("{}, seed {seed}, {cpus} CPU(s) ...", subject.name);
            // Moved into place at the end: what is there is whole.
            let beside = self.file(subject, seed, cpus, "counting");
            let log = self.file(subject, seed, cpus, "log");
            let plugin = format!("{},out={}", self.plugin.display(), beside.display());
            match &self.outside {
                None => self.boot(&subject.elf, seed, cpus, plugin, &log),
                Some(lab) => lab_boot(lab, &subject.elf, seed, cpus, &plugin, &log),
            }
            .with_context(|| format!("{}, seed {seed}, {cpus} CPU(s)", subject.name))?;
            fs::rename(&beside, &counts).context("keep the counts")?;
        }
        let text =
            fs::read_to_string(&counts).with_context(|| format!("read {}", counts.display()))?;
        Run::parse(&text).with_context(|| counts.display().to_string())
    }

    fn boot(&self, elf: &Path, seed: u32, cpus: u32, plugin: String, log: &Path) -> Result<()> {
        let mut machine = Machine::new(Some(elf), &self.kernel);
        (machine.smp, machine.mem) = (cpus, 4096);
        machine.hypervisor_args = hypervisor_args(1024);
        machine.initrd = Some(self.images.dom0.clone());
        machine.kernel_args = "console=hvc0 nokaslr norandmaps DOM0_DO=bench".into();
        machine.icount = Some(Icount { seed, plugin: Some(plugin) });
        let mut console = Console::start(&machine, log)?;
        let end = console.expect(r"guest: failed[^\n]*|dom0: end bench rc=(\d+)", BOOT)?;
        ensure!(end[1] == "0", "the benchmark failed: {}", end[0]);
        console.wait_end(BOOT).map(drop)
    }
}

/// The lab's script, with its options for repeatable time and with our plugin.
fn lab_boot(lab: &Path, elf: &Path, seed: u32, cpus: u32, plugin: &str, log: &Path) -> Result<()> {
    let name = log.file_stem().and_then(|name| name.to_str()).context("the log's name")?;
    let mut command = Command::new(lab.join("boot.sh"));
    command.arg("--hypervisor").arg(elf).args(["--icount", "--cmds", LAB_COMMANDS]);
    command.args(["--seed", &seed.to_string(), "--timeout", "1700", "--name", name]);
    command.args(["--qemu-arg", "-plugin", "--qemu-arg", plugin]);
    if cpus > 1 {
        command.args(["--smp", &cpus.to_string(), "--dom0-args", &format!("VCPUS={cpus}")]);
    }
    // The script prints what the console says, each line after the seconds since the start.
    process::run_logged(&mut command, log, BOOT, "the lab's boot")?;
    let text = fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    ensure!(!text.contains("LAB: FAIL"), "the lab reports a failure: see {}", log.display());
    ensure!(text.contains("LAB: end pv rc=0"), "the lab did not finish: see {}", log.display());
    Ok(())
}

/// Compiles a source of `benches/`.
pub fn cc(source: &str, dest: &Path, flags: &[&str]) -> Result<()> {
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall"]).args(flags).arg("-o").arg(dest);
    command.arg(paths::root().join("benches").join(source));
    process::run(&mut command, COMPILE_LIMIT, &format!("compile {source}"))
}
