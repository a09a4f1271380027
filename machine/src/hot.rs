//! What the entry code reads and writes of the running vCPU.
//!
//! The fields are atomics because another CPU may look at a vCPU (debug dumps, `vcpu_op`); the
//! entry code reaches them by the offsets asserted below.

use crate::layout::{CANONICAL_LOW_END, HYPERVISOR_END};
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering::Relaxed};

/// The hot part of a vCPU.
#[repr(C)]
pub struct Hot {
    /// 1 while the guest runs its kernel, 0 in its user mode.
    kernel_mode: AtomicU8,
    /// 1 when the system-call callback is entered with events masked.
    syscall_masks: AtomicU8,
    _pad: [AtomicU8; 6],
    cr3_kernel: AtomicU64,
    cr3_user: AtomicU64,
    kernel_sp: AtomicU64,
    syscall_entry: AtomicU64,
    vcpu_info: AtomicPtr<[AtomicU64; 8]>,
}

/// Offsets for the entry code.
pub(crate) const KERNEL_MODE: usize = offset_of!(Hot, kernel_mode);
pub(crate) const SYSCALL_MASKS: usize = offset_of!(Hot, syscall_masks);
pub(crate) const CR3_KERNEL: usize = offset_of!(Hot, cr3_kernel);
pub(crate) const CR3_USER: usize = offset_of!(Hot, cr3_user);
pub(crate) const KERNEL_SP: usize = offset_of!(Hot, kernel_sp);
pub(crate) const SYSCALL_ENTRY: usize = offset_of!(Hot, syscall_entry);
pub(crate) const VCPU_INFO: usize = offset_of!(Hot, vcpu_info);

/// Stands for an address that no access reaches: not canonical, so that a push faults.
const NOWHERE: u64 = 0x0000_9000_0000_0000;

/// Whether `[address, address + len)` lies wholly in the guest's part of the address space.
#[inline]
pub fn guest_range(address: u64, len: u64) -> bool {
    match address.checked_add(len) {
        Some(end) => end <= CANONICAL_LOW_END || address >= HYPERVISOR_END,
        None => address >= HYPERVISOR_END && address.wrapping_add(len) == 0,
    }
}

/// Whether code may be entered at `address`: canonical and not the hypervisor's.
#[inline]
pub fn guest_code(address: u64) -> bool {
    guest_range(address, 16)
}

/// The dummy that a vCPU points to until it has its own `vcpu_info`: events masked for ever.
static NO_VCPU_INFO: [AtomicU64; 8] = [
    AtomicU64::new(0x0100),
    AtomicU64::new(0),
    AtomicU64::new(0),
    AtomicU64::new(0),
    AtomicU64::new(0),
    AtomicU64::new(0),
    AtomicU64::new(0),
    AtomicU64::new(0),
];

impl Default for Hot {
    fn default() -> Self {
        Self::new()
    }
}

impl Hot {
    /// A vCPU in kernel mode with nothing set.
    pub const fn new() -> Self {
        Hot {
            kernel_mode: AtomicU8::new(1),
            syscall_masks: AtomicU8::new(0),
            _pad: [const { AtomicU8::new(0) }; 6],
            cr3_kernel: AtomicU64::new(0),
            cr3_user: AtomicU64::new(0),
            kernel_sp: AtomicU64::new(NOWHERE),
            syscall_entry: AtomicU64::new(0),
            vcpu_info: AtomicPtr::new(core::ptr::from_ref(&NO_VCPU_INFO).cast_mut()),
        }
    }

    /// Back to the state of [`Hot::new`].
    pub fn reset(&self) {
        self.kernel_mode.store(1, Relaxed);
        self.syscall_masks.store(0, Relaxed);
        self.cr3_kernel.store(0, Relaxed);
        self.cr3_user.store(0, Relaxed);
        self.kernel_sp.store(NOWHERE, Relaxed);
        self.syscall_entry.store(0, Relaxed);
        self.set_vcpu_info(None);
    }

    /// Whether the guest is in its kernel.
    #[inline]
    pub fn in_kernel(&self) -> bool {
        self.kernel_mode.load(Relaxed) != 0
    }

    /// Records the mode; the caller switches CR3 and GS as [`crate::paging::toggle_mode`] does.
    #[inline]
    pub fn set_kernel_mode(&self, kernel: bool) {
        self.kernel_mode.store(u8::from(kernel), Relaxed);
    }

    /// Physical address of the kernel-mode L4.
    #[inline]
    pub fn cr3_kernel(&self) -> u64 {
        self.cr3_kernel.load(Relaxed)
    }

    /// Physical address of the user-mode L4, 0 when there is none.
    #[inline]
    pub fn cr3_user(&self) -> u64 {
        self.cr3_user.load(Relaxed)
    }

    /// Sets the kernel-mode L4; it must hold a validated L4 for as long as it is set.
    pub fn set_cr3_kernel(&self, phys: u64) {
        self.cr3_kernel.store(phys, Relaxed);
    }

    /// Sets the user-mode L4, 0 for none.
    pub fn set_cr3_user(&self, phys: u64) {
        self.cr3_user.store(phys, Relaxed);
    }

    /// Where the kernel's stack begins on entry from user mode.
    #[inline]
    pub fn kernel_sp(&self) -> u64 {
        self.kernel_sp.load(Relaxed)
    }

    /// Sets it. A bad address is kept in a form that faults when used, which costs the guest
    /// its life then and not before (as Xen has it).
    pub fn set_kernel_sp(&self, sp: u64) {
        let usable = guest_range(sp.wrapping_sub(256), 256);
        self.kernel_sp.store(if usable { sp } else { NOWHERE }, Relaxed);
    }

    /// The system-call callback; 0 when none is registered.
    #[inline]
    pub fn syscall_entry(&self) -> u64 {
        self.syscall_entry.load(Relaxed)
    }

    /// Whether it is entered with events masked.
    pub fn syscall_masks(&self) -> bool {
        self.syscall_masks.load(Relaxed) != 0
    }

    /// Registers it; refused when it is not a guest code address.
    pub fn set_syscall_entry(&self, address: u64, masks_events: bool) -> bool {
        let ok = address == 0 || guest_code(address);
        if ok {
            self.syscall_entry.store(address, Relaxed);
            self.syscall_masks.store(u8::from(masks_events), Relaxed);
        }
        ok
    }

    /// The vCPU's `vcpu_info`, eight words of memory shared with the guest.
    #[inline]
    pub fn vcpu_info(&self) -> &'static [AtomicU64; 8] {
        // SAFETY: every value ever stored comes from a `&'static`, in `new` or `set_vcpu_info`.
        unsafe { &*self.vcpu_info.load(Relaxed) }
    }

    /// Points the vCPU to its `vcpu_info`.
    pub fn set_vcpu_info(&self, info: Option<&'static [AtomicU64; 8]>) {
        let info = info.unwrap_or(&NO_VCPU_INFO);
        self.vcpu_info.store(core::ptr::from_ref(info).cast_mut(), Relaxed);
    }
}
