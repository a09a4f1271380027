//! `physdev_op`: interrupts, ports and PCI devices.

use crate::sysctl::ring_has;
use crate::{DOM0, NOBODY, NOWHERE, Test, test, two};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::events::{self, close};
use pv_runtime::hypercall::{DOMID_SELF, addr_mut, call2, errno, nr};
use pv_runtime::memory;
use pv_runtime::outcome::{Failure, expect, holds};
use pv_runtime::puppet::Puppet;
use pv_runtime::{try_asm, user};

pub const TESTS: &[Test] = &[
    test("control-interrupts", interrupts),
    test("control-messages", messages),
    test("control-ports", ports),
    test("control-devices", devices),
];

fn ask<T>(command: u64, argument: &mut T) -> i64 {
    call2(nr::PHYSDEV_OP, command, addr_mut(argument))
}

fn refuses_nowhere(a: &mut Answers, command: u64, name: &'static str) {
    a.refuses(name, call2(nr::PHYSDEV_OP, command, NOWHERE), errno::EFAULT);
}

/// Domain, kind, index, PIRQ, bus, device and function, entry, table.
#[repr(C)]
struct Map {
    domid: u16,
    kind: i32,
    index: i32,
    pirq: i32,
    bus: i32,
    devfn: i32,
    entry: i32,
    table: u64,
}

const MSI: i32 = 0;
const GSI: i32 = 1;
/// The disk controller that the machine has at 00:1f.2.
const CONTROLLER: i32 = 0x1f << 3 | 2;
const MAP: &str = "physdev_op.map_pirq";

fn map(domid: u16, kind: i32, index: i32, pirq: i32, devfn: i32) -> (i64, i32) {
    let mut map = Map { domid, kind, index, pirq, bus: 0, devfn, entry: 0, table: 0 };
    (ask(13, &mut map), map.pirq)
}

fn unmap(pirq: i32) -> i64 {
    ask(14, &mut two(DOMID_SELF as u32, pirq.cast_unsigned()))
}

/// Binds an interrupt to a port.
fn bind(pirq: u32) -> (i64, u32) {
    let mut bind = [pirq, 0, 0];
    (events::op(2, &mut bind), bind[2])
}

fn interrupts() -> Outcome {
    const EOI: &str = "physdev_op.eoi";
    const STATUS: &str = "physdev_op.irq_status_query";
    const SETUP: &str = "physdev_op.setup_gsi";
    const UNMAP: &str = "physdev_op.unmap_pirq";
    let mut a = Answers::new();
    let status = |irq: u32| {
        let mut query = two(irq, !0);
        (ask(5, &mut query), query >> 32)
    };
    // GSI, level, low.
    let setup = |gsi: u32, level: u32| ask(21, &mut two(gsi, level | level << 8));
    let results = [setup(20, 1), setup(10, 0)];
    let level = status(20);
    let edge = status(10);
    let seen = expect("asking", level.0 | edge.0, 0)
        .and(expect("a level waits for its end", (level.1 & 1).cast_signed(), 1))
        .and(expect("an edge does not", (edge.1 & 1).cast_signed(), 0));
    a.works(SETUP, expect("wiring", results[0] | results[1], 0).and(seen));
    a.works(STATUS, seen);
    // The line of the hypervisor's own serial port.
    a.refuses(SETUP, setup(4, 0), errno::EEXIST);
    for gsi in [9999, !0] {
        a.refuses(SETUP, setup(gsi, 0), errno::EINVAL);
        a.refuses(STATUS, status(gsi).0, errno::EINVAL);
        a.refuses(EOI, ask(12, &mut { gsi }), errno::EINVAL);
    }
    let mut puppet = Puppet::start()?;
    let theirs = puppet.call_with(nr::PHYSDEV_OP, [12, 0, 0, 0, 0], 1, &mut 20u32);
    a.refuses(EOI, theirs, errno::EINVAL);
    puppet.end()?;
    for (command, name) in [(12, EOI), (5, STATUS), (21, SETUP), (13, MAP), (14, UNMAP)] {
        refuses_nowhere(&mut a, command, name);
    }

    let (result, pirq) = map(DOMID_SELF as u16, GSI, 20, -1, 0);
    let (bound, port) = bind(20);
    let seen = expect("its number", pirq.into(), 20).and(expect("binding", bound, 0));
    a.works(MAP, expect("mapping", result, 0).and(seen));
    a.refuses(UNMAP, unmap(20), errno::EBUSY);
    a.step(expect("closing", close(port), 0));
    for pirq in [255, -1] {
        a.refuses(UNMAP, unmap(pirq), errno::EINVAL);
    }
    a.refuses(MAP, map(NOBODY, GSI, 20, -1, 0).0, errno::ESRCH);
    a.refuses(MAP, map(DOMID_SELF as u16, 9, 20, -1, 0).0, errno::EOPNOTSUPP);
    a.refuses(MAP, map(DOMID_SELF as u16, GSI, 9999, -1, 0).0, errno::EINVAL);
    a.refuses(MAP, map(DOMID_SELF as u16, GSI, 20, 21, 0).0, errno::EINVAL);
    a.end()
}

fn messages() -> Outcome {
    const FREE: &str = "physdev_op.get_free_pirq";
    const UNMAP: &str = "physdev_op.unmap_pirq";
    let mut a = Answers::new();
    let own = DOMID_SELF as u16;
    let free = || {
        let mut get = two(MSI.cast_unsigned(), 0);
        (ask(23, &mut get), (get >> 32) as u32)
    };
    let (result, number) = free();
    a.step(expect("asking", result, 0));
    let (mapped, pirq) = map(DOM0, MSI, -1, number.cast_signed(), CONTROLLER);
    let another = free().1 != number;
    let effect = expect("mapping it", mapped, 0).and(holds("then another is free", another));
    a.works(FREE, expect("asking", result, 0).and(effect));
    refuses_nowhere(&mut a, 23, FREE);
    a.refuses(MAP, map(own, MSI, -1, pirq, CONTROLLER).0, errno::EEXIST);
    // The bridge to the CPU has no messages, and at 00:07.0 there is nothing.
    for devfn in [0, 7 << 3] {
        a.refuses(MAP, map(own, MSI, -1, -1, devfn).0, errno::ENODEV);
    }
    let result = unmap(pirq);
    let gone = expect("once more", unmap(pirq), errno::EINVAL);
    a.works(UNMAP, expect("unmapping", result, 0).and(gone));
    // There is an end to the vectors.
    let mut taken = [0i32; 256];
    let mut count = 0;
    let last = loop {
        let (result, pirq) = map(own, MSI, -1, -1, CONTROLLER);
        if result != 0 || count == taken.len() {
            break result;
        }
        taken[count] = pirq;
        count += 1;
    };
    a.refuses(MAP, last, errno::ENOSPC);
    a.refuses("physdev_op.setup_gsi", ask(21, &mut two(22, 0x101)), errno::ENOSPC);
    taken[..count].iter().for_each(|&pirq| a.step(expect("unmapping", unmap(pirq), 0)));
    let (result, pirq) = map(own, MSI, -1, -1, CONTROLLER);
    a.step(expect("mapping again", result, 0));
    a.step(expect("unmapping", unmap(pirq), 0));
    a.end()
}

fn ports() -> Outcome {
    const IOPL: &str = "physdev_op.set_iopl";
    const BITMAP: &str = "physdev_op.set_iobitmap";
    let mut a = Answers::new();
    // What reads the counter port of a PC's speaker, which harms nobody, in user mode.
    let reads = || -> Result<(), Failure> {
        let space = user::space();
        let mut code = [0x90u8; 64];
        // mov edx, 0x61; in al, dx; mov eax, EXIT; syscall
        let program = [0xba, 0x61, 0, 0, 0, 0xec, 0xb8, 0x00, 0x10, 0x00, 0x00, 0x0f, 0x05];
        code[..program.len()].copy_from_slice(&program);
        space.load(&code);
        space.run().map_err(|trap| Failure {
            what: "an exception in user mode",
            got: trap.vector.cast_signed(),
            wanted: 0,
        })
    };
    a.step(holds("user mode may not yet", reads().is_err()));
    // Kernel mode may from level 1 on, user mode from 3 on.
    let kernel_reads = || try_asm!("in al, dx", in("dx") 0x61u16, out("al") _).is_ok();
    a.step(expect("level 1", ask(6, &mut 1u32), 0));
    let kernel = kernel_reads() && reads().is_err();
    let result = ask(6, &mut 3u32);
    let user = reads();
    a.step(expect("level 0", ask(6, &mut 0u32), 0));
    let effect = holds("the kernel at 1", kernel).and(user);
    a.works(IOPL, expect("level 3", result, 0).and(effect).and(holds("none", !kernel_reads())));
    a.refuses(IOPL, ask(6, &mut 4u32), errno::EINVAL);
    refuses_nowhere(&mut a, 6, IOPL);
    // A bit for each port: those up to 0x60 are free, then those up to 0x67.
    let bits = memory::page();
    let at = bits.va();
    let few = ask(7, &mut [at, 0x60]);
    let without = reads().is_err();
    let result = ask(7, &mut [at, 0x68]);
    let with = reads();
    bits.write(0x61 / 64, 1 << (0x61 % 64));
    let denied = reads().is_err();
    a.step(expect("none again", ask(7, &mut [0u64, 0]), 0));
    let effect = holds("not with few", few == 0 && without).and(with);
    a.works(BITMAP, expect("setting", result, 0).and(effect).and(holds("denied", denied)));
    a.refuses(BITMAP, ask(7, &mut [at, 65_537]), errno::EINVAL);
    refuses_nowhere(&mut a, 7, BITMAP);
    a.end()
}

fn devices() -> Outcome {
    const READ: &str = "physdev_op.apic_read";
    const VECTOR: &str = "physdev_op.alloc_irq_vector";
    const ADD: &str = "physdev_op.pci_device_add";
    const REMOVE: &str = "physdev_op.pci_device_remove";
    const CONFIG: &str = "physdev_op.pci_mmcfg_reserved";
    const CHIP: u64 = 0xfec0_0000;
    let mut a = Answers::new();
    // Register 1: its version, and in the third byte the last of 24 lines.
    let mut read = [CHIP, two(1, 0)];
    let result = ask(8, &mut read);
    let lines = expect("the last line", (read[1] >> 48 & 0xff).cast_signed(), 23);
    a.works(READ, expect("reading", result, 0).and(lines));
    a.refuses(READ, ask(8, &mut [0xfee0_0000u64, 1]), errno::EINVAL);
    a.refuses(READ, ask(8, &mut [CHIP, 256]), errno::EINVAL);
    a.refuses("physdev_op.apic_write", ask(9, &mut [CHIP, two(1, 0)]), errno::EPERM);
    let mut irq = two(9, 0);
    let result = ask(10, &mut irq);
    let seen = expect("its own number", (irq >> 32).cast_signed(), 9);
    a.works(VECTOR, expect("asking", result, 0).and(seen));
    // Segment, bus, device and function; flags.
    let result = ask(25, &mut [two(0x0030_0000, 0), 0]);
    a.works(ADD, expect("adding", result, 0).and(holds("a line", ring_has("PCI add device"))));
    let result = ask(26, &mut 0x0030_0000u64);
    let seen = holds("a line", ring_has("PCI remove device"));
    a.works(REMOVE, expect("removing", result, 0).and(seen));
    // The window that the firmware's table tells: the machine has its own at 0xe0000000 or above.
    let reserve = |address: u64, segment: u64| ask(24, &mut [address, segment | 0xff << 24, 1]);
    let known = [0xb000_0000, 0xe000_0000].map(|address| reserve(address, 0));
    a.works(CONFIG, holds("one of the two", known.contains(&0) && known != [0, 0]));
    a.refuses(CONFIG, reserve(0x1234_0000, 0), errno::ENODEV);
    a.refuses(CONFIG, reserve(0xb000_0000, 7), errno::ENODEV);
    let names = [(8, READ), (10, VECTOR), (25, ADD), (26, REMOVE), (24, CONFIG)];
    for (command, name) in names {
        refuses_nowhere(&mut a, command, name);
    }
    for command in [0, 3, 99] {
        a.refuses("physdev_op", ask(command, &mut 0u64), errno::ENOSYS);
    }
    let mut puppet = Puppet::start()?;
    for command in [8, 13, 21, 25] {
        let theirs = puppet.call_with(nr::PHYSDEV_OP, [command, 0, 0, 0, 0], 1, &mut [0u64; 8]);
        a.refuses("physdev_op", theirs, errno::EPERM);
    }
    puppet.end()?;
    a.end()
}
