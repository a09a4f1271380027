//! Every form of the instructions of `memory`, with random operands, against the plain model.

use proptest::prelude::*;

use super::{
    fake::Fake,
    reference::{self, Expected},
};
use crate::{Exception, Fault, Outcome, Size, memory};

/// How many random instructions a test runs.
const CASES: u32 = if cfg!(miri) {
    5
} else if cfg!(debug_assertions) {
    1_500
} else {
    60_000
};

/// Opcodes with their escape bytes.
fn opcodes() -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    for operation in 0..8 {
        list.extend((0..4).map(|form| vec![operation << 3 | form]));
    }
    let one = [
        0x63, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0xa0, 0xa1, 0xa2,
        0xa3, 0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xc6, 0xc7, 0xf6, 0xf7, 0xfe, 0xff,
    ];
    list.extend(one.map(|byte| vec![byte]));
    let two = [
        0xa3, 0xab, 0xb3, 0xbb, 0xba, 0xb0, 0xb1, 0xc0, 0xc1, 0xc3, 0xc7, 0xc7, 0xb6, 0xb7, 0xbe,
        0xbf,
    ];
    list.extend(two.map(|byte| vec![0x0f, byte]));
    for byte in (0x40..=0x4f).chain(0x90..=0x9f) {
        list.push(vec![0x0f, byte]);
    }
    list.push(vec![0x0f, 0x38, 0xf0]);
    list.push(vec![0x0f, 0x38, 0xf1]);
    list
}

/// Registers that often make canonical addresses, and often hit boundaries.
fn register() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0_u64..0x1_0000,
        2 => any::<u32>().prop_map(u64::from),
        3 => (0_u64..1 << 40).prop_map(|low| 0xffff_8880_0000_0000 | low),
        1 => (0_u64..32).prop_map(|low| (1 << 47) - 16 + low),
        1 => (0_u64..32).prop_map(|low| 0_u64.wrapping_sub(low)),
        1 => any::<u64>(),
    ]
}

/// A machine at a random instruction; true when it has an address-size prefix.
fn machine() -> impl Strategy<Value = (Fake, bool)> {
    let prefixes = proptest::collection::vec(
        prop::sample::select(vec![
            0x66, 0x66, 0x67, 0x64, 0x65, 0xf0, 0xf0, 0xf2, 0xf3, 0x2e, 0x3e, 0x26, 0x36,
        ]),
        0..3,
    );
    let rex =
        prop_oneof![2 => Just(None), 3 => (0x40_u8..0x50).prop_map(Some), 1 => Just(Some(0x48))];
    let modrm = prop_oneof![12 => 0_u8..0xc0, 1 => any::<u8>()];
    (
        (prefixes, rex, prop::sample::select(opcodes()), modrm),
        any::<[u8; 13]>(),
        proptest::array::uniform16(register()),
        any::<(u64, bool, bool)>(),
        0_u64..4,
    )
        .prop_map(|((prefixes, rex, opcode, modrm), tail, mut regs, random, count)| {
            let mut code = prefixes.clone();
            code.extend(rex);
            code.extend(opcode);
            code.push(modrm);
            code.extend(tail);
            code.truncate(15);
            let (flags, small_count, down) = random;
            if small_count {
                regs[1] = count;
            }
            let mut fake = Fake::new(&code);
            fake.regs = regs;
            fake.rflags = 0x202 | flags & 0x1_08d5 | u64::from(down) << 10;
            (fake, prefixes.contains(&0x67))
        })
}

/// Puts what an exchanging instruction expects into memory, so that both outcomes are seen.
fn make_equal(fake: &mut Fake) {
    let insn = reference::decode(fake);
    let bytes = insn.memory_size().size() as u64;
    let regs = fake.regs;
    let address = insn.virtual_address(0, 0, |register, _, _| match register {
        iced_x86::Register::FS => Some(fake.bases[0]),
        iced_x86::Register::GS => Some(fake.bases[1]),
        register if register.is_segment_register() => Some(0),
        register if register.size() == 4 => {
            Some(regs[register.full_register().number()] & 0xffff_ffff)
        }
        register => Some(regs[register.full_register().number()]),
    });
    let value = match insn.mnemonic() {
        iced_x86::Mnemonic::Cmpxchg => u128::from(regs[0]),
        iced_x86::Mnemonic::Cmpxchg8b => {
            u128::from(regs[2]) << 32 | u128::from(regs[0] & 0xffff_ffff)
        }
        iced_x86::Mnemonic::Cmpxchg16b => u128::from(regs[2]) << 64 | u128::from(regs[0]),
        _ => return,
    };
    fake.poke(address.unwrap_or(0), bytes, value);
}

fn check(before: &Fake, address_32: bool) -> Result<(), TestCaseError> {
    let mut after = before.clone();
    let outcome = memory(&mut after);
    after.calls = before.calls;
    match reference::run(before, address_32) {
        Expected::State(state) => {
            prop_assert_eq!(outcome, Outcome::Done);
            prop_assert_eq!(&after, &*state);
        }
        Expected::Fault(exception) => {
            prop_assert_eq!(outcome, Outcome::Inject(exception));
            prop_assert_eq!(&after, before);
        }
        Expected::No => {
            prop_assert!(matches!(
                outcome,
                Outcome::NotOurs | Outcome::Inject(Exception::UD | Exception::GP)
            ));
            prop_assert_eq!(&after, before);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn each_form_leaves_what_the_plain_model_leaves((mut fake, short) in machine(), equal: bool) {
        if equal {
            make_equal(&mut fake);
        }
        check(&fake, short)?;
    }

    #[test]
    fn a_failing_access_leaves_nothing_behind((fake, _) in machine(), at in 0_usize..3, kind in 0..3) {
        let (fault, expected) = match kind {
            0 => (Fault::page_fault(0x1000, 3), Outcome::Inject(Exception::page_fault(0x1000, 3))),
            1 => (Fault::Retry, Outcome::Retry),
            _ => (Fault::Unhandled, Outcome::NotOurs),
        };
        let mut before = fake;
        before.fail = Some((at, fault));
        let mut after = before.clone();
        let outcome = memory(&mut after);
        if after.calls > at {
            prop_assert_eq!(outcome, expected);
            after.calls = 0;
            prop_assert_eq!(after, before);
        }
    }

    #[test]
    fn a_change_by_another_cpu_is_as_if_it_had_come_first((fake, short) in machine(), value: u64) {
        let mut disturbed = fake.clone();
        disturbed.interference = vec![value];
        let outcome = memory(&mut disturbed);
        prop_assert_ne!(outcome, Outcome::Retry);
        if outcome != Outcome::Done || !disturbed.interference.is_empty() {
            return Ok(());
        }
        disturbed.calls = 0;
        // The write is where the exchange was, and as wide: found from what is now in memory.
        let (&addr, size) = (disturbed.memory.keys().next().unwrap(), disturbed.memory.len());
        let mut first = fake;
        let size = match size { 1 => Size::Byte, 2 => Size::Word, 4 => Size::Dword, _ => Size::Qword };
        // Wrapping cannot be: such an access is refused. Keys are in order.
        first.poke(addr, size.bytes(), u128::from(value & size.mask()));
        match reference::run(&first, short) {
            Expected::State(state) => prop_assert_eq!(disturbed, *state),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn every_form_is_reached_by_the_generator_and_executed() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let strategy = machine();
    let mut done = std::collections::BTreeSet::new();
    for _ in 0..6_000 {
        let (mut fake, _) = strategy.new_tree(&mut runner).unwrap().current();
        let insn = reference::decode(&fake);
        if memory(&mut fake) == Outcome::Done {
            done.insert(insn.mnemonic());
        }
    }
    // 32 conditional ones, 12 string ones, and 27 others (MOVSB etc. count with the strings).
    assert!(done.len() >= 70, "{} mnemonics: {done:?}", done.len());
}
