//! `sysctl`: what the machine is and has.

use crate::{NOBODY, NOWHERE, Request, Test, nr, test, two};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::hypercall::{addr_mut, call2, errno};
use pv_runtime::memory::{self, Page};
use pv_runtime::outcome::{expect, holds};

pub const TESTS: &[Test] = &[
    test("control-sysctl", calls),
    test("control-console-ring", console_ring),
    test("control-machine", machine),
    test("control-pools", pools),
];

const VERSION: u32 = 0x15;
const PHYSINFO: u32 = 3;

fn ask(command: u32, words: &[u64]) -> (i64, [u64; 16]) {
    let mut request = Request::new(command, VERSION, words);
    (request.call(nr::SYSCTL), request.u)
}

fn calls() -> Outcome {
    let mut a = Answers::new();
    a.refuses("sysctl", call2(nr::SYSCTL, NOWHERE, 0), errno::EFAULT);
    for version in [0, VERSION - 1, VERSION + 1] {
        a.refuses("sysctl", Request::new(PHYSINFO, version, &[]).call(nr::SYSCTL), errno::EACCES);
    }
    for command in [0, 13, 999] {
        a.refuses("sysctl", ask(command, &[]).0, errno::ENOSYS);
    }
    a.end()
}

/// Bytes of the console's ring that are looked at in one go.
const WINDOW: usize = 4096;
static RING: Page = Page::new();

/// Whether the console's ring has this text.
pub fn ring_has(text: &str) -> bool {
    let mut index = 0;
    // The ring is read piece by piece; a text that is cut in two is found by the overlap.
    for _ in 0..64 {
        // Incremental, from that position on.
        let (result, u) = ask(1, &[two(1 << 8, index), RING.va(), WINDOW as u64]);
        let (next, count) = ((u[0] >> 32) as u32, (u[2] & 0xffff_ffff) as usize);
        if result != 0 || count > WINDOW {
            return false;
        }
        let mut bytes = [0u8; WINDOW];
        for (word, to) in bytes.chunks_exact_mut(8).enumerate() {
            to.copy_from_slice(&RING.read(word).to_le_bytes());
        }
        if bytes[..count].windows(text.len()).any(|part| part == text.as_bytes()) {
            return true;
        }
        if count < WINDOW {
            return false;
        }
        index = next - text.len() as u32;
    }
    false
}

fn console_ring() -> Outcome {
    const READ: &str = "sysctl.readconsole";
    const KEYS: &str = "sysctl.debug_keys";
    let mut a = Answers::new();
    a.works(READ, holds("the line", ring_has("Command line: ")));
    a.refuses(READ, ask(1, &[0, NOWHERE, 100]).0, errno::EFAULT);
    a.step(holds("no answer to a key yet", !ring_has("debug keys")));
    let mut keys = *b"h";
    let result = ask(7, &[addr_mut(&mut keys), 1]).0;
    a.works(KEYS, expect("pressing", result, 0).and(holds("the help", ring_has("key 'q'"))));
    a.refuses(KEYS, ask(7, &[NOWHERE, 1]).0, errno::EFAULT);
    a.end()
}

fn machine() -> Outcome {
    let mut a = Answers::new();
    let (result, info) = ask(PHYSINFO, &[]);
    let (cpus, free) = (info[1] & 0xffff_ffff, info[6]);
    let seen = expect("asking", result, 0)
        .and(expect("CPUs", cpus.cast_signed(), 1))
        .and(holds("memory", info[5] > free && free > 100_000))
        .and(holds("a rate", info[3] & 0xffff_ffff > 100_000));
    a.works("sysctl.physinfo", seen);
    let (result, u) = ask(4, &[]);
    let seen = expect("credit2", (u[0] & 0xffff_ffff).cast_signed(), 6);
    a.works("sysctl.sched_id", expect("asking", result, 0).and(seen));

    const LIST: &str = "sysctl.getdomaininfolist";
    let page = memory::page();
    let (result, u) = ask(6, &[two(0, 4), page.va(), 0]);
    let seen = expect("asking", result, 0)
        .and(expect("how many", (u[2] & 0xffff_ffff).cast_signed(), 1))
        .and(expect("dom0", (page.read(0) & 0xffff).cast_signed(), 0))
        .and(expect("its pages", page.read(1).cast_signed(), 32768));
    a.works(LIST, seen);
    a.refuses(LIST, ask(6, &[two(0, 4), NOWHERE, 0]).0, errno::EFAULT);

    const CPUS: &str = "sysctl.getcpuinfo";
    page.write(0, !0);
    let (result, u) = ask(8, &[4, page.va(), 0]);
    let seen = expect("asking", result, 0)
        .and(expect("how many", (u[2] & 0xffff_ffff).cast_signed(), 1))
        .and(holds("its idle time", page.read(0) != !0));
    a.works(CPUS, seen);
    a.refuses(CPUS, ask(8, &[4, NOWHERE, 0]).0, errno::EFAULT);

    let (result, u) = ask(9, &[0, two(!0, 0), 0]);
    let near = (u[2] >> 12).abs_diff(ask(PHYSINFO, &[]).1[6]) < 64;
    a.works("sysctl.availheap", expect("asking", result, 0).and(holds("as told before", near)));

    const TOPOLOGY: &str = "sysctl.cputopoinfo";
    let how_many = ask(16, &[0, 0]);
    (0..2).for_each(|word| page.write(word, !0));
    let (result, u) = ask(16, &[1, page.va()]);
    // Core, socket, node.
    let seen = expect("how many", (how_many.1[0] & 0xffff_ffff).cast_signed(), 1)
        .and(expect("asking", result, 0))
        .and(expect("in the answer", (u[0] & 0xffff_ffff).cast_signed(), 1))
        .and(expect("its place", page.read(0).cast_signed(), 0));
    a.works(TOPOLOGY, seen);
    a.refuses(TOPOLOGY, ask(16, &[0, page.va()]).0, errno::ENOBUFS);
    a.refuses(TOPOLOGY, ask(16, &[1, NOWHERE]).0, errno::EFAULT);

    const NUMA: &str = "sysctl.numainfo";
    let (result, u) = ask(17, &[1, page.va(), page.va() + 64]);
    let seen = expect("asking", result, 0)
        .and(expect("nodes", (u[0] & 0xffff_ffff).cast_signed(), 1))
        .and(expect("its memory", page.read(0).cast_signed() >> 12, info[5].cast_signed()))
        .and(expect("its distance", (page.read(8) & 0xffff_ffff).cast_signed(), 10));
    a.works(NUMA, seen);
    a.refuses(NUMA, ask(17, &[0, page.va(), 0]).0, errno::ENOBUFS);
    a.refuses(NUMA, ask(17, &[1, NOWHERE, 0]).0, errno::EFAULT);

    const DEVICES: &str = "sysctl.pcitopoinfo";
    page.write(1, 0);
    let (result, _) = ask(22, &[1, page.va(), page.va() + 8]);
    // Nobody says which node a device is near to.
    let seen = expect("the node", (page.read(1) & 0xffff_ffff).cast_signed(), 0xffff_ffff);
    a.works(DEVICES, expect("asking", result, 0).and(seen));
    a.refuses(DEVICES, ask(22, &[1, 0, page.va()]).0, errno::EINVAL);
    a.refuses(DEVICES, ask(22, &[1, page.va(), NOWHERE]).0, errno::EFAULT);

    let (result, u) = ask(25, &[!0]);
    let none = expect("none", (u[0] & 0xffff_ffff).cast_signed(), 0);
    a.works("sysctl.get_cpu_levelling_caps", expect("asking", result, 0).and(none));
    a.end()
}

fn pools() -> Outcome {
    const POOLS: &str = "sysctl.cpupool_op";
    const SCHEDULER: &str = "sysctl.scheduler_op";
    let mut a = Answers::new();
    let mut cpus = 0u64;
    let at = addr_mut(&mut cpus);
    let pool = |op, id, domid: u32, at, bits| ask(18, &[two(op, id), two(0, domid), 0, at, bits]);
    let (result, u) = pool(3, 0, 0, at, 64);
    let seen = expect("asking", result, 0)
        .and(expect("its scheduler", (u[1] & 0xffff_ffff).cast_signed(), 6))
        .and(expect("its domains", (u[2] >> 32).cast_signed(), 1))
        .and(expect("its CPUs", cpus.cast_signed(), 1));
    a.works(POOLS, seen);
    a.refuses(POOLS, pool(3, 5, 0, at, 64).0, errno::ENOENT);
    a.refuses(POOLS, pool(3, 0, 0, NOWHERE, 64).0, errno::EFAULT);
    a.refuses(POOLS, pool(3, 0, 0, at, 1 << 20).0, errno::E2BIG);
    a.refuses(POOLS, pool(6, 0, NOBODY.into(), at, 64).0, errno::ESRCH);
    a.refuses(POOLS, pool(6, 5, 0, at, 64).0, errno::ENOENT);
    for op in [1, 2, 4, 5] {
        a.refuses(POOLS, pool(op, 0, 0, at, 64).0, errno::EOPNOTSUPP);
    }
    const CREDIT2: u32 = 6;
    let scheduler = |pool, id, cmd, value: u64| ask(19, &[two(pool, id), u64::from(cmd), value]);
    let result = scheduler(0, CREDIT2, 0u32, 2000).0;
    let (asked, u) = scheduler(0, CREDIT2, 1, 0);
    let seen = expect("asking", asked, 0).and(expect(
        "the time",
        (u[2] & 0xffff_ffff).cast_signed(),
        2000,
    ));
    a.works(SCHEDULER, expect("setting", result, 0).and(seen));
    a.refuses(SCHEDULER, scheduler(7, CREDIT2, 1, 0).0, errno::ESRCH);
    a.refuses(SCHEDULER, scheduler(0, 8, 1, 0).0, errno::EINVAL);
    a.refuses(SCHEDULER, scheduler(0, CREDIT2, 7, 0).0, errno::EINVAL);
    a.refuses(SCHEDULER, scheduler(0, CREDIT2, 0, 1).0, errno::EINVAL);
    a.end()
}
