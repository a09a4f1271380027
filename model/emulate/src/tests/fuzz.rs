//! Random bytes: nothing panics, nothing goes far, and iced-x86 agrees on every length.

use proptest::prelude::*;

use super::{fake::Fake, reference};
use crate::{Budget, MAX_LENGTH, Outcome, memory, privileged, ud_prefix};

/// How many random byte strings are run.
const CASES: u32 = if cfg!(miri) {
    5
} else if cfg!(debug_assertions) {
    1_500
} else {
    100_000
};

/// Bytes that begin like instructions more often than random ones do.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let prefix = prop::sample::select(vec![0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x48, 0x4c, 0x65]);
    let opcode = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        any::<u8>().prop_map(|byte| vec![0x0f, byte]),
        any::<u8>().prop_map(|byte| vec![0x0f, 0x38, byte]),
    ];
    (proptest::collection::vec(prefix, 0..16), 0_usize..5, opcode, any::<[u8; 15]>()).prop_map(
        |(mut bytes, keep, opcode, tail)| {
            // Now and then so many prefixes that the instruction gets too long.
            if keep > 0 {
                bytes.truncate(keep - 1);
            }
            bytes.extend(opcode);
            bytes.extend(tail);
            bytes.truncate(15);
            bytes
        },
    )
}

fn run(entry: usize, fake: &mut Fake) -> Outcome {
    match entry {
        0 => memory(fake),
        1 => privileged(fake, Budget(5)),
        _ => ud_prefix(fake),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn random_bytes_never_panic_and_done_means_one_instruction(
        bytes in bytes(),
        regs: [u64; 16],
        mode: (bool, bool),
        readable in prop_oneof![4 => Just(usize::MAX), 1 => 0_usize..15],
    ) {
        for entry in 0..3 {
            let mut before = Fake::new(&bytes);
            before.regs = regs.map(|r| r & 0xffff_ff0f);
            (before.is_64, before.kernel) = mode;
            before.readable = readable;
            let mut after = before.clone();
            match run(entry, &mut after) {
                Outcome::Done => {
                    let length = after.rip.wrapping_sub(before.rip);
                    prop_assert!(length <= MAX_LENGTH as u64 || !before.is_64);
                    if entry < 2 && before.is_64 && length != 0 {
                        let insn = reference::decode(&before);
                        prop_assert!(!insn.is_invalid(), "{:02x?}", bytes);
                        prop_assert_eq!(length, insn.len() as u64, "{:?} {:02x?}", insn, bytes);
                    }
                }
                Outcome::Retry => {
                    after.regs = before.regs;
                    after.events.clear();
                    after.memory.clear();
                    after.calls = 0;
                    prop_assert_eq!(after, before);
                }
                Outcome::Inject(_) | Outcome::NotOurs => {
                    after.calls = before.calls;
                    prop_assert_eq!(after, before);
                }
            }
        }
    }
}
