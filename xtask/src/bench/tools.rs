//! `bench --tools`: what the tools cost beside the distribution's, in the same dom0 on the
//! distribution's hypervisor: executed instructions of all that runs, the kernel and the
//! daemons among it, between two markers.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::boots::cc;
use crate::anchors::Anchors;
use crate::exec::Tools;
use crate::image::{Recipe, Toolstack};
use crate::qemu::machine::{Icount, hypervisor_args};
use crate::qemu::{Console, Machine, guests};
use crate::{paths, userland};

/// Counting makes a boot several times slower; fifty guests are made in it.
const BOOT: Duration = Duration::from_secs(3600);
/// Guests of the longer list.
const MANY: u32 = 50;

/// What is done, in this order, each between the markers 6 and 7; all programs ran once before, so
/// that none is read for the first time.
const OPERATIONS: &[&str] = &[
    "`xl list`, dom0 alone",
    "`xl list`, 1 guest",
    "`xl create -p`, the first of a kernel: all until the guest's first instruction",
    "`xl create -p`, each further one",
    "`xl destroy`",
    "`xl list`, 50 guests",
    "1,000 transactions",
    "`xenstore-ls` of 10,000 nodes",
];

/// The pause at the start: our tools do not keep a kernel that was changed in the last five seconds,
/// as dom0's files all were when it booted.
const SCRIPT: &str = "\
set -e
counted() { microbench mark 6; \"$@\" >/dev/null 2>&1; microbench mark 7; }
hello() { sed -e \"s/^name.*/name = \\\"hello$1\\\"/\" /root/hello.cfg >/tmp/hello.cfg; xl create -p /tmp/hello.cfg >/dev/null 2>&1; }
sleep 6
xl list >/dev/null
counted xl list
hello 0
counted xl list
counted xl create -p /root/tiny.cfg
xl destroy tiny
counted xl create -p /root/tiny.cfg
counted xl destroy tiny
n=1; while [ $n -lt MANY ]; do hello $n; n=$((n + 1)); done
[ $(xl list | wc -l) = $((MANY + 2)) ]
counted xl list
storebench fill 10
counted storebench transactions 1000
storebench fill 10000
counted xenstore-ls /bench
[ $(xenstore-ls /bench | wc -l) -ge 10000 ]
for daemon in xenstored xenconsoled; do
    pid=$(pidof $daemon | cut -d' ' -f1)
    echo \"MEMORY $daemon $(sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status)\"
done
";

/// What one set of tools showed.
struct Shown {
    instructions: Vec<u64>,
    /// KiB that each daemon keeps with fifty guests and 10,000 nodes.
    memory: Vec<(String, u64)>,
    /// Bytes of programs and libraries.
    size: u64,
}

/// Measures both and prints, and writes when told to.
pub fn main(anchors: &Anchors, write: Option<&Path>) -> Result<()> {
    let own = userland::build()?;
    let folder = paths::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let theirs = measure(anchors, &own, Tools::C, &folder)?;
    let ours = measure(anchors, &own, Tools::Rust, &folder)?;
    let text = table(&theirs, &ours);
    print!("{text}");
    if let Some(path) = write {
        fs::write(path, &text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn measure(
    anchors: &Anchors,
    own: &[userland::Built],
    tools: Tools,
    folder: &Path,
) -> Result<Shown> {
    println!("tools: {} ...", tools.word());
    let file = |ending: &str| folder.join(format!("tools-{}.{ending}", tools.word()));
    let plugin = folder.join("count.so");
    cc("count.c", &plugin, &["-shared", "-fPIC"])?;
    let program = |name: &str| -> Result<Vec<u8>> {
        let path = folder.join(name);
        cc(&format!("{name}.c"), &path, &["-static"])?;
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let (microbench, storebench) = (program("microbench")?, program("storebench")?);
    let script = SCRIPT.replace("MANY", &MANY.to_string());
    guests::build()?;
    let programs = guests::in_dom0()?;
    let mut extra: Vec<(&str, &[u8])> =
        programs.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    extra.push(("usr/bin/microbench", &microbench));
    extra.push(("usr/bin/storebench", &storebench));
    extra.push(("etc/dom0/tools.sh", script.as_bytes()));
    let recipe =
        Recipe { toolstack: Toolstack::Both(own), extra: &extra, ..Recipe::new(anchors, "tools") };
    let mut machine = Machine::new(Some(&anchors.reference_hypervisor()), &anchors.vmlinuz());
    machine.initrd = Some(recipe.make()?.dom0);
    machine.mem = 4096;
    machine.hypervisor_args = hypervisor_args(1024);
    machine.kernel_args =
        format!("console=hvc0 nokaslr norandmaps DOM0_DO=tools TOOLS={}", tools.word());
    let plugin = format!("{},out={}", plugin.display(), file("count").display());
    machine.icount = Some(Icount { seed: 1, plugin: Some(plugin) });
    let mut console = Console::start(&machine, &file("log"))?;
    let said = console.expect(r"(?s)(.*)dom0: end tools rc=(\d+)", BOOT)?;
    ensure!(
        said[2] == "0",
        "the script ended with code {}: see {}",
        said[2],
        file("log").display()
    );
    console.wait_end(BOOT)?;
    let counts = fs::read_to_string(file("count")).context("read the counts")?;
    let size = match tools {
        Tools::Rust => own.iter().map(|program| program.bytes.len() as u64).sum(),
        Tools::C => crate::image::size_of_toolstack(anchors)?,
    };
    Ok(Shown { instructions: instructions(&counts)?, memory: memory(&said[1]), size })
}

/// Instructions between each marker 6 and the marker 7 after it.
fn instructions(counts: &str) -> Result<Vec<u64>> {
    let total = |line: &str| -> u64 {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        words
            .chunks_exact(2)
            .filter(|pair| ["hv", "kernel", "low"].contains(&pair[0]))
            .filter_map(|pair| pair[1].parse::<u64>().ok())
            .sum()
    };
    let mut found = Vec::new();
    let mut start = 0;
    for line in counts.lines() {
        match line.split_whitespace().next() {
            Some("06") => start = total(line),
            Some("07") => found.push(total(line).saturating_sub(start)),
            _ => {}
        }
    }
    ensure!(found.len() == OPERATIONS.len(), "{} operations were counted", found.len());
    Ok(found)
}

fn memory(said: &str) -> Vec<(String, u64)> {
    let row = |line: &str| {
        let mut words = line.strip_prefix("MEMORY ")?.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    said.lines().filter_map(row).collect()
}

fn table(theirs: &Shown, ours: &Shown) -> String {
    let mut text = String::from(
        "# The tools beside the distribution's\n\n\
         Made by `cargo xtask bench --tools --write`: the same dom0 on Debian's own Xen 4.20 in QEMU, with\n\
         Debian's tools and daemons and with ours. Millions of instructions of all that ran meanwhile, the\n\
         hypervisor, the kernel and the daemons among it; exactly repeatable.\n\n\
         | operation | Debian's | ours | ratio |\n|---|--:|--:|--:|\n",
    );
    let millions = |count: u64| count as f64 / 1e6;
    for (at, name) in OPERATIONS.iter().enumerate() {
        let (one, two) = (theirs.instructions[at], ours.instructions[at]);
        let ratio = two as f64 / one.max(1) as f64;
        text += &format!("| {name} | {:.2} | {:.2} | {ratio:.2} |\n", millions(one), millions(two));
    }
    text += "\n| memory with 50 guests and 10,000 nodes, KiB resident | Debian's | ours |\n|---|--:|--:|\n";
    for ((name, one), (_, two)) in theirs.memory.iter().zip(&ours.memory) {
        text += &format!("| {name} | {one} | {two} |\n");
    }
    text += "\n| installed programs and the libraries that only they need | bytes |\n|---|--:|\n";
    text + &format!("| Debian's | {} |\n| ours | {} |\n", theirs.size, ours.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_markers_around_each_operation_frame_its_instructions() {
        let pair = "06 hv 1 kernel 2 low 3 flushes 9\n07 hv 11 kernel 22 low 33 flushes 9\n";
        let found = instructions(&pair.repeat(OPERATIONS.len())).unwrap();
        assert!(found.iter().all(|&count| count == 60));
        assert!(instructions(pair).is_err());
    }
}
