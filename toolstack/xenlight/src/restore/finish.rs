//! What is done once all of a stream is read: the guest's P2M, page tables, shared page, start_info,
//! registers.

use abi::xen::{SharedInfo, StartInfo};
use builder::start_info::SIF_VIRT_P2M_4TOOLS;
use sys::{ExtVcpuContext, Mapping, Protection, VcpuMsr, Xen};
use xen_stream::PAGE;
use xen_stream::libxc::Vcpu;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::memory::Memory;
use super::{Error, Rings, Target};
use crate::save::vcpu;

/// Records of one vCPU.
#[derive(Default)]
pub(super) struct VcpuState {
    pub(super) basic: Option<Vcpu>,
    pub(super) extended: Option<Vcpu>,
    pub(super) xsave: Option<Vcpu>,
    pub(super) msrs: Option<Vcpu>,
}

/// Makes the domain ready to run.
pub(super) fn finish(
    xen: &Xen,
    target: &Target,
    memory: &Memory,
    shared_info: &[u8; PAGE],
    vcpus: &[(u32, VcpuState)],
) -> Result<Rings, Error> {
    let domid = target.domid;
    memory.write_p2m(xen)?;
    xen.pin_tables(domid, &memory.pinned())?;
    let info = xen.domain_info(domid)?.ok_or(Error::Vanished(domid))?;
    let page = xen.map_foreign(domid, &[info.shared_info_frame], Protection::ReadWrite)?;
    write_shared_info(&page, shared_info);
    drop(page);
    let first = vcpus.iter().find_map(|(id, state)| state.basic.as_ref().filter(|_| *id == 0));
    let first = first.ok_or(Error::Missing("the registers of vCPU 0"))?;
    let pfn = vcpu::start_info_pfn(&first.context).map_err(|bad| Error::Vcpu { vcpu: 0, bad })?;
    let mfn = memory.mfn(pfn).ok_or(Error::NoPage { pfn, what: "start_info" })?;
    let page = xen.map_foreign(domid, &[mfn], Protection::ReadWrite)?;
    let rings = write_start_info(&page, target, memory, info.shared_info_frame)?;
    drop(page);
    for (id, state) in vcpus {
        if *id >= info.vcpus() {
            return Err(Error::NoSuchVcpu { vcpu: *id, vcpus: info.vcpus() });
        }
        set_vcpu(xen, domid, *id, state, memory)?;
    }
    Ok(rings)
}

/// The vCPUs' part and the architecture's come from the stream; event channels start anew, all masked;
/// the wall clock is this host's.
fn write_shared_info(page: &Mapping, saved: &[u8; PAGE]) {
    let mut bytes = [0; size_of::<SharedInfo>()];
    // The page is mapped whole, and larger than the structure; so is the one in the stream.
    let _ = page.read(0, &mut bytes);
    let (Ok(mut new), Ok((old, _))) =
        (SharedInfo::read_from_bytes(&bytes), SharedInfo::read_from_prefix(saved))
    else {
        return;
    };
    new.vcpu_info = old.vcpu_info;
    for info in &mut new.vcpu_info {
        info.evtchn_pending_sel = 0;
    }
    new.evtchn_pending = [0; 64];
    new.evtchn_mask = [u64::MAX; 64];
    new.arch = old.arch;
    // The guest makes its list of lists anew.
    new.arch.pfn_to_mfn_frame_list_list = 0;
    let _ = page.write(0, new.as_bytes());
}

/// Tells the guest of what is different here; the rings' frames for the daemons.
fn write_start_info(
    page: &Mapping,
    target: &Target,
    memory: &Memory,
    shared_info: u64,
) -> Result<Rings, Error> {
    let mut bytes = [0; size_of::<StartInfo>()];
    // The page is mapped whole, and larger than the structure.
    let _ = page.read(0, &mut bytes);
    let mut info = StartInfo::read_from_bytes(&bytes).unwrap_or_else(|_| StartInfo::new_zeroed());
    let ring = |pfn, what| memory.mfn(pfn).ok_or(Error::NoPage { pfn, what });
    let [console_pfn, _] = info.console;
    let rings = Rings {
        store_gfn: ring(info.store_mfn, "the xenstore ring")?,
        console_gfn: ring(console_pfn, "the console ring")?,
        pages: memory.given(),
    };
    info.nr_pages = memory.pfns();
    info.shared_info = shared_info << abi::PAGE_SHIFT;
    info.flags &= SIF_VIRT_P2M_4TOOLS;
    info.store_mfn = rings.store_gfn;
    info.store_evtchn = target.store_port;
    info.console = [rings.console_gfn, u64::from(target.console_port)];
    let _ = page.write(0, info.as_bytes());
    Ok(rings)
}

fn set_vcpu(
    xen: &Xen,
    domid: u16,
    id: u32,
    state: &VcpuState,
    memory: &Memory,
) -> Result<(), Error> {
    let refused = |bad| Error::Vcpu { vcpu: id, bad };
    // A vCPU that was not on line has no records; others have their registers at least.
    let basic = state.basic.as_ref().ok_or(Error::VcpuIncomplete(id))?;
    let context = vcpu::from_stream(&basic.context, id, |pfn| memory.mfn(pfn)).map_err(refused)?;
    xen.set_vcpu_context(domid, id, &context)?;
    if let Some(extended) = &state.extended {
        let (mut context, _) = ExtVcpuContext::read_from_prefix(&extended.context)
            .map_err(|_| Error::VcpuIncomplete(id))?;
        context.vcpu = id;
        xen.set_ext_vcpu_context(domid, &context)?;
    }
    if let Some(xsave) = &state.xsave {
        xen.set_vcpu_ext_state(domid, id, 0, &xsave.context)?;
    }
    if let Some(msrs) = &state.msrs {
        let list: Vec<VcpuMsr> = msrs
            .context
            .chunks_exact(size_of::<VcpuMsr>())
            .filter_map(|chunk| VcpuMsr::read_from_bytes(chunk).ok())
            .collect();
        xen.set_vcpu_msrs(domid, id, &list)?;
    }
    Ok(())
}
