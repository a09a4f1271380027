//! What `memory` promises, one case at a time; the forms in bulk are in `forms`.

use iced_x86::code_asm::*;

use super::fake::{CODE, Fake};
use crate::{Exception, Fault, Outcome, Reg, memory};

/// A page-table entry of a guest's kernel.
const PTE: u64 = 0xffff_8880_0123_4560;

fn assemble(build: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Fake {
    let mut assembler = CodeAssembler::new(64).unwrap();
    build(&mut assembler).unwrap();
    Fake::new(&assembler.assemble(CODE).unwrap())
}

use iced_x86::IcedError;

#[test]
fn a_page_table_entry_is_stored() {
    let mut fake = assemble(|a| a.mov(qword_ptr(rdi), rsi))
        .with(Reg::Rdi, PTE)
        .with(Reg::Rsi, 0x8000_0000_0123_4067);
    assert_eq!(memory(&mut fake), Outcome::Done);
    assert_eq!(fake.peek(PTE, 8), 0x8000_0000_0123_4067);
    assert_eq!(fake.advance(), 3);
}

#[test]
fn a_page_table_entry_is_cleared_by_a_sign_extended_immediate() {
    let mut fake = assemble(|a| a.mov(qword_ptr(r12 + 8), -2)).with(Reg::R12, PTE);
    assert_eq!(memory(&mut fake), Outcome::Done);
    assert_eq!(fake.peek(PTE + 8, 8), 0xffff_ffff_ffff_fffe);
}

#[test]
fn an_entry_is_swapped_for_a_register() {
    let mut fake =
        assemble(|a| a.xchg(qword_ptr(rdi + rcx * 8), rax)).with(Reg::Rdi, PTE).with(Reg::Rcx, 2);
    fake.poke(PTE + 16, 8, 0x77);
    assert_eq!(memory(&mut fake), Outcome::Done);
    assert_eq!((fake.peek(PTE + 16, 8), fake.get(Reg::Rax)), (0, 0x77));
}

#[test]
fn a_locked_exchange_of_an_entry_that_has_changed_reports_what_is_there() {
    let mut fake = assemble(|a| a.lock().cmpxchg(qword_ptr(rdi), rsi))
        .with(Reg::Rdi, PTE)
        .with(Reg::Rax, 5)
        .with(Reg::Rsi, 9);
    fake.poke(PTE, 8, 6);
    assert_eq!(memory(&mut fake), Outcome::Done);
    assert_eq!((fake.peek(PTE, 8), fake.get(Reg::Rax)), (6, 6));
    assert_eq!(fake.rflags & 0x40, 0);
}

#[test]
fn contention_without_end_asks_for_a_retry_and_changes_no_register() {
    let mut fake = assemble(|a| a.lock().and(qword_ptr(rdi), rsi)).with(Reg::Rdi, PTE);
    fake.interference = (1..=100).collect();
    let before = fake.clone();
    assert_eq!(memory(&mut fake), Outcome::Retry);
    assert_eq!((fake.regs, fake.rip, fake.rflags), (before.regs, before.rip, before.rflags));
    assert!(fake.interference.len() > 80);
}

#[test]
fn rip_relative_addresses_count_from_the_next_instruction() {
    // mov dword ptr [rip+0x10], 0x11223344: ten bytes.
    let mut fake = Fake::new(&[0xc7, 0x05, 0x10, 0, 0, 0, 0x44, 0x33, 0x22, 0x11]);
    assert_eq!(memory(&mut fake), Outcome::Done);
    assert_eq!(fake.peek(CODE + 10 + 0x10, 4), 0x1122_3344);
}

#[test]
fn gs_is_added_after_the_address_is_cut_to_32_bits() {
    let mut fake = assemble(|a| a.mov(byte_ptr(eax + 2).gs(), bl))
        .with(Reg::Rax, 0xdead_0000_ffff_ffff)
        .with(Reg::Rbx, 0x5a);
    assert_eq!(memory(&mut fake), Outcome::Done);
    assert_eq!(fake.peek(fake.bases[1] + 1, 1), 0x5a);
}

#[test]
fn high_byte_registers_are_reached_only_without_rex() {
    let mut plain = Fake::new(&[0x88, 0x27]).with(Reg::Rdi, PTE).with(Reg::Rax, 0x1234);
    assert_eq!(memory(&mut plain), Outcome::Done);
    assert_eq!(plain.peek(PTE, 1), 0x12);
    let mut rex = Fake::new(&[0x40, 0x88, 0x27]).with(Reg::Rdi, PTE).with(Reg::Rsp, 0x99);
    assert_eq!(memory(&mut rex), Outcome::Done);
    assert_eq!(rex.peek(PTE, 1), 0x99);
}

#[test]
fn a_rex_prefix_that_another_prefix_follows_counts_for_nothing() {
    let mut fake = Fake::new(&[0x48, 0x66, 0x89, 0x37])
        .with(Reg::Rdi, PTE)
        .with(Reg::Rsi, 0x1111_2222_3333_4444);
    assert_eq!(memory(&mut fake), Outcome::Done);
    assert_eq!(fake.memory.len(), 2);
}

#[test]
fn a_repeated_store_runs_one_iteration_and_stays_until_the_last() {
    let mut fake = Fake::new(&[0xf3, 0x48, 0xab]).with(Reg::Rdi, PTE).with(Reg::Rcx, 2);
    assert_eq!(memory(&mut fake), Outcome::Done);
    assert_eq!((fake.advance(), fake.get(Reg::Rcx), fake.get(Reg::Rdi)), (0, 1, PTE + 8));
    assert_eq!(memory(&mut fake), Outcome::Done);
    assert_eq!((fake.advance(), fake.get(Reg::Rcx), fake.get(Reg::Rdi)), (3, 0, PTE + 16));
}

#[test]
fn completing_an_instruction_clears_the_resume_flag() {
    let mut fake = Fake::new(&[0x48, 0x89, 0x37]).with(Reg::Rdi, PTE);
    fake.rflags |= 1 << 16;
    assert_eq!(memory(&mut fake), Outcome::Done);
    assert_eq!(fake.rflags, 0x202);
}

#[test]
fn a_non_canonical_address_is_a_stack_fault_only_through_the_stack_segment() {
    let bad = 0x8000_0000_0000;
    let run = |bytes: &[u8]| {
        let mut fake = Fake::new(bytes);
        fake.regs = [bad; 16];
        memory(&mut fake)
    };
    let cases: [(&[u8], Exception); 5] = [
        (&[0x48, 0x89, 0x07], Exception::GP),             // [rdi]
        (&[0x48, 0x89, 0x45, 0x00], Exception::SS),       // [rbp]
        (&[0x48, 0x89, 0x04, 0x24], Exception::SS),       // [rsp]
        (&[0x49, 0x89, 0x45, 0x00], Exception::GP),       // [r13]
        (&[0x64, 0x48, 0x89, 0x45, 0x00], Exception::GP), // fs:[rbp]
    ];
    for (bytes, exception) in cases {
        assert_eq!(run(bytes), Outcome::Inject(exception), "{bytes:02x?}");
    }
}

#[test]
fn an_access_that_leaves_the_lower_half_or_wraps_is_refused() {
    for addr in [0x7fff_ffff_fffc, 0xffff_ffff_ffff_fffc, 0xffff_7fff_ffff_fffc] {
        let mut fake = Fake::new(&[0x48, 0x89, 0x37]).with(Reg::Rdi, addr);
        assert_eq!(memory(&mut fake), Outcome::Inject(Exception::GP));
    }
}

#[test]
fn an_unaligned_sixteen_byte_exchange_is_refused() {
    let mut fake = Fake::new(&[0xf0, 0x48, 0x0f, 0xc7, 0x0f]).with(Reg::Rdi, PTE + 8);
    assert_eq!(memory(&mut fake), Outcome::Inject(Exception::GP));
}

#[test]
fn lock_where_the_processor_forbids_it_is_an_invalid_opcode() {
    for bytes in [&[0xf0, 0x48, 0x89, 0x37][..], &[0xf0, 0x39, 0x37], &[0xf0, 0x01, 0xc0]] {
        assert_eq!(memory(&mut Fake::new(bytes)), Outcome::Inject(Exception::UD), "{bytes:02x?}");
    }
}

#[test]
fn register_forms_and_unknown_opcodes_are_not_ours() {
    for bytes in [&[0x48, 0x89, 0xf7][..], &[0xe8, 0, 0, 0, 0], &[0x0f, 0x11, 0x07], &[0xff, 0x27]]
    {
        assert_eq!(memory(&mut Fake::new(bytes)), Outcome::NotOurs, "{bytes:02x?}");
    }
}

#[test]
fn other_than_64_bit_code_is_not_ours() {
    let mut fake = Fake::new(&[0x89, 0x37]);
    fake.is_64 = false;
    assert_eq!(memory(&mut fake), Outcome::NotOurs);
}

#[test]
fn sixteen_bytes_are_too_long_and_fifteen_are_not() {
    let long = |prefixes: usize| {
        let mut bytes = vec![0x3e; prefixes];
        bytes.extend([0x89, 0x37]);
        let mut fake = Fake::new(&bytes).with(Reg::Rdi, PTE);
        (memory(&mut fake), fake.advance())
    };
    assert_eq!(long(13), (Outcome::Done, 15));
    assert_eq!(long(14), (Outcome::Inject(Exception::GP), 0));
}

#[test]
fn code_that_goes_on_into_an_absent_page_faults_there() {
    let mut fake = Fake::new(&[0x48, 0xc7, 0x07, 0, 0, 0, 0]).with(Reg::Rdi, PTE);
    fake.readable = 5;
    let fault = Exception::page_fault(CODE + 5, 0x14);
    assert_eq!(memory(&mut fake), Outcome::Inject(fault));
    fake.readable = 7;
    assert_eq!(memory(&mut fake), Outcome::Done);
}

#[test]
fn rip_is_never_moved_to_a_non_canonical_address() {
    let mut fake = Fake::new(&[0x48, 0x89, 0x37]).with(Reg::Rdi, PTE);
    fake.code_at = (1 << 47) - 3;
    fake.rip = fake.code_at;
    assert_eq!(memory(&mut fake), Outcome::Inject(Exception::GP));
    assert!(fake.memory.is_empty());
}

#[test]
fn a_fault_of_the_write_comes_through_unchanged() {
    let mut fake = Fake::new(&[0x48, 0x89, 0x37]).with(Reg::Rdi, PTE);
    fake.fail = Some((0, Fault::page_fault(PTE, 3)));
    assert_eq!(memory(&mut fake), Outcome::Inject(Exception::page_fault(PTE, 3)));
}
