//! What a domain needs beside its memory's contents: the shared page, its first vCPU, its first grants.

use abi::pv::{VGCF_IN_KERNEL, VGCF_ONLINE};
use abi::xen::LEGACY_MAX_VCPUS;
use abi::{Mfn, Pfn, Port};
use builder::layout::{Area, Layout};
use builder::start_info::{self, Contents, Registers, Role, SIF_VIRT_P2M_4TOOLS};
use sys::{Mapping, Protection, VcpuGuestContext, Xen};
use zerocopy::FromZeros;

use super::{BuildError, Prepared, Request};
use crate::grants::{self, Ring, SeedError};

/// Offset of `evtchn_upcall_mask` in a `vcpu_info`, and the latter's size.
const UPCALL_MASK: usize = 1;
const VCPU_INFO: usize = 64;
/// A selector that an unused data segment has in 64-bit code.
const NULL_SELECTOR: u16 = abi::pv::FLAT_KERNEL_DS;

/// Refuses a command line that start_info has no room for.
pub(super) fn check_command_line(line: &str) -> Result<(), BuildError> {
    let why = if line.len() >= start_info::CMDLINE {
        start_info::StartInfoError::CommandLine(line.len())
    } else if let Some(at) = line.bytes().position(|b| b == 0) {
        start_info::StartInfoError::ZeroInCommandLine(at)
    } else {
        return Ok(());
    };
    Err(BuildError::CommandLine(why))
}

/// Where a domain's rings are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Frame of the xenstore ring.
    pub store: Mfn,
    /// Its port.
    pub store_port: u32,
    /// Frame of the console ring.
    pub console: Mfn,
    /// Its port.
    pub console_port: u32,
}

fn frame(domid: u16, frames: &[u64], pfn: Pfn, what: &'static str) -> Result<Mfn, BuildError> {
    let at = usize::try_from(pfn.0).ok().and_then(|n| frames.get(n));
    at.map(|f| Mfn(*f)).ok_or(BuildError::Inconsistent { domid, what, pfn: pfn.0 })
}

impl Place {
    pub(super) fn new(
        domid: u16,
        layout: &Layout,
        frames: &[u64],
        store_port: u32,
        console_port: u32,
    ) -> Result<Self, BuildError> {
        let ring =
            |area: Option<Area>, what| frame(domid, frames, area.unwrap_or_default().pfn, what);
        let (store, console) =
            (ring(layout.store, "xenstore ring")?, ring(layout.console, "console ring")?);
        Ok(Self { store, store_port, console, console_port })
    }

    /// The bytes of start_info.
    pub(super) fn start_info(
        &self,
        prepared: &Prepared,
        shared_info: u64,
    ) -> Result<[u8; start_info::SIZE], BuildError> {
        let contents = Contents {
            role: Role::DomU {
                store: self.store,
                store_port: Port(self.store_port),
                console: self.console,
                console_port: Port(self.console_port),
            },
            shared_info: shared_info << abi::PAGE_SHIFT,
            flags: SIF_VIRT_P2M_4TOOLS,
            command_line: prepared.request.command_line.as_bytes(),
        };
        start_info::fill(&prepared.layout, &contents).map_err(BuildError::CommandLine)
    }
}

/// Pins the page tables, masks events on the shared page, sets the first vCPU's registers.
pub(super) fn run_ready(
    xen: &Xen,
    domid: u16,
    prepared: &Prepared,
    frames: &[u64],
    shared_info: u64,
) -> Result<(), BuildError> {
    let step = |what| move |source| BuildError::Call { domid, what, source };
    let registers = Registers::new(&prepared.layout);
    let l4 = frame(domid, frames, registers.cr3, "the first page table")?;
    xen.pin_tables(domid, &[(l4.0, 4)]).map_err(step("pinning its page tables"))?;
    let shared = xen
        .map_foreign(domid, &[shared_info], Protection::ReadWrite)
        .map_err(step("mapping its shared page"))?;
    for vcpu in 0..LEGACY_MAX_VCPUS {
        put(&shared, vcpu.saturating_mul(VCPU_INFO).saturating_add(UPCALL_MASK), &[1]);
    }
    drop(shared);
    let context = context(&registers, l4);
    xen.set_vcpu_context(domid, 0, &context).map_err(step("setting its first registers"))
}

/// Writes into a page that is all of it mapped.
fn put(page: &Mapping, offset: usize, bytes: &[u8]) {
    let done = page.write(offset, bytes);
    debug_assert!(done, "{offset} is not within the page");
}

fn context(registers: &Registers, l4: Mfn) -> Box<VcpuGuestContext> {
    let mut context = Box::new(VcpuGuestContext::new_zeroed());
    context.flags = VGCF_IN_KERNEL | VGCF_ONLINE;
    let regs = &mut context.user_regs;
    regs.rip = registers.rip;
    regs.rsp = registers.rsp;
    regs.rsi = registers.rsi;
    regs.rflags = registers.rflags;
    regs.cs = registers.cs;
    regs.ss = registers.ss;
    (regs.ds, regs.es, regs.fs, regs.gs) =
        (NULL_SELECTOR, NULL_SELECTOR, NULL_SELECTOR, NULL_SELECTOR);
    context.kernel_ss = u64::from(registers.ss);
    context.kernel_sp = registers.rsp;
    context.ctrlreg[3] = l4.0 << abi::PAGE_SHIFT;
    context
}

/// Grants the two rings to the domains of their daemons, in the entries kept for that.
pub(super) fn seed_grants(
    xen: &Xen,
    domid: u16,
    place: &Place,
    request: &Request,
) -> Result<(), BuildError> {
    let console = Ring { daemon: request.console_domid, frame: place.console.0 };
    let store = Ring { daemon: request.store_domid, frame: place.store.0 };
    grants::seed(xen, domid, console, store).map_err(|error| match error {
        SeedError::Table(source) => {
            BuildError::Call { domid, what: "mapping its grant table", source }
        }
        SeedError::Frame(pfn) => {
            BuildError::Inconsistent { domid, what: "a ring for a grant entry of 32 bits", pfn }
        }
    })
}
