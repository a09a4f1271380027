//! The heap beside a set of free frame numbers, which is obviously right.

use crate::{Heap, HeapError, Links, MAX_ORDER};
use abi::Mfn;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Default)]
struct Table(RefCell<HashMap<u64, (u64, u64, u8)>>);

impl Table {
    fn get(&self, mfn: Mfn) -> (u64, u64, u8) {
        self.0.borrow().get(&mfn.0).copied().unwrap_or_default()
    }
    fn with(&self, mfn: Mfn, f: impl FnOnce(&mut (u64, u64, u8))) {
        f(self.0.borrow_mut().entry(mfn.0).or_default());
    }
}

impl Links for Table {
    fn next(&self, mfn: Mfn) -> Mfn {
        Mfn(self.get(mfn).0)
    }
    fn prev(&self, mfn: Mfn) -> Mfn {
        Mfn(self.get(mfn).1)
    }
    fn set_next(&self, mfn: Mfn, next: Mfn) {
        self.with(mfn, |r| r.0 = next.0);
    }
    fn set_prev(&self, mfn: Mfn, prev: Mfn) {
        self.with(mfn, |r| r.1 = prev.0);
    }
    fn tag(&self, mfn: Mfn) -> u8 {
        self.get(mfn).2
    }
    fn set_tag(&self, mfn: Mfn, tag: u8) {
        self.with(mfn, |r| r.2 = tag);
    }
}

fn heap(ranges: &[(u64, u64)]) -> Heap<Table> {
    let mut heap = Heap::new(Table::default());
    for &(start, end) in ranges {
        heap.add_range(Mfn(start), Mfn(end)).unwrap();
    }
    heap
}

#[test]
fn an_empty_heap_gives_nothing() {
    let mut heap = heap(&[]);
    assert_eq!(heap.alloc(0, None), None);
    assert_eq!(heap.largest_order(), None);
    assert_eq!(heap.free_pages(), 0);
}

#[test]
fn memory_above_4_gib_is_used_first_and_memory_below_as_a_last_resort() {
    let mut heap = heap(&[(0x1000, 0x1001), (0x10_0000, 0x10_0001)]);
    assert_eq!(heap.alloc(0, None), Some(Mfn(0x10_0000)));
    assert_eq!(heap.alloc(0, None), Some(Mfn(0x1000)));
    assert_eq!(heap.alloc(0, None), None);
}

#[test]
fn address_bits_bound_every_frame_of_the_block() {
    let mut heap = heap(&[(0, 0x20_0000)]);
    for bits in [13u32, 20, 24, 31, 32, 33] {
        for order in [0u32, 1, 5, 9] {
            let Some(mfn) = heap.alloc(order, Some(bits)) else { continue };
            let end = (mfn.0 + (1u64 << order)) << 12;
            assert!(end <= 1u64 << bits, "{mfn:?} order {order} bits {bits}");
        }
    }
    assert_eq!(heap.alloc(0, Some(12)), None, "frame 0 is not the heap's");
    assert_eq!(heap.alloc(0, Some(0)), None);
    assert!(heap.alloc(0, Some(64)).is_some());
}

#[test]
fn frame_zero_is_never_given_out_and_all_else_comes_back_as_large_blocks() {
    let mut heap = heap(&[(0, 0x20_0000)]);
    assert_eq!(heap.free_pages(), 0x1f_ffff);
    assert_eq!(heap.free_pages_below(32), 0xf_ffff);
    let mut got = Vec::new();
    while let Some(mfn) = heap.alloc(12, None) {
        assert_ne!(mfn, Mfn(0));
        got.push(mfn);
    }
    for mfn in got {
        heap.free(mfn, 12).unwrap();
    }
    assert_eq!(heap.largest_order(), Some(20));
    assert_eq!(heap.blocks_of_order(20), 1);
    assert_eq!(heap.free_pages(), 0x1f_ffff);
}

#[test]
fn a_double_free_and_a_wrong_order_are_refused() {
    let mut heap = heap(&[(64, 128)]);
    let mfn = heap.alloc(2, None).unwrap();
    assert_eq!(heap.free(mfn, 1), Err(HeapError::NotAllocated(mfn, 1)));
    assert_eq!(heap.free(mfn, 3), Err(HeapError::NotAllocated(mfn, 3)));
    assert_eq!(heap.free(Mfn(mfn.0 + 1), 0), Err(HeapError::NotAllocated(Mfn(mfn.0 + 1), 0)));
    assert_eq!(heap.free(mfn, 21), Err(HeapError::BadOrder(21)));
    assert_eq!(heap.free(Mfn(!0), 0), Err(HeapError::NotAllocated(Mfn(!0), 0)));
    heap.free(mfn, 2).unwrap();
    assert_eq!(heap.free(mfn, 2), Err(HeapError::NotAllocated(mfn, 2)));
    assert_eq!(heap.free_pages(), 64);
    assert_eq!(heap.blocks_of_order(6), 1);
}

#[test]
fn a_split_block_is_freed_page_by_page_and_joins_again() {
    let mut heap = heap(&[(512, 1024)]);
    let mfn = heap.alloc(9, None).unwrap();
    assert_eq!(heap.split(mfn, 9, 10), Err(HeapError::BadOrder(10)));
    assert_eq!(heap.split(mfn, 8, 0), Err(HeapError::NotAllocated(mfn, 8)));
    heap.split(mfn, 9, 0).unwrap();
    assert_eq!(heap.free(mfn, 9), Err(HeapError::NotAllocated(mfn, 9)));
    for i in 0..512 {
        heap.free(Mfn(mfn.0 + i), 0).unwrap();
    }
    assert_eq!(heap.largest_order(), Some(9));
}

#[test]
fn a_block_without_a_tag_is_reclaimed_once_and_never_while_it_is_free() {
    let mut heap = heap(&[(512, 1024)]);
    let mfn = heap.alloc(2, None).unwrap();
    assert_eq!(heap.reclaim(mfn, 2), Err(HeapError::NotAllocated(mfn, 2)), "it has its tag");
    heap.links().set_tag(mfn, 0);
    assert_eq!(heap.reclaim(Mfn(mfn.0 + 1), 1), Err(HeapError::Misaligned(Mfn(mfn.0 + 1), 1)));
    assert_eq!(heap.reclaim(mfn, 3), Err(HeapError::NotAllocated(mfn, 3)), "half of it is free");
    for n in 0..4 {
        let page = Mfn(mfn.0 + n);
        heap.reclaim(page, 0).unwrap();
        assert_eq!(heap.reclaim(page, 0), Err(HeapError::NotAllocated(page, 0)));
    }
    assert_eq!(heap.largest_order(), Some(9));
    for wrong in [Mfn(0), Mfn(700), Mfn(!0)] {
        assert_eq!(heap.reclaim(wrong, 0), Err(HeapError::NotAllocated(wrong, 0)));
    }
    assert_eq!(heap.free_pages(), 512);
}

#[test]
fn a_taken_block_is_out_of_the_heap_until_it_is_freed() {
    let mut heap = heap(&[(1024, 2048)]);
    heap.take(Mfn(1500), 2).unwrap();
    assert_eq!(heap.free_pages(), 1020);
    assert_eq!(heap.take(Mfn(1501), 0), Err(HeapError::NotFree(Mfn(1501), 0)));
    assert_eq!(heap.take(Mfn(1501), 1), Err(HeapError::Misaligned(Mfn(1501), 1)));
    assert_eq!(heap.take(Mfn(1024), 10), Err(HeapError::NotFree(Mfn(1024), 10)));
    heap.free(Mfn(1500), 2).unwrap();
    assert_eq!(heap.largest_order(), Some(10));
}

#[test]
fn bad_and_overlapping_ranges_are_refused() {
    let mut heap = heap(&[(64, 128)]);
    assert!(heap.add_range(Mfn(9), Mfn(8)).is_err());
    assert!(heap.add_range(Mfn(1 << 40), Mfn((1 << 40) + 1)).is_err());
    assert!(heap.add_range(Mfn(80), Mfn(90)).is_err());
    let taken = heap.alloc(6, None).unwrap();
    assert!(heap.add_range(Mfn(taken.0 + 3), Mfn(taken.0 + 4)).is_err());
    assert_eq!(heap.free_pages(), 0);
    heap.add_range(Mfn((1 << 40) - 2), Mfn(1 << 40)).unwrap();
    assert_eq!(heap.free_pages(), 2);
}

#[derive(Clone, Debug)]
enum Op {
    Alloc(u32, Option<u32>),
    Free(usize),
    FreeWild(u64, u32),
    Take(u64, u32),
    Split(usize, u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u32..9, prop::option::of(18u32..36)).prop_map(|(o, b)| Op::Alloc(o, b)),
        1 => (0u32..30).prop_map(|o| Op::Alloc(o, None)),
        4 => any::<usize>().prop_map(Op::Free),
        2 => (bases(), 0u64..1100, 0u32..23).prop_map(|(b, m, o)| Op::FreeWild(b + m, o)),
        2 => (bases(), 0u64..1100, 0u32..12).prop_map(|(b, m, o)| Op::Take(b + m, o)),
        1 => (any::<usize>(), 0u32..9).prop_map(|(i, o)| Op::Split(i, o)),
    ]
}

/// Where the test's memory lies: at the start, around 16 MiB, around 4 GiB.
const BASES: [u64; 3] = [0, 0xe00, 0xf_fe00];

fn bases() -> impl Strategy<Value = u64> {
    prop::sample::select(&BASES[..])
}

struct Naive {
    free: BTreeSet<u64>,
    allocated: BTreeMap<u64, u32>,
}

impl Naive {
    fn pages(mfn: u64, order: u32) -> std::ops::Range<u64> {
        mfn..mfn + (1 << order)
    }
    fn all_free(&self, mfn: u64, order: u32) -> bool {
        Self::pages(mfn, order).all(|m| self.free.contains(&m))
    }
    fn could_alloc(&self, order: u32, bits: Option<u32>) -> bool {
        let size = 1u64 << order;
        let limit = bits.map_or(u64::MAX, |b| (1u64 << b) >> 12);
        self.free.iter().any(|&m| m % size == 0 && m + size <= limit && self.all_free(m, order))
    }
    fn allocate(&mut self, mfn: u64, order: u32) {
        for m in Self::pages(mfn, order) {
            assert!(self.free.remove(&m), "frame {m:#x} given out twice");
        }
        self.allocated.insert(mfn, order);
    }
    fn release(&mut self, mfn: u64) {
        let order = self.allocated.remove(&mfn).unwrap();
        self.free.extend(Self::pages(mfn, order));
    }
    fn nth(&self, n: usize) -> Option<(u64, u32)> {
        let len = self.allocated.len();
        (len > 0).then(|| self.allocated.iter().nth(n % len).map(|(m, o)| (*m, *o)).unwrap())
    }
}

fn step(heap: &mut Heap<Table>, naive: &mut Naive, op: Op) {
    match op {
        Op::Alloc(order, bits) => match heap.alloc(order, bits) {
            Some(mfn) => {
                assert_eq!(mfn.0 % (1 << order), 0);
                assert!(bits.is_none_or(|b| mfn.0 + (1 << order) <= (1u64 << b) >> 12));
                naive.allocate(mfn.0, order);
            }
            None => assert!(order > MAX_ORDER || !naive.could_alloc(order, bits)),
        },
        Op::Free(n) => {
            let Some((mfn, order)) = naive.nth(n) else { return };
            heap.free(Mfn(mfn), order).unwrap();
            naive.release(mfn);
        }
        Op::FreeWild(mfn, order) => {
            let right = naive.allocated.get(&mfn) == Some(&order);
            assert_eq!(heap.free(Mfn(mfn), order).is_ok(), right);
            if right {
                naive.release(mfn);
            }
        }
        Op::Take(mfn, order) => {
            let right = mfn % (1 << order) == 0 && naive.all_free(mfn, order);
            assert_eq!(heap.take(Mfn(mfn), order).is_ok(), right);
            if right {
                naive.allocate(mfn, order);
            }
        }
        Op::Split(n, to) => {
            let Some((mfn, from)) = naive.nth(n) else { return };
            assert_eq!(heap.split(Mfn(mfn), from, to).is_ok(), to <= from);
            if to <= from {
                naive.allocated.remove(&mfn);
                for m in Naive::pages(mfn, from).step_by(1 << to) {
                    naive.allocated.insert(m, to);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 96 }))]

    #[test]
    fn the_heap_agrees_with_a_set_of_frames(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 120 })) {
        let ranges = [(0, 0x200), (0xe00, 0x1233), (0xf_fe00, 0x10_0201)];
        let mut heap = heap(&ranges);
        let free = ranges.iter().flat_map(|&(s, e)| s.max(1)..e).collect();
        let mut naive = Naive { free, allocated: BTreeMap::new() };
        for op in ops {
            step(&mut heap, &mut naive, op);
            assert_eq!(heap.free_pages(), naive.free.len() as u64);
            let low = naive.free.range(..1 << 20).count() as u64;
            assert_eq!(heap.free_pages_below(32), low);
        }
        let largest = (0..=MAX_ORDER).rev().find(|&o| naive.could_alloc(o, None));
        assert_eq!(heap.largest_order(), largest);
    }
}
