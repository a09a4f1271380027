//! The tests that boot a machine. Each is a sentence of what holds and a function that shows it.
//!
//! To add one: write a function over [`World`] and put it into [`all`]. What the hypervisor cannot
//! do yet has no entry; an entry that is there must pass.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::guests::{self, GuestTest};
use super::machine::{EAGER_FPU, hypervisor_args};
use super::{Console, Machine, console::HYPERVISOR_FATAL};
use crate::anchors::Anchors;
use crate::cells::Transcript;
use crate::image::Images;
use crate::paths;
use crate::support::evidence;

/// What the tests share, made before the first of them.
pub struct World {
    /// The hypervisor under test.
    pub hypervisor: PathBuf,
    /// Whether that is the distribution's own, put in place to try the tests themselves.
    pub reference: bool,
    /// The suite's packages.
    pub anchors: Anchors,
    /// Its images.
    pub images: Images,
    /// Show consoles on this terminal.
    pub echo: bool,
}

/// How long a boot to user space may take; QEMU shares two CPUs with another one.
pub const BOOT: Duration = Duration::from_secs(180);
/// For the hypervisor's own first lines.
pub const FIRST_LINES: Duration = Duration::from_secs(30);
/// For a command in a shell.
pub const COMMAND: Duration = Duration::from_secs(60);
/// For powering off.
pub const END: Duration = Duration::from_secs(60);

/// A test: its name, a sentence, and what shows it.
pub struct Test {
    /// A sentence of what holds; for a boot that answers several questions, which boot it is.
    pub name: String,
    kind: Kind,
    shows: &'static [&'static str],
}

enum Kind {
    Function(fn(&World, &str) -> Result<()>),
    Dom0 { cpus: u32 },
    Guest(Box<GuestTest>),
    Boot(Boot),
    Script(Script),
}

/// A script of `xtask/image` that runs in dom0 with our tools and prints sentences, each of which
/// counts as a test of its own (see `image/cells.sh`).
#[derive(Clone, Copy)]
pub struct Script {
    /// What it is about; its log is called so.
    pub name: &'static str,
    /// Its name in dom0's folder of scripts.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Whose daemons run, as dom0's start-up script takes it; ours if empty.
    pub daemons: &'static str,
    /// How many sentences it prints.
    pub sentences: usize,
    /// How long it may take.
    pub limit: Duration,
}

/// One boot of dom0 that answers several questions in order, each counted as a test of its own.
pub struct Boot {
    /// Which boot; its log is called so.
    pub name: &'static str,
    /// The machine to boot.
    pub machine: fn(&World, &str) -> Result<Machine>,
    /// The questions, put in dom0's shell.
    pub checks: Vec<Check>,
}

/// A question that is put in dom0's shell, and that leaves the shell's prompt behind.
pub struct Check {
    name: &'static str,
    run: fn(&World, &mut Console) -> Result<()>,
    shows: &'static [&'static str],
}

/// A question of that name, a sentence of what holds.
pub const fn check(name: &'static str, run: fn(&World, &mut Console) -> Result<()>) -> Check {
    Check { name, run, shows: &[] }
}

impl Check {
    /// Which outcomes of hypercalls it shows, as `operation outcome`, for docs/support.md: only
    /// those without which it would fail.
    pub const fn shows(mut self, lines: &'static [&'static str]) -> Check {
        self.shows = lines;
        self
    }
}

/// What came of one sentence.
pub struct Verdict {
    /// The sentence.
    pub name: String,
    /// How long it took.
    pub time: Duration,
    /// Whether it holds.
    pub result: Result<()>,
}

impl Test {
    pub(super) fn function(name: &str, run: fn(&World, &str) -> Result<()>) -> Self {
        Self::of(name.to_owned(), Kind::Function(run))
    }

    pub(super) fn boot(boot: Boot) -> Self {
        Self::of(boot.name.to_owned(), Kind::Boot(boot))
    }

    pub(super) fn script(script: Script) -> Self {
        Self::of(script.name.to_owned(), Kind::Script(script))
    }

    fn of(name: String, kind: Kind) -> Self {
        Self { name, kind, shows: &[] }
    }

    /// As [`Check::shows`], of the whole.
    pub(super) fn showing(mut self, lines: &'static [&'static str]) -> Self {
        self.shows = lines;
        self
    }

    /// What it shows of hypercalls from outside.
    pub fn shows(&self) -> Vec<&'static str> {
        let checks = match &self.kind {
            Kind::Boot(boot) => boot.checks.as_slice(),
            _ => &[],
        };
        let of_checks = checks.iter().flat_map(|check| check.shows);
        self.shows.iter().chain(of_checks).copied().collect()
    }

    /// Every sentence that it decides.
    pub fn sentences(&self) -> Vec<String> {
        match &self.kind {
            Kind::Boot(boot) => {
                let of = |check: &Check| format!("{}: {}", boot.name, check.name);
                boot.checks.iter().map(of).chain([ends(boot)]).collect()
            }
            _ => vec![self.name.clone()],
        }
    }

    /// Runs it and tells each verdict when it is there.
    pub fn run(&self, world: &World, tell: &mut dyn FnMut(Verdict)) {
        let start = Instant::now();
        let result = match &self.kind {
            Kind::Boot(boot) => return run_boot(boot, world, tell),
            Kind::Script(script) => return run_script(script, world, tell),
            Kind::Function(run) => run(world, &self.name),
            Kind::Dom0 { cpus } => dom0_reaches_user_space(world, &self.name, *cpus),
            Kind::Guest(test) => guest_program(world, test),
        };
        tell(Verdict { name: self.name.clone(), time: start.elapsed(), result });
    }

    /// CPUs of the host that it keeps busy.
    pub fn weight(&self) -> u32 {
        match &self.kind {
            Kind::Function(_) | Kind::Boot(_) | Kind::Script(_) => 1,
            Kind::Dom0 { cpus } => (*cpus).min(2),
            Kind::Guest(test) => test.cpus.min(2),
        }
    }
}

/// Every test, in the order in which they are started.
pub fn all() -> Result<Vec<Test>> {
    let mut tests = vec![Test::function("the hypervisor boots and prints its banner", banner)];
    tests.push(Test::function(
        "returns and indirect branches of the hypervisor go through its thunks",
        through_thunks,
    ));
    for guest in guests::list()? {
        tests.push(Test::of(guest.sentence(), Kind::Guest(Box::new(guest))));
    }
    for cpus in [1, 2, 4] {
        let plural = if cpus == 1 { "" } else { "s" };
        let name = format!("dom0 reaches its user space with {cpus} vCPU{plural} and powers off");
        let test = Test::of(name, Kind::Dom0 { cpus });
        tests.push(test.showing(&["platform_op.enter_acpi_sleep ok"]));
    }
    tests.extend(super::dom0::tests());
    tests.extend(super::guest::tests());
    tests.extend(super::hostile::tests());
    tests.extend(super::robustness::tests());
    tests.extend(super::userland::scripts().map(Test::script));
    Ok(tests)
}

fn through_thunks(world: &World, _: &str) -> Result<()> {
    ensure!(!world.reference, "the distribution's hypervisor has its own thunks");
    let elf = std::fs::read(&world.hypervisor).context("read the hypervisor")?;
    let count = crate::branches::check(&elf)?;
    // A look at nothing would find nothing.
    ensure!(count.instructions > 20_000, "only {} instructions were seen", count.instructions);
    ensure!(count.allowed >= 2, "the thunks themselves were not seen");
    Ok(())
}

fn ends(boot: &Boot) -> String {
    format!("{}: dom0 powers the machine off", boot.name)
}

/// Boots once and puts the questions one after the other.
fn run_boot(boot: &Boot, world: &World, tell: &mut dyn FnMut(Verdict)) {
    let mut start = Instant::now();
    let machine = (boot.machine)(world, boot.name);
    let mut console = machine.and_then(|machine| world.shell(&machine, boot.name));
    let mut verdict = |name: String, result| {
        tell(Verdict { name, time: start.elapsed(), result });
        start = Instant::now();
    };
    for check in &boot.checks {
        let result = match &mut console {
            Ok(console) => (check.run)(world, console),
            Err(error) => Err(anyhow::anyhow!("not asked: {error:#}")),
        };
        let lost = match (&result, &mut console) {
            (Err(_), Ok(console)) => console.recover().err(),
            _ => None,
        };
        if let Some(error) = lost {
            console = Err(error.context("no prompt after an earlier question"));
        }
        verdict(format!("{}: {}", boot.name, check.name), result);
    }
    let result = console.and_then(|mut console| world.power_off(&mut console));
    verdict(ends(boot), result);
}

/// Boots once, runs the script and tells each of its sentences.
fn run_script(script: &Script, world: &World, tell: &mut dyn FnMut(Verdict)) {
    let mut start = Instant::now();
    let mut verdict = |name: String, result| {
        tell(Verdict { name, time: start.elapsed(), result });
        start = Instant::now();
    };
    judged(script, transcript(script, world), &mut verdict);
}

/// Tells each sentence that the script printed, and whether they were all.
pub fn judged(
    script: &Script,
    transcript: Result<Transcript>,
    verdict: &mut dyn FnMut(String, Result<()>),
) {
    let transcript = match transcript {
        Ok(transcript) => transcript,
        Err(error) => return verdict(script.name.to_owned(), Err(error)),
    };
    let count = transcript.sentences.len();
    for (step, sentence, failed) in transcript.sentences {
        let result = failed.map_or(Ok(()), |why| Err(anyhow::anyhow!("{why}")));
        verdict(format!("{}: {step}: {sentence}", script.name), result);
    }
    let all = (count == script.sentences)
        .then_some(())
        .with_context(|| format!("{count} sentences, not {}", script.sentences));
    verdict(format!("{}: all is asked", script.name), all);
}

fn transcript(script: &Script, world: &World) -> Result<Transcript> {
    let mut console = world.start(&scripted(script, world.dom0()), script.name)?;
    to_its_end(script, &mut console)
}

/// A machine whose dom0 runs the script.
pub fn scripted(script: &Script, mut machine: Machine) -> Machine {
    machine.kernel_args += &format!(" DOM0_DO={} TOOLS=rust {}", script.file, script.daemons);
    machine
}

/// Waits for the script's end and the machine's; what it printed.
pub fn to_its_end(script: &Script, console: &mut Console) -> Result<Transcript> {
    let (begin, end) =
        (format!("dom0: begin {}\n", script.file), format!("dom0: end {}", script.file));
    console.expect(&begin, BOOT)?;
    let found = console.expect(&format!(r"(?s)(.*){end} rc=(\d+)\n"), script.limit)?;
    ensure!(found[2] == "0", "the script ended with code {}", found[2]);
    console.wait_end(END)?;
    Ok(Transcript::read(&found[1]))
}

impl World {
    /// A machine with dom0 in it, to be adjusted before [`Self::start`].
    pub fn dom0(&self) -> Machine {
        let mut machine = Machine::new(Some(&self.hypervisor), &self.anchors.vmlinuz());
        machine.initrd = Some(self.images.dom0.clone());
        machine.kernel_args = "console=hvc0".into();
        if self.reference {
            machine.hypervisor_args = format!("{} {EAGER_FPU}", machine.hypervisor_args);
        }
        machine
    }

    /// Starts a machine; its console is logged under the test's name.
    pub fn start(&self, machine: &Machine, test: &str) -> Result<Console> {
        let mut console = Console::start(machine, &log_path(test))?;
        console.echo(self.echo);
        Ok(console)
    }

    /// Boots dom0 to its shell.
    pub fn shell(&self, machine: &Machine, test: &str) -> Result<Console> {
        let mut console = self.start(machine, test)?;
        let found = console.expect(r"dom0: (ready|failed: [^\n]*)", BOOT)?;
        ensure!(found[1] == "ready", "dom0's start-up: {}", found[1]);
        console.expect("dom0# ", COMMAND)?;
        Ok(console)
    }

    /// Ends a dom0 shell and waits until the machine is off.
    pub fn power_off(&self, console: &mut Console) -> Result<()> {
        console.send("exit\n")?;
        console.expect("dom0: off", COMMAND)?;
        console.expect("Entering ACPI S5", COMMAND).context("the ACPI request")?;
        let status = console.wait_end(END)?;
        ensure!(status.success(), "QEMU failed ({status})");
        Ok(())
    }

    /// A file of zeroes beside the logs, to be a disk of the machine that a test boots.
    pub fn disk(&self, test: &str, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = log_path(&format!("{test} {name}")).with_extension("img");
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).context("make the folder of the logs")?;
        }
        let file = std::fs::File::create(&path);
        file.and_then(|file| file.set_len(bytes))
            .with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }
}

/// Where a test's console is logged.
pub fn log_path(test: &str) -> PathBuf {
    let name: String = test
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    paths::test_logs().join(format!("{name}.log"))
}

fn banner(world: &World, name: &str) -> Result<()> {
    let mut console = world.start(&world.dom0(), name)?;
    let expected = if world.reference { "Xen version 4" } else { "Ferroxen" };
    console.expect(expected, FIRST_LINES)?;
    Ok(())
}

fn dom0_reaches_user_space(world: &World, name: &str, cpus: u32) -> Result<()> {
    let mut machine = world.dom0();
    machine.smp = cpus;
    machine.kernel_args += " DOM0_DO=off";
    let mut console = world.start(&machine, name)?;
    let found = console.expect(r"dom0: user space, (\d+) CPUs", BOOT)?;
    ensure!(found[1] == cpus.to_string(), "dom0 sees {} CPUs, not {cpus}", found[1]);
    reaches_its_end(&mut console)
}

/// Waits until dom0's start-up is complete and, without being asked, it has powered off by ACPI.
pub fn reaches_its_end(console: &mut Console) -> Result<()> {
    let found = console.expect(r"dom0: (ready|failed: [^\n]*)", BOOT)?;
    if found[1] != "ready" {
        bail!("dom0's start-up: {}", found[1]);
    }
    console.expect("Entering ACPI S5", END).context("the ACPI request")?;
    let status = console.wait_end(END)?;
    ensure!(status.success(), "QEMU failed ({status})");
    Ok(())
}

fn guest_program(world: &World, test: &GuestTest) -> Result<()> {
    guest_outcome(world, &world.hypervisor, test, &test.sentence())?;
    // The reference may support more, and the tables are not its own.
    if world.reference { Ok(()) } else { evidence::compare(test) }
}

/// Runs a program of `guests/` in dom0's place; an error says what came instead of what was to
/// come of it.
pub fn guest_outcome(
    world: &World,
    hypervisor: &Path,
    test: &GuestTest,
    log_name: &str,
) -> Result<()> {
    let program = guests::program(&test.file);
    ensure!(
        program.is_file(),
        "there is no program {} (is it a binary of guests/?)",
        program.display()
    );
    let mut machine = Machine::new(Some(hypervisor), &program);
    machine.hypervisor_args = hypervisor_args(128);
    machine.kernel_args = format!("test={}", test.name);
    machine.smp = test.cpus;
    machine.mem = 4096;
    let mut console = world.start(&machine, log_name)?;
    // What decides is in the pattern, a crash of the domain among it.
    console.fatal_lines(Some(HYPERVISOR_FATAL))?;
    let limit = Duration::from_secs(test.seconds);
    let found = console.expect(&test.pattern(), limit).with_context(|| test.file.clone())?;
    ensure!(!found[1].is_empty(), "{} says {:?}", test.file, found[0].trim_end());
    Ok(())
}
