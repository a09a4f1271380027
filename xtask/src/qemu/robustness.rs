//! Many guests in turn, half of them ended while they are being made: nothing may be left of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::guest::only_dom0;
use super::tests::{Boot, COMMAND, Test, World, check};
use super::{Console, Machine};

/// How many guests, unless this variable of the environment says otherwise.
const COUNT: usize = 200;
const COUNT_VARIABLE: &str = "FERROXEN_GUESTS";
/// Which random moments; the same ones each time unless this variable gives another start.
const SEED_VARIABLE: &str = "FERROXEN_SEED";
/// With whose tools: ours, unless this variable says `c`.
const TOOLS_VARIABLE: &str = "FERROXEN_TOOLS";
/// The smallest guest, and a Linux one, which is every so many'th.
const SMALL: &str = "hello";
const LINUX: &str = "tiny";
const LINUX_EVERY: usize = 34;
/// So many turns are one command in dom0.
const BATCH: usize = 10;
/// For one creation.
const CREATE: Duration = Duration::from_secs(120);

/// The tests of this file.
pub fn tests() -> Vec<Test> {
    vec![Test::boot(Boot {
        name: "many guests",
        machine: with_tools,
        checks: vec![
            check("half of them ended while being made, leave nothing behind", in_turn),
            check("leave a machine that makes and runs another one", another),
        ],
    })]
}

fn with_tools(world: &World, _: &str) -> Result<Machine> {
    let tools = std::env::var(TOOLS_VARIABLE).unwrap_or_else(|_| "rust".to_owned());
    ensure!(["rust", "c"].contains(&tools.as_str()), "{TOOLS_VARIABLE}={tools}: rust or c");
    let mut machine = world.dom0();
    machine.kernel_args += &format!(" TOOLS={tools}");
    Ok(machine)
}

/// Waits until what domains take is as it was when the image's program `taken` wrote it to a file
/// in dom0: free pages and bytes of the hypervisor, domains, dom0's event channels, grant
/// mappings, back ends. A dying domain gives back in its own time.
pub fn as_before(console: &mut Console, file: &str) -> Result<()> {
    let parts = ["free", "Domains:", "grants of others", "event channels:", "back ends:"];
    let all = parts.map(|part| format!("grep -q '{part}' {file}")).join(" && ");
    console.shell(&all, COMMAND).context("something is missing in what was taken")?;
    let line = format!(
        "retry 50 sh -c 'taken | cmp -s - {file}' || {{ taken >/tmp/after; diff {file} /tmp/after; false; }}"
    );
    console.shell(&line, COMMAND * 2).context("what is taken is not as before")?;
    Ok(())
}

fn number<T: std::str::FromStr>(variable: &str, usual: T) -> Result<T> {
    match std::env::var(variable) {
        Ok(text) => text.parse().ok().with_context(|| format!("{variable}={text} is no number")),
        Err(_) => Ok(usual),
    }
}

fn in_turn(world: &World, console: &mut Console) -> Result<()> {
    let count = number(COUNT_VARIABLE, COUNT)?;
    let mut random = Random(number(SEED_VARIABLE, 1)?);
    // The first ones make the toolstack and the hypervisor set up what they keep for good.
    for name in [SMALL, LINUX] {
        run(console, &["destroyed", "killed@500", "cut@500"].map(|how| format!("{name}={how}")))?;
    }
    run(console, &[format!("{SMALL}=ends")])?;
    only_dom0(console)?;
    // The reference has other words for it.
    if !world.reference {
        console.shell("taken >/tmp/before; cat /tmp/before", COMMAND)?;
    }
    let mut stopped = Stopped::default();
    for batch in turns(count, &mut random).chunks(BATCH) {
        stopped.count(&run(console, batch)?);
    }
    println!("    {count} guests: {stopped}");
    ensure!(count < COUNT || stopped.spread(), "the moments were not spread: {stopped}");
    only_dom0(console)?;
    if world.reference {
        return Ok(());
    }
    as_before(console, "/tmp/before").with_context(|| format!("after {count} guests"))
}

/// How many guests were stopped at which stage of their making.
#[derive(Default)]
struct Stopped {
    early: usize,
    halfway: usize,
    late: usize,
}

impl Stopped {
    fn count(&mut self, said: &str) {
        self.early += said.matches("stopped early.").count();
        self.halfway += said.matches("stopped halfway.").count();
        self.late += said.matches("stopped late.").count();
    }

    /// Some before there was a domain, and a third of them while there was one that was not whole: the
    /// distribution's tools are at a domain for two thirds of a creation, ours, which ask the host first,
    /// for half of it.
    fn spread(&self) -> bool {
        self.early > 0 && 2 * self.halfway >= self.early + self.late
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { early, halfway, late } = self;
        write!(
            f,
            "{early} stopped before there was a domain, {halfway} with one half made, {late} later"
        )
    }
}

/// The words for `many-guests`: every second guest is made and then destroyed or left to end; the
/// others are stopped at moments spread over the time that the making takes, in thousandths.
fn turns(count: usize, random: &mut Random) -> Vec<String> {
    let moments = (count / 2).max(1) as f64;
    let turn = |index: usize| {
        let name = if matches!(index % LINUX_EVERY, 2 | 3) { LINUX } else { SMALL };
        // Each in its own part of the time, at random there.
        let moment = 1000.0 * ((index / 2) as f64 + random.next()) / moments;
        match index % 4 {
            0 => format!("{name}=destroyed"),
            1 => format!("{name}=killed@{moment:.0}"),
            2 => format!("{name}=ends"),
            _ => format!("{name}=cut@{moment:.0}"),
        }
    };
    (0..count).map(turn).collect()
}

/// Has dom0 make guests in turn; answers what it said of them.
fn run(console: &mut Console, turns: &[String]) -> Result<String> {
    let limit = CREATE * u32::try_from(turns.len()).context("number of turns")?;
    console.shell(&format!("many-guests {}", turns.join(" ")), limit)
}

fn another(_: &World, console: &mut Console) -> Result<()> {
    console.shell("rm -f /var/log/xen/console/guest-tiny.log; xl create tiny.cfg", CREATE)?;
    console.shell("until-gone tiny 100", Duration::from_secs(120)).context("its power-off")?;
    only_dom0(console)
}

/// Fractions between 0 and 1, always the same for the same start: a linear congruential generator
/// of 64 bits (Knuth's constants), of which the upper bits are used.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        const STEP: u64 = 6_364_136_223_846_793_005;
        self.0 = self.0.wrapping_mul(STEP).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_moments_are_spread_over_the_whole_time() {
        let mut random = Random(1);
        let values: Vec<f64> = (0..200).map(|_| random.next()).collect();
        assert!(values.iter().all(|value| (0.0..1.0).contains(value)));
        assert!(values.iter().any(|value| *value < 0.1) && values.iter().any(|value| *value > 0.9));
    }

    #[test]
    fn half_of_the_guests_are_stopped_each_in_its_own_part_of_the_time() {
        let turns = turns(200, &mut Random(7));
        let moments: Vec<u64> =
            turns.iter().filter_map(|turn| turn.split_once('@')?.1.parse().ok()).collect();
        assert_eq!((turns.len(), moments.len()), (200, 100));
        for (part, moment) in (0u64..).zip(&moments) {
            assert!((part * 10..=part * 10 + 10).contains(moment));
        }
    }

    #[test]
    fn linux_guests_are_among_both_kinds() {
        let turns = turns(200, &mut Random(1));
        let linux =
            |how: &str| turns.iter().filter(|t| t.starts_with(&format!("{LINUX}={how}"))).count();
        assert!(linux("killed") + linux("cut") >= 5);
        assert!(linux("destroyed") + linux("ends") >= 5);
    }
}
