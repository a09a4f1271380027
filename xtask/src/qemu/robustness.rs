//! Many guests in turn, many of them ended while they are being made: nothing may be left of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::guest::{free_memory, only_dom0};
use super::tests::{Boot, COMMAND, Test, World, check};
use super::{Console, Machine};

/// How many guests, unless this variable of the environment says otherwise.
const COUNT: u64 = 12;
const COUNT_VARIABLE: &str = "FERROXEN_GUESTS";
/// Which random moments; the same ones each time unless this variable gives another start.
const SEED_VARIABLE: &str = "FERROXEN_SEED";
/// For one creation.
const CREATE: Duration = Duration::from_secs(120);

/// The tests of this file.
pub fn tests() -> Vec<Test> {
    vec![Test::boot(Boot {
        name: "many guests",
        machine: |world: &World, _| -> Result<Machine> { Ok(world.dom0()) },
        checks: vec![
            check("half of them killed while being made, leave nothing behind", in_turn),
            check("leave a machine that makes and runs another one", another),
        ],
    })]
}

/// What guests take and have to give back.
#[derive(PartialEq, Eq, Debug)]
struct Taken {
    /// MiB that belong to nobody.
    free: u64,
    /// dom0's event channels.
    channels: u64,
    /// Grants of others that dom0 has mapped, and all else that is a kernel's matter: its modules'
    /// reference counts stand for them.
    users: String,
}

fn taken(console: &mut Console) -> Result<Taken> {
    only_dom0(console)?;
    let said = console.shell("lsevtchn 0 | wc -l", COMMAND)?;
    let channels = said.trim().parse().with_context(|| format!("event channels {said:?}"))?;
    let users = console.shell("ls /sys/bus/xen-backend/devices", COMMAND)?;
    Ok(Taken { free: free_memory(console)?, channels, users })
}

fn number(variable: &str, usual: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text} is no number")),
        Err(_) => Ok(usual),
    }
}

fn in_turn(_: &World, console: &mut Console) -> Result<()> {
    let count = number(COUNT_VARIABLE, COUNT)?;
    let mut random = Random(number(SEED_VARIABLE, 1)?);
    // The first makes the toolstack and the hypervisor set up what they keep for good; how long it
    // takes bounds the moments at which others are killed.
    let usual = whole(console).context("the first guest")?;
    killed(console, usual * 0.5).context("the first one killed")?;
    let before = taken(console)?;
    for turn in 0..count {
        if turn % 2 == 0 {
            whole(console).with_context(|| format!("guest {turn}"))?;
        } else {
            let after = usual * random.next();
            killed(console, after)
                .with_context(|| format!("guest {turn}, killed after {after:.2} s"))?;
        }
    }
    settles(console, &before).with_context(|| format!("after {count} guests"))
}

/// One made and destroyed; answers the seconds that the making took.
fn whole(console: &mut Console) -> Result<f64> {
    let start = console.seconds();
    console.shell("xl create tiny.cfg >/tmp/said 2>&1 || { cat /tmp/said; false; }", CREATE)?;
    let took = console.seconds() - start;
    // It powers off by itself: it may be gone already.
    console.shell_code("xl destroy tiny >/dev/null 2>&1", COMMAND)?;
    only_dom0(console)?;
    Ok(took)
}

/// One whose making is killed after so many seconds; what there is of it then is destroyed.
fn killed(console: &mut Console, after: f64) -> Result<()> {
    let line = format!(
        "xl create tiny.cfg >/dev/null 2>&1 & p=$!; usleep {:.0}; kill -9 $p; wait $p 2>/dev/null; \
         destroy-all >/dev/null 2>&1",
        after * 1e6
    );
    console.shell_code(&line, CREATE)?;
    only_dom0(console)
}

/// Waits for what a dying domain gives back in its own time.
fn settles(console: &mut Console, before: &Taken) -> Result<()> {
    let line = format!(
        "retry 150 sh -c '[ $(xl info | sed -n \"s/^free_memory *: *//p\") -ge {} ]'",
        before.free
    );
    console.shell_code(&line, COMMAND)?;
    let after = taken(console)?;
    ensure!(after == *before, "before: {before:?}, after: {after:?}");
    Ok(())
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
}
