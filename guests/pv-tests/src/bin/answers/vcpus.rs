//! `vcpu_op`, without the timers.

use crate::{BEYOND, NOWHERE, Test, foreign_frame, test};
use core::sync::atomic::{AtomicU32, Ordering};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::hypercall::{addr, addr_mut, errno, nr, yield_now};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::smp::{self, vcpu_op};
use pv_runtime::{events, memory, try_asm};

pub const TESTS: &[Test] = &[
    test("answers-vcpu", life),
    test("answers-vcpu-areas", areas),
    test("answers-vcpu-info", info),
];

static RAN: AtomicU32 = AtomicU32::new(0);

fn second() {
    RAN.fetch_add(1, Ordering::SeqCst);
}

/// Needs a second CPU.
fn life() -> Outcome {
    const INITIALISE: &str = "vcpu_op.initialise";
    let mut a = Answers::new();
    let initialise = |context: &smp::Context| vcpu_op(0, 1, addr(context));
    a.refuses("vcpu_op.up", vcpu_op(1, 1, 0), errno::EINVAL);
    a.refuses(INITIALISE, vcpu_op(0, 1, NOWHERE), errno::EFAULT);
    let code = life as *const () as u64;
    let context = smp::context(code);
    context.control[3] = memory::page().mfn() << 12;
    a.refuses(INITIALISE, initialise(context), errno::EINVAL);
    let context = smp::context(code);
    context.control[3] = foreign_frame() << 12;
    a.refuses(INITIALISE, initialise(context), errno::EINVAL);
    let context = smp::context(1 << 47);
    a.refuses(INITIALISE, initialise(context), errno::EINVAL);
    let context = smp::context(code);
    context.gdt_entries = 10_000;
    a.refuses(INITIALISE, initialise(context), errno::EINVAL);
    let started = smp::start(second);
    for _ in 0..1_000_000 {
        if smp::idle() {
            break;
        }
        yield_now();
    }
    let ran = expect("how often it ran", RAN.load(Ordering::SeqCst).into(), 1);
    let effect = expect("starting it", started.err().unwrap_or(0), 0).and(ran);
    a.works(INITIALISE, effect);
    a.works("vcpu_op.up", effect);
    let down = expect("whether it is up", vcpu_op(3, 1, 0), 0);
    a.works("vcpu_op.down", down);
    a.works("vcpu_op.is_up", down.and(expect("whether we are", vcpu_op(3, 0, 0), 1)));
    a.refuses(INITIALISE, initialise(smp::context(code)), errno::EEXIST);
    for vcpu in [2, 99, 0xffff_ffff] {
        a.refuses("vcpu_op", vcpu_op(3, vcpu, 0), errno::ENOENT);
    }
    a.refuses("vcpu_op", vcpu_op(99, 0, 0), errno::ENOSYS);
    a.refuses("vcpu_op", vcpu_op(!0, 0, 0), errno::ENOSYS);
    a.end()
}

fn areas() -> Outcome {
    const GET: &str = "vcpu_op.get_runstate_info";
    const RUNSTATE: &str = "vcpu_op.register_runstate_memory_area";
    const TIME: &str = "vcpu_op.register_vcpu_time_memory_area";
    const NMI: &str = "vcpu_op.send_nmi";
    let mut a = Answers::new();
    let mut state = [99u64; 6];
    let result = vcpu_op(4, 0, addr_mut(&mut state));
    // It runs, since some time.
    let running = expect("state", (state[0] & 0xffff_ffff).cast_signed(), 0)
        .and(holds("it ran for some time", state[2] > 0));
    a.works(GET, expect("asking", result, 0).and(running));
    a.refuses(GET, vcpu_op(4, 0, NOWHERE), errno::EFAULT);
    let page = memory::page();
    let result = vcpu_op(5, 0, addr(&page.va()));
    let (first, ran) = (page.read(0), page.read(2));
    a.works(
        RUNSTATE,
        expect("registering", result, 0)
            .and(expect("state", (first & 0xffff_ffff).cast_signed(), 0))
            .and(holds("it ran for some time", ran > 0)),
    );
    a.refuses(RUNSTATE, vcpu_op(5, 0, NOWHERE), errno::EFAULT);
    let result = vcpu_op(13, 0, addr(&(page.va() + 1024)));
    let (stamp, scale) = (page.read(129), page.read(131));
    a.works(
        TIME,
        expect("registering", result, 0).and(holds("a time stamp", stamp != 0 && scale != 0)),
    );
    a.refuses(TIME, vcpu_op(13, 0, NOWHERE), errno::EFAULT);
    for op in [5, 13] {
        a.step(expect("registering none", vcpu_op(op, 0, addr(&0u64)), 0));
    }
    // An NMI comes on the way back from the call that sends it.
    events::unmask_upcalls();
    let mut result = nr::VCPU_OP;
    let trap = try_asm!(
        "syscall",
        inout("rax") result,
        inout("rdi") 11u64 => _,
        inout("rsi") 0u64 => _,
        inout("rdx") 0u64 => _,
        out("rcx") _,
        out("r11") _,
    );
    events::mask_upcalls();
    let vector = trap.err().map_or(-1, |trap| trap.vector.cast_signed());
    a.works(NMI, expect("its vector", vector, 2).and(expect("sending", result.cast_signed(), 0)));
    a.end()
}

#[repr(C)]
struct Place {
    frame: u64,
    offset: u32,
    rest: u32,
}

fn info() -> Outcome {
    const NAME: &str = "vcpu_op.register_vcpu_info";
    let mut a = Answers::new();
    let page = memory::page();
    let place = |frame, offset| vcpu_op(10, 1, addr(&Place { frame, offset, rest: 0 }));
    a.refuses(NAME, vcpu_op(10, 1, NOWHERE), errno::EFAULT);
    a.refuses(NAME, place(page.mfn(), 4096 - 8), errno::ENXIO);
    a.refuses(NAME, place(page.mfn(), 4), errno::ENXIO);
    a.refuses(NAME, place(BEYOND, 0), errno::EINVAL);
    a.refuses(NAME, place(foreign_frame(), 0), errno::EINVAL);
    a.refuses(NAME, place(memory::top_table(), 0), errno::EACCES);
    // Everything is pending there at first: it has no handler for events.
    if let Some(shared) = events::shared_info() {
        shared.vcpus[1].upcall_mask.store(1, Ordering::SeqCst);
    }
    // Its time has been set there, and it can be set once only.
    page.write(8 + 5, 0);
    let result = place(page.mfn(), 64);
    let started = smp::start(second);
    while !smp::idle() {
        yield_now();
    }
    let time = holds("its time", page.read(8 + 5) != 0);
    a.step(expect("running it", started.err().unwrap_or(0), 0));
    a.works(NAME, expect("placing it", result, 0).and(time));
    a.refuses(NAME, place(page.mfn(), 128), errno::EBUSY);
    // Nothing pins it to a CPU.
    let mut id = 99u64;
    a.refuses("vcpu_op.get_physid", vcpu_op(12, 0, addr_mut(&mut id)), errno::EINVAL);
    a.end()
}
