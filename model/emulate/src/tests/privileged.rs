//! What `privileged` and `ud_prefix` promise.

use super::fake::{CODE, Event, Fake};
use crate::{Budget, Exception, Fault, Outcome, Reg, Size, privileged, ud_prefix};

const BUDGET: Budget = Budget(1000);
const BUFFER: u64 = 0xffff_8880_0004_0000;

fn ones(bytes: &[u8]) -> Fake {
    let mut fake = Fake::new(bytes);
    fake.regs = [u64::MAX; 16];
    fake
}

/// Runs `bytes` and expects it done, all of it.
fn done(mut fake: Fake) -> Fake {
    assert_eq!(privileged(&mut fake, BUDGET), Outcome::Done);
    assert_eq!(fake.advance(), fake.code.len() as u64);
    fake
}

#[test]
fn in_writes_as_much_of_the_accumulator_as_it_reads() {
    let cases: [(&[u8], Size, u16, u64); 7] = [
        (&[0xec], Size::Byte, 0xffff, 0xffff_ffff_ffff_ffd5),
        (&[0x66, 0xed], Size::Word, 0xffff, 0xffff_ffff_ffff_c3d5),
        (&[0xed], Size::Dword, 0xffff, 0xa1b2_c3d5),
        (&[0x48, 0xed], Size::Dword, 0xffff, 0xa1b2_c3d5),
        (&[0xe4, 0x71], Size::Byte, 0x71, 0xffff_ffff_ffff_ffd5),
        (&[0x66, 0xe5, 0xf1], Size::Word, 0xf1, 0xffff_ffff_ffff_c3d5),
        (&[0xe5, 0xf1], Size::Dword, 0xf1, 0xa1b2_c3d5),
    ];
    for (bytes, size, port, rax) in cases {
        let fake = done(ones(bytes));
        assert_eq!(fake.events, [Event::In(port, size)]);
        assert_eq!(fake.get(Reg::Rax), rax, "{bytes:02x?}");
    }
}

#[test]
fn out_passes_as_much_of_the_accumulator_as_its_width() {
    let cases: [(&[u8], u16, Size, u32); 5] = [
        (&[0xee], 0x3f8, Size::Byte, 0x78),
        (&[0x66, 0xef], 0x3f8, Size::Word, 0x5678),
        (&[0xef], 0x3f8, Size::Dword, 0x1234_5678),
        (&[0xe6, 0x80], 0x80, Size::Byte, 0x78),
        (&[0xe7, 0x80], 0x80, Size::Dword, 0x1234_5678),
    ];
    for (bytes, port, size, value) in cases {
        let fake = Fake::new(bytes).with(Reg::Rax, 0xff_1234_5678).with(Reg::Rdx, 0x1_03f8);
        assert_eq!(done(fake).events, [Event::Out(port, size, value)]);
    }
}

#[test]
fn a_port_string_runs_up_to_its_budget_and_goes_on_where_it_was() {
    let mut fake = Fake::new(&[0xf3, 0x6c]).with(Reg::Rcx, 5).with(Reg::Rdi, BUFFER);
    assert_eq!(privileged(&mut fake, Budget(3)), Outcome::Retry);
    assert_eq!((fake.get(Reg::Rcx), fake.get(Reg::Rdi), fake.advance()), (2, BUFFER + 3, 0));
    assert_eq!(privileged(&mut fake, Budget(3)), Outcome::Done);
    assert_eq!((fake.get(Reg::Rcx), fake.get(Reg::Rdi), fake.advance()), (0, BUFFER + 5, 2));
    assert_eq!(fake.events.len(), 5);
    assert_eq!(fake.peek(BUFFER, 5), 0xd9_d8d7_d6d5);
}

#[test]
fn a_port_string_without_budget_does_nothing_and_one_of_no_length_is_done() {
    let mut fake = Fake::new(&[0xf2, 0x6f]).with(Reg::Rcx, 1);
    let before = fake.clone();
    assert_eq!(privileged(&mut fake, Budget(0)), Outcome::Retry);
    assert_eq!(fake, before);
    fake.regs[1] = 0;
    assert_eq!(privileged(&mut fake, Budget(0)), Outcome::Done);
    assert_eq!((fake.advance(), fake.events.len()), (2, 0));
}

#[test]
fn outs_reads_downwards_through_its_segment() {
    let mut fake = Fake::new(&[0x65, 0x66, 0xf3, 0x6f]).with(Reg::Rcx, 2).with(Reg::Rsi, 0x10);
    fake.rflags |= 1 << 10;
    let base = fake.bases[1];
    fake.poke(base + 0x0e, 4, 0x2222_1111);
    let fake = done(fake);
    assert_eq!(fake.events, [Event::Out(0, Size::Word, 0x2222), Event::Out(0, Size::Word, 0x1111)]);
    assert_eq!(fake.get(Reg::Rsi), 0x0c);
}

#[test]
fn a_port_is_not_read_when_its_datum_would_have_no_place() {
    let mut fake = Fake::new(&[0x6d]).with(Reg::Rdi, BUFFER);
    fake.read_only = Some(BUFFER);
    let expected = Outcome::Inject(Exception::page_fault(BUFFER, 3));
    assert_eq!(privileged(&mut fake, BUDGET), expected);
    assert!(fake.events.is_empty());
}

#[test]
fn completed_iterations_stand_when_a_later_one_faults() {
    let mut fake = Fake::new(&[0xf3, 0x6e]).with(Reg::Rcx, 4).with(Reg::Rsi, BUFFER);
    fake.fail = Some((4, Fault::page_fault(BUFFER + 2, 0)));
    let expected = Outcome::Inject(Exception::page_fault(BUFFER + 2, 0));
    assert_eq!(privileged(&mut fake, BUDGET), expected);
    assert_eq!((fake.get(Reg::Rcx), fake.get(Reg::Rsi), fake.advance()), (2, BUFFER + 2, 0));
}

#[test]
fn with_address_size_32_count_and_index_are_32_bits_wide() {
    let fake = Fake::new(&[0x67, 0xf3, 0x6c])
        .with(Reg::Rcx, 0xffff_ffff_0000_0001)
        .with(Reg::Rdi, 0xffff_ffff_ffff_ffff);
    let fake = done(fake);
    assert_eq!((fake.get(Reg::Rcx), fake.get(Reg::Rdi)), (0, 0));
    assert!(fake.memory.contains_key(&0xffff_ffff));
}

#[test]
fn control_registers_are_read_and_written_whole() {
    let fake = done(ones(&[0x41, 0x0f, 0x20, 0xd8])); // mov r8, cr3
    assert_eq!(fake.get(Reg::R8), 0x5000);
    let fake = done(ones(&[0x44, 0x0f, 0x20, 0xc3])); // mov rbx, cr8
    assert_eq!(fake.get(Reg::Rbx), 3);
    let fake = done(Fake::new(&[0x0f, 0x22, 0xe7]).with(Reg::Rdi, 0x1_0000_0020)); // mov cr4, rdi
    assert_eq!(fake.events, [Event::WriteCr(4, 0x1_0000_0020)]);
    // The mode bits of ModRM do not matter, nor does the operand size.
    let fake = done(ones(&[0x66, 0x0f, 0x20, 0x12])); // mov rdx, cr2
    assert_eq!(fake.get(Reg::Rdx), 0x1234);
}

#[test]
fn debug_registers_are_read_and_written_whole() {
    let fake = done(ones(&[0x0f, 0x21, 0xf8])); // mov rax, dr7
    assert_eq!(fake.get(Reg::Rax), 0x400);
    let fake = done(Fake::new(&[0x41, 0x0f, 0x23, 0xf1]).with(Reg::R9, 0xffff_0ff1)); // mov dr6, r9
    assert_eq!(fake.events, [Event::WriteDr(6, 0xffff_0ff1)]);
}

#[test]
fn registers_that_do_not_exist_are_invalid_opcodes() {
    let cases: [&[u8]; 5] = [
        &[0x0f, 0x20, 0xc8],       // cr1
        &[0x0f, 0x22, 0xf8],       // cr7
        &[0x44, 0x0f, 0x20, 0xc8], // cr9
        &[0x44, 0x0f, 0x21, 0xc0], // dr8
        &[0x44, 0x0f, 0x23, 0xf8], // dr15
    ];
    for bytes in cases {
        let outcome = privileged(&mut Fake::new(bytes), BUDGET);
        assert_eq!(outcome, Outcome::Inject(Exception::UD), "{bytes:02x?}");
    }
}

#[test]
fn model_specific_registers_go_through_edx_eax() {
    let fake = done(ones(&[0x0f, 0x32]).with(Reg::Rcx, 0xff_c000_0080));
    assert_eq!(fake.events, [Event::Rdmsr(0xc000_0080)]);
    assert_eq!((fake.get(Reg::Rax), fake.get(Reg::Rdx)), (0x5566_7788, 0x1122_3344));
    let fake = Fake::new(&[0x0f, 0x30])
        .with(Reg::Rcx, 0x1b)
        .with(Reg::Rax, 0xffff_ffff_0000_0002)
        .with(Reg::Rdx, 0xffff_ffff_0000_0001);
    assert_eq!(done(fake).events, [Event::Wrmsr(0x1b, 0x1_0000_0002)]);
}

#[test]
fn clts_clears_one_bit_and_lmsw_cannot_clear_protection() {
    let mut fake = Fake::new(&[0x0f, 0x06]);
    fake.crs[0] = 0x8005_003b;
    assert_eq!(done(fake).events, [Event::WriteCr(0, 0x8005_0033)]);
    let fake = done(Fake::new(&[0x0f, 0x01, 0xf0]).with(Reg::Rax, 0xfff8)); // lmsw ax
    assert_eq!(fake.events, [Event::WriteCr(0, 0x8005_0039)]);
}

#[test]
fn smsw_shows_16_bits_to_memory_and_the_operand_size_to_a_register() {
    let fake = done(Fake::new(&[0x0f, 0x01, 0x27]).with(Reg::Rdi, BUFFER));
    assert_eq!((fake.memory.len(), fake.peek(BUFFER, 2)), (2, 0x0033));
    let fake = done(ones(&[0x0f, 0x01, 0xe0]));
    assert_eq!(fake.get(Reg::Rax), 0x8005_0033);
    let fake = done(ones(&[0x66, 0x0f, 0x01, 0xe0]));
    assert_eq!(fake.get(Reg::Rax), 0xffff_ffff_ffff_0033);
}

#[test]
fn descriptor_table_registers_show_nothing_of_the_host() {
    for (modrm, base) in [(0x07, 0xffff_ffff_fffe_0000_u128), (0x0f, 0xffff_ffff_ffff_0000)] {
        let fake = done(Fake::new(&[0x0f, 0x01, modrm]).with(Reg::Rdi, BUFFER));
        assert_eq!((fake.memory.len(), fake.peek(BUFFER, 10)), (10, base << 16));
    }
    for modrm in [0xc0, 0xc8] {
        assert_eq!(done(ones(&[0x0f, 0x00, modrm])).get(Reg::Rax), 0);
    }
}

#[test]
fn a_table_register_is_stored_whole_or_not_at_all() {
    for addr in [BUFFER, BUFFER + 2] {
        let mut fake = Fake::new(&[0x0f, 0x01, 0x07]).with(Reg::Rdi, BUFFER);
        fake.read_only = Some(addr);
        let expected = Outcome::Inject(Exception::page_fault(addr, 3));
        assert_eq!(privileged(&mut fake, BUDGET), expected);
        assert!(fake.memory.is_empty());
    }
}

#[test]
fn invlpg_passes_its_address_and_ignores_one_that_is_not_canonical() {
    let fake = done(Fake::new(&[0x65, 0x0f, 0x01, 0x78, 0x08]).with(Reg::Rax, 0x1000));
    assert_eq!(fake.events, [Event::Invlpg(fake.bases[1] + 0x1008)]);
    let fake = done(Fake::new(&[0x0f, 0x01, 0x38]).with(Reg::Rax, 1 << 50));
    assert!(fake.events.is_empty());
}

#[test]
fn time_stamps_and_counters_clear_upper_halves() {
    let fake = done(ones(&[0x0f, 0x31]));
    assert_eq!((fake.get(Reg::Rax), fake.get(Reg::Rdx)), (0x89ab_cdef, 0x0123_4567));
    assert_eq!(fake.get(Reg::Rcx), u64::MAX);
    let fake = done(ones(&[0x0f, 0x01, 0xf9]));
    assert_eq!((fake.get(Reg::Rdx), fake.get(Reg::Rcx)), (0x0123_4567, 7));
    let fake = done(ones(&[0x0f, 0x33]).with(Reg::Rcx, 0xff_0000_0003));
    assert_eq!((fake.get(Reg::Rax), fake.get(Reg::Rdx)), (3, 5));
}

#[test]
fn caches_halting_and_the_extended_control_register_reach_the_machine() {
    for bytes in [&[0x0f, 0x08][..], &[0x0f, 0x09], &[0xf3, 0x0f, 0x09]] {
        assert_eq!(done(Fake::new(bytes)).events, [Event::Wbinvd]);
    }
    assert_eq!(done(Fake::new(&[0xf4])).events, [Event::Hlt]);
    assert_eq!(done(Fake::new(&[0xfa])).events, [Event::Interrupts(false)]);
    assert_eq!(done(Fake::new(&[0xfb])).events, [Event::Interrupts(true)]);
    let fake = Fake::new(&[0x0f, 0x01, 0xd1]).with(Reg::Rax, 7).with(Reg::Rdx, 1);
    assert_eq!(done(fake).events, [Event::Xsetbv(0, 0x1_0000_0007)]);
}

#[test]
fn cpuid_sets_four_registers() {
    let fake =
        done(ones(&[0x0f, 0xa2]).with(Reg::Rax, 0xff_4000_0000).with(Reg::Rcx, 0xff_0000_0002));
    let regs = [Reg::Rax, Reg::Rbx, Reg::Rcx, Reg::Rdx].map(|reg| fake.get(reg));
    assert_eq!(regs, [0xbfff_0000, 2, 0xcccc_cccc, 0xdddd_dddd]);
}

#[test]
fn user_mode_gets_a_fault_for_what_only_the_kernel_may() {
    let cases: [&[u8]; 14] = [
        &[0xf4],
        &[0x0f, 0x06],
        &[0x0f, 0x08],
        &[0x0f, 0x09],
        &[0x0f, 0x20, 0xc0],
        &[0x0f, 0x21, 0xc0],
        &[0x0f, 0x22, 0xc0],
        &[0x0f, 0x23, 0xc0],
        &[0x0f, 0x30],
        &[0x0f, 0x32],
        &[0x0f, 0x01, 0xf0],
        &[0x0f, 0x01, 0x38],
        &[0x0f, 0x01, 0xd1],
        &[0x0f, 0x01, 0x30],
    ];
    for bytes in cases {
        let mut fake = Fake::new(bytes);
        fake.kernel = false;
        let before = fake.clone();
        assert_eq!(privileged(&mut fake, BUDGET), Outcome::Inject(Exception::GP), "{bytes:02x?}");
        assert_eq!(fake, before);
    }
    for bytes in [&[0xec][..], &[0x0f, 0xa2], &[0x0f, 0x31], &[0x0f, 0x33], &[0x6e], &[0xfa]] {
        let mut fake = Fake::new(bytes);
        fake.kernel = false;
        assert_eq!(privileged(&mut fake, BUDGET), Outcome::Done, "{bytes:02x?}");
    }
}

#[test]
fn a_refused_instruction_changes_no_register() {
    let cases: [&[u8]; 14] = [
        &[0xec],
        &[0xef],
        &[0x0f, 0x06],
        &[0x0f, 0x09],
        &[0x0f, 0x20, 0xc0],
        &[0x0f, 0x22, 0xc0],
        &[0x0f, 0x21, 0xc0],
        &[0x0f, 0x30],
        &[0x0f, 0x31],
        &[0x0f, 0x32],
        &[0x0f, 0x33],
        &[0x0f, 0xa2],
        &[0x0f, 0x01, 0xf9],
        &[0xf4],
    ];
    for bytes in cases {
        for at in 0..2 {
            let mut before = Fake::new(bytes);
            before.fail = Some((at, Fault::GP));
            let mut after = before.clone();
            let outcome = privileged(&mut after, BUDGET);
            if after.calls > at {
                assert_eq!(outcome, Outcome::Inject(Exception::GP), "{bytes:02x?}");
                after.calls = 0;
                assert_eq!(after, before);
            }
        }
    }
}

#[test]
fn what_has_a_hypercall_instead_or_no_meaning_is_not_ours() {
    let cases: [&[u8]; 9] = [
        &[0x0f, 0x01, 0x17],       // lgdt
        &[0x0f, 0x01, 0x1f],       // lidt
        &[0x0f, 0x00, 0xd0],       // lldt
        &[0x0f, 0x00, 0xd8],       // ltr
        &[0x0f, 0x01, 0xf8],       // swapgs
        &[0x48, 0xcf],             // iretq
        &[0x48, 0x0f, 0x07],       // sysretq
        &[0xf0, 0x0f, 0x22, 0xc0], // lock mov cr0
        &[0x48, 0x89, 0x07],       // mov
    ];
    for bytes in cases {
        let mut fake = Fake::new(bytes);
        let before = fake.clone();
        assert_eq!(privileged(&mut fake, BUDGET), Outcome::NotOurs, "{bytes:02x?}");
        assert_eq!(fake, before);
    }
}

#[test]
fn a_32_bit_user_program_gets_cpuid_and_the_time() {
    for (bytes, length) in [(&[0x0f, 0xa2][..], 2), (&[0x0f, 0x31], 2), (&[0x0f, 0x01, 0xf9], 3)] {
        let mut fake = Fake::new(bytes);
        (fake.is_64, fake.kernel) = (false, false);
        (fake.code_at, fake.rip) = (0xffff_fffd, 0xffff_fffd);
        assert_eq!(privileged(&mut fake, BUDGET), Outcome::Done);
        assert_eq!(fake.rip, (0xffff_fffd + length) & 0xffff_ffff);
    }
    let mut fake = Fake::new(&[0xf4]);
    fake.is_64 = false;
    assert_eq!(privileged(&mut fake, BUDGET), Outcome::NotOurs);
}

#[test]
fn cpuid_behind_the_prefix_is_run_in_any_mode() {
    for (is_64, kernel) in [(true, true), (true, false), (false, false)] {
        let mut fake = Fake::new(&[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2]);
        (fake.is_64, fake.kernel) = (is_64, kernel);
        (fake.code_at, fake.rip) = (0x40_0000, 0x40_0000);
        fake.regs[0] = 0x4000_0000;
        assert_eq!(ud_prefix(&mut fake), Outcome::Done);
        assert_eq!((fake.advance(), fake.get(Reg::Rax)), (7, 0xbfff_0000));
    }
}

#[test]
fn another_invalid_opcode_or_another_instruction_behind_the_prefix_is_not_ours() {
    let cases: [&[u8]; 3] = [
        &[0x0f, 0x0b, 0x90, 0x90, 0x90, 0x0f, 0xa2],
        &[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0x31],
        &[0x0f, 0x0b, b'x', b'e', b'm', 0x0f, 0xa2],
    ];
    for bytes in cases {
        assert_eq!(ud_prefix(&mut Fake::new(bytes)), Outcome::NotOurs);
    }
}

#[test]
fn a_prefix_at_the_end_of_a_page_faults_on_the_next_one() {
    let mut fake = Fake::new(&[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2]);
    fake.readable = 6;
    let expected = Outcome::Inject(Exception::page_fault(CODE + 6, 0x14));
    assert_eq!(ud_prefix(&mut fake), expected);
    // The invalid opcode itself is two bytes long: with those alone there is nothing to fetch.
    fake.readable = 3;
    assert_eq!(ud_prefix(&mut fake), Outcome::NotOurs);
}
