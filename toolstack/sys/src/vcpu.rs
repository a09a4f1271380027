//! domctl: a domain's vCPUs.

use zerocopy::FromZeros;

use abi::domctl::{
    DomctlCmd, ExtVcpuContext, GetVcpuInfo, NodeAffinity, VCPUAFFINITY_FORCE, VCPUAFFINITY_HARD,
    VCPUAFFINITY_SOFT, VcpuAffinity, VcpuContext, VcpuExtState, VcpuMsr, VcpuMsrs,
};
use abi::xen::{CtlBitmap, VcpuGuestContext};
use abi::{GuestPtr, xen};

use crate::bounce::Bounce;
use crate::error::{Error, Result};
use crate::topology::CpuMap;
use crate::xen::Xen;

/// CPUs that affinities are asked for at most: Xen's own bound on x86.
const MAX_CPUS: usize = 16384;

/// What a vCPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuInfo {
    /// Which.
    pub vcpu: u32,
    /// Is on line.
    pub online: bool,
    /// Waits for an event.
    pub blocked: bool,
    /// Runs.
    pub running: bool,
    /// CPU time in nanoseconds.
    pub cpu_time_ns: u64,
    /// The CPU that it runs on, or did.
    pub cpu: u32,
}

/// Where a vCPU may and should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// CPUs it may run on.
    pub hard: CpuMap,
    /// CPUs it should run on.
    pub soft: CpuMap,
}

fn bitmap(buffer: &Bounce<'_>, bits: usize) -> CtlBitmap {
    let nr_bits = u32::try_from(bits).unwrap_or(u32::MAX);
    CtlBitmap { bitmap: GuestPtr::new(buffer.address()), nr_bits, _pad: 0 }
}

impl Xen {
    /// What a vCPU does.
    ///
    /// # Errors
    /// [`Error::Hypercall`]: ESRCH, no such domain or vCPU; EINVAL, a number that none can have.
    pub fn vcpu_info(&self, domid: u16, vcpu: u32) -> Result<VcpuInfo> {
        let mut v = GetVcpuInfo { vcpu, ..GetVcpuInfo::new_zeroed() };
        self.domctl("domctl getvcpuinfo", DomctlCmd::GETVCPUINFO, domid, &mut v)?;
        Ok(VcpuInfo {
            vcpu,
            online: v.online != 0,
            blocked: v.blocked != 0,
            running: v.running != 0,
            cpu_time_ns: v.cpu_time,
            cpu: v.cpu,
        })
    }

    /// Where a vCPU may and should run; maps of `cpus` bits (see [`PhysInfo::cpus`]).
    ///
    /// [`PhysInfo::cpus`]: crate::PhysInfo::cpus
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn vcpu_affinity(&self, domid: u16, vcpu: u32, cpus: u32) -> Result<Affinity> {
        let bits = (cpus as usize).min(MAX_CPUS);
        let (hard, soft) = (self.pool.get(bits.div_ceil(8))?, self.pool.get(bits.div_ceil(8))?);
        let mut argument = VcpuAffinity {
            vcpu,
            flags: VCPUAFFINITY_HARD | VCPUAFFINITY_SOFT,
            cpumap_hard: bitmap(&hard, bits),
            cpumap_soft: bitmap(&soft, bits),
        };
        self.domctl("domctl getvcpuaffinity", DomctlCmd::GETVCPUAFFINITY, domid, &mut argument)?;
        let map = |b: &Bounce<'_>| CpuMap::from_bytes(&b.bytes(bits.div_ceil(8)), bits);
        Ok(Affinity { hard: map(&hard), soft: map(&soft) })
    }

    /// Sets where a vCPU may or should run, each if given, and says where it does now. `force` undoes a
    /// temporary override.
    ///
    /// # Errors
    /// [`Error::Hypercall`]: EINVAL, none of the CPUs is on line and in the domain's pool.
    pub fn set_vcpu_affinity(
        &self,
        domid: u16,
        vcpu: u32,
        hard: Option<&CpuMap>,
        soft: Option<&CpuMap>,
        force: bool,
    ) -> Result<Affinity> {
        let mut flags = if force { VCPUAFFINITY_FORCE } else { 0 };
        flags |= if hard.is_some() { VCPUAFFINITY_HARD } else { 0 };
        flags |= if soft.is_some() { VCPUAFFINITY_SOFT } else { 0 };
        let bytes = |map: Option<&CpuMap>| map.map_or(&[][..], CpuMap::as_bytes).to_vec();
        let bits = |map: Option<&CpuMap>| map.map_or(0, CpuMap::bits);
        let (hard_buffer, soft_buffer) =
            (self.pool.of(bytes(hard).as_slice())?, self.pool.of(bytes(soft).as_slice())?);
        let mut argument = VcpuAffinity {
            vcpu,
            flags,
            cpumap_hard: bitmap(&hard_buffer, bits(hard)),
            cpumap_soft: bitmap(&soft_buffer, bits(soft)),
        };
        self.domctl("domctl setvcpuaffinity", DomctlCmd::SETVCPUAFFINITY, domid, &mut argument)?;
        let map =
            |b: &Bounce<'_>, bits: usize| CpuMap::from_bytes(&b.bytes(bits.div_ceil(8)), bits);
        Ok(Affinity { hard: map(&hard_buffer, bits(hard)), soft: map(&soft_buffer, bits(soft)) })
    }

    /// Nodes for a domain's memory; a map of `nodes` bits.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn node_affinity(&self, domid: u16, nodes: u32) -> Result<CpuMap> {
        let bits = (nodes as usize).min(MAX_CPUS);
        let buffer = self.pool.get(bits.div_ceil(8))?;
        let mut argument = NodeAffinity { nodemap: bitmap(&buffer, bits) };
        self.domctl("domctl getnodeaffinity", DomctlCmd::GETNODEAFFINITY, domid, &mut argument)?;
        Ok(CpuMap::from_bytes(&buffer.bytes(bits.div_ceil(8)), bits))
    }

    /// Sets the nodes for a domain's memory.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_node_affinity(&self, domid: u16, nodes: &CpuMap) -> Result<()> {
        let buffer = self.pool.of(nodes.as_bytes())?;
        let mut argument = NodeAffinity { nodemap: bitmap(&buffer, nodes.bits()) };
        self.domctl("domctl setnodeaffinity", DomctlCmd::SETNODEAFFINITY, domid, &mut argument)
    }

    /// A vCPU's registers; the domain should be paused.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn vcpu_context(&self, domid: u16, vcpu: u32) -> Result<Box<VcpuGuestContext>> {
        let buffer = self.room::<VcpuGuestContext>(1)?;
        let mut argument = VcpuContext { vcpu, _pad: 0, ctxt: GuestPtr::new(buffer.address()) };
        self.domctl("domctl getvcpucontext", DomctlCmd::GETVCPUCONTEXT, domid, &mut argument)?;
        Ok(Box::new(buffer.get(0)))
    }

    /// Sets a vCPU's registers; the domain must be paused.
    ///
    /// # Errors
    /// [`Error::Hypercall`]: EINVAL, a field that no vCPU may have.
    pub fn set_vcpu_context(
        &self,
        domid: u16,
        vcpu: u32,
        context: &xen::VcpuGuestContext,
    ) -> Result<()> {
        let buffer = self.pool.of(context)?;
        let mut argument = VcpuContext { vcpu, _pad: 0, ctxt: GuestPtr::new(buffer.address()) };
        self.domctl("domctl setvcpucontext", DomctlCmd::SETVCPUCONTEXT, domid, &mut argument)
    }

    /// More of a PV vCPU's state: system call entry points of 32-bit code, machine checks.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn ext_vcpu_context(&self, domid: u16, vcpu: u32) -> Result<ExtVcpuContext> {
        let mut argument = ExtVcpuContext { vcpu, ..ExtVcpuContext::new_zeroed() };
        let name = "domctl get_ext_vcpucontext";
        self.domctl(name, DomctlCmd::GET_EXT_VCPUCONTEXT, domid, &mut argument)?;
        Ok(argument)
    }

    /// Sets that; `context.vcpu` says whose.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_ext_vcpu_context(&self, domid: u16, context: &ExtVcpuContext) -> Result<()> {
        let mut argument = *context;
        let name = "domctl set_ext_vcpucontext";
        self.domctl(name, DomctlCmd::SET_EXT_VCPUCONTEXT, domid, &mut argument)
    }

    /// A vCPU's extended state: the components of the CPU, and XCR0, accumulated XCR0 and the XSAVE area.
    /// Empty if the CPU has no XSAVE.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn vcpu_ext_state(&self, domid: u16, vcpu: u32) -> Result<(u64, Vec<u8>)> {
        let name = "domctl getvcpuextstate";
        let mut argument = VcpuExtState { vcpu, ..VcpuExtState::new_zeroed() };
        self.domctl(name, DomctlCmd::GETVCPUEXTSTATE, domid, &mut argument)?;
        if argument.size == 0 {
            return Ok((argument.xfeature_mask, Vec::new()));
        }
        let size = usize::try_from(argument.size).ok().filter(|n| *n <= 1 << 20);
        let Some(size) = size else {
            let value = argument.size;
            return Err(Error::Argument { call: name, what: "bytes of extended state", value });
        };
        let buffer = self.pool.get(size)?;
        argument.buffer = GuestPtr::new(buffer.address());
        self.domctl(name, DomctlCmd::GETVCPUEXTSTATE, domid, &mut argument)?;
        let written = usize::try_from(argument.size).unwrap_or(0);
        Ok((argument.xfeature_mask, buffer.bytes(written.min(size))))
    }

    /// Sets that, in the form in which it was got.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_vcpu_ext_state(&self, domid: u16, vcpu: u32, mask: u64, state: &[u8]) -> Result<()> {
        let buffer = self.pool.of(state)?;
        let mut argument = VcpuExtState {
            vcpu,
            _pad: 0,
            xfeature_mask: mask,
            size: state.len() as u64,
            buffer: GuestPtr::new(buffer.address()),
        };
        self.domctl("domctl setvcpuextstate", DomctlCmd::SETVCPUEXTSTATE, domid, &mut argument)
    }

    /// The MSRs of a vCPU that are not in its other state.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn vcpu_msrs(&self, domid: u16, vcpu: u32) -> Result<Vec<VcpuMsr>> {
        let name = "domctl get_vcpu_msrs";
        let mut argument = VcpuMsrs { vcpu, msr_count: 0, msrs: GuestPtr::NULL };
        self.domctl(name, DomctlCmd::GET_VCPU_MSRS, domid, &mut argument)?;
        let room = (argument.msr_count as usize).min(4096);
        if room == 0 {
            return Ok(Vec::new());
        }
        let buffer = self.room::<VcpuMsr>(room)?;
        argument.msrs = GuestPtr::new(buffer.address());
        self.domctl(name, DomctlCmd::GET_VCPU_MSRS, domid, &mut argument)?;
        Ok(buffer.list((argument.msr_count as usize).min(room)))
    }

    /// Sets them.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_vcpu_msrs(&self, domid: u16, vcpu: u32, msrs: &[VcpuMsr]) -> Result<()> {
        let buffer = self.pool.of(msrs)?;
        let msr_count = u32::try_from(msrs.len()).unwrap_or(u32::MAX);
        let mut argument = VcpuMsrs { vcpu, msr_count, msrs: GuestPtr::new(buffer.address()) };
        self.domctl("domctl set_vcpu_msrs", DomctlCmd::SET_VCPU_MSRS, domid, &mut argument)
    }
}
