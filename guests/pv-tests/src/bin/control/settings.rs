//! `domctl`: a domain's settings and rights.

use crate::{DOM0, Test, domains, test, two};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::{self, domctl, op};
use pv_runtime::hypercall::{DOMID_SELF, MmuUpdate, errno, nr};
use pv_runtime::memory::{PRESENT, WRITE, entry};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::{Puppet, View};

pub const TESTS: &[Test] = &[
    test("control-settings", settings),
    test("control-clocks", clocks),
    test("control-triggers", triggers),
    test("control-rights", rights),
];

fn settings() -> Outcome {
    let mut a = Answers::new();
    let puppet = Puppet::start()?;
    let id = puppet.domid;
    let ask = |cmd, words: &[u64]| domctl(cmd, id, words);

    let result = ask(op::MAX_MEM, &[2048]).0;
    let limit = ask(op::INFO, &[]).1.u[2];
    let seen = expect("the limit in pages", limit.cast_signed(), 512);
    a.works("domctl.max_mem", expect("setting", result, 0).and(seen));

    let result = ask(17, &[0x1111_2222_3333_4444, 0x5555_6666_7777_8888]).0;
    let info = ask(op::INFO, &[]).1;
    let handle = (info.u[9] >> 32) | info.u[10] << 32;
    let seen = holds("the handle", handle == 0x1111_2222_3333_4444);
    a.works("domctl.setdomainhandle", expect("setting", result, 0).and(seen));

    const DEBUG: &str = "domctl.setdebugging";
    let result = ask(18, &[1]).0;
    let seen = holds("the flag", domains::flags(id) & (1 << 6) != 0);
    a.works(DEBUG, expect("setting", result, 0).and(seen));
    a.step(expect("and back", ask(18, &[0]).0, 0));
    a.refuses(DEBUG, domctl(18, DOM0, &[1]).0, errno::EINVAL);

    const SCHEDULER: &str = "domctl.scheduler_op";
    const CREDIT2: u32 = 6;
    let result = ask(16, &[two(CREDIT2, 0), 512]).0;
    let (asked, got) = ask(16, &[two(CREDIT2, 1), 0]);
    let seen = expect("asking", asked, 0).and(expect(
        "the weight",
        (got.u[1] & 0xffff).cast_signed(),
        512,
    ));
    a.works(SCHEDULER, expect("setting", result, 0).and(seen));
    a.refuses(SCHEDULER, ask(16, &[two(8, 1)]).0, errno::EINVAL);
    a.refuses(SCHEDULER, ask(16, &[two(CREDIT2, 2)]).0, errno::EINVAL);
    // As under Xen, a weight of 0 means the one that there is.
    a.step(expect("no weight", ask(16, &[two(CREDIT2, 0), 0]).0, 0));
    let (asked, got) = ask(16, &[two(CREDIT2, 1), 0]);
    a.step(expect("asking again", asked, 0));
    a.step(expect("the same weight", (got.u[1] & 0xffff).cast_signed(), 512));

    let result = ask(35, &[64]).0;
    let (asked, got) = ask(36, &[0]);
    let size = expect("the size", (got.u[0] & 0xffff_ffff).cast_signed(), 64);
    a.works("domctl.set_address_size", expect("setting", result, 0).and(size));
    a.works("domctl.get_address_size", expect("asking", asked, 0).and(size));
    a.refuses("domctl.set_address_size", ask(35, &[16]).0, errno::EINVAL);

    puppet.end()?;
    a.end()
}

fn clocks() -> Outcome {
    const OFFSET: &str = "domctl.settimeoffset";
    const TSC: &str = "domctl.settscinfo";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let id = puppet.domid;
    let shared = domctl::shared_info(id).unwrap_or(0);
    let seconds = || {
        let Ok(view) = View::of(id, shared) else { return 0 };
        let word = view.page().read(384) >> 32;
        view.close();
        word
    };
    let before = seconds();
    let result = domctl(24, id, &[1000]).0;
    let ahead = seconds().wrapping_sub(before);
    let seen = holds("the seconds", (999..=1010).contains(&ahead));
    a.works(OFFSET, expect("setting", result, 0).and(seen));

    let (asked, got) = domctl(59, id, &[]);
    let khz = got.u[0] >> 32;
    a.works("domctl.gettscinfo", expect("asking", asked, 0).and(holds("a rate", khz > 100_000)));
    let result = domctl(60, id, &[two(2, 0)]).0;
    let now = domctl(59, id, &[]).1.u;
    let seen = expect("the mode", now[0].cast_signed() & 0xffff_ffff, 2);
    // Whoever sets it tells how often that was done before: never.
    let seen = seen.and(expect("the incarnation", now[1].cast_signed() & 0xffff_ffff, 1));
    a.works(TSC, expect("setting", result, 0).and(seen));
    a.refuses(TSC, domctl(60, id, &[two(1, 0)]).0, errno::EOPNOTSUPP);
    a.refuses(TSC, domctl(60, DOM0, &[two(2, 0)]).0, errno::EINVAL);

    // What is mapped here keeps the domain from being gone.
    let held = View::of(id, puppet.data_frame(5));
    a.step(holds("a page of it is mapped", held.is_ok()));
    let _ = puppet.call(nr::XEN_VERSION, [0; 5]);
    a.step(expect("ending it", domctl(op::DESTROY, id, &[]).0, 0));
    a.refuses(OFFSET, domctl(24, id, &[0]).0, errno::EINVAL);
    a.refuses("domctl.hypercall_init", domctl(22, id, &[puppet.data_frame(4)]).0, errno::EINVAL);
    if let Ok(held) = held {
        held.close();
    }
    // With the last page unmapped it is gone, and there is nothing left to be destroyed.
    let _ = puppet.end();
    a.step(expect("asking for it", domctl(op::INFO, id, &[]).0, errno::ESRCH));
    a.end()
}

fn triggers() -> Outcome {
    const NMI: &str = "domctl.sendtrigger";
    const VIRQ: &str = "domctl.set_virq_handler";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let id = puppet.domid;
    // An NMI comes back to us as what it is.
    let _ = pv_runtime::traps::take();
    pv_runtime::events::unmask_upcalls();
    let result = domctl(28, DOM0, &[two(0, 0)]).0;
    let trap = pv_runtime::traps::take();
    pv_runtime::events::mask_upcalls();
    let came = expect("the exception", trap.map_or(-1, |t| t.vector.cast_signed()), 2);
    a.works(NMI, expect("sending", result, 0).and(came));
    // Buttons for power and sleep, and a reset, which nobody has.
    for button in [3, 4] {
        a.refuses(NMI, domctl(28, id, &[two(button, 0)]).0, errno::EINVAL);
    }
    a.refuses(NMI, domctl(28, id, &[two(1, 0)]).0, errno::ENOSYS);
    a.refuses(NMI, domctl(28, id, &[two(0, 99)]).0, errno::ESRCH);

    // The console ring's.
    const CON_RING: u32 = 8;
    let mut bind =
        |virq: u32| puppet.call_with(nr::EVENT_CHANNEL_OP, [1, 0, 0, 0, 0], 1, &mut [virq, 0, 0]);
    a.step(expect("binding before", bind(CON_RING), errno::EPERM));
    let result = domctl(op::SET_VIRQ_HANDLER, id, &[CON_RING.into()]).0;
    let bound = expect("binding", bind(CON_RING), 0);
    a.works(VIRQ, expect("setting", result, 0).and(bound));
    a.step(expect("and back", domctl(op::SET_VIRQ_HANDLER, DOM0, &[CON_RING.into()]).0, 0));
    for virq in [0, 1, 7, 99] {
        a.refuses(VIRQ, domctl(op::SET_VIRQ_HANDLER, id, &[virq]).0, errno::EINVAL);
    }
    puppet.end()?;
    a.end()
}

fn rights() -> Outcome {
    const IRQ: &str = "domctl.irq_permission";
    const GSI: &str = "domctl.gsi_permission";
    const MEMORY: &str = "domctl.iomem_permission";
    const PORTS: &str = "domctl.ioport_permission";
    /// Where a PC has a hole for devices, in frames.
    const HOLE: u64 = 0xe0000;
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let id = puppet.domid;
    let ask = |cmd, words: &[u64]| domctl(cmd, id, words).0;
    let mut map = || {
        let mut update =
            MmuUpdate { ptr: puppet.entry_of(6), val: entry(HOLE, PRESENT | WRITE | 0x18) };
        puppet.call_with(nr::MMU_UPDATE, [0, 1, 0, DOMID_SELF, 0], 0, &mut update)
    };
    a.step(expect("mapping without the right", map(), errno::EPERM));
    let result = ask(20, &[HOLE, 1, 1]);
    a.works(MEMORY, expect("giving it", result, 0).and(expect("mapping", map(), 0)));
    let mut update = MmuUpdate { ptr: puppet.entry_of(6), val: 0 };
    let gone = puppet.call_with(nr::MMU_UPDATE, [0, 1, 0, DOMID_SELF, 0], 0, &mut update);
    a.step(expect("unmapping", gone, 0));
    for (first, count) in [(HOLE, 0), (1 << 40, 1), (!0, 2)] {
        a.refuses(MEMORY, ask(20, &[first, count, 1]), errno::EINVAL);
    }
    a.refuses(PORTS, ask(21, &[two(0xffff, 2), 1]), errno::EINVAL);
    a.refuses(IRQ, ask(19, &[two(9999, 1)]), errno::EINVAL);
    a.refuses(GSI, ask(88, &[two(9999, 1)]), errno::EINVAL);
    a.refuses(GSI, ask(88, &[two(5, 2)]), errno::EINVAL);
    // Rights lie in a list; there is an end to it.
    let until_full = |give: &dyn Fn(u64) -> i64| {
        (0..4096u64).map(|n| give(2 * n)).find(|&result| result != 0).unwrap_or(0)
    };
    a.refuses(MEMORY, until_full(&|n| ask(20, &[HOLE + n, 1, 1])), errno::ENOSPC);
    a.refuses(PORTS, until_full(&|n| ask(21, &[two(n as u32, 1), 1])), errno::ENOSPC);
    puppet.end()?;
    a.end()
}
