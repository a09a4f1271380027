//! A second domain, unprivileged, that makes the hypercalls that it is told to.
//!
//! dom0 builds it from the control interface: a few pages, page tables over them, and a loop of
//! code that looks into a page for calls to be made. dom0 has that page mapped as well, and some
//! more in which the arguments lie.

use crate::domctl::{self, Limits, domctl, op};
use crate::hypercall::{addr, addr_mut, call, call2, errno, ext, nr, yield_now};
use crate::memory::{self, PRESENT, Page, WRITE, entry};
use crate::outcome::{Failure, expect};
use crate::println;
use crate::smp;
use core::arch::global_asm;

/// Where its pages are mapped, one after the other.
pub const BASE: u64 = 0xffff_ffff_8000_0000;
/// How many it has.
const PAGES: usize = 32;
/// Its top table is page 0, those below follow.
const L1: usize = 3;
const CODE: usize = 4;
const CONTROL: usize = 5;
const STACK: usize = 6;
/// The pages from here on are for arguments and other uses.
const DATA: usize = 7;
/// How many of these dom0 has mapped as well.
const SHOWN: usize = 4;
/// Looks at whether the calls are done, before it is given up.
const PATIENCE: u32 = 200_000;

global_asm!(
    r#"
    .pushsection .rodata, "a"
    .balign 8
    .globl puppet_code
    puppet_code:
    # R15: the control page. Word 0: number of the request; 1: number of the last one done;
    # 2: how many calls; from byte 64 on the calls, as in a multicall.
    1:  mov r14, [r15]
        cmp r14, [r15 + 8]
        je 3f
        lea rbx, [r15 + 64]
        mov r12, [r15 + 16]
    2:  mov rax, [rbx]
        mov rdi, [rbx + 16]
        mov rsi, [rbx + 24]
        mov rdx, [rbx + 32]
        mov r10, [rbx + 40]
        mov r8, [rbx + 48]
        syscall
        mov [rbx + 8], rax
        add rbx, 64
        dec r12
        jnz 2b
        mov [r15 + 8], r14
    3:  mov eax, 29
        xor edi, edi
        syscall
        jmp 1b
        .balign 8
        .fill 8, 8, 0
    .popsection
    "#
);

const CODE_WORDS: usize = 16;

unsafe extern "C" {
    safe static puppet_code: [u64; CODE_WORDS];
}

/// A page of dom0's address space that shows one of another domain's.
pub struct View(&'static Page);

impl View {
    /// Maps a frame of a domain, writable.
    ///
    /// # Errors
    /// What the hypervisor answered.
    pub fn of(domid: u16, mfn: u64) -> Result<View, i64> {
        let page = memory::page();
        let wanted = entry(mfn, PRESENT | WRITE);
        let args = [page.va(), wanted, 2, u64::from(domid), 0];
        match call(nr::UPDATE_VA_MAPPING_OTHERDOMAIN, args) {
            0 => Ok(View(page)),
            error => Err(error),
        }
    }

    /// Puts the page's own frame back.
    pub fn close(self) {
        assert!(self.0.unprotect() == 0, "a page's own frame is refused");
    }

    /// The page.
    pub fn page(&self) -> &'static Page {
        self.0
    }
}

/// The domain.
pub struct Puppet {
    /// Its number.
    pub domid: u16,
    /// Machine frames of its pages.
    pub frames: [u64; PAGES],
    control: View,
    data: [View; SHOWN],
    requests: u64,
    /// Looks at whether a call has been made; few once one was not.
    patience: u32,
}

fn failed(what: &'static str) -> impl Fn(i64) -> Failure {
    move |got| Failure { what, got, wanted: 0 }
}

fn done(what: &'static str, got: i64) -> Result<(), Failure> {
    expect(what, got, 0)
}

/// Gives an empty domain memory.
fn populate(domid: u16) -> Result<[u64; PAGES], Failure> {
    #[repr(C)]
    struct Reservation {
        extents: u64,
        count: u64,
        order: u32,
        flags: u32,
        domid: u16,
    }
    done("its memory limit", domctl(op::MAX_MEM, domid, &[1024]).0)?;
    let mut frames = core::array::from_fn(|pfn| pfn as u64);
    let extents = addr_mut(&mut frames);
    let wanted = Reservation { extents, count: PAGES as u64, order: 0, flags: 0, domid };
    expect("giving it pages", call2(nr::MEMORY_OP, 6, addr(&wanted)), PAGES as i64)?;
    Ok(frames)
}

/// Writes its page tables and code.
fn fill(domid: u16, frames: &[u64; PAGES]) -> Result<(), Failure> {
    let fill = |index: usize, write: &dyn Fn(&Page)| -> Result<(), Failure> {
        let view = View::of(domid, frames[index]).map_err(failed("mapping its page"))?;
        (0..512).for_each(|word| view.page().write(word, 0));
        write(view.page());
        view.close();
        Ok(())
    };
    let table = |next: usize| entry(frames[next], PRESENT | WRITE | memory::USER);
    fill(0, &|page| page.write(511, table(1)))?;
    fill(1, &|page| page.write(510, table(2)))?;
    fill(2, &|page| page.write(0, table(L1)))?;
    fill(L1, &|page| {
        for (index, &frame) in frames.iter().enumerate() {
            let write = if index <= L1 { 0 } else { WRITE };
            page.write(index, entry(frame, PRESENT | write));
        }
    })?;
    fill(CODE, &|page| {
        puppet_code.iter().enumerate().for_each(|(word, &code)| page.write(word, code));
    })
}

impl Puppet {
    /// Makes it and sets it going.
    ///
    /// # Errors
    /// What did not work.
    pub fn start() -> Result<Puppet, Failure> {
        Self::with(Limits { vcpus: 1, port: 1023, grant_frames: 4, grant_version: 2 })
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// What did not work.
    pub fn with(limits: Limits) -> Result<Puppet, Failure> {
        let domid = domctl::create(limits).map_err(failed("creating a domain"))?;
        let frames = populate(domid)?;
        fill(domid, &frames)?;
        let pin = crate::hypercall::MmuExt { cmd: ext::PIN_L4, arg1: frames[0], arg2: 0 };
        let pinned = call(nr::MMUEXT_OP, [addr(&pin), 1, 0, u64::from(domid), 0]);
        done("pinning its page tables", pinned)?;
        let view = |index: usize| View::of(domid, frames[index]).map_err(failed("mapping it"));
        let control = view(CONTROL)?;
        (0..512).for_each(|word| control.page().write(word, 0));
        let data = [view(DATA)?, view(DATA + 1)?, view(DATA + 2)?, view(DATA + 3)?];
        // No events: it has nowhere to take them. The byte beside the pending flag masks them.
        let shared = domctl::shared_info(domid).map_err(failed("its information"))?;
        let shared = View::of(domid, shared).map_err(failed("mapping its shared page"))?;
        shared.page().write(0, shared.page().read(0) | 0x100);
        shared.close();
        let context = smp::context(BASE + CODE as u64 * 4096);
        let stack = BASE + (STACK as u64 + 1) * 4096;
        // In kernel mode, and online.
        context.flags = 4 | 32;
        context.registers[0] = BASE + CONTROL as u64 * 4096;
        (context.rsp, context.kernel_sp) = (stack, stack);
        context.control[3] = frames[0] << 12;
        done("its state", domctl(op::SET_CONTEXT, domid, &[0, addr(context)]).0)?;
        done("unpausing it", domctl(op::UNPAUSE, domid, &[]).0)?;
        Ok(Puppet { domid, frames, control, data, requests: 0, patience: PATIENCE })
    }

    /// Tells it to make a hypercall, without waiting for the result.
    pub fn post(&mut self, number: u64, args: [u64; 5]) {
        let page = self.control.page();
        page.write(8, number);
        args.iter().enumerate().for_each(|(index, &arg)| page.write(10 + index, arg));
        page.write(2, 1);
        self.requests += 1;
        page.write(0, self.requests);
    }

    /// Has it make a hypercall; the result.
    pub fn call(&mut self, number: u64, args: [u64; 5]) -> i64 {
        self.post(number, args);
        self.answer()
    }

    /// Whether it has made the last hypercall that it was told to make.
    pub fn has_answered(&self) -> bool {
        self.control.page().read(1) == self.requests
    }

    /// Waits for the result of the last hypercall.
    pub fn answer(&mut self) -> i64 {
        let page = self.control.page();
        for _ in 0..self.patience {
            if self.has_answered() {
                return page.read(9).cast_signed();
            }
            yield_now();
        }
        println!("WRONG domain {} has not made hypercall {}", self.domid, page.read(8));
        self.patience = 1;
        errno::ETIMEDOUT
    }

    /// The arguments of a call with one in memory, whose address is argument `index`.
    fn place<T: Copy>(&mut self, mut args: [u64; 5], index: usize, value: &T) -> [u64; 5] {
        let (size, page) = (size_of::<T>(), self.data[0].page());
        assert!(size <= 4096);
        let (from, to) = (core::ptr::from_ref(value).cast::<u8>(), page.va() as *mut u8);
        // SAFETY: both are as long as a `T`, and are different memory: a page of the other
        // domain's, to which no reference exists.
        unsafe { core::ptr::copy_nonoverlapping(from, to, size) };
        args[index] = self.data_va(0);
        args
    }

    /// As [`Self::post`], with an argument in memory.
    pub fn post_with<T: Copy>(&mut self, number: u64, args: [u64; 5], index: usize, value: &T) {
        let args = self.place(args, index, value);
        self.post(number, args);
    }

    /// As [`Self::call`], with an argument in memory, which is written back. It is to be of plain
    /// numbers, as the hypervisor writes it.
    pub fn call_with<T: Copy>(
        &mut self,
        number: u64,
        args: [u64; 5],
        index: usize,
        value: &mut T,
    ) -> i64 {
        let args = self.place(args, index, value);
        let result = self.call(number, args);
        let from = self.data[0].page().va() as *const u8;
        // SAFETY: as in `place`; the other domain writes nothing there once it has answered.
        unsafe {
            core::ptr::copy_nonoverlapping(from, core::ptr::from_mut(value).cast(), size_of::<T>())
        };
        result
    }

    /// Where it has one of its data pages.
    pub fn data_va(&self, index: usize) -> u64 {
        BASE + (DATA + index) as u64 * 4096
    }

    /// The frame of that.
    pub fn data_frame(&self, index: usize) -> u64 {
        self.frames[DATA + index]
    }

    /// The page as dom0 has it mapped.
    pub fn data(&self, index: usize) -> &'static Page {
        self.data[index].page()
    }

    /// Machine address of the entry that maps a data page.
    pub fn entry_of(&self, index: usize) -> u64 {
        (self.frames[L1] << 12) + (DATA + index) as u64 * 8
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the hypervisor does not.
    pub fn end(self) -> Result<(), Failure> {
        self.control.close();
        self.data.into_iter().for_each(View::close);
        for _ in 0..PATIENCE {
            match domctl::destroy(self.domid) {
                0 => return Ok(()),
                -11 | -85 => {}
                error => return done("destroying it", error),
            }
            yield_now();
        }
        done("destroying it in time", -110)
    }
}
