//! What hostile guests may try, at random.

use abi::Mfn;
use proptest::prelude::*;

use super::world::*;
use crate::Pte;

#[derive(Clone, Debug)]
pub enum Op {
    Assign(u64, u16),
    Release(u64),
    Share(u64, u16, bool),
    Unshare(u64),
    Steal(u64),
    /// A guest writes to its own page.
    Poke(u64, usize, u64),
    /// The same for a whole tree, so that some validations succeed.
    Plant([u64; 5], usize, u64),
    Update(u64, usize, u64, u8, bool),
    Pin(u64, u8),
    Unpin(u64),
    Get(u64),
    GetTyped(u64, u8),
    Put(usize),
    Base(usize, u64),
    Access(usize, usize, [usize; 4]),
    Flush(usize),
    /// What it says, of a frame that the CPU remembers.
    OfCached(usize, usize, usize, u8),
    /// A tree that a CPU uses and has just walked.
    Live(usize, [u64; 5], usize),
    End(u16),
}

/// The entries that are ever used, besides the hypervisor's own.
pub const SLOTS: [usize; 6] = [0, 1, 2, 255, 260, 511];

fn slot() -> impl Strategy<Value = usize> {
    prop_oneof![8 => Just(0), 8 => Just(1), 2 => prop::sample::select(&SLOTS[..])]
}

fn mfn() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 1..14_u64, 1 => 14..FRAMES - 1]
}

fn entry() -> impl Strategy<Value = u64> {
    let target = prop_oneof![
        20 => mfn(),
        1 => prop::sample::select(vec![0, IO_RW.0, IO_RO.0, IO_NONE.0, IO_FRAME.0, 1 << 29]),
    ];
    let flags = prop::sample::select(vec![
        RW,
        RW,
        RO,
        RO,
        0,
        Pte::PRESENT,
        RW | Pte::ACCESSED_DIRTY,
        RW | Pte::NO_EXECUTE,
        RO | Pte::GUEST_KERNEL,
        RW | Pte::PAT_OR_SUPERPAGE,
        RO | Pte::GLOBAL,
        RO | Pte::CACHE_DISABLE,
        RW | (1 << 58),
    ]);
    (target, flags).prop_map(|(m, f)| Pte::new(Mfn(m), f).0)
}

fn kind() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(4_u8), 6 => 0..7_u8]
}

pub fn op() -> impl Strategy<Value = Op> {
    let tree = prop::sample::subsequence((1..14_u64).collect::<Vec<_>>(), 5)
        .prop_shuffle()
        .prop_map(|v| [v[0], v[1], v[2], v[3], v[4]])
        .boxed();
    prop_oneof![
        4 => (mfn(), 0..2_u16).prop_map(|(m, d)| Op::Assign(m, d)),
        2 => mfn().prop_map(Op::Release),
        1 => (mfn(), 0..2_u16, any::<bool>()).prop_map(|(m, d, r)| Op::Share(m, d, r)),
        1 => mfn().prop_map(Op::Unshare),
        1 => mfn().prop_map(Op::Steal),
        6 => (mfn(), slot(), prop_oneof![9 => entry(), 1 => Just(BAD_DESCRIPTOR)])
            .prop_map(|(m, i, e)| Op::Poke(m, i, e)),
        8 => (0..2_usize, tree.clone(), 0..2_usize).prop_map(|(c, t, i)| Op::Live(c, t, i)),
        30 => (0..2_usize, any::<usize>(), 0..2_usize, 0..12_u8)
            .prop_map(|(c, n, i, what)| Op::OfCached(c, n, i, what)),
        8 => (tree, slot(), prop_oneof![Just(RO), Just(RW)]).prop_map(|(t, i, f)| Op::Plant(t, i, f)),
        20 => (mfn(), slot(), entry(), 0..3_u8, any::<bool>())
            .prop_map(|(m, i, e, how, foreign)| Op::Update(m, i, e, how, foreign)),
        10 => (mfn(), kind()).prop_map(|(m, k)| Op::Pin(m, k)),
        6 => mfn().prop_map(Op::Unpin),
        2 => mfn().prop_map(Op::Get),
        4 => (mfn(), kind()).prop_map(|(m, k)| Op::GetTyped(m, k)),
        5 => any::<usize>().prop_map(Op::Put),
        5 => (0..2_usize, mfn()).prop_map(|(c, m)| Op::Base(c, m)),
        20 => (0..2_usize, 0..20_usize, [slot(), slot(), slot(), slot()])
            .prop_map(|(c, s, p)| Op::Access(c, s, p)),
        1 => (0..2_usize).prop_map(Op::Flush),
        1 => (0..2_u16).prop_map(Op::End),
    ]
}
