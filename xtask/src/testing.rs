//! `test`: lints, host tests, the comparison with the C headers, and the tests in QEMU.
//!
//! The last line is `N passed, N failed`; what could not run counts as failed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::anchors::Anchors;
use crate::cells::Form;
use crate::image::{Recipe, Toolstack};
use crate::qemu::guests;
use crate::qemu::tests::{self, Test, World};
use crate::qemu::userland::scripts;
use crate::suite::Suite;
use crate::{cells, compile, mutants, paths, process, setup, userland};

/// For one stage of compiling and running on the host.
const STAGE_LIMIT: Duration = Duration::from_secs(1800);
/// Host CPUs that the machines under test may keep busy together.
const HOST_CPUS: u32 = 2;

/// Arguments of `test`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Only QEMU tests whose name contains this; the host's part is left out.
    filter: Option<String>,
    /// Only what needs no QEMU.
    #[arg(long)]
    host_only: bool,
    /// Only the tests in QEMU.
    #[arg(long, conflicts_with = "host_only")]
    qemu_only: bool,
    /// Only the four cells: one script under {this, Debian's} hypervisor with {these, Debian's}
    /// tools, and what it prints compared.
    #[arg(long)]
    cells: bool,
    /// With --cells: only compare what they printed when they last ran.
    #[arg(long, requires = "cells")]
    again: bool,
    /// Test another hypervisor: a file, or `reference` to try the tests themselves.
    #[arg(long)]
    hypervisor: Option<String>,
    /// At most this many machines at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Show the machines' consoles.
    #[arg(long)]
    show: bool,
    /// Only print the names of the tests in QEMU.
    #[arg(long)]
    list: bool,
}

/// How it stands.
#[derive(Default)]
struct Score {
    passed: u64,
    failed: u64,
    /// What failed, for the end.
    names: Vec<String>,
}

impl Score {
    fn count(&mut self, name: &str, good: bool) {
        if good {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.names.push(name.to_owned());
        }
    }

    /// Says how it stands; ends the program when anything failed.
    fn end(&self) -> Result<()> {
        if !self.names.is_empty() {
            println!("failed:");
            self.names.iter().for_each(|name| println!("    {name}"));
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        match self.failed {
            0 if self.passed == 0 => bail!("no test ran"),
            0 => Ok(()),
            _ => std::process::exit(1),
        }
    }
}

/// The four cells, told as tests.
fn four_cells(run: impl FnOnce() -> Result<cells::Verdicts>, score: &mut Score) {
    println!("== the four cells");
    let start = Instant::now();
    match run() {
        Ok(verdicts) => {
            for (name, result) in verdicts {
                report(&name, start.elapsed(), &result);
                score.count(&name, result.is_ok());
            }
        }
        Err(error) => {
            println!("   {error:#}");
            score.count("the four cells can be run", false);
        }
    }
}

/// Runs `test`.
pub fn main(args: &Args) -> Result<()> {
    if args.list {
        tests::all()?.iter().flat_map(Test::sentences).for_each(|name| println!("{name}"));
        mutants::list("")?.iter().for_each(|mutation| println!("{}", mutation.sentence()));
        return Ok(());
    }
    let mut score = Score::default();
    if args.cells {
        let whole = || cells::run(Form::Whole, args.show, args.jobs);
        four_cells(|| if args.again { cells::compare_again() } else { whole() }, &mut score);
        return score.end();
    }
    if !args.qemu_only && args.filter.is_none() {
        host(&mut score);
    }
    if !args.host_only {
        in_qemu(args, &mut score);
        if args.filter.is_none() && args.hypervisor.is_none() {
            four_cells(|| cells::run(Form::Short, args.show, args.jobs), &mut score);
        }
    }
    score.end()
}

/// What needs no QEMU.
fn host(score: &mut Score) {
    stage(score, "the sources are formatted", || {
        let mut command = Command::new("cargo");
        command.current_dir(paths::root()).args(["fmt", "--all", "--check"]);
        process::run(&mut command, STAGE_LIMIT, "cargo fmt --check")
    });
    stage(score, "clippy has nothing to say about the host's crates", || {
        let mut command = Command::new("cargo");
        command.current_dir(paths::root());
        command.args(["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]);
        process::run(&mut command, STAGE_LIMIT, "cargo clippy")
    });
    stage(score, "clippy has nothing to say about the hypervisor", || {
        setup::rust()?;
        let mut command = compile::cargo("clippy");
        command.args(["--quiet", "--release", "--", "-D", "warnings"]);
        process::run(&mut command, STAGE_LIMIT, "cargo clippy of the hypervisor")
    });
    stage(score, "unsafe code is only where it may be", || crate::unsafe_report::check().map(drop));
    println!("== host tests, with the C headers of the interface");
    let headers = Anchors::get(Suite::Trixie).map(|anchors| anchors.headers());
    if let Err(error) = &headers {
        println!("   {error:#}");
        score.count("the C headers are there to compare with", false);
    }
    let mut command = Command::new("cargo");
    command.current_dir(paths::root()).args(["test", "--no-fail-fast"]);
    if let Ok(path) = headers {
        command.env("FERROXEN_XEN_HEADERS", path);
    }
    if let Err(error) = host_tests(command, score) {
        println!("   {error:#}");
        score.count("cargo test", false);
    }
}

/// One stage that counts as one test.
fn stage(score: &mut Score, name: &str, run: impl FnOnce() -> Result<()>) {
    println!("== {name}");
    let start = Instant::now();
    let result = run();
    report(name, start.elapsed(), &result);
    score.count(name, result.is_ok());
}

fn report(name: &str, time: Duration, result: &Result<()>) {
    let seconds = time.as_secs_f64();
    match result {
        Ok(()) => println!("test {name} ... ok ({seconds:.1} s)"),
        Err(error) => println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}"),
    }
}

/// Runs `cargo test`, passes its lines through and adds up its results.
fn host_tests(mut command: Command, score: &mut Score) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("start cargo test")?;
    let output = child.stdout.take().context("cargo test without output")?;
    let before = score.failed;
    for line in BufReader::new(output).lines() {
        let line = line.context("read from cargo test")?;
        println!("{line}");
        if let Some(test) = line.strip_prefix("test ") {
            let (name, verdict) = test.rsplit_once(" ... ").unwrap_or((test, ""));
            match verdict.split([' ', ',']).next().unwrap_or_default() {
                "ok" => score.count(name, true),
                // Ignored ones run elsewhere or are no tests: a skipped test has failed.
                "FAILED" | "ignored" => score.count(name, false),
                _ => {}
            }
        }
    }
    let status = process::wait(&mut child, STAGE_LIMIT, "cargo test")?;
    // A crate that does not compile, or a crash, leaves no line of its own.
    if !status.success() && score.failed == before {
        bail!("cargo test failed ({status})");
    }
    Ok(())
}

/// The tests in QEMU.
fn in_qemu(args: &Args, score: &mut Score) {
    println!("== tests in QEMU");
    let tests = match tests::all() {
        Ok(tests) => tests,
        Err(error) => {
            println!("   {error:#}");
            return score.count("the list of QEMU tests can be read", false);
        }
    };
    // Of a boot that answers several questions, all are put when one is wanted: they build on each
    // other.
    let wanted = |test: &Test| {
        let filter = args.filter.as_deref().unwrap_or_default();
        test.sentences().iter().any(|name| name.contains(filter))
    };
    let tests: Vec<Test> = tests.into_iter().filter(wanted).collect();
    // Another hypervisor's sources are not here to be changed.
    let filter = args.filter.as_deref().unwrap_or_default();
    let mutations = if args.hypervisor.is_none() { mutants::list(filter) } else { Ok(Vec::new()) };
    let mutations = mutations.unwrap_or_else(|error| {
        println!("   {error:#}");
        score.count("the list of mutations can be read", false);
        Vec::new()
    });
    if tests.is_empty() && mutations.is_empty() {
        return;
    }
    match world(args.hypervisor.as_deref(), args.show) {
        Ok(world) => {
            run_all(&tests, &world, args.jobs.max(1), score);
            mutants::run(&world, &mutations, &mut |verdict, seen| {
                report(&verdict.name, verdict.time, &verdict.result);
                println!("    {seen}");
                score.count(&verdict.name, verdict.result.is_ok());
            });
        }
        Err(error) => {
            println!("   nothing can be booted: {error:#}");
            tests.iter().flat_map(Test::sentences).for_each(|name| score.count(&name, false));
            mutations.iter().for_each(|mutation| score.count(&mutation.sentence(), false));
        }
    }
}

/// What tests need, with the hypervisor of this tree.
pub fn world_of_this_tree() -> Result<World> {
    world(None, false)
}

fn world(other: Option<&str>, show: bool) -> Result<World> {
    let anchors = setup::for_boot(Suite::Trixie)?;
    let reference = other == Some("reference");
    let hypervisor = match other {
        None => compile::build(&compile::Args::default())?.elf,
        Some("reference") => anchors.reference_hypervisor(),
        // The loader passes the path on as the first word of the command line, where only an
        // absolute one can be told from an option.
        Some(path) => std::path::absolute(path).with_context(|| format!("find {path}"))?,
    };
    guests::build()?;
    let programs = guests::in_dom0()?;
    let mut programs: Vec<(&str, &[u8])> =
        programs.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let scripts =
        scripts().map(|script| (format!("etc/dom0/{}.sh", script.file), script.text.as_bytes()));
    programs.extend(scripts.iter().map(|(path, text)| (path.as_str(), *text)));
    let own = userland::build()?;
    let name = format!("{}-tests", anchors.suite);
    let recipe = Recipe {
        toolstack: Toolstack::Both(&own),
        extra: &programs,
        ..Recipe::new(&anchors, &name)
    };
    let images = recipe.make()?;
    Ok(World { hypervisor, reference, anchors, images, echo: show })
}

/// What is left to start, and how many of the host's CPUs are taken.
struct Queue<'a> {
    waiting: VecDeque<&'a Test>,
    busy: u32,
}

/// Runs the tests in order, beside each other as far as the host's CPUs go: a test that keeps
/// both busy runs alone, so that time limits mean the same each time.
fn run_all(tests: &[Test], world: &World, jobs: usize, score: &mut Score) {
    let queue = Mutex::new(Queue { waiting: tests.iter().collect(), busy: 0 });
    let freed = Condvar::new();
    let score = Mutex::new(score);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(test) = take(&queue, &freed) {
                    test.run(world, &mut |verdict| {
                        if let Ok(mut score) = score.lock() {
                            report(&verdict.name, verdict.time, &verdict.result);
                            score.count(&verdict.name, verdict.result.is_ok());
                        }
                    });
                    if let Ok(mut queue) = queue.lock() {
                        queue.busy -= test.weight();
                    }
                    freed.notify_all();
                }
            });
        }
    });
}

/// The next test, once there is room for it; none when all are started.
fn take<'a>(queue: &Mutex<Queue<'a>>, freed: &Condvar) -> Option<&'a Test> {
    let mut queue = queue.lock().ok()?;
    loop {
        let next = *queue.waiting.front()?;
        if queue.busy == 0 || queue.busy + next.weight() <= HOST_CPUS {
            queue.waiting.pop_front();
            queue.busy += next.weight();
            return Some(next);
        }
        queue = freed.wait(queue).ok()?;
    }
}
