//! `memory_op`: the operations that give and take pages.

use crate::{BEYOND, NOBODY, NOWHERE, Test, foreign_frame, spare_frame, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::hypercall::{DOMID_SELF, addr, addr_mut, call2, errno, nr};
use pv_runtime::memory;
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] = &[
    test("answers-reservations", reservations),
    test("answers-exchange", exchanges),
    test("answers-claim", claims),
];

const INCREASE: u64 = 0;
const DECREASE: u64 = 1;
const POPULATE: u64 = 6;
const EXCHANGE: u64 = 11;
const CLAIM: u64 = 24;

/// Extents of pages.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Extents {
    /// Their frames' numbers.
    pub list: u64,
    /// How many.
    pub count: u64,
    /// Pages in each, as a power of two.
    pub order: u32,
    /// Address width.
    pub flags: u32,
    /// Whose.
    pub domid: u16,
}

fn own() -> u16 {
    DOMID_SELF as u16
}

fn extents(list: &mut [u64], order: u32, domid: u16) -> Extents {
    Extents { list: addr_mut(list), count: list.len() as u64, order, flags: 0, domid }
}

fn op(op: u64, extents: &Extents) -> i64 {
    call2(nr::MEMORY_OP, op, addr(extents))
}

/// Pages that a domain has.
pub fn pages_of(domid: u16) -> i64 {
    call2(nr::MEMORY_OP, 3, addr(&domid))
}

fn reservations() -> Outcome {
    const NAMES: [(u64, &str); 3] = [
        (INCREASE, "memory_op.increase_reservation"),
        (DECREASE, "memory_op.decrease_reservation"),
        (POPULATE, "memory_op.populate_physmap"),
    ];
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let before = pages_of(own());
    let mut list = [spare_frame(0), spare_frame(1), spare_frame(2)];
    let result = op(DECREASE, &extents(&mut list, 0, own()));
    let less = expect("pages", pages_of(own()), before - 3);
    a.works(NAMES[1].1, expect("giving back", result, 3).and(less));
    let again = op(DECREASE, &extents(&mut list, 0, own()));
    a.step(expect("giving back what is gone", again, 0));
    let mut list = [0x1_2345];
    let result = op(POPULATE, &extents(&mut list, 0, own()));
    let named = expect("its number", memory::mfn_to_pfn(list[0]).cast_signed(), 0x1_2345);
    let more = expect("pages", pages_of(own()), before - 2);
    a.works(NAMES[2].1, expect("getting one", result, 1).and(named).and(more));
    let mut list = [0u64; 1];
    let result = op(INCREASE, &extents(&mut list, 0, own()));
    let named = holds("a frame", list[0] != 0);
    let more = expect("pages", pages_of(own()), before - 1);
    a.works(NAMES[0].1, expect("getting one", result, 1).and(named).and(more));
    // To a caller without argument, domain or right Xen says that 0 extents are done; we say why.
    for (number, name) in NAMES {
        let mut list = [foreign_frame()];
        a.refuses(name, call2(nr::MEMORY_OP, number, NOWHERE), errno::EFAULT);
        a.refuses(name, op(number, &extents(&mut list, 0, NOBODY)), errno::ESRCH);
        // The count of what is done rides in the number.
        let done = number | 5 << 6;
        a.refuses(name, op(done, &extents(&mut list, 0, own())), errno::EINVAL);
        let mut from = |domid| {
            let mut wanted = Extents { list: 0, count: 1, order: 0, flags: 0, domid };
            puppet.call_with(nr::MEMORY_OP, [number, 0, 0, 0, 0], 1, &mut wanted)
        };
        a.refuses(name, from(0), errno::EPERM);
        a.refuses(name, from(NOBODY), errno::ESRCH);
        // None of these is done, and none is an error.
        for bad in [
            extents(&mut list, 40, own()),
            Extents { list: NOWHERE, ..extents(&mut list, 0, own()) },
        ] {
            a.step(expect("how many are done", op(number, &bad), 0));
        }
    }
    // Those of another, by dom0.
    let before = pages_of(puppet.domid);
    let mut list = [20];
    a.step(expect("giving it none", op(POPULATE, &extents(&mut list, 0, puppet.domid)), 1));
    a.step(expect("pages", pages_of(puppet.domid), before + 1));
    a.step(expect("taking it", op(DECREASE, &extents(&mut list, 0, puppet.domid)), 1));
    a.step(expect("pages", pages_of(puppet.domid), before));
    puppet.end()?;
    a.end()
}

/// Pages for others.
#[derive(Clone, Copy)]
#[repr(C)]
struct Exchange {
    input: Extents,
    output: Extents,
    done: u64,
}

fn exchanges() -> Outcome {
    const NAME: &str = "memory_op.exchange";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let before = pages_of(own());
    let run = |x: &mut Exchange| call2(nr::MEMORY_OP, EXCHANGE, addr_mut(x));
    let mut input: [u64; 4] = core::array::from_fn(|n| spare_frame(10 + n as u64));
    let old = input;
    let mut output = [0x4_0000];
    let good = Exchange {
        input: extents(&mut input, 0, own()),
        output: extents(&mut output, 2, own()),
        done: 0,
    };
    let mut x = good;
    let result = run(&mut x);
    let aligned = holds("four in a row", output[0] % 4 == 0 && output[0] != 0);
    let numbered = (0..4).try_for_each(|n| {
        let pfn = memory::mfn_to_pfn(output[0] + n);
        expect("its number", pfn.cast_signed(), 0x4_0000 + n.cast_signed())
    });
    let effect = expect("exchanging", result, 0)
        .and(expect("how many", x.done.cast_signed(), 4))
        .and(aligned)
        .and(numbered)
        .and(expect("pages", pages_of(own()), before));
    a.works(NAME, effect);
    a.step(holds("they are others", !old.contains(&output[0])));
    // One of the four cannot be had: not ours, no memory, mapped by ourselves.
    for bad in [foreign_frame(), BEYOND, memory::page().mfn()] {
        let mut input = [spare_frame(20), spare_frame(21), spare_frame(22), bad];
        let mut x = Exchange { input: extents(&mut input, 0, own()), ..good };
        a.refuses(NAME, run(&mut x), errno::EINVAL);
    }
    a.step(expect("pages", pages_of(own()), before));
    let mut input: [u64; 4] = core::array::from_fn(|n| spare_frame(20 + n as u64));
    let good = Exchange { input: extents(&mut input, 0, own()), ..good };
    let with = |change: &dyn Fn(&mut Exchange)| {
        let mut x = good;
        change(&mut x);
        run(&mut x)
    };
    a.refuses(NAME, call2(nr::MEMORY_OP, EXCHANGE, NOWHERE), errno::EFAULT);
    a.refuses(NAME, with(&|x| x.input.list = NOWHERE), errno::EFAULT);
    a.refuses(NAME, with(&|x| x.input.count = 3), errno::EINVAL);
    a.refuses(NAME, with(&|x| x.done = 5), errno::EINVAL);
    a.refuses(NAME, with(&|x| (x.input.order, x.output.order) = (1, 0)), errno::EINVAL);
    a.refuses(NAME, with(&|x| (x.input.order, x.output.order) = (40, 42)), errno::EPERM);
    a.refuses(NAME, with(&|x| (x.input.domid, x.output.domid) = (NOBODY, NOBODY)), errno::ESRCH);
    a.refuses(NAME, with(&|x| x.output.domid = 0x7ff1), errno::EINVAL);
    a.step(expect("pages", pages_of(own()), before));
    let mut from = |domid, count| {
        let reservation = Extents { list: 0, count, order: 0, flags: 0, domid };
        let mut x = Exchange { input: reservation, output: reservation, done: 0 };
        puppet.call_with(nr::MEMORY_OP, [EXCHANGE, 0, 0, 0, 0], 1, &mut x)
    };
    a.refuses(NAME, from(0, 1), errno::EPERM);
    a.refuses(NAME, from(NOBODY, 1), errno::ESRCH);
    puppet.end()?;
    a.end()
}

fn claims() -> Outcome {
    const NAME: &str = "memory_op.claim_pages";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let before = pages_of(puppet.domid).cast_unsigned();
    let wanted = |count, domid| Extents { list: 0, count, order: 0, flags: 0, domid };
    let claim = |count| op(CLAIM, &wanted(count, puppet.domid));
    // Set aside: what is outstanding stands in the domain's information.
    let result = claim(before + 16);
    let info = pv_runtime::domctl::domctl(pv_runtime::domctl::op::INFO, puppet.domid, &[]).1;
    let outstanding = expect("outstanding", info.u[3].cast_signed(), 16);
    a.works(NAME, expect("claiming", result, 0).and(outstanding));
    a.refuses(NAME, claim(before + 17), errno::EINVAL);
    a.step(expect("giving up the claim", claim(0), 0));
    a.refuses(NAME, claim(before - 1), errno::EINVAL);
    a.refuses(NAME, claim(1 << 40), errno::EINVAL);
    let limit =
        pv_runtime::domctl::domctl(pv_runtime::domctl::op::MAX_MEM, puppet.domid, &[1 << 42]);
    a.step(expect("raising its limit", limit.0, 0));
    a.refuses(NAME, claim(1 << 30), errno::ENOMEM);
    a.refuses(NAME, op(CLAIM, &wanted(100, NOBODY)), errno::EINVAL);
    a.refuses(NAME, call2(nr::MEMORY_OP, CLAIM, NOWHERE), errno::EFAULT);
    for bad in [
        Extents { list: NOWHERE, ..wanted(100, puppet.domid) },
        Extents { order: 1, ..wanted(100, puppet.domid) },
        Extents { flags: 1, ..wanted(100, puppet.domid) },
    ] {
        a.refuses(NAME, op(CLAIM, &bad), errno::EINVAL);
    }
    let mut own = wanted(100, puppet.domid);
    let result = puppet.call_with(nr::MEMORY_OP, [CLAIM, 0, 0, 0, 0], 1, &mut own);
    a.refuses(NAME, result, errno::EPERM);
    puppet.end()?;
    a.end()
}
