//! The hot forms do what the general path does with the same bytes, and are what they claim to be.

use proptest::prelude::*;

use super::fake::Fake;
use crate::{
    Budget, Fault, Outcome, code::Code, hot, memory::general as general_memory,
    privileged::general as general_privileged,
};

const CASES: u32 = if cfg!(miri) {
    5
} else if cfg!(debug_assertions) {
    2_000
} else {
    50_000
};

/// Beginnings of hot forms and near misses: other REX bits, LOCK where it may not be.
fn beginning() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop::sample::select(vec![
        vec![0x89],
        vec![0x87],
        vec![0xc7],
        vec![0x0f, 0xb1],
        vec![0x0f, 0x30],
        vec![0x0f, 0x32],
        vec![0x0f, 0xa2],
        vec![0x0f, 0x31],
        vec![0xec],
        vec![0xed],
        vec![0xee],
        vec![0xef],
        vec![0x8b],
    ]);
    let lock = prop::sample::select(vec![None, None, Some(0xf0)]);
    let rex =
        prop_oneof![4 => (0x48_u8..0x50).prop_map(Some), 1 => Just(None), 1 => Just(Some(0x40))];
    (lock, rex, opcode).prop_map(|(lock, rex, opcode)| {
        lock.into_iter().chain(rex).chain(opcode).collect::<Vec<u8>>()
    })
}

fn fake() -> impl Strategy<Value = Fake> {
    let address = prop_oneof![
        4 => (0_u64..1 << 40).prop_map(|low| 0xffff_8880_0000_0000 | low),
        1 => (0_u64..32).prop_map(|low| (1 << 47) - 16 + low),
        1 => any::<u64>(),
    ];
    let fault = prop_oneof![
        4 => Just(None),
        1 => Just(Some((0, Fault::page_fault(0, 3)))),
        1 => Just(Some((0, Fault::Retry))),
    ];
    (
        beginning(),
        any::<[u8; 12]>(),
        proptest::array::uniform16(address),
        any::<(u64, bool, bool)>(),
        fault,
    )
        .prop_map(|(mut code, tail, regs, (flags, equal, kernel), fail)| {
            code.extend(tail);
            code.truncate(15);
            let mut fake = Fake::new(&code);
            fake.regs = regs;
            fake.rflags = 0x202 | flags & 0x1_08d5;
            fake.kernel = kernel;
            fake.fail = fail;
            if equal {
                // What a plain MOV would have put there, so that CMPXCHG succeeds now and then.
                let insn = super::reference::decode(&fake);
                let base = insn.memory_base().full_register();
                if base.is_gpr64() {
                    let addr = regs[base.number()].wrapping_add(insn.memory_displacement64());
                    fake.poke(addr, 8, regs[0].into());
                }
            }
            fake
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn the_hot_path_of_memory_agrees_with_the_general_one(fake in fake()) {
        let (mut hot, mut general) = (fake.clone(), fake);
        let code = Code::fetch(&mut hot).unwrap();
        if let Some(result) = hot::of_memory(&mut hot, &code) {
            prop_assert_eq!(result, general_memory(&mut general, code));
        }
        prop_assert_eq!(hot, general);
    }

    #[test]
    fn the_hot_path_of_privileged_agrees_with_the_general_one(fake in fake()) {
        let (mut hot, mut general) = (fake.clone(), fake);
        let code = Code::fetch(&mut hot).unwrap();
        if let Some(result) = hot::of_privileged(&mut hot, &code) {
            prop_assert_eq!(result, general_privileged(&mut general, code, Budget(0)));
        }
        prop_assert_eq!(hot, general);
    }
}

#[test]
fn the_forms_that_guests_run_most_take_the_hot_path() {
    let memory: [&[u8]; 6] = [
        &[0x48, 0x89, 0x37],             // mov [rdi], rsi
        &[0x49, 0x89, 0x42, 0x08],       // mov [r10+8], rax
        &[0x4c, 0x89, 0xa3, 0, 1, 0, 0], // mov [rbx+256], r12
        &[0x48, 0xc7, 0x07, 0, 0, 0, 0], // mov qword [rdi], 0
        &[0x48, 0x87, 0x07],             // xchg [rdi], rax
        &[0xf0, 0x48, 0x0f, 0xb1, 0x37], // lock cmpxchg [rdi], rsi
    ];
    for bytes in memory {
        let mut fake = Fake::new(bytes);
        fake.regs = [0x1000; 16];
        let code = Code::fetch(&mut fake).unwrap();
        assert_eq!(hot::of_memory(&mut fake, &code), Some(Ok(())), "{bytes:02x?}");
        assert_eq!(fake.advance(), bytes.len() as u64);
    }
    for bytes in [&[0xec][..], &[0xef], &[0x0f, 0x30], &[0x0f, 0x32], &[0x0f, 0xa2]] {
        let mut fake = Fake::new(bytes);
        let code = Code::fetch(&mut fake).unwrap();
        assert_eq!(hot::of_privileged(&mut fake, &code), Some(Ok(())), "{bytes:02x?}");
        assert_eq!(fake.advance(), bytes.len() as u64);
    }
}

#[test]
fn hot_code_at_the_end_of_what_can_be_fetched_is_run_all_the_same() {
    let mut fake = Fake::new(&[0x48, 0x89, 0x37]);
    fake.regs = [0x1000; 16];
    fake.readable = 3;
    assert_eq!(crate::memory(&mut fake), Outcome::Done);
}
