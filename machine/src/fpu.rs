//! Floating-point and vector state of vCPUs, and the segment registers that go with a switch.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;

/// Bytes kept for a vCPU's extended state.
pub const AREA_SIZE: usize = 4096;

/// One vCPU's extended state, in the processor's own (standard) layout.
#[repr(C, align(64))]
pub struct FpuArea([u8; AREA_SIZE]);

impl Default for FpuArea {
    fn default() -> Self {
        Self::new()
    }
}

impl FpuArea {
    /// The state after reset: x87 control word 0x37f, MXCSR 0x1f80, all else zero.
    pub const fn new() -> Self {
        let mut bytes = [0; AREA_SIZE];
        bytes[0] = 0x7f;
        bytes[1] = 0x03;
        bytes[24] = 0x80;
        bytes[25] = 0x1f;
        FpuArea(bytes)
    }

    /// The bytes, for saving a domain.
    pub fn bytes(&self) -> &[u8; AREA_SIZE] {
        &self.0
    }

    /// Replaces the legacy 512 bytes, MXCSR masked to what the processor knows.
    pub fn set_legacy(&mut self, bytes: &[u8; 512]) {
        let legacy = self.0.iter_mut().zip(bytes);
        for (i, (to, from)) in legacy.enumerate() {
            *to = match i {
                26 | 27 => 0,
                28..32 => continue,
                _ => *from,
            };
        }
        // XSTATE_BV: x87 and SSE are in use.
        if let Some(b) = self.0.get_mut(512) {
            *b |= 3;
        }
    }

    /// Replaces all of it by a saved image in the standard layout that uses no more than these
    /// components; `false` if the image is not one that the processor would load.
    pub fn set_extended(&mut self, image: &[u8], components: u64) -> bool {
        let word = |at: usize| {
            let bytes = image.get(at..at.saturating_add(8)).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u64::from_le_bytes)
        };
        let in_use = word(512);
        // The rest of the header must be 0: no compacted layout.
        let plain = (520..576).step_by(8).all(|at| word(at) == 0);
        if in_use & !components != 0 || !plain {
            return false;
        }
        for (i, (to, from)) in self.0.iter_mut().zip(image).enumerate() {
            *to = match i {
                26 | 27 => 0,
                28..32 => continue,
                _ => *from,
            };
        }
        true
    }

    /// Saves the running state here.
    pub fn save(&mut self) {
        let at = self.0.as_mut_ptr();
        if has_xsave() {
            // SAFETY: the area is aligned and larger than the state of all components that
            // `init_cpu` lets guests enable.
            unsafe {
                asm!("xsave64 [{}]", in(reg) at, in("eax") u32::MAX, in("edx") u32::MAX, options(nostack));
            }
        } else {
            // SAFETY: as above; FXSAVE writes 512 bytes.
            unsafe { asm!("fxsave64 [{}]", in(reg) at, options(nostack)) };
        }
    }

    /// Loads the state from here. One that the processor refuses (reserved bits of a restored
    /// image) leaves the state after reset, and nothing of the vCPU that ran before.
    pub fn restore(&self) {
        static RESET: FpuArea = FpuArea::new();
        if !self.load() {
            RESET.load();
        }
    }

    /// `false` if the processor refuses the state.
    fn load(&self) -> bool {
        let at = self.0.as_ptr();
        let mut refused = 0u32;
        if has_xsave() {
            // SAFETY: reads the area only; a fault has its fix-up.
            unsafe {
                asm!(
                    "2: xrstor64 [{at}]",
                    "jmp 4f",
                    "3: mov {refused:e}, 1",
                    "4:",
                    ".pushsection .ex_table,\"a\"",
                    ".long 2b - ., 3b - .",
                    ".popsection",
                    at = in(reg) at, refused = inout(reg) refused,
                    in("eax") u32::MAX, in("edx") u32::MAX, options(nostack)
                );
            }
        } else {
            // SAFETY: as above.
            unsafe {
                asm!(
                    "2: fxrstor64 [{at}]",
                    "jmp 4f",
                    "3: mov {refused:e}, 1",
                    "4:",
                    ".pushsection .ex_table,\"a\"",
                    ".long 2b - ., 3b - .",
                    ".popsection",
                    at = in(reg) at, refused = inout(reg) refused, options(nostack)
                );
            }
        }
        refused == 0
    }
}

/// Whether the processor has XSAVE and we turned it on.
pub fn has_xsave() -> bool {
    crate::cpu::read_cr4() & crate::cpu::cr4::OSXSAVE != 0
}

/// The state components that guests may enable in XCR0: x87, SSE, AVX, AVX-512, if they exist and
/// fit the area.
pub fn xcr0_supported() -> u64 {
    if !has_xsave() {
        return 0;
    }
    let supported = u64::from(__cpuid_count(0xd, 0).eax) & 0xe7;
    if supported & 0xe0 == 0xe0 { supported } else { supported & 7 }
}

/// Whether XCR0 can have this value here.
pub fn is_valid_xcr0(value: u64) -> bool {
    let avx512 = value & 0xe0;
    value & 1 != 0
        && value & !xcr0_supported() == 0
        && (value & 4 == 0 || value & 2 != 0)
        && (avx512 == 0 || avx512 == 0xe0 && value & 4 != 0)
}

/// Sets XCR0 for the running vCPU; `false` when the value is not one that the processor takes.
pub fn set_xcr0(value: u64) -> bool {
    let ok = is_valid_xcr0(value);
    if ok && has_xsave() {
        // SAFETY: a combination that the architecture allows; the hypervisor uses none of it.
        unsafe {
            asm!("xsetbv", in("ecx") 0, in("eax") (value & 0xffff_ffff) as u32, in("edx") 0, options(nostack));
        }
    }
    ok
}

/// The segment registers that a switch of vCPUs exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Segments {
    pub ds: u16,
    pub es: u16,
    pub fs: u16,
    pub gs: u16,
    pub fs_base: u64,
    /// Base of GS as the running mode has it.
    pub gs_base: u64,
    /// Base of GS of the other mode (`swapgs` exchanges them).
    pub gs_base_other: u64,
}

use crate::cpu::{msr, rdmsr, wrmsr};

/// Reads the running guest's segment registers.
pub fn save_segments() -> Segments {
    let mut s = Segments::default();
    // SAFETY: reading has no effect.
    unsafe {
        asm!("mov {0:x}, ds", "mov {1:x}, es", "mov {2:x}, fs", "mov {3:x}, gs",
             out(reg) s.ds, out(reg) s.es, out(reg) s.fs, out(reg) s.gs, options(nostack, nomem));
    }
    s.fs_base = rdmsr(msr::FS_BASE);
    s.gs_base = rdmsr(msr::GS_BASE);
    s.gs_base_other = rdmsr(msr::KERNEL_GS_BASE);
    s
}

/// Loads one selector; one that the guest's tables do not back becomes null.
macro_rules! load_selector {
    ($reg:literal, $value:expr) => {
        // SAFETY: selectors are only used by the guest; a fault loads null instead.
        unsafe {
            asm!(
                concat!("2: mov ", $reg, ", {0:e}"),
                "jmp 4f",
                concat!("3: xor {0:e}, {0:e}"),
                concat!("mov ", $reg, ", {0:e}"),
                "4:",
                ".pushsection .ex_table,\"a\"",
                ".long 2b - ., 3b - .",
                ".popsection",
                inout(reg) u32::from($value) => _,
                options(nostack)
            )
        }
    };
}

/// Loads a guest's segment registers. Bases that are not canonical become 0.
pub fn load_segments(s: &Segments) {
    load_selector!("ds", s.ds);
    load_selector!("es", s.es);
    load_selector!("fs", s.fs);
    load_selector!("gs", s.gs);
    set_fs_base(s.fs_base);
    set_gs_base(s.gs_base);
    set_gs_base_other(s.gs_base_other);
}

fn canonical(v: u64) -> u64 {
    if v.wrapping_add(1 << 47) >> 48 == 0 { v } else { 0 }
}

/// Sets the running guest's FS base.
pub fn set_fs_base(v: u64) {
    // SAFETY: the hypervisor does not use FS; the value is canonical.
    unsafe { wrmsr(msr::FS_BASE, canonical(v)) };
}

/// Sets the running guest's GS base of the current mode.
pub fn set_gs_base(v: u64) {
    // SAFETY: the hypervisor does not use GS; the value is canonical.
    unsafe { wrmsr(msr::GS_BASE, canonical(v)) };
}

/// Sets the running guest's GS base of the other mode.
pub fn set_gs_base_other(v: u64) {
    // SAFETY: the hypervisor does not use GS; the value is canonical.
    unsafe { wrmsr(msr::KERNEL_GS_BASE, canonical(v)) };
}

/// FS and GS bases now: FS, GS of this mode, GS of the other.
pub fn bases() -> [u64; 3] {
    [rdmsr(msr::FS_BASE), rdmsr(msr::GS_BASE), rdmsr(msr::KERNEL_GS_BASE)]
}

/// Loads the GS selector for user mode (`SEGBASE_GS_USER_SEL`), leaving the kernel's base.
pub fn set_user_gs_selector(selector: u16) {
    // SAFETY: the hypervisor does not use GS.
    unsafe { asm!("swapgs", options(nostack, nomem)) };
    load_selector!("gs", selector);
    // SAFETY: as above.
    unsafe { asm!("swapgs", options(nostack, nomem)) };
}

/// The canonical form that MSR writes would demand; public for checks before storing.
pub fn is_canonical(v: u64) -> bool {
    canonical(v) == v
}
