//! dom0 itself: the distributions' kernels, their devices, the end of the machine, what its tools
//! and its operator learn of the hypervisor.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::machine::hypervisor_args;
use super::tests::{
    BOOT, Boot, COMMAND, END, FIRST_LINES, Test, World, check, log_path, reaches_its_end,
};
use super::{Console, Machine};
use crate::anchors::Anchors;
use crate::image;
use crate::suite::Suite;

/// Every line of `xl info` under the reference hypervisor.
const INFO_KEYS: &[&str] = &[
    "host",
    "release",
    "version",
    "machine",
    "nr_cpus",
    "max_cpu_id",
    "nr_nodes",
    "cores_per_socket",
    "threads_per_core",
    "cpu_mhz",
    "hw_caps",
    "virt_caps",
    "total_memory",
    "free_memory",
    "sharing_freed_memory",
    "sharing_used_memory",
    "outstanding_claims",
    "free_cpus",
    "xen_major",
    "xen_minor",
    "xen_extra",
    "xen_version",
    "xen_caps",
    "xen_scheduler",
    "xen_pagesize",
    "platform_params",
    "xen_changeset",
    "xen_commandline",
    "cc_compiler",
    "cc_compile_by",
    "cc_compile_domain",
    "cc_compile_date",
    "build_id",
    "xend_config_format",
];
/// What a kernel writes when something is wrong with it, and what a driver writes when it gets no
/// interrupts. (One letter in brackets: the typed line itself must not look like the complaint.)
const KERNEL_COMPLAINTS: &str = "WARNING: |BU[G]: |Call Trace:|Oops|unchecked MSR|nobody cared|\
     rcu_sched|rcu_preempt detected|soft lockup|hung_task|blocked for more than|\
     general protection|bad pte|Bad page|lost interrupt|timed out, completion";
/// Ctrl-a three times: the serial input's switch between dom0 and the hypervisor.
const SWITCH: &str = "\x01\x01\x01";
const KEY: Duration = Duration::from_secs(20);
/// Addresses that QEMU gives itself in the two emulated networks.
const NETWORKS: [&str; 2] = ["10.0.2", "10.0.3"];
const FETCHED: u64 = 256 * 1024;
const DISK: u64 = 64 << 20;

/// The tests of this file.
pub fn tests() -> Vec<Test> {
    vec![
        Test::function("dom0 reboots the machine", reboots),
        Test::function(
            "Debian 12's kernel reaches its user space as dom0 and powers off",
            bookworm,
        ),
        Test::function(
            "a panic of the hypervisor says why and prints a symbolised backtrace",
            panic_is_explained,
        ),
        Test::boot(Boot {
            name: "dom0",
            machine: asked_about_itself,
            checks: vec![
                check("xl info has every key", info).shows(&[
                    "sysctl.physinfo ok",
                    "xen_version.version ok",
                    "xen_version.extraversion ok",
                    "xen_version.compile_info ok",
                    "xen_version.capabilities ok",
                    "xen_version.changeset ok",
                    "xen_version.platform_parameters ok",
                    "xen_version.pagesize ok",
                    "xen_version.commandline ok",
                ]),
                check("dom0_mem without a suffix means KiB", memory_in_kib)
                    .shows(&["sysctl.getdomaininfolist ok"]),
                check("xl dmesg begins with the hypervisor's banner", banner_in_dmesg)
                    .shows(&["sysctl.readconsole ok"]),
                check("an unknown option is reported, and no more", unknown_option),
                check("a malformed option is reported, and no more", malformed_option),
                check("mitigations that spec-ctrl asks for are put in place", mitigations),
                check("the kernel complains of nothing", no_complaints),
                check("Ctrl-a three times hands the serial input to the debug keys", debug_keys)
                    .shows(&["console_io.read ok", "console_io.write ok"]),
            ],
        }),
        Test::boot(Boot {
            name: "dom0 with MSI",
            machine: with_devices,
            checks: vec![
                check("a disk at AHCI keeps what is written", ahci),
                check("a disk at virtio-blk keeps what is written", virtio_blk),
                check("e1000e fetches a file unchanged", e1000e),
                check("virtio-net fetches a file unchanged", virtio_net),
                check("the devices' interrupts are message-signalled", by_msi)
                    .shows(&["physdev_op.map_pirq ok", "event_channel_op.bind_pirq ok"]),
                check("the kernel complains of nothing", no_complaints),
            ],
        }),
        Test::boot(Boot {
            name: "dom0 with INTx",
            machine: with_devices_on_lines,
            checks: vec![
                check("a disk at AHCI keeps what is written", ahci),
                check("a disk at virtio-blk keeps what is written", virtio_blk),
                check("e1000e fetches a file unchanged", e1000e),
                check("virtio-net fetches a file unchanged", virtio_net),
                check("the devices' interrupts come by the I/O APIC's lines", by_lines)
                    .shows(&["physdev_op.eoi ok", "event_channel_op.bind_pirq ok"]),
                check("the kernel complains of nothing", no_complaints),
            ],
        }),
    ]
}

fn reboots(world: &World, name: &str) -> Result<()> {
    let mut machine = world.dom0();
    machine.kernel_args += " DOM0_DO=reboot";
    // The later of the two wins: the machine is to come back.
    machine.extra = vec!["-action".into(), "reboot=reset".into()];
    let mut console = world.start(&machine, name)?;
    let banner = if world.reference { "Xen version 4" } else { "Ferroxen version" };
    console.expect(banner, FIRST_LINES)?;
    console.expect("dom0: off", BOOT)?;
    console.expect(banner, END).context("the hypervisor's banner after the reboot")?;
    console.expect("dom0: user space", BOOT).context("dom0 after the reboot")?;
    Ok(())
}

fn bookworm(world: &World, name: &str) -> Result<()> {
    let kernel = Anchors::get(Suite::Bookworm)?;
    let mixed = format!("{}-{}", kernel.suite, world.anchors.suite);
    let recipe = image::Recipe { user: &world.anchors, ..image::Recipe::new(&kernel, &mixed) };
    let images = recipe.make()?;
    let mut machine = Machine::new(Some(&world.hypervisor), &kernel.vmlinuz());
    machine.initrd = Some(images.dom0);
    machine.kernel_args = "console=hvc0 DOM0_DO=off".into();
    let mut console = world.start(&machine, name)?;
    let found = console.expect(r"dom0: user space, \d+ CPUs, kernel (\S+)", BOOT)?;
    ensure!(found[1].starts_with("6.1."), "that is kernel {}", found[1]);
    reaches_its_end(&mut console)
}

/// A kernel that is none: the hypervisor cannot go on without dom0.
fn panic_is_explained(world: &World, name: &str) -> Result<()> {
    let file = log_path(name).with_extension("kernel");
    std::fs::create_dir_all(crate::paths::test_logs()).context("make the folder of the logs")?;
    std::fs::write(&file, "no kernel at all\n".repeat(512)).context("write the broken kernel")?;
    let mut console = world.start(&Machine::new(Some(&world.hypervisor), &file), name)?;
    console.fatal_lines(None)?;
    console.expect(r"Panic on CPU 0:\n", FIRST_LINES)?;
    console.expect(r"(?i)could not (?:construct|set up) d[^\n]*0[^\n]*\n", FIRST_LINES)?;
    if !world.reference {
        console.expect(r"Call trace:\n", FIRST_LINES)?;
        let symbol = r"\[<ffff82d0[0-9a-f]{8}>\] \S*start\S*\+0x[0-9a-f]+\n";
        console.expect(symbol, FIRST_LINES).context("a function's name in the backtrace")?;
    }
    console.expect("Manual reset required|Reboot", FIRST_LINES)?;
    Ok(())
}

fn asked_about_itself(world: &World, _: &str) -> Result<Machine> {
    let mut machine = world.dom0();
    let usual = hypervisor_args(0).replace("dom0_mem=0M,max:0M", "");
    machine.hypervisor_args = format!(
        "{usual} dom0_mem=786432 no_such_option=1 maxcpus=several \
         spec-ctrl=ibrs,ibpb-entry,verw"
    );
    Ok(machine)
}

fn info(_: &World, console: &mut Console) -> Result<()> {
    let said = console.shell("xl info", COMMAND)?;
    let lacks: Vec<&&str> = INFO_KEYS
        .iter()
        .filter(|&&key| {
            let is = |line: &str| line.split(':').next().is_some_and(|word| word.trim() == key);
            !said.lines().any(is)
        })
        .collect();
    ensure!(lacks.is_empty(), "xl info lacks {lacks:?}:\n{said}");
    Ok(())
}

fn memory_in_kib(_: &World, console: &mut Console) -> Result<()> {
    let said = console.shell("xl list", COMMAND)?;
    let dom0 = said.lines().find(|line| line.starts_with("Domain-0")).unwrap_or_default();
    let mem = dom0.split_whitespace().nth(2).and_then(|word| word.parse::<u32>().ok());
    ensure!(mem.is_some_and(|mem| (767..=768).contains(&mem)), "not 768 MiB:\n{said}");
    Ok(())
}

fn banner_in_dmesg(world: &World, console: &mut Console) -> Result<()> {
    let said = console.shell("xl dmesg | head -n 8", COMMAND)?;
    let banner = if world.reference { "Xen version 4" } else { "Ferroxen version 4" };
    ensure!(said.contains(banner), "no {banner:?} in:\n{said}");
    Ok(())
}

fn unknown_option(_: &World, console: &mut Console) -> Result<()> {
    console.shell("xl dmesg | grep no_such_option | grep unknown", COMMAND)?;
    Ok(())
}

/// The emulated CPU needs none of them, and takes writes of the registers all the same: that
/// dom0 got here shows that the ways in and out were patched rightly.
fn mitigations(world: &World, console: &mut Console) -> Result<()> {
    ensure!(!world.reference, "the distribution's hypervisor has other words for it");
    for what in ["IBRS, on entry", "IBPB on entry", "VERW on exit"] {
        console.shell(&format!("xl dmesg | grep 'Applied: {what}'"), COMMAND)?;
    }
    Ok(())
}

fn malformed_option(_: &World, console: &mut Console) -> Result<()> {
    // The command line itself is among the lines; the complaint is another one.
    console.shell("xl dmesg | grep maxcpus | grep -E 'is malformed|invalid value'", COMMAND)?;
    Ok(())
}

fn no_complaints(_: &World, console: &mut Console) -> Result<()> {
    let all = console.shell("dmesg | wc -l", COMMAND)?;
    let lines: u32 = all.trim().parse().with_context(|| format!("number of lines {all:?}"))?;
    ensure!(lines > 100, "the kernel's log has only {lines} lines");
    // Counted in dom0, told without the words that would end the test's waiting.
    let line = format!("dmesg | grep -E '{KERNEL_COMPLAINTS}' | sed 's/:/ /g'");
    let said = console.shell(&line, COMMAND)?;
    ensure!(said.trim().is_empty(), "the kernel's log has\n{said}");
    Ok(())
}

fn debug_keys(_: &World, console: &mut Console) -> Result<()> {
    console.send(SWITCH)?;
    console.expect("Serial input to (?:Xen|Ferroxen)", KEY)?;
    for (key, answer) in [
        ("h", "key 'q' (?:=>|\\(ascii '71'\\) =>) "),
        ("q", "General information for domain 0"),
        ("r", "(?i)CPU ?(?:0: |00|\\[00\\])"),
        ("m", "Physical memory"),
        ("0", r"Dumping d0v0 state[^\n]*\n(?:[^\n]*\n)?[^\n]*rip [0-9a-f]*[1-9a-f]"),
    ] {
        console.send(key)?;
        console.expect(answer, KEY).with_context(|| format!("answer to the key {key}"))?;
    }
    console.send(SWITCH)?;
    console.expect("Serial input to (?i:dom0)", KEY)?;
    console.shell("echo typed into dom0 again", COMMAND)?;
    Ok(())
}

fn with_devices(world: &World, name: &str) -> Result<Machine> {
    let mut machine = world.dom0();
    let mut extra = Vec::new();
    for (id, device) in [("sata", "ide-hd"), ("paravirt", "virtio-blk-pci")] {
        let file = world.disk(name, id, DISK)?;
        extra.push("-drive".to_owned());
        extra.push(format!("id={id},if=none,format=raw,cache=unsafe,file={}", file.display()));
        extra.push("-device".to_owned());
        extra.push(format!("{device},drive={id},serial={id}"));
    }
    let folder = crate::paths::test_logs().join("served");
    std::fs::create_dir_all(&folder).context("make the folder of served files")?;
    let bytes: Vec<u8> =
        (0..FETCHED).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(folder.join("file"), bytes).context("write the served file")?;
    for (net, device) in NETWORKS.iter().zip(["e1000e", "virtio-net-pci"]) {
        extra.push("-netdev".to_owned());
        let folder = folder.display();
        extra.push(format!("user,id={device},restrict=on,net={net}.0/24,tftp={folder}"));
        extra.push("-device".to_owned());
        extra.push(format!("{device},netdev={device}"));
    }
    machine.extra = extra;
    Ok(machine)
}

fn with_devices_on_lines(world: &World, name: &str) -> Result<Machine> {
    let mut machine = with_devices(world, name)?;
    machine.kernel_args += " pci=nomsi";
    Ok(machine)
}

fn ahci(_: &World, console: &mut Console) -> Result<()> {
    console.shell("modprobe ahci && modprobe sd-mod", COMMAND)?;
    keeps(console, "/dev/sda")
}

fn virtio_blk(_: &World, console: &mut Console) -> Result<()> {
    console.shell("modprobe -q virtio-pci; modprobe virtio-blk", COMMAND)?;
    keeps(console, "/dev/vda")
}

/// 4 MiB of noise go to the disk and come back from it, not from the cache.
fn keeps(console: &mut Console, disk: &str) -> Result<()> {
    console.shell(&format!("retry 100 test -b {disk}"), COMMAND).context("the disk")?;
    console.shell("dd if=/dev/urandom of=/tmp/noise bs=1M count=4 2>/dev/null", COMMAND)?;
    let write = format!("dd if=/tmp/noise of={disk} bs=64k seek=16 conv=fsync 2>/dev/null");
    console.shell(&write, COMMAND).context("write")?;
    console.shell("echo 3 >/proc/sys/vm/drop_caches", COMMAND)?;
    let read = format!("dd if={disk} bs=64k skip=16 count=64 2>/dev/null | cmp - /tmp/noise");
    console.shell(&read, COMMAND).context("read back")?;
    Ok(())
}

fn e1000e(_: &World, console: &mut Console) -> Result<()> {
    console.shell("modprobe e1000e", COMMAND)?;
    fetches(console, "pci/drivers/e1000e", NETWORKS[0])
}

fn virtio_net(_: &World, console: &mut Console) -> Result<()> {
    console.shell("modprobe -q virtio-pci; modprobe virtio-net", COMMAND)?;
    fetches(console, "virtio/drivers/virtio_net", NETWORKS[1])
}

/// Fetches the served file by the driver's interface and compares its checksum.
fn fetches(console: &mut Console, driver: &str, net: &str) -> Result<()> {
    let found = format!("retry 100 ls /sys/bus/{driver}/*/net >/dev/null");
    console.shell(&found, COMMAND).context("the network interface")?;
    let up = format!(
        "dev=$(ls /sys/bus/{driver}/*/net) && ip address add {net}.15/24 dev $dev && ip link set $dev up"
    );
    console.shell(&up, COMMAND)?;
    console
        .shell(&format!("retry 50 ping -c 1 -W 1 {net}.2 >/dev/null"), COMMAND)
        .context("reach QEMU")?;
    console.shell(&format!("cd /tmp; tftp -g -r file {net}.2; cd"), COMMAND)?;
    let sum = console.shell("md5sum </tmp/file; rm /tmp/file", COMMAND)?;
    let file = crate::paths::test_logs().join("served/file");
    let mut command = std::process::Command::new("md5sum");
    let ours = crate::process::capture(command.arg(&file), COMMAND, "md5sum")?;
    let first = |text: &str| text.split_whitespace().next().map(str::to_owned);
    ensure!(first(&sum) == first(&ours), "the file arrived as {sum}, it is {ours}");
    Ok(())
}

fn by_msi(_: &World, console: &mut Console) -> Result<()> {
    all_interrupt(console, "msi")
}

fn by_lines(_: &World, console: &mut Console) -> Result<()> {
    all_interrupt(console, "ioapic")
}

/// The devices' interrupts in use are all of that kind, and each device has had some.
fn all_interrupt(console: &mut Console, kind: &str) -> Result<()> {
    let table = console.shell("cat /proc/interrupts", COMMAND)?;
    for device in ["ahci", "virtio[01]", "eth[01]"] {
        let name = regex::Regex::new(device).context("pattern of a device")?;
        let lines: Vec<&str> = table.lines().filter(|line| name.is_match(line)).collect();
        ensure!(!lines.is_empty(), "no interrupt of {device}:\n{table}");
        ensure!(
            lines.iter().all(|line| line.contains(kind)),
            "{device} has interrupts that are not {kind}:\n{table}"
        );
        let count = |line: &&str| -> u64 {
            line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let came: u64 = lines.iter().map(count).sum();
        ensure!(came > 0, "{device} has had no interrupt:\n{table}");
    }
    Ok(())
}
