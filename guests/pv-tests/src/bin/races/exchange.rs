//! The lists of an exchange, rewritten while it runs.

use crate::{Test, against, pause, stopped, test};
use core::sync::atomic::{AtomicU64, Ordering};
use pv_runtime::hypercall::{DOMID_SELF, addr, addr_mut, call2, errno, nr};
use pv_runtime::outcome::{Outcome, expect, holds};
use pv_runtime::puppet::Puppet;
use pv_runtime::{memory, println, start};

pub const TESTS: &[Test] = &[test("race-exchange-lists", exchange_lists)];

/// Pages that are exchanged at a time, for as many in a row.
const PAGES: usize = 512;
const ORDER: u32 = 9;
/// The places in the list that the second CPU writes to.
const FLIPPED: [usize; 2] = [5, PAGES - 1];

static LIST: [AtomicU64; PAGES] = [const { AtomicU64::new(0) }; PAGES];
/// What belongs at those places.
static OURS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// Frames of another domain.
static THEIRS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

#[repr(C)]
struct Extents {
    list: u64,
    count: u64,
    order: u32,
    flags: u32,
    domid: u16,
}

#[repr(C)]
struct Exchange {
    input: Extents,
    output: Extents,
    done: u64,
}

/// Names the other domain's frames, and ours again, in turns of many lengths.
fn rewrite() {
    let mut turn = 0u32;
    while !stopped() {
        turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let which = (turn >> 30) as usize % 2;
        let place = &LIST[FLIPPED[which]];
        place.store(THEIRS[which].load(Ordering::SeqCst), Ordering::SeqCst);
        pause(turn >> 20);
        place.store(OURS[which].load(Ordering::SeqCst), Ordering::SeqCst);
        pause(turn >> 18);
    }
}

/// Puts frames in a row into the list.
fn name(first: impl Fn(usize) -> u64) {
    for (index, place) in LIST.iter().enumerate() {
        let frame = first(index);
        if let Some(which) = FLIPPED.iter().position(|&flipped| flipped == index) {
            OURS[which].store(frame, Ordering::SeqCst);
        }
        place.store(frame, Ordering::SeqCst);
    }
}

fn pages_of(domid: u16) -> i64 {
    call2(nr::MEMORY_OP, 3, addr(&domid))
}

/// Whatever the list says from one moment to the next: an exchange takes pages of the caller's and
/// gives as many back, or is refused and takes none. Another domain's stay where they are.
fn exchange_lists() -> Outcome {
    let own = DOMID_SELF as u16;
    let mut puppet = Puppet::start()?;
    for (which, frame) in THEIRS.iter().enumerate() {
        frame.store(puppet.data_frame(1 + which), Ordering::SeqCst);
        puppet.data(1 + which).write(7, 0x5eed + which as u64);
    }
    let theirs = [puppet.data_frame(1), puppet.data_frame(2)];
    let numbers = theirs.map(memory::mfn_to_pfn);
    let (ours_before, theirs_before) = (pages_of(own), pages_of(puppet.domid));
    let last = start::info().nr_pages - 1;
    name(|index| memory::pfn_to_mfn(last - index as u64));
    let (mut made, mut refused) = (0u32, 0u32);
    let counts = core::cell::Cell::new((0u32, 0u32));
    let round = || {
        let mut output = [0x10_0000u64];
        let extents = |list, count, order| Extents { list, count, order, flags: 0, domid: own };
        let mut exchange = Exchange {
            input: extents(addr(&LIST), PAGES as u64, 0),
            output: extents(addr_mut(&mut output), 1, ORDER),
            done: 0,
        };
        match call2(nr::MEMORY_OP, 11, addr_mut(&mut exchange)) {
            0 => {
                made += 1;
                let given = output[0]..output[0] + PAGES as u64;
                let taken = theirs.iter().any(|frame| given.contains(frame));
                holds("what we are given was another's", !taken)?;
                name(|index| output[0] + index as u64);
            }
            result => {
                refused += 1;
                expect("an exchange", result, errno::EINVAL)?;
            }
        }
        counts.set((made, refused));
        for (frame, number) in theirs.iter().zip(numbers) {
            let now = memory::mfn_to_pfn(*frame);
            expect("the number of another's page", now.cast_signed(), number.cast_signed())?;
        }
        expect("our pages", pages_of(own), ours_before)
    };
    let enough = |rounds| rounds >= 200 && counts.get().0 >= 20 && counts.get().1 >= 20;
    let outcome = against(rewrite, round, enough);
    let (made, refused) = counts.get();
    println!("{made} exchanges made, {refused} refused");
    outcome?;
    holds("both came about", made > 0 && refused > 0)?;
    expect("their pages", pages_of(puppet.domid), theirs_before)?;
    for which in 0..2 {
        let kept = puppet.data(1 + which).read(7);
        expect("what they keep there", kept.cast_signed(), 0x5eed + which as i64)?;
    }
    // It has them mapped itself and still can use them.
    let written = puppet.call(nr::XEN_VERSION, [1, puppet.data_va(1), 0, 0, 0]);
    expect("a result into its page", written, 0)?;
    let changed = puppet.data(1).read(0) != 0;
    holds("the result", changed)?;
    puppet.end()
}
