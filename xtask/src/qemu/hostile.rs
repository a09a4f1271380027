//! The hostile kernels of `guests/` as guests without privilege, made by the distribution's
//! toolstack beside an honest one: nobody but they themselves may come to harm.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::guests::{self, GuestTest, Outcome};
use super::tests::{BOOT, Boot, COMMAND, Test, World, check};
use super::{Console, Machine, robustness};

/// The honest guest's name and address, and everything it ever said.
const BYSTANDER: &str = "bystander";
const BYSTANDER_IP: &str = "10.77.0.9";
const BYSTANDER_LOG: &str = "/var/log/xen/console/guest-bystander.log";
/// The hostile one's log.
const HOSTILE_LOG: &str = "/var/log/xen/console/guest-hostile.log";
/// The program, and the name that stands for all of its tests that it survives.
const PROGRAM: &str = "hostile";
const ALL: &str = "all";
/// For all tests in one guest.
const RUN: Duration = Duration::from_secs(180);

/// The tests of this file.
pub fn tests() -> Vec<Test> {
    vec![Test::boot(Boot {
        name: "hostile guests",
        machine: |world: &World, _| -> Result<Machine> {
            let mut machine = world.dom0();
            // So that a guest's two vCPUs can truly race each other.
            machine.smp = 2;
            // What is refused in a race would fill the console.
            machine.hypervisor_args =
                machine.hypervisor_args.replace("guest_loglvl=all", "guest_loglvl=error");
            machine.hypervisor_args += " dom0_max_vcpus=1";
            Ok(machine)
        },
        checks: vec![
            check("find an honest guest that runs", bystander),
            check("get away with none of what a guest can survive", survived),
            check("crash, and they alone, where they may not go on", crashed),
            check("leave the honest guest running", well),
            check("leave nothing behind", nothing_left),
        ],
    })]
}

fn bystander(_: &World, console: &mut Console) -> Result<()> {
    let edit = format!(
        "sed -e 's/\"pv1\"/\"{BYSTANDER}\"/; s/10.77.0.2/{BYSTANDER_IP}/; s/77:00:02/77:00:09/' \
         -e 's/GUEST_DISK=xvda //; /^disk/d; s/^memory.*/memory = 128/' pv.cfg >{BYSTANDER}.cfg"
    );
    console.shell(&edit, COMMAND)?;
    console.shell(&format!("xl create {BYSTANDER}.cfg"), BOOT)?;
    let ready = format!("retry 900 grep -q 'guest: ready' {BYSTANDER_LOG}");
    console.shell(&ready, BOOT).context("its start-up")?;
    reached(console)
}

fn reached(console: &mut Console) -> Result<()> {
    let line = format!("retry 50 ping -c 1 -W 1 {BYSTANDER_IP} >/dev/null");
    console.shell(&line, COMMAND).with_context(|| format!("reach {BYSTANDER_IP}"))?;
    Ok(())
}

fn listed(expect: Outcome) -> Result<Vec<GuestTest>> {
    let wanted = |test: &GuestTest| test.file == PROGRAM && test.expect == expect;
    Ok(guests::list()?.into_iter().filter(wanted).collect())
}

/// Makes a hostile guest that runs one test, or all.
fn create(console: &mut Console, test: &str) -> Result<()> {
    let line = format!(
        "rm -f {HOSTILE_LOG}; sed 's/test=all/test={test}/' {PROGRAM}.cfg >{test}.cfg; \
         xl create {test}.cfg >/dev/null"
    );
    console.shell(&line, COMMAND).with_context(|| format!("make the guest for {test}"))?;
    Ok(())
}

/// Runs all tests that a guest survives in one; each of them must say that it passed.
fn survived(_: &World, console: &mut Console) -> Result<()> {
    create(console, ALL)?;
    console
        .shell(&format!("until-gone {PROGRAM} {}", RUN.as_secs()), RUN + COMMAND)
        .context("the end of the hostile guest")?;
    let said = console.shell(&format!("cat {HOSTILE_LOG}"), COMMAND)?;
    let passed = |test: &GuestTest| {
        let line = format!("TEST {}: passed", test.name);
        said.lines().any(|said| said.trim() == line || said.starts_with(&format!("{line},")))
    };
    let tests = listed(Outcome::Passed)?;
    let lacks: Vec<&str> =
        tests.iter().filter(|test| !passed(test)).map(|test| test.name.as_str()).collect();
    ensure!(tests.len() > 25 && lacks.is_empty(), "not passed: {lacks:?}; the guest said\n{said}");
    Ok(())
}

fn crashed(world: &World, console: &mut Console) -> Result<()> {
    // What the first hostile guest had set up for good is there now.
    if !world.reference {
        console.shell("taken >/tmp/before; cat /tmp/before", COMMAND)?;
    }
    for test in listed(Outcome::Crash)? {
        create(console, &test.name)?;
        ends_by_crash(console, &test.name)?;
        reached(console).with_context(|| format!("after {}", test.name))?;
    }
    Ok(())
}

/// Waits until the toolstack shows the guest as crashed, and destroys it.
fn ends_by_crash(console: &mut Console, test: &str) -> Result<()> {
    let shown = format!("retry 100 sh -c 'xl list | grep -qE \"^{PROGRAM}.* [-rbps]+c\"'");
    console.shell(&shown, COMMAND).with_context(|| format!("the crash by {test}"))?;
    let said = console.shell(&format!("cat {HOSTILE_LOG} 2>/dev/null; true"), COMMAND)?;
    ensure!(!said.contains("TEST "), "{test} went on: {said}");
    let destroy = format!(
        "xl destroy $(xl list | sed -n 's/^{PROGRAM}[^ ]* *\\([0-9]*\\) .*/\\1/p'); \
         retry 100 sh -c '! xl list | grep -q ^{PROGRAM}'"
    );
    console.shell(&destroy, COMMAND).with_context(|| format!("destroy the guest of {test}"))?;
    Ok(())
}

fn well(_: &World, console: &mut Console) -> Result<()> {
    console.send(&format!("xl console {BYSTANDER}\n"))?;
    console.expect(&format!("xl console {BYSTANDER}\n"), COMMAND)?;
    console.send("\n")?;
    console.expect("guest# ", COMMAND).context("its prompt")?;
    console.send("echo answer=$((6*7)) $(dmesg | grep -cE 'BU[G]|WARNIN[G]|Oops').\n")?;
    let found = console.expect(r"answer=42 (\d+)\.", COMMAND).context("its answer")?;
    console.send("\x1d")?;
    console.expect("dom0# ", COMMAND).context("return from its console")?;
    ensure!(found[1] == "0", "its kernel complained {} times", found[1]);
    let said = console.shell(&format!("ping -c 5 -i 0.2 {BYSTANDER_IP}"), COMMAND)?;
    ensure!(said.contains(" 0% packet loss"), "{said}");
    console.shell("xl info >/dev/null", COMMAND)?;
    // One letter in brackets, so that the typed line does not end the test's waiting.
    let complaints = console.shell_code("xl dmesg | grep -E 'BU[G]|pani[c]'", COMMAND)?;
    ensure!(complaints.1 == 1, "the hypervisor's log has {}", complaints.0);
    Ok(())
}

fn nothing_left(world: &World, console: &mut Console) -> Result<()> {
    survived(world, console).context("all over again")?;
    if world.reference {
        return Ok(());
    }
    robustness::as_before(console, "/tmp/before")
}
