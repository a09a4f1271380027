//! The four cells: {the distribution's hypervisor, this one} x {the distribution's tools, these}.
//!
//! One script, the same bytes in each cell, is a guest's life by `xl`. What it prints in three of the
//! cells is compared with what it prints in the fourth, the distribution's hypervisor with the
//! distribution's tools; each difference must be one of `cells/differences.toml`, which
//! docs/differences.md explains, and each of those must have been seen.

mod compare;
mod transcript;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::exec::Tools;
use crate::image::{Recipe, Toolstack};
use crate::qemu::machine::{EAGER_FPU, hypervisor_args};
use crate::qemu::tests::{BOOT, Script, judged, log_path, scripted, to_its_end};
use crate::qemu::userland::{CROSSING_OURS, CROSSING_THEIRS};
use crate::qemu::{Console, Machine};
use crate::suite::Suite;
use crate::{compile, paths, setup, userland};

use compare::differences;
pub use transcript::Transcript;

const SCRIPT: &str = include_str!("../../image/cells.sh");
/// For one step of the script, on two busy CPUs.
const STEP: Duration = Duration::from_secs(400);
/// And for all of it.
const LIMIT: Duration = Duration::from_secs(1800);

/// What is said of a program that died of a memory fault.
const FAULTS: [&str; 3] = ["Segmentation fault", "Fatal glibc error", "Cannot allocate TLS block"];

/// One of the four.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cell {
    /// The distribution's hypervisor.
    reference: bool,
    /// Whose tools.
    tools: Tools,
}

/// The cell that the others are compared with, and those.
const REFERENCE: Cell = Cell { reference: true, tools: Tools::C };
const OTHERS: [Cell; 3] = [
    Cell { reference: false, tools: Tools::C },
    Cell { reference: true, tools: Tools::Rust },
    Cell { reference: false, tools: Tools::Rust },
];

impl Cell {
    /// A name for files and verdicts: `xen-c`, `ferroxen-rust`, ...
    fn name(self) -> String {
        let hypervisor = if self.reference { "xen" } else { "ferroxen" };
        format!("{hypervisor}-{}", self.tools.word())
    }
}

/// What was found, sentence by sentence.
pub type Verdicts = Vec<(String, Result<()>)>;

/// How much of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The script's first steps (a guest's creation, console, disk and network) with both sets of tools on
    /// this hypervisor.
    Short,
    /// All of the script in all four cells.
    Whole,
}

impl Form {
    /// The cell with the distribution's tools that the others are compared with, and those.
    fn cells(self) -> (Cell, &'static [Cell]) {
        match self {
            Self::Short => (OTHERS[0], &OTHERS[2..]),
            Self::Whole => (REFERENCE, &OTHERS),
        }
    }
}

/// Runs the script in the cells, two at a time if so many machines may run, and compares.
pub fn run(form: Form, show: bool, jobs: usize) -> Result<Verdicts> {
    let world = Prepared::new(form, jobs)?;
    let mut verdicts = judge_all(form, jobs, |cell| world.transcript(cell, show))?;
    if form == Form::Whole {
        world.crossings(show, &mut verdicts);
    }
    Ok(verdicts)
}

/// Compares what the cells printed when they last ran.
pub fn compare_again() -> Result<Verdicts> {
    judge_all(Form::Whole, 1, |cell| {
        let file = file(cell);
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Ok(Transcript::read(&text))
    })
}

/// Where a cell's output is kept.
fn file(cell: Cell) -> PathBuf {
    paths::target().join("cells").join(format!("{}.txt", cell.name()))
}

fn judge_all(
    form: Form,
    jobs: usize,
    boot: impl Fn(Cell) -> Result<Transcript> + Sync,
) -> Result<Verdicts> {
    let (reference, others) = form.cells();
    // Two at a time, as the host has CPUs.
    let half = if jobs > 1 { others.len() / 2 } else { others.len() };
    let (first, transcripts) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let late: Vec<_> = others[..half].iter().map(|&cell| boot(cell)).collect();
            (boot(reference), late)
        });
        let rest: Vec<_> = others[half..].iter().map(|&cell| boot(cell)).collect();
        let (first, mut all) = beside.join().map_err(|_| anyhow!("a cell's thread panicked"))?;
        all.extend(rest);
        anyhow::Ok((first, all))
    })?;
    let first = first.with_context(|| format!("the script in the cell {}", reference.name()))?;
    let mut verdicts = Verdicts::new();
    judge(&mut verdicts, reference, &first);
    let listed = compare::listed()?;
    let mut seen = vec![false; listed.len()];
    for (cell, transcript) in others.iter().zip(transcripts) {
        let name = cell.name();
        let transcript = match transcript {
            Ok(transcript) => transcript,
            Err(error) => {
                verdicts.push((format!("cell {name}: the script comes to its end"), Err(error)));
                continue;
            }
        };
        judge(&mut verdicts, *cell, &transcript);
        let found = differences(&first, &transcript);
        let left = compare::strike(&listed, &mut seen, &name, found);
        let sentence =
            format!("cell {name}: prints what {} prints, or what is listed", reference.name());
        verdicts.push((sentence, compare::none_left(&left)));
    }
    if form == Form::Whole {
        let stale = compare::stale(&listed, &seen);
        verdicts.push(("each listed difference between the cells was seen".to_owned(), stale));
    }
    let explained = compare::explained(&listed);
    verdicts.push(("docs/differences.md explains each listed difference".to_owned(), explained));
    Ok(verdicts)
}

/// Each thing that the script saw to hold, or not.
fn judge(verdicts: &mut Verdicts, cell: Cell, transcript: &Transcript) {
    for (step, sentence, failed) in &transcript.sentences {
        let result = match failed {
            None => Ok(()),
            Some(why) => Err(anyhow::anyhow!("it does not hold: {why}")),
        };
        verdicts.push((format!("cell {}: {step}: {sentence}", cell.name()), result));
    }
}

/// What the cells share.
struct Prepared {
    form: Form,
    jobs: usize,
    hypervisor: PathBuf,
    reference: PathBuf,
    kernel: PathBuf,
    dom0: PathBuf,
}

impl Prepared {
    fn new(form: Form, jobs: usize) -> Result<Self> {
        let anchors = setup::for_boot(Suite::Trixie)?;
        let own = userland::build()?;
        let extra = [
            ("etc/dom0/cells.sh", SCRIPT.as_bytes()),
            ("etc/dom0/crossing.sh", CROSSING_OURS.text.as_bytes()),
        ];
        let recipe = Recipe {
            toolstack: Toolstack::Both(&own),
            extra: &extra,
            ..Recipe::new(&anchors, "cells")
        };
        let images = recipe.make()?;
        Ok(Self {
            form,
            jobs,
            hypervisor: compile::build(&compile::Args::default())?.elf,
            reference: anchors.reference_hypervisor(),
            kernel: anchors.vmlinuz(),
            dom0: images.dom0,
        })
    }

    /// Both toolsets in one dom0 on the distribution's hypervisor, with either's daemons; on this one they
    /// are among the ordinary tests.
    fn crossings(&self, show: bool, verdicts: &mut Verdicts) {
        let run = |script: &Script| -> Result<Transcript> {
            println!("{}, on the distribution's hypervisor ...", script.name);
            let log = log_path(&format!("{} on xen", script.name));
            let machine = self.machine(&self.reference, "");
            let mut console = Console::start(&scripted(script, machine), &log)?;
            console.echo(show);
            to_its_end(script, &mut console)
        };
        let scripts = [&CROSSING_OURS, &CROSSING_THEIRS];
        let both = if self.jobs > 1 {
            std::thread::scope(|scope| {
                let panicked = |_| Err(anyhow!("its thread panicked"));
                scripts
                    .map(|script| scope.spawn(move || run(script)))
                    .map(|thread| thread.join().unwrap_or_else(panicked))
            })
        } else {
            scripts.map(run)
        };
        for (script, transcript) in scripts.into_iter().zip(both) {
            let mut tell = |name: String, result| {
                verdicts.push((format!("on the distribution's hypervisor: {name}"), result));
            };
            judged(script, transcript, &mut tell);
        }
    }

    /// dom0 with both toolsets under a hypervisor; the same command lines for both hypervisors.
    fn machine(&self, hypervisor: &Path, arguments: &str) -> Machine {
        let mut machine = Machine::new(Some(hypervisor), &self.kernel);
        machine.initrd = Some(self.dom0.clone());
        machine.hypervisor_args = format!("{} {EAGER_FPU}", hypervisor_args(768));
        machine.kernel_args = format!("console=hvc0 {arguments}");
        machine
    }

    /// What a cell prints.
    fn transcript(&self, cell: Cell, show: bool) -> Result<Transcript> {
        let text = self.run(cell, show)?;
        let fault = text.lines().find(|line| FAULTS.iter().any(|said| line.contains(said)));
        match fault {
            // The script's words may be right all the same; what dies so is never meant.
            Some(line) => Err(anyhow!("a program of dom0 died: {line}")),
            None => Ok(Transcript::read(&text)),
        }
    }

    /// Boots a cell and runs the script; what it prints is kept below `target/cells`, too.
    fn run(&self, cell: Cell, show: bool) -> Result<String> {
        let name = cell.name();
        println!("cell {name} ...");
        let hypervisor = if cell.reference { &self.reference } else { &self.hypervisor };
        let short = if self.form == Form::Short { " CELLS=short" } else { "" };
        let arguments = format!("DOM0_DO=cells TOOLS={}{short}", cell.tools.word());
        let machine = self.machine(hypervisor, &arguments);
        let mut console = Console::start(&machine, &log_path(&format!("cell {name}")))?;
        console.echo(show);
        // What the hypervisor says of a guest that is made to crash is part of the script.
        console.fatal_lines(None)?;
        console.expect("dom0: begin cells\n", BOOT)?;
        let text = steps(&mut console, &name)?;
        console.wait_end(BOOT)?;
        fs::create_dir_all(paths::target().join("cells"))
            .context("make the folder of the cells")?;
        let file = file(cell);
        fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
        Ok(text)
    }
}

/// What the script prints to its end; says which step of it begins.
fn steps(console: &mut Console, cell: &str) -> Result<String> {
    let start = Instant::now();
    let mut text = String::new();
    let mut step = "its preparation".to_owned();
    loop {
        let left = LIMIT.saturating_sub(start.elapsed()).min(STEP);
        let next = r"(?s)(.*?\n|)(?:@@ ([^\n]*)|dom0: end cells rc=(\d+))\n";
        let found =
            console.expect(next, left).with_context(|| format!("the script's step \"{step}\""))?;
        text += &found[1];
        if !found[3].is_empty() {
            anyhow::ensure!(found[3] == "0", "the script ended with code {}", found[3]);
            return Ok(text);
        }
        step.clone_from(&found[2]);
        text += &format!("@@ {step}\n");
        println!("cell {cell}: {step} ({} s)", start.elapsed().as_secs());
    }
}
