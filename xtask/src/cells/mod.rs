//! The four cells: {the distribution's hypervisor, this one} x {the distribution's tools, these}.
//!
//! One script, the same bytes in each cell, is a guest's life by `xl`. What it prints in three of the
//! cells is compared with what it prints in the fourth, the distribution's hypervisor with the
//! distribution's tools; each difference must be one of `cells/differences.toml`, which
//! docs/differences.md explains, and each of those must have been seen.

mod compare;
mod transcript;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::exec::Tools;
use crate::image::{Recipe, Toolstack};
use crate::qemu::tests::{BOOT, log_path};
use crate::qemu::{Console, Machine, machine::hypervisor_args};
use crate::suite::Suite;
use crate::{compile, paths, setup, userland};

use compare::differences;
use transcript::Transcript;

const SCRIPT: &str = include_str!("../../image/cells.sh");
/// For the whole script, on two busy CPUs.
const LIMIT: Duration = Duration::from_secs(1500);

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

/// Runs the script in all four cells, one after the other, and compares.
pub fn run(show: bool) -> Result<Verdicts> {
    let world = Prepared::new()?;
    let mut verdicts = Verdicts::new();
    let reference = world.transcript(REFERENCE, show)?;
    judge(&mut verdicts, REFERENCE, &reference);
    let listed = compare::listed()?;
    let mut seen = vec![false; listed.len()];
    for cell in OTHERS {
        let transcript = match world.transcript(cell, show) {
            Ok(transcript) => transcript,
            Err(error) => {
                verdicts.push((
                    format!("cell {}: the script comes to its end", cell.name()),
                    Err(error),
                ));
                continue;
            }
        };
        judge(&mut verdicts, cell, &transcript);
        let found = differences(&reference, &transcript);
        let unlisted = compare::strike(&listed, &mut seen, &cell.name(), found);
        let name = format!(
            "cell {}: prints what {} prints, but for what is listed",
            cell.name(),
            REFERENCE.name()
        );
        verdicts.push((name, compare::none_left(&unlisted)));
    }
    let stale = compare::stale(&listed, &seen);
    verdicts.push(("each listed difference between the cells was seen".to_owned(), stale));
    verdicts.push((
        "docs/differences.md explains each listed difference".to_owned(),
        compare::explained(&listed),
    ));
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
    hypervisor: PathBuf,
    reference: PathBuf,
    kernel: PathBuf,
    dom0: PathBuf,
}

impl Prepared {
    fn new() -> Result<Self> {
        let anchors = setup::for_boot(Suite::Trixie)?;
        let own = userland::build()?;
        let extra = [("etc/dom0/cells.sh", SCRIPT.as_bytes())];
        let recipe = Recipe {
            toolstack: Toolstack::Both(&own),
            extra: &extra,
            ..Recipe::new(&anchors, "cells")
        };
        let images = recipe.make()?;
        Ok(Self {
            hypervisor: compile::build(&compile::Args::default())?.elf,
            reference: anchors.reference_hypervisor(),
            kernel: anchors.vmlinuz(),
            dom0: images.dom0,
        })
    }

    /// Boots a cell, runs the script and reads what it printed; kept below `target/cells`.
    fn transcript(&self, cell: Cell, show: bool) -> Result<Transcript> {
        let name = cell.name();
        println!("cell {name} ...");
        let hypervisor = if cell.reference { &self.reference } else { &self.hypervisor };
        let mut machine = Machine::new(Some(hypervisor), &self.kernel);
        machine.initrd = Some(self.dom0.clone());
        machine.hypervisor_args = hypervisor_args(768);
        machine.kernel_args = format!("console=hvc0 DOM0_DO=cells TOOLS={}", cell.tools.word());
        let mut console = Console::start(&machine, &log_path(&format!("cell {name}")))?;
        console.echo(show);
        // What the hypervisor says of a guest that is made to crash is part of the script.
        console.fatal_lines(None)?;
        console.expect("dom0: begin cells\n", BOOT)?;
        let found = console.expect(r"(?s)(.*)dom0: end cells rc=0\n", LIMIT)?;
        console.wait_end(BOOT)?;
        let folder = paths::target().join("cells");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let file = folder.join(format!("{name}.txt"));
        fs::write(&file, &found[1]).with_context(|| format!("write {}", file.display()))?;
        Ok(Transcript::read(&found[1]))
    }
}
