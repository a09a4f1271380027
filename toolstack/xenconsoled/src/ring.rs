//! The console's two rings in the page that a guest shares (public header `io/console.h`).
//!
//! All four indexes live in the page, so that a daemon that starts anew carries on where the last one
//! stopped. The guest can write any of them at any time: each is read once for each step, checked, and
//! used by value.

use std::mem::offset_of;

use abi::io::ConsoleInterface;

const INPUT: usize = offset_of!(ConsoleInterface, input);
const OUTPUT: usize = offset_of!(ConsoleInterface, output);
const IN_CONS: usize = offset_of!(ConsoleInterface, in_cons);
const IN_PROD: usize = offset_of!(ConsoleInterface, in_prod);
const OUT_CONS: usize = offset_of!(ConsoleInterface, out_cons);
const OUT_PROD: usize = offset_of!(ConsoleInterface, out_prod);

/// Bytes of the ring to the guest.
pub const INPUT_SIZE: usize = 1024;
/// Bytes of the ring from the guest.
pub const OUTPUT_SIZE: usize = 2048;

/// A page that somebody else writes as well.
///
/// Offsets lie within the page; a range that does not is ignored, loads then give 0.
pub trait Page {
    /// Copies bytes out.
    fn read(&self, offset: usize, to: &mut [u8]);
    /// Copies bytes in.
    fn write(&self, offset: usize, from: &[u8]);
    /// A 32-bit word; what is read after it is read later.
    fn load(&self, offset: usize) -> u32;
    /// A 32-bit word; what was written before it is seen before it.
    fn store(&self, offset: usize, value: u32);
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes moved.
    Moved(usize),
    /// The indexes were further apart than the ring is long; the ring was set to empty.
    Resynchronised {
        /// The writer's index.
        prod: u32,
        /// The reader's index.
        cons: u32,
    },
}

/// Takes what the guest wrote, at most one ring full, and appends it to `to`.
pub fn take_output(page: &impl Page, to: &mut Vec<u8>) -> Step {
    let cons = page.load(OUT_CONS);
    let prod = page.load(OUT_PROD);
    let length = prod.wrapping_sub(cons) as usize;
    if length > OUTPUT_SIZE {
        page.store(OUT_CONS, prod);
        return Step::Resynchronised { prod, cons };
    }
    let (first, second) = pieces(cons, length, OUTPUT_SIZE);
    for (at, bytes) in [first, second] {
        let start = to.len();
        to.resize(start.saturating_add(bytes), 0);
        if let Some(space) = to.get_mut(start..) {
            page.read(OUTPUT + at, space);
        }
    }
    if length > 0 {
        page.store(OUT_CONS, prod);
    }
    Step::Moved(length)
}

/// Bytes that the guest wrote and nobody took yet; 0 where the indexes make no sense.
pub fn output_waiting(page: &impl Page) -> usize {
    let length = page.load(OUT_PROD).wrapping_sub(page.load(OUT_CONS)) as usize;
    if length > OUTPUT_SIZE { 0 } else { length }
}

/// Bytes that fit into the ring to the guest. One whose indexes make no sense has no room until
/// [`put_input`] has set it right.
pub fn input_room(page: &impl Page) -> usize {
    let used = page.load(IN_PROD).wrapping_sub(page.load(IN_CONS)) as usize;
    INPUT_SIZE.saturating_sub(used)
}

/// Sets a ring to the guest right whose indexes make no sense: what is in it is lost.
pub fn check_input(page: &impl Page) -> Step {
    let cons = page.load(IN_CONS);
    let prod = page.load(IN_PROD);
    if prod.wrapping_sub(cons) as usize > INPUT_SIZE {
        page.store(IN_PROD, cons);
        return Step::Resynchronised { prod, cons };
    }
    Step::Moved(0)
}

/// Gives the guest the first bytes of `from`, as many as fit.
pub fn put_input(page: &impl Page, from: &[u8]) -> Step {
    let cons = page.load(IN_CONS);
    let prod = page.load(IN_PROD);
    let used = prod.wrapping_sub(cons) as usize;
    if used > INPUT_SIZE {
        page.store(IN_PROD, cons);
        return Step::Resynchronised { prod, cons };
    }
    let length = from.len().min(INPUT_SIZE - used);
    let ((at, bytes), (next, _)) = pieces(prod, length, INPUT_SIZE);
    let (first, second) = from.get(..length).unwrap_or_default().split_at(bytes);
    page.write(INPUT + at, first);
    page.write(INPUT + next, second);
    if length > 0 {
        // At most INPUT_SIZE, so it fits.
        page.store(IN_PROD, prod.wrapping_add(u32::try_from(length).unwrap_or(0)));
    }
    Step::Moved(length)
}

/// Where `length` bytes from an index on lie: up to the ring's end, and from its start.
fn pieces(index: u32, length: usize, size: usize) -> ((usize, usize), (usize, usize)) {
    let at = index as usize % size;
    let first = length.min(size - at);
    ((at, first), (0, length - first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::SharedPage;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// What a guest does to its page.
    fn guest_writes(page: &SharedPage, bytes: &[u8]) -> usize {
        let (cons, prod) = (page.load(OUT_CONS), page.load(OUT_PROD));
        let room = OUTPUT_SIZE - prod.wrapping_sub(cons) as usize;
        let length = bytes.len().min(room);
        for (i, byte) in bytes[..length].iter().enumerate() {
            page.write(OUTPUT + prod.wrapping_add(i as u32) as usize % OUTPUT_SIZE, &[*byte]);
        }
        page.store(OUT_PROD, prod.wrapping_add(length as u32));
        length
    }

    fn guest_reads(page: &SharedPage, most: usize) -> Vec<u8> {
        let (cons, prod) = (page.load(IN_CONS), page.load(IN_PROD));
        let length = most.min(prod.wrapping_sub(cons) as usize);
        let mut bytes = vec![0; length];
        for (i, byte) in bytes.iter_mut().enumerate() {
            let at = cons.wrapping_add(i as u32) as usize % INPUT_SIZE;
            page.read(INPUT + at, std::slice::from_mut(byte));
        }
        page.store(IN_CONS, cons.wrapping_add(length as u32));
        bytes
    }

    #[derive(Clone, Debug)]
    enum Operation {
        GuestWrites(Vec<u8>),
        DaemonTakes,
        DaemonGives(Vec<u8>),
        GuestReads(usize),
        DaemonStartsAnew,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..3000).prop_map(Operation::GuestWrites),
            Just(Operation::DaemonTakes),
            prop::collection::vec(any::<u8>(), 0..1500).prop_map(Operation::DaemonGives),
            (0usize..1500).prop_map(Operation::GuestReads),
            Just(Operation::DaemonStartsAnew),
        ]
    }

    proptest! {
        #[test]
        fn both_rings_carry_bytes_as_two_bounded_queues_do(
            start in any::<u32>(),
            operations in prop::collection::vec(operation(), 1..60),
        ) {
            let page = SharedPage::new();
            for index in [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD] {
                page.store(index, start);
            }
            let (mut out, mut input) = (VecDeque::new(), VecDeque::new());
            for operation in operations {
                match operation {
                    Operation::GuestWrites(bytes) => {
                        let written = guest_writes(&page, &bytes);
                        prop_assert_eq!(written, bytes.len().min(OUTPUT_SIZE - out.len()));
                        out.extend(&bytes[..written]);
                    }
                    Operation::DaemonTakes => {
                        prop_assert_eq!(output_waiting(&page), out.len());
                        let mut taken = Vec::new();
                        prop_assert_eq!(take_output(&page, &mut taken), Step::Moved(out.len()));
                        prop_assert_eq!(taken, out.drain(..).collect::<Vec<u8>>());
                    }
                    Operation::DaemonGives(bytes) => {
                        let room = INPUT_SIZE - input.len();
                        prop_assert_eq!(input_room(&page), room);
                        let given = bytes.len().min(room);
                        prop_assert_eq!(put_input(&page, &bytes), Step::Moved(given));
                        input.extend(&bytes[..given]);
                    }
                    Operation::GuestReads(most) => {
                        let read = guest_reads(&page, most);
                        let expected: Vec<u8> = input.drain(..most.min(input.len())).collect();
                        prop_assert_eq!(read, expected);
                    }
                    // Nothing is kept outside the page.
                    Operation::DaemonStartsAnew => {
                        prop_assert_eq!(check_input(&page), Step::Moved(0));
                    }
                }
            }
        }

        #[test]
        fn any_indexes_are_survived_and_at_most_one_ring_full_moves(
            indexes in any::<[u32; 4]>(),
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let page = SharedPage::new();
            for (at, value) in [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD].into_iter().zip(indexes) {
                page.store(at, value);
            }
            let mut taken = Vec::new();
            take_output(&page, &mut taken);
            prop_assert!(taken.len() <= OUTPUT_SIZE);
            prop_assert_eq!(output_waiting(&page), 0);
            check_input(&page);
            prop_assert!(matches!(put_input(&page, &bytes), Step::Moved(n) if n <= INPUT_SIZE));
            prop_assert!(input_room(&page) <= INPUT_SIZE);
        }
    }

    #[test]
    fn indexes_too_far_apart_empty_the_ring_and_say_so() {
        let page = SharedPage::new();
        page.store(OUT_PROD, 5000);
        let mut taken = Vec::new();
        assert_eq!(take_output(&page, &mut taken), Step::Resynchronised { prod: 5000, cons: 0 });
        assert!(taken.is_empty());
        assert_eq!(take_output(&page, &mut taken), Step::Moved(0));

        page.store(IN_CONS, 7);
        assert_eq!(put_input(&page, b"x"), Step::Resynchronised { prod: 0, cons: 7 });
        assert_eq!(put_input(&page, b"x"), Step::Moved(1));
        assert_eq!(guest_reads(&page, 9), b"x");
    }
}
