//! `bench`: executed instructions beside the distribution's own Xen, in the same machine with the
//! same kernel and tools, exactly repeatable; image sizes and memory too.
//!
//! dom0 boots under instruction counting, runs `benches/microbench.c`, starts a guest that does the
//! same and uses its disk and network, and powers off; the plugin `benches/count.c` writes the
//! counts at markers.

mod boots;
mod counts;
mod memory;
mod report;
mod size;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::anchors::Anchors;
use crate::suite::Suite;
use crate::{compile, paths, setup};
pub use boots::cc;
use boots::{Lab, Subject};
use report::Measured;

/// CPUs of the run that shows what goes between them.
const PAIR: u32 = 2;

/// Arguments of `bench`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// How many times, each with another seed.
    #[arg(long, default_value_t = 1)]
    seeds: u32,
    /// Measure this one in place of ours: a file, or `none` to leave ours out.
    #[arg(long)]
    hypervisor: Option<String>,
    /// All there is: three seeds, each on two CPUs, too, memory by allocating until refused.
    #[arg(long)]
    full: bool,
    /// Runs on two CPUs, too.
    #[arg(long)]
    pair: bool,
    /// Memory, by allocating until refused.
    #[arg(long)]
    memory: bool,
    /// Boot what a measurement lab's `boot.sh` in this folder boots, in place of our own dom0.
    #[arg(long, value_name = "DIR")]
    lab: Option<PathBuf>,
    /// Take Xen's counts from an earlier call where there are any.
    #[arg(long)]
    reuse_xen: bool,
    /// Take ours, too.
    #[arg(long)]
    reuse: bool,
    /// Only the tools, beside the distribution's; `--write` writes benches/TOOLS.md.
    #[arg(long)]
    tools: bool,
    /// Write the tables to this file, too.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "benches/RESULTS.md")]
    write: Option<PathBuf>,
}

/// Runs `bench`.
pub fn main(args: &Args) -> Result<()> {
    let anchors = setup::for_boot(Suite::Trixie)?;
    if args.tools {
        let page = paths::root().join("benches/TOOLS.md");
        return tools::main(&anchors, args.write.as_ref().map(|_| page.as_path()));
    }
    let mut lab = Lab::new(&anchors, args.lab.clone())?;
    let xen = Subject { name: "Xen", elf: anchors.reference_hypervisor() };
    let ours = match args.hypervisor.as_deref() {
        None => Some(compile::build(&compile::Args::default())?.elf),
        Some("none") => None,
        Some(path) => {
            Some(fs::canonicalize(path).with_context(|| format!("find the hypervisor {path}"))?)
        }
    };
    lab.reuse = args.reuse || args.reuse_xen;
    let mut all = vec![measure(args, &anchors, &lab, xen)?];
    if let Some(elf) = ours {
        lab.reuse = args.reuse;
        all.push(measure(args, &anchors, &lab, Subject { name: "Ferroxen", elf })?);
    }
    let text = head(args) + &report::tables(&all);
    print!("{text}");
    if let Some(path) = &args.write {
        let path = paths::root().join(path);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn seeds(args: &Args) -> u32 {
    if args.full { args.seeds.max(3) } else { args.seeds.max(1) }
}

fn measure(args: &Args, anchors: &Anchors, lab: &Lab, subject: Subject) -> Result<Measured> {
    let runs = (1..=seeds(args)).map(|seed| lab.run(&subject, seed, 1)).collect::<Result<_>>()?;
    let on_two = if args.full || args.pair { seeds(args) } else { 0 };
    let pair = (1..=on_two).map(|seed| lab.run(&subject, seed, PAIR)).collect::<Result<_>>()?;
    let memory = if args.full || args.memory {
        let log = lab.file(&subject, 1, 1, "memory.log");
        let found = if lab.reuse && log.exists() {
            println!("{}: memory as found before", subject.name);
            memory::read(&log)
        } else {
            println!("{}: memory until refused ...", subject.name);
            memory::measure(anchors, &subject.elf, &log)
        };
        Some(found.with_context(|| format!("{}: memory", subject.name))?)
    } else {
        None
    };
    let sizes = size::measure(&subject.elf, &lab.file(&subject, 1, 1, "stripped"))?;
    let mitigations = mitigations(&lab.file(&subject, 1, 1, "log"))?;
    Ok(Measured { subject, runs, pair, memory, sizes: Some(sizes), mitigations })
}

/// What a hypervisor's log of its boot says about mitigations.
fn mitigations(log: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    Ok(mitigation_lines(&text))
}

fn mitigation_lines(text: &str) -> Vec<String> {
    let own = |line: &str| line.split_once("(XEN) ").map(|(_, said)| said.trim_end().to_owned());
    let mut lines = text.lines().filter_map(own);
    let Some(title) = lines.find(|line| line.contains("Speculative mitigation")) else {
        return vec!["(says nothing)".into()];
    };
    let below = lines.take_while(|line| line.starts_with(' ') || line.contains("XPTI"));
    std::iter::once(title).chain(below).collect()
}

fn head(args: &Args) -> String {
    let whose =
        if args.lab.is_some() { "the measurement lab's dom0" } else { "our own small dom0" };
    let option = if args.lab.is_some() { " --lab DIR" } else { "" };
    let kind = if args.full { "--full".to_owned() } else { format!("--seeds {}", seeds(args)) };
    format!(
        "# Results beside Debian's Xen 4.20\n\n\
         Written by `cargo xtask bench {kind}{option} --write`, which repeats them.\n\n\
         Instructions, counted exactly in QEMU's emulator (`-icount shift=0,sleep=off`, plugin \
         `benches/count.c`), CPU model max without x2APIC, ERMS and FSRM, one CPU unless it says two, 4 \
         GiB, dom0 1024 MiB, Debian 13's kernel and C tools in both, {whose}. Of {} seeds: the median, \
         and the range in brackets where figures differ. \"The hypervisor's\" are those executed in its \
         address range. Rows where ours is worse are bold.\n\n\
         What each has compiled in against speculation, and applies on this CPU model, is counted with the \
         rest: the lists are at the end (`docs/design/0002`).\n",
        seeds(args)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_mitigations_ends_where_its_indentation_does() {
        let text = "[ 1.0] (XEN) Version 4\n[ 1.0] (XEN) Speculative mitigation facilities:\n\
                    [ 1.0] (XEN)   Compiled-in: X\r\n[ 1.0] noise\n[ 1.0] (XEN) System RAM\n";
        assert_eq!(
            mitigation_lines(text),
            ["Speculative mitigation facilities:", "  Compiled-in: X"]
        );
        assert_eq!(mitigation_lines("(XEN) x\n"), ["(says nothing)"]);
    }
}
