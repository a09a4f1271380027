//! Privileged instructions, gates, and what user mode may do.

use crate::{Test, test};
use pv_runtime::memory::{self, PRESENT, USER, WRITE, entry};
use pv_runtime::outcome::{Failure, Outcome, expect, holds};
use pv_runtime::traps::Trap;
use pv_runtime::{try_asm, user};

pub const TESTS: &[Test] = &[
    test("privileged-instructions", privileged_instructions),
    test("ports-without-privilege", ports_without_privilege),
    test("bad-return", bad_return),
    test("user-instructions", user_instructions),
    test("user-gates", user_gates),
    test("user-memory", user_memory),
    test("user-hypercalls", user_hypercalls),
];

fn faults(what: &'static str, result: Result<(), Trap>, vector: u64) -> Outcome {
    match result {
        Ok(()) => Err(Failure { what, got: -1, wanted: vector as i64 }),
        Err(trap) => expect(what, trap.vector as i64, vector as i64),
    }
}

/// What would take the machine over faults.
fn privileged_instructions() -> Outcome {
    let table = [0u8; 10];
    let pointer = table.as_ptr() as u64;
    faults("lgdt", try_asm!("lgdt [{p}]", p = in(reg) pointer), 13)?;
    faults("lidt", try_asm!("lidt [{p}]", p = in(reg) pointer), 13)?;
    faults("ltr", try_asm!("ltr {s:x}", s = in(reg) 0xe040u64), 13)?;
    faults("lldt", try_asm!("lldt {s:x}", s = in(reg) 0xe040u64), 13)?;
    faults("invlpg", try_asm!("invlpg [{p}]", p = in(reg) pointer), 13)?;
    faults("mov to CR8", try_asm!("mov cr8, {v}", v = in(reg) 0u64), 13)?;
    faults("undefined", try_asm!("ud2"), 6)?;
    let no_msr = try_asm!("rdmsr", in("ecx") 0x4567u32, out("eax") _, out("edx") _);
    faults("rdmsr of none", no_msr, 13)?;
    // A write to the system-call entry does nothing or faults; the next hypercall proves it.
    let entry = try_asm!("wrmsr", in("ecx") 0xc000_0082u32, in("eax") 0u32, in("edx") 0u32);
    let _ = entry;
    holds("hypercalls still work", pv_runtime::hypercall::call2(17, 0, 0) > 0)
}

/// Ports are closed to a kernel that has not asked for them.
fn ports_without_privilege() -> Outcome {
    faults("in", try_asm!("in al, dx", in("dx") 0x3f8u16, out("al") _), 13)?;
    faults("out", try_asm!("out dx, al", in("dx") 0x80u16, in("al") 0u8), 13)?;
    faults("cli without privilege", try_asm!("cli"), 13)
}

/// A return to where nothing can run comes back to us as a failure, not to the hypervisor.
fn bad_return() -> Outcome {
    let trap = try_asm!(
        "mov {top}, rsp
         push 0xe02b
         push {top}
         push 0x200
         push 0xe030
         push {rip}
         push 0
         push 0
         push 0
         push 0
         mov eax, 23
         syscall",
        top = out(reg) _,
        rip = in(reg) 0x0000_8000_0000_0000u64,
        out("rax") _, out("rcx") _, out("r11") _,
    );
    // Xen reports it as a general protection fault or by the failsafe callback (257), depending
    // on the way out that it takes; either is fine.
    let vector = trap.err().map_or(0, |trap| trap.vector);
    holds("it came back as a fault", vector == 257 || vector == 13)
}

/// Runs code in a user space, and says how it ended.
fn in_user_mode(code: &[u8]) -> Result<(), Trap> {
    let space = user::space();
    let mut page = [0x90u8; 64];
    page[..code.len()].copy_from_slice(code);
    // mov eax, EXIT; syscall
    let exit = [0xb8, 0x00, 0x10, 0x00, 0x00, 0x0f, 0x05];
    page[48..48 + exit.len()].copy_from_slice(&exit);
    space.load(&page);
    space.run()
}

fn user_instructions() -> Outcome {
    holds("user mode works", in_user_mode(&[]).is_ok())?;
    faults("hlt", in_user_mode(&[0xf4]), 13)?;
    faults("cli", in_user_mode(&[0xfa]), 13)?;
    faults("rdmsr", in_user_mode(&[0x0f, 0x32]), 13)?;
    faults("mov to CR3", in_user_mode(&[0x0f, 0x22, 0xd8]), 13)?;
    faults("in", in_user_mode(&[0xec]), 13)?;
    faults("undefined", in_user_mode(&[0x0f, 0x0b]), 6)?;
    // xor ecx, ecx; div ecx
    faults("division by zero", in_user_mode(&[0x31, 0xc9, 0xf7, 0xf1]), 0)
}

/// Software interrupts go through gates that are open to user mode, and only those.
fn user_gates() -> Outcome {
    faults("the gate for user mode", in_user_mode(&[0xcd, 0x80]), 128)?;
    faults("a breakpoint", in_user_mode(&[0xcc]), 3)?;
    let closed = in_user_mode(&[0xcd, 0x0e]);
    faults("a gate for the kernel alone", closed, 13)?;
    expect("its error code", closed.err().map_or(0, |trap| trap.error as i64), (14 << 3) | 2)?;
    faults("a gate that is not set", in_user_mode(&[0xcd, 0x21]), 13)?;
    // The 32-bit hypercall gate is not for 64-bit guests.
    faults("the hypercall gate", in_user_mode(&[0xcd, 0x82]), 13)
}

/// mov rax, address; mov rax, [rax]
fn load_from(va: u64) -> [u8; 13] {
    let mut code = [0u8; 13];
    code[..2].copy_from_slice(&[0x48, 0xb8]);
    code[2..10].copy_from_slice(&va.to_le_bytes());
    code[10..].copy_from_slice(&[0x48, 0x8b, 0x00]);
    code
}

/// User mode sees its own table and nothing else: not the kernel, not the hypervisor.
fn user_memory() -> Outcome {
    let kernel = memory::page().va();
    for va in [kernel, 0xffff_8300_0000_0000, 0xffff_82d0_4020_0000, 0] {
        let read = in_user_mode(&load_from(va));
        faults("reading it", read, 14)?;
        expect("the address", read.err().map_or(0, |trap| trap.cr2 as i64), va as i64)?;
    }
    // What the kernel maps into the user table later is seen.
    let space = user::space();
    let shown = memory::page();
    let slot = ((user::CODE >> 12) & 511) + 5;
    let mapped = memory::set_entry(space.l1, slot, entry(shown.mfn(), PRESENT | WRITE | USER));
    expect("mapping it into the user table", mapped, 0)
}

/// A system call of user mode is never a hypercall.
fn user_hypercalls() -> Outcome {
    // mov eax, 29 (sched_op); mov edi, 2 (shutdown); xor esi, esi; syscall
    let code = [0xb8, 29, 0, 0, 0, 0xbf, 2, 0, 0, 0, 0x31, 0xf6, 0x0f, 0x05];
    holds("user mode goes on", in_user_mode(&code).is_ok())?;
    // The same by the 32-bit entry.
    let code = [0xb8, 29, 0, 0, 0, 0xbf, 2, 0, 0, 0, 0x31, 0xf6, 0x0f, 0x34];
    let sysenter = in_user_mode(&code);
    // Undefined on AMD's CPUs in 64-bit mode, and elsewhere a fault as no entry is registered.
    let vector = sysenter.err().map_or(-1, |trap| trap.vector as i64);
    holds("sysenter faults", vector == 6 || vector == 13)
}
