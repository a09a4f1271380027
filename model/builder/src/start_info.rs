//! The start_info page and the first vCPU's registers.
//!
//! Facts: `struct start_info` and the `SIF_` flags in the public header `xen.h`, the segment selectors
//! in `arch-x86/xen-x86_64.h`.

use core::fmt;

use abi::{Mfn, Port};

use crate::layout::Layout;
use crate::num::PAGE;

/// Bytes of `struct start_info`.
pub const SIZE: usize = 1168;
/// Bytes of the command line with the zero at its end.
pub const CMDLINE: usize = 1024;

/// The domain is privileged.
pub const SIF_PRIVILEGED: u32 = 1;
/// It is the first domain, and the one that controls the others.
pub const SIF_INITDOMAIN: u32 = 2;
/// `mod_start` is a PFN.
pub const SIF_MOD_START_PFN: u32 = 8;
/// The toolstack understands a P2M list mapped by the guest (`arch.p2m_vaddr`).
pub const SIF_VIRT_P2M_4TOOLS: u32 = 16;

const NR_PAGES: usize = 32;
const SHARED_INFO: usize = 40;
const FLAGS: usize = 48;
const STORE_MFN: usize = 56;
const STORE_EVTCHN: usize = 64;
const CONSOLE_MFN: usize = 72;
const CONSOLE_EVTCHN: usize = 80;
const PT_BASE: usize = 88;
const NR_PT_FRAMES: usize = 96;
const MFN_LIST: usize = 104;
const MOD_START: usize = 112;
const MOD_LEN: usize = 120;
const CMD_LINE: usize = 128;
const FIRST_P2M_PFN: usize = 1152;
const NR_P2M_FRAMES: usize = 1160;

/// Why there can be no start_info.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartInfoError {
    /// The command line is too long; its length. 1023 bytes go in.
    CommandLine(usize),
    /// The command line has a zero byte in it; where.
    ZeroInCommandLine(usize),
}

impl fmt::Display for StartInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(n) => write!(
                f,
                "the kernel command line is {n} bytes, a PV guest takes at most {}",
                CMDLINE.wrapping_sub(1)
            ),
            Self::ZeroInCommandLine(at) => {
                write!(f, "the kernel command line has a zero byte at {at}")
            }
        }
    }
}

impl core::error::Error for StartInfoError {}

/// Whose start_info it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The first domain: no rings, and no VGA console is told of.
    Dom0,
    /// Any other.
    DomU {
        /// Frame of the xenstore ring.
        store: Mfn,
        /// Event channel of the xenstore ring.
        store_port: Port,
        /// Frame of the console ring.
        console: Mfn,
        /// Event channel of the console ring.
        console_port: Port,
    },
}

/// What start_info says that is not in the layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contents<'a> {
    /// Dom0 or not.
    pub role: Role,
    /// Machine address of the shared_info page.
    pub shared_info: u64,
    /// Flags besides those that follow from role and layout.
    pub flags: u32,
    /// The kernel's command line, without a zero at its end.
    pub command_line: &'a [u8],
}

/// The bytes of start_info, to be put at the start of the otherwise zero page `layout.start_info`.
///
/// # Errors
/// Any [`StartInfoError`].
pub fn fill(layout: &Layout, contents: &Contents<'_>) -> Result<[u8; SIZE], StartInfoError> {
    let line = contents.command_line;
    if line.len() >= CMDLINE {
        return Err(StartInfoError::CommandLine(line.len()));
    }
    if let Some(at) = line.iter().position(|b| *b == 0) {
        return Err(StartInfoError::ZeroInCommandLine(at));
    }
    let mut page = Page([0; SIZE]);
    page.put(0, b"xen-3.0-x86_64");
    page.word(NR_PAGES, layout.nr_pages);
    page.word(SHARED_INFO, contents.shared_info);
    let mut flags = contents.flags;
    match contents.role {
        Role::Dom0 => flags |= SIF_PRIVILEGED | SIF_INITDOMAIN,
        Role::DomU { store, store_port, console, console_port } => {
            page.word(STORE_MFN, store.0);
            page.put(STORE_EVTCHN, &store_port.0.to_le_bytes());
            page.word(CONSOLE_MFN, console.0);
            page.put(CONSOLE_EVTCHN, &console_port.0.to_le_bytes());
        }
    }
    page.word(PT_BASE, layout.tables.va);
    page.word(NR_PT_FRAMES, layout.tables.pages);
    page.word(MFN_LIST, layout.p2m.va);
    if let Some(initrd) = layout.initrd {
        let unmapped = initrd.va == 0;
        page.word(MOD_START, if unmapped { initrd.pfn.0 } else { initrd.va });
        page.word(MOD_LEN, layout.initrd_bytes);
        if unmapped {
            flags |= SIF_MOD_START_PFN;
        }
    }
    page.put(FLAGS, &flags.to_le_bytes());
    page.put(CMD_LINE, line);
    let (first, count) = layout.p2m_frames();
    page.word(FIRST_P2M_PFN, first.0);
    page.word(NR_P2M_FRAMES, count);
    Ok(page.0)
}

struct Page([u8; SIZE]);

impl Page {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }

    fn word(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

/// 64-bit kernel code segment of the hypervisor's GDT window.
pub const FLAT_KERNEL_CS64: u16 = 0xe033;
/// Kernel stack segment.
pub const FLAT_KERNEL_SS64: u16 = 0xe02b;

/// Registers of vCPU 0 at the first instruction; those not named are zero, as are DS, ES, FS and GS.
/// Events are masked in its vcpu_info.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// First instruction.
    pub rip: u64,
    /// End of the stack page.
    pub rsp: u64,
    /// Address of start_info.
    pub rsi: u64,
    /// IF alone.
    pub rflags: u64,
    /// Code segment.
    pub cs: u16,
    /// Stack segment.
    pub ss: u16,
    /// The first page table, to be found in CR3: its PFN.
    pub cr3: abi::Pfn,
}

impl Registers {
    /// For a domain laid out so.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            rip: layout.entry,
            rsp: layout.stack.va.wrapping_add(PAGE),
            rsi: layout.start_info.va,
            rflags: 0x200,
            cs: FLAT_KERNEL_CS64,
            ss: FLAT_KERNEL_SS64,
            cr3: layout.tables.pfn,
        }
    }
}
