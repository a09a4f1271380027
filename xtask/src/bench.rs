//! `bench`: executed instructions beside the distribution's own Xen, in the same machine with the
//! same kernel, exactly repeatable.
//!
//! dom0 boots under instruction counting, runs `benches/microbench.c` and powers off; the plugin
//! `benches/count.c` writes the counts at markers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::image::Images;
use crate::qemu::machine::Icount;
use crate::qemu::{Console, Machine};
use crate::suite::Suite;
use crate::{compile, image, paths, process, setup};

const COMPILE_LIMIT: Duration = Duration::from_secs(120);
/// Counting makes a boot several times slower.
const BOOT: Duration = Duration::from_secs(900);
const END: Duration = Duration::from_secs(600);

/// Markers of dom0's start-up script.
const INIT: &str = "01";
const READY: &str = "02";
/// What dom0 runs.
const SCRIPT: &str = "sleep 3\nmicrobench\n";

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
    /// Write the tables to this file, too.
    #[arg(long)]
    write: Option<PathBuf>,
}

/// Counts at one marker, by the plugin's names.
type Counts = BTreeMap<String, u64>;

/// One operation: marker before it, name, how often.
struct Operation {
    marker: String,
    name: String,
    times: u64,
}

/// What one boot showed.
struct Run {
    marks: BTreeMap<String, Counts>,
    operations: Vec<Operation>,
}

/// Runs `bench`.
pub fn main(args: &Args) -> Result<()> {
    let anchors = setup::for_boot(Suite::Trixie)?;
    let folder = paths::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let plugin = folder.join("count.so");
    cc("count.c", &plugin, &["-shared", "-fPIC"])?;
    let program = folder.join("microbench");
    cc("microbench.c", &program, &["-static"])?;
    let program = fs::read(&program).context("read the benchmark program")?;
    let extra = [("usr/bin/microbench", &program[..]), ("etc/dom0/bench.sh", SCRIPT.as_bytes())];
    let images = image::build_with(&anchors, "bench", &extra)?;

    let mut subjects = vec![("Xen".to_owned(), anchors.reference_hypervisor())];
    match args.hypervisor.as_deref() {
        None => subjects.push(("Ferroxen".into(), compile::build(&compile::Args::default())?.elf)),
        Some("none") => {}
        Some(path) => subjects.push((path.to_owned(), path.into())),
    }
    let mut text = String::new();
    for seed in 1..=args.seeds {
        let mut runs = Vec::new();
        for (name, elf) in &subjects {
            println!("{name}, seed {seed} ...");
            let run = boot(&folder, name, elf, &anchors.vmlinuz(), &images, &plugin, seed);
            runs.push((name.as_str(), run.with_context(|| format!("{name}, seed {seed}"))?));
        }
        text += &table(seed, &runs)?;
    }
    print!("{text}");
    if let Some(path) = &args.write {
        fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Compiles a source of `benches/`.
pub fn cc(source: &str, dest: &Path, flags: &[&str]) -> Result<()> {
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall"]).args(flags).arg("-o").arg(dest);
    command.arg(paths::root().join("benches").join(source));
    process::run(&mut command, COMPILE_LIMIT, &format!("compile {source}"))
}

fn boot(
    folder: &Path,
    name: &str,
    elf: &Path,
    kernel: &Path,
    images: &Images,
    plugin: &Path,
    seed: u32,
) -> Result<Run> {
    let stem: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let out = folder.join(format!("{stem}-{seed}.count"));
    let mut machine = Machine::new(Some(elf), kernel);
    machine.initrd = Some(images.dom0.clone());
    machine.kernel_args = "console=hvc0 nokaslr norandmaps DOM0_DO=bench".into();
    let plugin = format!("{},out={}", plugin.display(), out.display());
    machine.icount = Some(Icount { seed, plugin: Some(plugin) });
    let mut console = Console::start(&machine, &folder.join(format!("{stem}-{seed}.log")))?;
    console.expect("dom0: begin bench", BOOT)?;
    let mut operations = Vec::new();
    loop {
        let found =
            console.expect(r"bench ([0-9a-f]{2}) (\w+) (\d+)\n|dom0: end bench rc=(\d+)", BOOT)?;
        if !found[4].is_empty() {
            ensure!(found[4] == "0", "the benchmark program failed ({})", found[4]);
            break;
        }
        let times = found[3].parse().context("a number of operations")?;
        operations.push(Operation { marker: found[1].clone(), name: found[2].clone(), times });
    }
    console.wait_end(END)?;
    let text = fs::read_to_string(&out).with_context(|| format!("read {}", out.display()))?;
    Ok(Run { marks: parse(&text)?, operations })
}

/// The plugin's lines: a label, then names and counts in turn. A marker seen again counts anew.
fn parse(text: &str) -> Result<BTreeMap<String, Counts>> {
    let mut marks = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let label = words.next().context("an empty line of counts")?.to_owned();
        let mut counts = Counts::new();
        while let Some(name) = words.next() {
            let value = words.next().and_then(|word| word.parse().ok());
            counts.insert(
                name.to_owned(),
                value.with_context(|| format!("count of {name} in {line:?}"))?,
            );
        }
        marks.insert(label, counts);
    }
    Ok(marks)
}

impl Run {
    fn at(&self, marker: &str, counter: &str) -> Result<u64> {
        let counts =
            self.marks.get(marker).with_context(|| format!("marker {marker} was not reached"))?;
        counts.get(counter).copied().with_context(|| format!("no counter {counter}"))
    }

    fn between(&self, operation: &Operation, counter: &str) -> Result<f64> {
        let first = u8::from_str_radix(&operation.marker, 16).context("a marker")?;
        let after = format!("{:02x}", first + 1);
        let count = self.at(&after, counter)? - self.at(&operation.marker, counter)?;
        Ok(count as f64 / operation.times as f64)
    }

    fn total(&self, operation: &Operation) -> Result<f64> {
        ["hv", "kernel", "low"].iter().map(|class| self.between(operation, class)).sum()
    }
}

/// Rows by operation, for each subject: the hypervisor's instructions, all, CR3 writes, flushes,
/// MSR writes.
fn table(seed: u32, runs: &[(&str, Run)]) -> Result<String> {
    let Some((_, first)) = runs.first() else { bail!("nothing was measured") };
    let mut text = format!("\n## Seed {seed}\n\n| operation |");
    for (name, _) in runs {
        text += &format!(" {name}: hv | all | cr3 | flush | wrmsr |");
    }
    text += if runs.len() == 2 { " hv, ratio |\n|---|" } else { "\n|---|" };
    text += &"---|".repeat(runs.len() * 5 + usize::from(runs.len() == 2));
    text += "\n";
    for operation in &first.operations {
        text += &format!("| {} |", operation.name);
        for (_, run) in runs {
            text +=
                &format!(" {:.0} | {:.0} |", run.between(operation, "hv")?, run.total(operation)?);
            for counter in ["cr3", "flush", "wrmsr"] {
                text += &format!(" {:.2} |", run.between(operation, counter)?);
            }
        }
        if let [(_, one), (_, two)] = runs {
            text +=
                &format!(" {:.2} |", two.between(operation, "hv")? / one.between(operation, "hv")?);
        }
        text += "\n";
    }
    for (what, marker) in [("boot to /init", INIT), ("boot to ready", READY)] {
        text += &format!("| {what}, millions |");
        for (_, run) in runs {
            let all = run.at(marker, "hv")? + run.at(marker, "kernel")? + run.at(marker, "low")?;
            text +=
                &format!(" {:.0} | {:.0} |", run.at(marker, "hv")? as f64 / 1e6, all as f64 / 1e6);
            for counter in ["cr3", "flush", "wrmsr"] {
                text += &format!(" {:.3} |", run.at(marker, counter)? as f64 / 1e6);
            }
        }
        if let [(_, one), (_, two)] = runs {
            text +=
                &format!(" {:.2} |", two.at(marker, "hv")? as f64 / one.at(marker, "hv")? as f64);
        }
        text += "\n";
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Run {
        let operation = Operation { marker: "10".into(), name: "op".into(), times: 10 };
        Run { marks: parse(text).unwrap(), operations: vec![operation] }
    }

    const TEXT: &str = "01 hv 5000000 kernel 1 low 1 cr3 1 flush 1 wrmsr 1\n\
                        02 hv 6000000 kernel 1 low 1 cr3 1 flush 1 wrmsr 1\n\
                        10 hv 7000000 kernel 10 low 10 cr3 0 flush 0 wrmsr 0\n\
                        11 hv 7001000 kernel 110 low 20 cr3 20 flush 0 wrmsr 5\n";

    #[test]
    fn an_operation_costs_what_lies_between_its_markers_divided_by_its_times() {
        let run = run(TEXT);
        let operation = &run.operations[0];
        assert_eq!(run.between(operation, "hv").unwrap(), 100.0);
        assert_eq!(run.total(operation).unwrap(), 111.0);
    }

    #[test]
    fn a_table_of_two_ends_in_their_ratio() {
        let text = table(1, &[("Xen", run(TEXT)), ("Ferroxen", run(TEXT))]).unwrap();
        assert!(
            text.contains(
                "| op | 100 | 111 | 2.00 | 0.00 | 0.50 | 100 | 111 | 2.00 | 0.00 | 0.50 | 1.00 |"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_marker_that_was_not_reached_is_an_error() {
        assert!(run("01 hv 1\n").at("02", "hv").is_err());
    }
}
