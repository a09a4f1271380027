//! ELF notes, the first instructions, and what the domain builder left for us.

use crate::global::Global;
use crate::{console, events, hypercall, println, traps};
use core::arch::global_asm;

/// Where the kernel's part of the address space starts, and its pseudo-physical frame 0 is.
pub const VIRT_BASE: u64 = 0xffff_ffff_8000_0000;

global_asm!(
    r#"
    .macro NOTE_TEXT type, text:vararg
        .balign 4
        .long 4, 2f - 1f, \type
        .asciz "Xen"
    1:  .asciz \text
    2:  .balign 4
    .endm
    .macro NOTE_QUAD type, value:vararg
        .balign 4
        .long 4, 8, \type
        .asciz "Xen"
        .quad \value
    .endm
    .pushsection .note.Xen, "a", @note
        NOTE_TEXT 6, "ferroxen-test"
        NOTE_TEXT 7, "1"
        NOTE_TEXT 8, "generic"
        NOTE_TEXT 5, "xen-3.0"
        NOTE_QUAD 3, 0xffffffff80000000
        NOTE_QUAD 4, 0
        NOTE_QUAD 1, _start
        NOTE_TEXT 9, "yes"
        NOTE_TEXT 10, "!writable_page_tables|pae_pgdir_above_4gb"
        # Which bits of an L1 entry, masked, mean "valid": bit 0.
        .balign 4
        .long 4, 16, 13
        .asciz "Xen"
        .quad 1, 1
    .popsection

    .pushsection .text.entry, "ax"
    .globl _start
    _start:
        cld
        xor ebp, ebp
        lea rsp, [rip + {stack} + {stack_size}]
        mov rdi, rsi
        call {first}
        ud2
    .popsection
    "#,
    stack = sym STACK,
    stack_size = const STACK_SIZE,
    first = sym first,
);

const STACK_SIZE: usize = 64 * 1024;

/// A stack, aligned as calls need it.
#[repr(C, align(4096))]
struct Stack([u8; STACK_SIZE]);

static STACK: Global<Stack> = Global::new(Stack([0; STACK_SIZE]));

static START_INFO: Global<usize> = Global::new(0);

/// The page that the domain builder describes the machine in.
#[repr(C)]
pub struct StartInfo {
    /// "xen-3.0-x86_64".
    pub magic: [u8; 32],
    /// Pages of this domain.
    pub nr_pages: u64,
    /// Machine address of the shared info page.
    pub shared_info: u64,
    /// 1 privileged, 2 initial domain.
    pub flags: u32,
    /// xenstore's page.
    pub store_mfn: u64,
    /// xenstore's event channel.
    pub store_port: u32,
    /// A guest's console page; dom0 has something else here and in the next field.
    pub console_mfn: u64,
    /// A guest's console's event channel.
    pub console_port: u32,
    /// Address of the top page table.
    pub pt_base: u64,
    /// How many page-table pages there are.
    pub nr_pt_frames: u64,
    /// Address of the list of machine frames.
    pub mfn_list: u64,
    /// Address of the initial ramdisk.
    pub mod_start: u64,
    /// Its bytes.
    pub mod_len: u64,
    /// Zero-terminated command line.
    pub cmd_line: [u8; 1024],
}

/// What the domain builder left for us.
pub fn info() -> &'static StartInfo {
    // SAFETY: `first` stored the address that the builder gave; the page is mapped, as long as
    // the structure, and nobody writes it.
    unsafe { &*(START_INFO.get() as *const StartInfo) }
}

/// Whether this is dom0.
pub fn privileged() -> bool {
    info().flags & 2 != 0
}

/// Where a guest's console is.
pub struct Console {
    /// Its page.
    pub mfn: u64,
    /// Its event channel.
    pub port: u32,
}

/// Where our console is; dom0 has none of this kind.
pub fn console() -> Option<Console> {
    let info = info();
    (!privileged()).then_some(Console { mfn: info.console_mfn, port: info.console_port })
}

/// The channels that the toolstack made for us.
pub fn given_ports() -> [u32; 2] {
    if privileged() { [0; 2] } else { [info().store_port, info().console_port] }
}

/// The command line, as far as it is text.
pub fn command_line() -> &'static str {
    let bytes = &info().cmd_line;
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).unwrap_or("")
}

/// The value of a `key=value` word of the command line.
pub fn argument(key: &str) -> Option<&'static str> {
    command_line().split_ascii_whitespace().find_map(|word| {
        let (name, value) = word.split_once('=')?;
        (name == key).then_some(value)
    })
}

unsafe extern "Rust" {
    safe fn guest_main();
}

extern "C" fn first(start_info: usize) -> ! {
    START_INFO.set(start_info);
    traps::install();
    events::install();
    guest_main();
    power_off()
}

/// Turns the machine off, once what was printed was read.
pub fn power_off() -> ! {
    console::flush();
    loop {
        hypercall::shutdown(0);
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    println!("TEST panic: failed: {info}");
    power_off()
}
