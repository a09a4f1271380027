//! A guest's life under the distribution's toolstack, from its creation to each of its ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::scenario::{self, BOOT, GUEST};
use super::tests::{Boot, COMMAND, Check, Test, World, check};
use super::{Console, Machine};

/// The example guest's address, and that of a second one beside it.
const FIRST_IP: &str = "10.77.0.2";
const SECOND_IP: &str = "10.77.0.3";
/// The second guest's name; it has no disk.
const SECOND: &str = "pv2";
/// Everything the example guest ever said on its console.
const GUEST_LOG: &str = "/var/log/xen/console/guest-pv1.log";
const SAVE: Duration = Duration::from_secs(180);

/// The tests of this file: the same questions about the distribution's tools and about ours.
pub fn tests() -> Vec<Test> {
    let mut tests = of_a_toolstack(["a guest", "a failing guest"], machine, Vec::new());
    tests.extend(of_a_toolstack(
        ["a guest of our tools", "a failing guest of our tools"],
        with_ours,
        vec![check("is seen in a live view, which keys change and end", live_view)],
    ));
    tests
}

fn of_a_toolstack(
    [guest, failing]: [&'static str; 2],
    machine: fn(&World, &str) -> Result<Machine>,
    more: Vec<Check>,
) -> Vec<Test> {
    let mut checks = vec![
        check("is created and listed", create).shows(&[
            "domctl.createdomain ok",
            "domctl.max_vcpus ok",
            "domctl.get_cpu_policy ok",
            "domctl.set_cpu_policy ok",
            "domctl.max_mem ok",
            "domctl.setvcpucontext ok",
            "memory_op.populate_physmap ok",
            "sysctl.getdomaininfolist ok",
        ]),
        check("answers on its console and uses its disk", talk).shows(&[
            "domctl.unpausedomain ok",
            "domctl.hypercall_init ok",
            "event_channel_op.bind_interdomain ok",
            "grant_table_op.map_grant_ref ok",
        ]),
        check("answers pings", ping),
        check("sends and receives by TCP", |_, console| scenario::tcp(console)),
        check("stands still while paused and runs on when unpaused", pause)
            .shows(&["domctl.pausedomain ok", "domctl.unpausedomain ok"]),
        check("gives memory up and gets it back", balloon)
            .shows(&["memory_op.decrease_reservation ok", "memory_op.populate_physmap ok"]),
        check("goes on where it was after it was saved and restored", save_restore).shows(&[
            "domctl.getvcpucontext ok",
            "domctl.setvcpucontext ok",
            "domctl.get_ext_vcpucontext ok",
            "domctl.set_ext_vcpucontext ok",
            "domctl.getvcpuextstate ok",
            "domctl.setvcpuextstate ok",
            "domctl.get_vcpu_msrs ok",
            "domctl.getpageframeinfo3 ok",
            "memory_op.machphys_mfn_list ok",
        ]),
        check("runs beside a second one", two),
        check("reboots when asked to", reboot),
        check("is gone when it was shut down", |_, console| scenario::shut_down(console)),
        check("is gone when it was destroyed", destroy).shows(&["domctl.destroydomain ok"]),
    ];
    // The guest runs by then.
    checks.splice(2..2, more);
    vec![
        Test::boot(Boot { name: guest, machine, checks }),
        Test::boot(Boot {
            name: failing,
            machine,
            checks: vec![
                check("that crashes is reported with its registers", crash),
                check("without a kernel is refused and leaves nothing", no_kernel),
                check("with a truncated kernel is refused and leaves nothing", cut_kernel),
                check("with too much memory is refused and leaves nothing", too_large),
            ],
        }),
    ]
}

fn machine(world: &World, _: &str) -> Result<Machine> {
    Ok(world.dom0())
}

fn with_ours(world: &World, _: &str) -> Result<Machine> {
    let mut machine = world.dom0();
    machine.kernel_args += " TOOLS=rust";
    Ok(machine)
}

fn create(_: &World, console: &mut Console) -> Result<()> {
    scenario::create(console).map(drop)
}

fn talk(_: &World, console: &mut Console) -> Result<()> {
    let said = scenario::talk(console)?;
    ensure!(said.contains(" PV "), "not a paravirtualized guest: {said}");
    Ok(())
}

fn ping(_: &World, console: &mut Console) -> Result<()> {
    let said = scenario::ping(console)?;
    ensure!(said.contains(" 0% packet loss"), "{said}");
    Ok(())
}

fn live_view(_: &World, console: &mut Console) -> Result<()> {
    console.send("xl top -d 1\n")?;
    console.expect(r"xentop - \d\d:\d\d:\d\d ", COMMAND)?;
    console.expect(r"NAME  STATE   CPU\(sec\)[^\n]*\n *Domain-0 -----r ", COMMAND)?;
    console.expect(&format!(r"\n *{GUEST} [-dsbpcr]{{6}} "), COMMAND)?;
    console.send("n")?;
    console.expect(r"\nNet0 RX: ", COMMAND)?;
    console.send("n")?;
    let rows = format!(r"NAME[^\n]*\n *Domain-0[^\n]*\n *{GUEST}[^\n]*\n\s*Delay 1s");
    console.expect(&rows, COMMAND).context("a page without the line of the interface")?;
    // An arrow ends nothing.
    console.send("\x1b[A")?;
    console.expect("xentop - ", COMMAND)?;
    console.send("q")?;
    console.shell("true", COMMAND).map(drop)
}

fn pause(_: &World, console: &mut Console) -> Result<()> {
    console.shell(&format!("xl pause {GUEST}"), COMMAND)?;
    let state = column(console, GUEST, 4)?;
    ensure!(state.contains('p'), "its state is {state:?}");
    let (said, code) =
        console.shell_code(&format!("ping -c 2 -W 1 {FIRST_IP} >/dev/null"), COMMAND)?;
    ensure!(code != 0, "a paused guest answers pings: {said}");
    console.shell(&format!("xl unpause {GUEST}"), COMMAND)?;
    reached(console, FIRST_IP)
}

fn balloon(_: &World, console: &mut Console) -> Result<()> {
    let before = free_memory(console)?;
    has_memory(console, 192)?;
    console.shell(&format!("xl mem-set {GUEST} 128"), COMMAND)?;
    has_memory(console, 128).context("give memory up")?;
    let between = free_memory(console)?;
    ensure!(between >= before + 60, "{before} MiB were free, then {between}");
    console.shell(&format!("xl mem-set {GUEST} 192"), COMMAND)?;
    has_memory(console, 192).context("get memory back")?;
    let after = free_memory(console)?;
    ensure!(after.abs_diff(before) <= 2, "{before} MiB were free, in the end {after}");
    reached(console, FIRST_IP)
}

fn save_restore(_: &World, console: &mut Console) -> Result<()> {
    scenario::enter(console)?;
    console.send("kept=4711\n")?;
    console.expect("guest# ", COMMAND)?;
    scenario::leave(console)?;
    console.shell(&format!("xl save {GUEST} /run/saved >/dev/null 2>&1"), SAVE).context("save")?;
    ensure!(!scenario::listed(console)?, "the saved guest is still there");
    console.shell("xl restore /run/saved >/dev/null 2>&1", SAVE).context("restore")?;
    console.shell("rm /run/saved", COMMAND)?;
    scenario::enter(console).context("the restored guest's console")?;
    console.send("echo restored=$kept.\n")?;
    console.expect(r"restored=4711\.", COMMAND).context("what it had before")?;
    console.send("head -c 21 /dev/xvda >/dev/null; echo disk=$?.\n")?;
    console.expect(r"disk=0\.", COMMAND).context("its disk")?;
    scenario::leave(console)?;
    reached(console, FIRST_IP)
}

fn two(_: &World, console: &mut Console) -> Result<()> {
    let edit = format!(
        "sed -e 's/{GUEST}/{SECOND}/; s/{FIRST_IP}/{SECOND_IP}/; s/77:00:02/77:00:03/' \
         -e 's/GUEST_DISK=xvda //; /^disk/d' pv.cfg >{SECOND}.cfg"
    );
    console.shell(&edit, COMMAND)?;
    console.shell(&format!("xl create {SECOND}.cfg"), BOOT)?;
    let ready = format!("retry 600 grep -q 'guest: ready' /var/log/xen/console/guest-{SECOND}.log");
    console.shell(&ready, BOOT).context("the second guest's start-up")?;
    reached(console, SECOND_IP)?;
    reached(console, FIRST_IP)?;
    console.shell(&format!("xl destroy {SECOND}"), COMMAND)?;
    console.shell(&format!("until-gone {SECOND}"), COMMAND)?;
    reached(console, FIRST_IP)
}

fn reboot(_: &World, console: &mut Console) -> Result<()> {
    let before = console.shell(&format!("xl domid {GUEST}"), COMMAND)?.trim().to_owned();
    let count = format!("grep -c \"guest: ready\" {GUEST_LOG}");
    let boots = console.shell(&count, COMMAND)?;
    let boots: u32 = boots.trim().parse().with_context(|| format!("boots so far {boots:?}"))?;
    console.shell(&format!("xl reboot {GUEST}"), COMMAND)?;
    let again = format!("retry 900 sh -c '[ $({count}) -gt {boots} ]'");
    console.shell(&again, BOOT).context("the guest's next boot")?;
    let after = console.shell(&format!("xl domid {GUEST}"), COMMAND)?.trim().to_owned();
    ensure!(before != after, "it is domain {after} as before");
    reached(console, FIRST_IP)
}

fn destroy(_: &World, console: &mut Console) -> Result<()> {
    console.shell("destroy-all", COMMAND)?;
    only_dom0(console)?;
    let before = free_memory(console)?;
    scenario::create(console)?;
    console.shell(&format!("xl destroy {GUEST}"), COMMAND)?;
    console.shell(&format!("until-gone {GUEST}"), COMMAND)?;
    only_dom0(console)?;
    free_again(console, before)
}

fn crash(world: &World, console: &mut Console) -> Result<()> {
    // Debian's kernels let the operator of the guest crash it only when told so.
    let edit = "sed -e 's/GUEST_DISK=xvda/sysrq_always_enabled/; /^disk/d' pv.cfg >crash.cfg";
    console.shell(edit, COMMAND)?;
    console.shell("xl create crash.cfg", BOOT)?;
    let ready = format!("retry 600 grep -q 'guest: ready' {GUEST_LOG}");
    console.shell(&ready, BOOT).context("the guest's start-up")?;
    console.send(&format!("xl sysrq {GUEST} c\n"))?;
    let crashed = if world.reference {
        r"Domain \d+ \(vcpu#0\) crashed on cpu#\d+:\n"
    } else {
        r"(?i)d(?:omain )?\d+[^\n]* crashed[^\n]*\n"
    };
    console.expect(crashed, COMMAND)?;
    console.expect(r"(?i)rip:?\s+(?:e\w{3}:\[<)?[0-9a-f]{16}", COMMAND).context("its registers")?;
    console.expect(r"(?i)rax:?\s+[0-9a-f]{16}", COMMAND).context("its registers")?;
    // The toolstack keeps it under another name that begins like its own.
    let kept = format!("retry 100 sh -c 'xl list | grep -qE \"^{GUEST}.* [-rbps]+c\"'");
    console.shell(&kept, COMMAND).context("on_crash=preserve keeps it")?;
    console.shell("destroy-all", COMMAND)?;
    only_dom0(console)
}

fn no_kernel(_: &World, console: &mut Console) -> Result<()> {
    refused(console, "s,^kernel.*,kernel = \"/etc/passwd\",")
}

fn cut_kernel(_: &World, console: &mut Console) -> Result<()> {
    console.shell("head -c 3000000 /boot/vmlinuz >/tmp/cut", COMMAND)?;
    refused(console, "s,^kernel.*,kernel = \"/tmp/cut\",")
}

fn too_large(_: &World, console: &mut Console) -> Result<()> {
    refused(console, "s,^memory.*,memory = 65536,")
}

/// A guest that differs from the smallest one by this edit is not created.
fn refused(console: &mut Console, edit: &str) -> Result<()> {
    // What an earlier question left behind is none of this one's matter.
    console.shell("destroy-all", COMMAND)?;
    only_dom0(console)?;
    let before = free_memory(console)?;
    console.shell(&format!("sed -e '{edit}' tiny.cfg >bad.cfg"), COMMAND)?;
    let (said, code) = console.shell_code("xl create bad.cfg", BOOT)?;
    ensure!(code != 0 && !said.trim().is_empty(), "code {code} and said {said:?}");
    only_dom0(console)?;
    free_again(console, before)
}

/// Column `index` of `xl list` for a domain.
fn column(console: &mut Console, name: &str, index: usize) -> Result<String> {
    let list = console.shell("xl list", COMMAND)?;
    list.lines()
        .map(|line| line.split_whitespace().collect::<Vec<&str>>())
        .find(|words| words.first() == Some(&name))
        .and_then(|words| words.get(index).map(|&word| word.to_owned()))
        .with_context(|| format!("{name} is not in\n{list}"))
}

/// Waits until the guest has so many MiB.
fn has_memory(console: &mut Console, mib: u32) -> Result<()> {
    let line = format!(
        "retry 100 sh -c '[ \"$(xl list {GUEST} | tail -n 1 | tr -s \" \" | cut -d\" \" -f3)\" = {mib} ]'"
    );
    console.shell(&line, COMMAND).with_context(|| format!("wait for {mib} MiB"))?;
    Ok(())
}

/// Waits until a guest answers a ping.
fn reached(console: &mut Console, ip: &str) -> Result<()> {
    let line = format!("retry 50 ping -c 1 -W 1 {ip} >/dev/null");
    console.shell(&line, COMMAND).with_context(|| format!("reach {ip}"))?;
    Ok(())
}

/// MiB that belong to nobody.
pub fn free_memory(console: &mut Console) -> Result<u64> {
    let said = console.shell("xl info | sed -n 's/^free_memory *: *//p'", COMMAND)?;
    said.trim().parse().with_context(|| format!("free memory {said:?}"))
}

/// Waits until so many MiB are free: a dying domain gives its memory back in its own time. The
/// hypervisor may have kept 2 MiB to remember domains in.
fn free_again(console: &mut Console, before: u64) -> Result<()> {
    let line = format!(
        "retry 100 sh -c '[ $(xl info | sed -n \"s/^free_memory *: *//p\") -ge {} ]'",
        before.saturating_sub(2)
    );
    console.shell(&line, COMMAND).with_context(|| format!("{before} MiB were free before"))?;
    Ok(())
}

/// Waits until no domain but dom0 is there.
pub fn only_dom0(console: &mut Console) -> Result<()> {
    console
        .shell("retry 100 sh -c '[ $(xl list | wc -l) = 2 ]' || { xl list; false; }", COMMAND)
        .context("domains are left")?;
    Ok(())
}
