//! domctl: control of domains.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use abi::domctl::{
    AddressSize, DOMCTL_INTERFACE_VERSION, Domctl, DomctlCmd, GetDomainInfo, GetPageFrameInfo3,
    HypercallInit, IomemPermission, IoportPermission, IrqPermission, MaxMem, MaxVcpus, SendTrigger,
    SetDebugging, SetDomainHandle, SetTimeOffset, SetVirqHandler,
};
use abi::xen::{Hypercall, Virq};
use abi::{GuestPtr, domctl};

use crate::domain::{CreateDomain, DomainInfo};
use crate::error::{Error, Result};
use crate::xen::{Call, Xen};

/// How a domain's TSC works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscInfo {
    /// `TSC_MODE_*` of [`abi::arch_x86`].
    pub mode: u32,
    /// kHz; 0 for the host's.
    pub khz: u32,
    /// How often it was restored.
    pub incarnation: u32,
    /// Nanoseconds since its start.
    pub elapsed_ns: u64,
}

/// What a page of a PV domain is used as, `PFINFO_*` of [`abi::domctl`] in its high 4 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageType(pub u32);

impl PageType {
    /// The level of page table that it is, 1 to 4.
    pub fn table_level(self) -> Option<u32> {
        let kind = self.0 & domctl::PFINFO_LTAB_MASK;
        let level = kind >> domctl::PFINFO_LTAB_SHIFT & 7;
        (!matches!(kind, domctl::PFINFO_XTAB | domctl::PFINFO_XALLOC | domctl::PFINFO_BROKEN)
            && (1..=4).contains(&level))
        .then_some(level)
    }

    /// Whether it is pinned as that.
    pub fn is_pinned(self) -> bool {
        self.table_level().is_some() && self.0 & domctl::PFINFO_LPINTAB != 0
    }

    /// Whether it has contents that can be mapped and saved.
    pub fn has_contents(self) -> bool {
        !matches!(
            self.0 & domctl::PFINFO_LTAB_MASK,
            domctl::PFINFO_XTAB | domctl::PFINFO_XALLOC | domctl::PFINFO_BROKEN
        )
    }
}

impl Xen {
    /// Makes a domctl with a structure that is copied in and back out; the domain that it names after.
    pub(crate) fn domctl_any<T>(
        &self,
        call: Call,
        cmd: DomctlCmd,
        domid: u16,
        argument: &mut T,
    ) -> Result<u16>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        const { assert!(size_of::<T>() <= 128) };
        let mut op = Domctl {
            cmd,
            interface_version: DOMCTL_INTERFACE_VERSION,
            domain: domid,
            _pad: [0; 3],
            u: [0; 16],
        };
        if let Some(to) = op.u.as_mut_bytes().get_mut(..size_of::<T>()) {
            to.copy_from_slice(argument.as_bytes());
        }
        let buffer = self.pool.of(&op)?;
        let result = self.call(call, Hypercall::DOMCTL, [buffer.address(), 0, 0, 0, 0]);
        // Some operations say in their structure why they fail.
        let op: Domctl = buffer.get(0);
        if let Ok((answer, _)) = T::read_from_prefix(op.u.as_bytes()) {
            *argument = answer;
        }
        result.map(|_| op.domain)
    }

    pub(crate) fn domctl<T>(
        &self,
        name: &'static str,
        cmd: DomctlCmd,
        domid: u16,
        argument: &mut T,
    ) -> Result<()>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        self.domctl_any(Call::of(name, domid), cmd, domid, argument).map(drop)
    }

    /// Makes a domain, paused and without memory or vCPUs, and says its number.
    ///
    /// # Errors
    /// [`Error::Hypercall`]: EEXIST, the number is in use; EINVAL, the request; ENOMEM.
    pub fn create_domain(&self, want: &CreateDomain) -> Result<u16> {
        let call = Call { name: "domctl createdomain", domid: want.domid };
        // 0 has always meant "any": domain 0 is never created so.
        let domid = want.domid.unwrap_or(0);
        self.domctl_any(call, DomctlCmd::CREATEDOMAIN, domid, &mut want.layout())
    }

    /// Ends a domain. It is gone when nobody holds its pages any more, which may be later.
    ///
    /// # Errors
    /// [`Error::Hypercall`], [`Error::Unfinished`].
    pub fn destroy_domain(&self, domid: u16) -> Result<()> {
        let name = "domctl destroydomain";
        self.until_done(Call::of(name, domid), || {
            self.domctl(name, DomctlCmd::DESTROYDOMAIN, domid, &mut [0u8; 0])
        })
    }

    /// Stops a domain from running, once more than before.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn pause(&self, domid: u16) -> Result<()> {
        self.domctl("domctl pausedomain", DomctlCmd::PAUSEDOMAIN, domid, &mut [0u8; 0])
    }

    /// Lets a domain run again.
    ///
    /// # Errors
    /// [`Error::Hypercall`]: EINVAL, it has no vCPU that could run.
    pub fn unpause(&self, domid: u16) -> Result<()> {
        self.domctl("domctl unpausedomain", DomctlCmd::UNPAUSEDOMAIN, domid, &mut [0u8; 0])
    }

    /// Lets a domain go on whose suspend was not completed.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn resume(&self, domid: u16) -> Result<()> {
        self.domctl("domctl resumedomain", DomctlCmd::RESUMEDOMAIN, domid, &mut [0u8; 0])
    }

    /// What a domain is and does; `None` if there is none of this number.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn domain_info(&self, domid: u16) -> Result<Option<DomainInfo>> {
        let mut info = GetDomainInfo::new_zeroed();
        let call = Call::of("domctl getdomaininfo", domid);
        match self.domctl_any(call, DomctlCmd::GETDOMAININFO, domid, &mut info) {
            Ok(_) if info.domain == domid => Ok(Some(DomainInfo::of(&info))),
            Ok(_) => Ok(None),
            Err(e) if e.no_such_domain() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Sets how many vCPUs a new domain has.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn max_vcpus(&self, domid: u16, vcpus: u32) -> Result<()> {
        let mut argument = MaxVcpus { max: vcpus };
        self.domctl("domctl max_vcpus", DomctlCmd::MAX_VCPUS, domid, &mut argument)
    }

    /// Sets how many KiB a domain may have.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn max_mem(&self, domid: u16, kib: u64) -> Result<()> {
        let mut argument = MaxMem { max_memkb: kib };
        self.domctl("domctl max_mem", DomctlCmd::MAX_MEM, domid, &mut argument)
    }

    /// Sets a domain's 16-byte name for users.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_handle(&self, domid: u16, handle: [u8; 16]) -> Result<()> {
        let mut argument = SetDomainHandle { handle };
        self.domctl("domctl setdomainhandle", DomctlCmd::SETDOMAINHANDLE, domid, &mut argument)
    }

    /// Sets whether a debugger is attached: a crash then pauses the domain.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_debugging(&self, domid: u16, on: bool) -> Result<()> {
        let mut argument = SetDebugging { enable: u8::from(on) };
        self.domctl("domctl setdebugging", DomctlCmd::SETDEBUGGING, domid, &mut argument)
    }

    /// Sets the offset of a domain's wall clock in seconds.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_time_offset(&self, domid: u16, seconds: i64) -> Result<()> {
        let mut argument = SetTimeOffset { time_offset_seconds: seconds };
        self.domctl("domctl settimeoffset", DomctlCmd::SETTIMEOFFSET, domid, &mut argument)
    }

    /// How a domain's TSC works.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn tsc_info(&self, domid: u16) -> Result<TscInfo> {
        let mut t = domctl::TscInfo::new_zeroed();
        self.domctl("domctl gettscinfo", DomctlCmd::GETTSCINFO, domid, &mut t)?;
        let (mode, khz, incarnation) = (t.tsc_mode, t.gtsc_khz, t.incarnation);
        Ok(TscInfo { mode, khz, incarnation, elapsed_ns: t.elapsed_nsec })
    }

    /// Sets how a domain's TSC works.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_tsc_info(&self, domid: u16, info: &TscInfo) -> Result<()> {
        let mut argument = domctl::TscInfo {
            tsc_mode: info.mode,
            gtsc_khz: info.khz,
            incarnation: info.incarnation,
            pad: 0,
            elapsed_nsec: info.elapsed_ns,
        };
        self.domctl("domctl settscinfo", DomctlCmd::SETTSCINFO, domid, &mut argument)
    }

    /// Width of a PV domain: 32 or 64.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn address_size(&self, domid: u16) -> Result<u32> {
        let mut argument = AddressSize { size: 0 };
        self.domctl("domctl get_address_size", DomctlCmd::GET_ADDRESS_SIZE, domid, &mut argument)?;
        Ok(argument.size)
    }

    /// Sets the width of a PV domain that has no memory yet: 32 or 64.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_address_size(&self, domid: u16, bits: u32) -> Result<()> {
        let mut argument = AddressSize { size: bits };
        self.domctl("domctl set_address_size", DomctlCmd::SET_ADDRESS_SIZE, domid, &mut argument)
    }

    /// Fills a page of a domain with hypercall stubs.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn hypercall_init(&self, domid: u16, gfn: u64) -> Result<()> {
        let mut argument = HypercallInit { gmfn: gfn };
        self.domctl("domctl hypercall_init", DomctlCmd::HYPERCALL_INIT, domid, &mut argument)
    }

    /// Presses a button: `SENDTRIGGER_*` of [`abi::domctl`].
    ///
    /// # Errors
    /// [`Error::Hypercall`]: ENOSYS or EINVAL, the guest has no such button.
    pub fn send_trigger(&self, domid: u16, trigger: u32, vcpu: u32) -> Result<()> {
        let mut argument = SendTrigger { trigger, vcpu };
        self.domctl("domctl sendtrigger", DomctlCmd::SENDTRIGGER, domid, &mut argument)
    }

    /// Lets a domain handle one of the host's virtual interrupts.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_virq_handler(&self, domid: u16, virq: Virq) -> Result<()> {
        let mut argument = SetVirqHandler { virq: virq.0 };
        self.domctl("domctl set_virq_handler", DomctlCmd::SET_VIRQ_HANDLER, domid, &mut argument)
    }

    /// Gives or takes the right to device memory, in frames.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn iomem_permission(&self, domid: u16, first: u64, frames: u64, allow: bool) -> Result<()> {
        let mut argument = IomemPermission {
            first_mfn: first,
            nr_mfns: frames,
            allow_access: u8::from(allow),
            _pad: [0; 7],
        };
        self.domctl("domctl iomem_permission", DomctlCmd::IOMEM_PERMISSION, domid, &mut argument)
    }

    /// Gives or takes the right to I/O ports.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn ioport_permission(&self, domid: u16, first: u32, ports: u32, allow: bool) -> Result<()> {
        let mut argument = IoportPermission {
            first_port: first,
            nr_ports: ports,
            allow_access: u8::from(allow),
            _pad: [0; 3],
        };
        self.domctl("domctl ioport_permission", DomctlCmd::IOPORT_PERMISSION, domid, &mut argument)
    }

    /// Gives or takes the right to a physical interrupt.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn irq_permission(&self, domid: u16, pirq: u32, allow: bool) -> Result<()> {
        let mut argument = IrqPermission { pirq, allow_access: u8::from(allow), pad: [0; 3] };
        self.domctl("domctl irq_permission", DomctlCmd::IRQ_PERMISSION, domid, &mut argument)
    }

    /// What pages of a PV domain are used as, one answer for each frame; at most 1024 in one call.
    ///
    /// # Errors
    /// [`Error::Hypercall`], [`Error::Argument`] for more than 1024 frames.
    pub fn page_types(&self, domid: u16, frames: &[u64]) -> Result<Vec<PageType>> {
        let name = "domctl getpageframeinfo3";
        if frames.len() > 1024 {
            let value = frames.len() as u64;
            return Err(Error::Argument { call: name, what: "more than 1024 frames", value });
        }
        let list = self.pool.of(frames)?;
        let mut argument =
            GetPageFrameInfo3 { num: frames.len() as u64, array: GuestPtr::new(list.address()) };
        self.domctl(name, DomctlCmd::GETPAGEFRAMEINFO3, domid, &mut argument)?;
        // The types come back in the same words, in their low 32 bits.
        let types = list.list::<u64>(frames.len()).into_iter();
        Ok(types.map(|t| PageType((t & 0xffff_ffff) as u32)).collect())
    }
}
