//! Virtual CPUs.

use crate::domain::Domain;
use abi::{Errno, Mfn, VcpuId};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use events::Poller;
use machine::fpu::{FpuArea, Segments};
use machine::hot::Hot;
use machine::lock::Lock;
use machine::regs::GuestRegs;
use pages::{Deferred, TypedRef};

/// One entry of a vCPU's virtual IDT.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trap {
    /// Handler; 0 for none.
    pub address: u64,
    /// Code selector.
    pub cs: u16,
    /// DPL in bits 0 and 1, "mask events" in bit 2.
    pub flags: u8,
}

/// What is saved while the vCPU does not run.
pub struct Saved {
    /// General registers.
    pub regs: GuestRegs,
    /// Segment registers and bases.
    pub segments: Segments,
    /// Floating-point and vector state.
    pub fpu: FpuArea,
}

/// A vCPU's page tables: the references that its base pointers own.
#[derive(Default)]
pub struct Base {
    /// Kernel mode.
    pub kernel: Option<TypedRef>,
    /// User mode.
    pub user: Option<TypedRef>,
    /// A table that is still being taken apart.
    pub deferred: Option<Deferred>,
}

/// A guest's descriptor tables.
#[derive(Default)]
pub struct Descriptors {
    /// GDT pages, each held by a reference.
    pub gdt: [Option<TypedRef>; 14],
    /// Entries in the GDT.
    pub gdt_entries: u32,
    /// LDT: linear address.
    pub ldt_base: u64,
    /// LDT: entries.
    pub ldt_entries: u32,
    /// LDT pages that are loaded, each held by a reference.
    pub ldt: [Option<TypedRef>; 16],
}

/// Where a vCPU stands with the scheduler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    /// Neither running nor waiting for a CPU.
    Parked,
    /// Waits for a CPU.
    Queued,
    /// Running.
    Running,
}

/// A virtual CPU.
pub struct Vcpu {
    /// What the entry code uses.
    pub hot: &'static Hot,
    /// Its number in the domain.
    pub id: VcpuId,
    /// Whose it is.
    pub domain: Arc<Domain>,
    /// State while it does not run.
    pub saved: Lock<Saved>,
    /// Virtual IDT.
    pub traps: Lock<[Trap; 256]>,
    /// Page tables.
    pub base: Lock<Base>,
    /// Whether `base.deferred` holds something, readable without the lock.
    pub has_deferred: AtomicBool,
    /// GDT and LDT.
    pub descriptors: Lock<Descriptors>,
    /// Entry point for events.
    pub event_callback: AtomicU64,
    /// Entry point after a failed return.
    pub failsafe_callback: AtomicU64,
    /// The failsafe callback masks events.
    pub failsafe_masks: AtomicBool,
    /// Entry points for 32-bit system calls: kept, not used.
    pub other_callbacks: [AtomicU64; 3],
    /// Whether the guest brought it up.
    pub online: AtomicBool,
    /// Set by `vcpu_op` initialise.
    pub initialised: AtomicBool,
    /// It waits for an event.
    pub blocked: AtomicBool,
    /// How often it was paused.
    pub pauses: AtomicU32,
    /// What the scheduler knows of it.
    pub sched: &'static crate::units::Record,
    /// The CPU that it runs on or ran on last.
    pub cpu: AtomicUsize,
    /// What it polls for.
    pub poller: Poller,
    /// It is counted among its domain's pollers.
    pub polls: AtomicBool,
    /// When its one-shot timer fires, in system time; `u64::MAX` for never.
    pub timer: AtomicU64,
    /// When its poll ends.
    pub poll_deadline: AtomicU64,
    /// Period of its periodic timer, 0 for none, and when it fires next.
    pub period: AtomicU64,
    /// Next expiry of the periodic timer.
    pub period_next: AtomicU64,
    /// An NMI waits for delivery.
    pub nmi_pending: AtomicBool,
    /// Virtual IOPL of the guest's kernel.
    pub iopl: AtomicU8,
    /// XCR0.
    pub xcr0: AtomicU64,
    /// Virtual CR0.TS.
    pub task_switched: AtomicBool,
    /// Debug registers.
    pub debug: Lock<[u64; 8]>,
    /// Guest address of the runstate area, 0 for none.
    pub runstate_area: AtomicU64,
    /// Guest address of the time area, 0 for none.
    pub time_area: AtomicU64,
    /// The frame of its own `vcpu_info`, if registered.
    pub info_frame: Lock<Option<TypedRef>>,
    /// The kernel's stack selector, kept for `getvcpucontext`.
    pub kernel_ss: AtomicU16,
    /// CR4 bits that the guest set.
    pub cr4: AtomicU64,
    /// I/O permission bitmap for user mode: guest address and how many ports.
    pub io_bitmap: Lock<(u64, u32)>,
    /// Version of the clock parameters that the guest sees.
    pub time_version: AtomicU32,
}

/// Entry-code records that no vCPU uses. They are never freed, because a CPU may still look at one
/// for a moment after its vCPU has gone.
static SPARE: Lock<Vec<&'static Hot>> = Lock::new(Vec::new());

fn take_hot() -> &'static Hot {
    let spare = SPARE.lock().pop();
    spare.unwrap_or_else(|| alloc::boxed::Box::leak(alloc::boxed::Box::new(Hot::new())))
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        self.hot.reset();
        SPARE.lock().push(self.hot);
        crate::units::give_back(self.sched);
    }
}

impl Vcpu {
    /// A vCPU that is off line, unknown to the scheduler.
    ///
    /// # Errors
    /// `ENOMEM`, and `ENOSPC` when there are too many vCPUs.
    pub fn new(domain: Arc<Domain>, id: VcpuId) -> Result<Vcpu, Errno> {
        Ok(Vcpu {
            sched: crate::units::take(domain.id)?,
            hot: take_hot(),
            id,
            domain,
            saved: Lock::new(Saved {
                regs: GuestRegs::default(),
                segments: Segments::default(),
                fpu: FpuArea::new(),
            }),
            traps: Lock::new([Trap::default(); 256]),
            base: Lock::new(Base::default()),
            has_deferred: AtomicBool::new(false),
            descriptors: Lock::new(Descriptors::default()),
            event_callback: AtomicU64::new(0),
            failsafe_callback: AtomicU64::new(0),
            failsafe_masks: AtomicBool::new(false),
            other_callbacks: [const { AtomicU64::new(0) }; 3],
            online: AtomicBool::new(false),
            initialised: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            pauses: AtomicU32::new(0),
            cpu: AtomicUsize::new(0),
            poller: Poller::new(),
            polls: AtomicBool::new(false),
            timer: AtomicU64::new(u64::MAX),
            poll_deadline: AtomicU64::new(u64::MAX),
            period: AtomicU64::new(0),
            period_next: AtomicU64::new(u64::MAX),
            nmi_pending: AtomicBool::new(false),
            iopl: AtomicU8::new(0),
            xcr0: AtomicU64::new(1),
            task_switched: AtomicBool::new(false),
            debug: Lock::new([0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400]),
            runstate_area: AtomicU64::new(0),
            time_area: AtomicU64::new(0),
            info_frame: Lock::new(None),
            kernel_ss: AtomicU16::new(0),
            cr4: AtomicU64::new(0),
            io_bitmap: Lock::new((0, 0)),
            time_version: AtomicU32::new(0),
        })
    }

    /// Whether nothing keeps it from running.
    #[inline]
    pub fn runnable(&self) -> bool {
        !self.blocked.load(Ordering::Acquire) && !self.stopped()
    }

    /// Whether it may not run, whatever event it waits for.
    #[inline]
    pub fn stopped(&self) -> bool {
        !self.online.load(Ordering::Acquire)
            || self.pauses.load(Ordering::Acquire) != 0
            || self.domain.pauses.load(Ordering::Acquire) != 0
    }

    /// Where it stands with the scheduler.
    pub fn run(&self) -> Run {
        if self.sched.unit.on_cpu().is_some() {
            Run::Running
        } else if self.runnable() {
            Run::Queued
        } else {
            Run::Parked
        }
    }

    /// The CPU that has its page tables loaded: it runs there, or ran there last.
    #[inline]
    pub fn loaded_on(&self) -> Option<usize> {
        self.sched.holder()
    }

    /// Whether it has events to be told of and does not mask them.
    #[inline]
    pub fn event_pending(&self) -> bool {
        let Some(word) = self.hot.vcpu_info().first() else { return false };
        // Byte 0: an event is pending; byte 1: events are masked.
        let word = word.load(Ordering::SeqCst);
        word & 0xff != 0 && word & 0xff00 == 0
    }

    /// Whether an upcall is pending, masked or not.
    pub fn upcall_pending(&self) -> bool {
        self.hot.vcpu_info().first().is_some_and(|w| w.load(Ordering::SeqCst) & 0xff != 0)
    }

    /// Ends a poll that an event or a time-out has answered; true for the caller who may wake it.
    pub fn poller_done(&self) -> bool {
        self.poller.disarm();
        self.poll_deadline.store(u64::MAX, Ordering::Release);
        self.blocked.load(Ordering::Acquire)
    }

    /// `evtchn_upcall_mask`.
    #[inline]
    pub fn events_masked(&self) -> bool {
        self.hot.vcpu_info().first().is_some_and(|w| w.load(Ordering::SeqCst) & 0xff00 != 0)
    }

    /// Sets `evtchn_upcall_mask`.
    #[inline]
    pub fn mask_events(&self, mask: bool) {
        if let Some(w) = self.hot.vcpu_info().first() {
            if mask {
                w.fetch_or(0x0100, Ordering::SeqCst);
            } else {
                w.fetch_and(!0xff00, Ordering::SeqCst);
            }
        }
    }

    /// Whether the guest asked to see IOPL in RFLAGS.
    pub fn architectural_iopl(&self) -> bool {
        let mode = abi::xen::VMASST_TYPE_ARCHITECTURAL_IOPL;
        self.domain.assists.load(Ordering::Relaxed) >> mode & 1 != 0
    }

    /// Whether the guest's kernel runs.
    #[inline]
    pub fn in_kernel(&self) -> bool {
        self.hot.in_kernel()
    }

    /// The frames of its GDT, for the CPU's window.
    pub fn gdt_frames(&self, out: &mut [Mfn; 14]) -> usize {
        let d = self.descriptors.lock();
        let mut n = 0usize;
        for (slot, page) in out.iter_mut().zip(d.gdt.iter().flatten()) {
            *slot = page.mfn();
            n = n.wrapping_add(1);
        }
        n
    }
}
