//! Saving a PV guest to a file: `xl save`.
//!
//! The guest is asked to suspend; its memory and registers are then written with its own frame
//! numbers (PFNs) in place of the machine's (MFNs), as a libxc stream inside a libxl stream.

mod guest;
mod memory;
pub(crate) mod p2m;
mod progress;
mod suspend;
pub(crate) mod tables;
mod under_way;
pub(crate) mod vcpu;

use std::io::Write;
use std::path::PathBuf;

use sys::{DomainInfo, Protection, ShutdownReason, Xen};
use xen_stream::libxc::{self, CpuidLeaf, DomainKind, MsrEntry, Record, Vcpu};
use xen_stream::{Output, PAGE, Place, file, libxl};
use zerocopy::IntoBytes;

pub use guest::{After, Options, Saved, guest};
pub use p2m::P2mError;
pub use progress::{Progress, Silent, Terminal};
pub use suspend::{resume, suspend};
pub use under_way::{Abandoned, Rescued, abandoned, abandoned_of, rescue};

use p2m::Frames;

/// A guest that cannot be saved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such domain, or it is being destroyed.
    #[error("there is no domain {0}")]
    NoSuchDomain(u16),
    /// Domain 0 has nobody who would write it.
    #[error("domain 0 cannot be saved")]
    Domain0,
    /// A paused guest cannot suspend.
    #[error("domain {0} is paused, and cannot suspend: `xl unpause` it first")]
    Paused(u16),
    /// Another process saves it.
    #[error("domain {domid} is being saved already, by process {pid}")]
    BeingSaved {
        /// Which.
        domid: u16,
        /// Who.
        pid: u32,
    },
    /// Its configuration forbids it.
    #[error("domain {0} must not be saved: its configuration says nomigrate=1")]
    NoMigrate(u16),
    /// Nobody has stored what the guest is.
    #[error(
        "domain {0} has no stored configuration; name its file as third word: xl save DOMAIN FILE CONFIG"
    )]
    NoConfig(u16),
    /// The stored configuration cannot be read.
    #[error(transparent)]
    Userdata(#[from] crate::userdata::UserdataError),
    /// The file cannot be made.
    #[error("cannot write {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file system is too small.
    #[error(
        "cannot write {}: the guest needs {wanted_mib} MiB, {free_mib} MiB are free there", path.display()
    )]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// What is needed.
        wanted_mib: u64,
        /// What is there.
        free_mib: u64,
    },
    /// It is saved, and could not be ended.
    #[error("the file is complete, but the guest could not be ended")]
    Life(#[source] Box<crate::life::LifeError>),
    /// Saving failed, and the guest could not be let go on.
    #[error("{why}; moreover, domain {domid} could not be let go on: `xl destroy` ends it")]
    Stuck {
        /// Which.
        domid: u16,
        /// Why saving failed.
        why: Box<Error>,
        /// Why it does not go on.
        source: Box<Error>,
    },
    /// Only PV guests can be saved yet.
    #[error("domain {0} is an HVM or PVH guest: saving these is not implemented")]
    NotPv(u16),
    /// Only 64-bit guests can be saved.
    #[error("domain {domid} is a {bits}-bit PV guest: saving these is not implemented")]
    Width {
        /// Which.
        domid: u16,
        /// Its width.
        bits: u32,
    },
    /// The guest does not answer.
    #[error(
        "domain {domid} has not seen the request to suspend in {seconds} s: its kernel hangs, or \
         has no support for it; the request was taken back"
    )]
    NotAcknowledged {
        /// Which.
        domid: u16,
        /// How long was waited.
        seconds: u64,
    },
    /// The guest has seen the request, and does not stop.
    #[error("domain {domid} was asked to suspend, and still runs after {seconds} s")]
    NotSuspended {
        /// Which.
        domid: u16,
        /// How long was waited.
        seconds: u64,
    },
    /// The guest has ended instead.
    #[error("domain {domid} has ended instead of suspending (shutdown reason {})", reason.0)]
    Ended {
        /// Which.
        domid: u16,
        /// How.
        reason: ShutdownReason,
    },
    /// Its memory cannot be found.
    #[error("cannot find the memory of domain {domid}")]
    P2m {
        /// Which.
        domid: u16,
        /// Why.
        source: P2mError,
    },
    /// A page table has a frame that is not the guest's.
    #[error(
        "the guest's page {pfn:#x}, an L{level} page table, has in entry {index} a page that is not \
         its own: {entry:#x}"
    )]
    Table {
        /// The table's PFN.
        pfn: u64,
        /// Its level.
        level: u8,
        /// Which entry.
        index: usize,
        /// The entry.
        entry: u64,
    },
    /// A register has a frame that is not the guest's.
    #[error("vCPU {vcpu}: {bad}")]
    Vcpu {
        /// Which.
        vcpu: u32,
        /// What is wrong.
        bad: vcpu::Bad,
    },
    /// The P2M itself lies in a page that is not the guest's.
    #[error("page {index} of the guest's P2M is frame {mfn:#x}, which is not its own")]
    P2mFrame {
        /// Which page.
        index: usize,
        /// Its frame.
        mfn: u64,
    },
    /// The hypervisor refuses.
    #[error(transparent)]
    Xen(#[from] sys::Error),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] xenstore::Error),
    /// The file cannot be written.
    #[error(transparent)]
    Stream(#[from] xen_stream::Error),
}

/// Writes a whole save file of a domain that has suspended: header with `config` (libxl's JSON form),
/// libxl stream, libxc stream. Gives the destination back, flushed, and the number of bytes.
///
/// # Errors
/// [`Error`]
pub fn write<W: Write>(
    xen: &Xen,
    domid: u16,
    config: &str,
    to: W,
    progress: &mut dyn Progress,
) -> Result<(W, u64), Error> {
    let mut output = Output::new(to);
    file::Header { config: config.to_owned() }.write(&mut output)?;
    libxl::write_header(&mut output)?;
    libxl::Record::LibxcContext.write(&mut output, 0)?;
    write_domain(xen, domid, &mut output, progress)?;
    libxl::Record::End.write(&mut output, 1)?;
    let bytes = output.at();
    Ok((output.finish(Place::LibxlRecord(1, None))?, bytes))
}

/// Writes the libxc stream of a PV domain that has suspended.
///
/// # Errors
/// [`Error`]
pub fn write_domain<W: Write>(
    xen: &Xen,
    domid: u16,
    output: &mut Output<W>,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let info = xen.domain_info(domid)?.ok_or(Error::NoSuchDomain(domid))?;
    supported(xen, &info)?;
    let (major, minor) = xen.version()?;
    let shared_info = xen.map_foreign(domid, &[info.shared_info_frame], Protection::Read)?;
    let frames =
        Frames::read(xen, &info, &shared_info).map_err(|source| Error::P2m { domid, source })?;

    libxc::Header::new(DomainKind::Pv, major, minor).write(output)?;
    let mut index = 0;
    for record in static_data(xen, domid)?.into_iter().chain([p2m_frames(&frames)?]) {
        record.write(output, index)?;
        index += 1;
    }
    index = memory::write(xen, domid, &frames, output, index, progress)?;

    let tsc = xen.tsc_info(domid)?;
    let tsc = libxc::TscInfo {
        mode: tsc.mode,
        khz: tsc.khz,
        nsec: tsc.elapsed_ns,
        incarnation: tsc.incarnation,
    };
    let mut page = Box::new([0; PAGE]);
    // The page is mapped whole.
    let _ = shared_info.read(0, page.as_mut_slice());
    let mut records = vec![Record::TscInfo(tsc), Record::SharedInfo(page)];
    for id in 0..info.vcpus() {
        if xen.vcpu_info(domid, id)?.online {
            records.extend(vcpu_records(xen, domid, id, &frames)?);
        }
    }
    records.push(Record::End);
    for record in records {
        record.write(output, index)?;
        index += 1;
    }
    Ok(())
}

/// Refuses kinds of guests whose saving is not implemented.
fn supported(xen: &Xen, info: &DomainInfo) -> Result<(), Error> {
    let domid = info.domid;
    if info.hvm {
        return Err(Error::NotPv(domid));
    }
    match xen.address_size(domid)? {
        64 => Ok(()),
        bits => Err(Error::Width { domid, bits }),
    }
}

fn static_data(xen: &Xen, domid: u16) -> Result<Vec<Record>, Error> {
    let policy = xen.domain_cpu_policy(domid)?;
    let leaf = |l: &abi::arch_x86::CpuidLeaf| CpuidLeaf {
        leaf: l.leaf,
        subleaf: l.subleaf,
        a: l.a,
        b: l.b,
        c: l.c,
        d: l.d,
    };
    let msr = |m: &abi::arch_x86::MsrEntry| MsrEntry { idx: m.idx, flags: m.flags, val: m.val };
    let mut records = vec![Record::PvInfo { guest_width: 8, pt_levels: 4 }];
    // Xen's restore refuses empty records.
    if !policy.leaves.is_empty() {
        records.push(Record::CpuidPolicy(policy.leaves.iter().map(leaf).collect()));
    }
    if !policy.msrs.is_empty() {
        records.push(Record::MsrPolicy(policy.msrs.iter().map(msr).collect()));
    }
    records.push(Record::StaticDataEnd);
    Ok(records)
}

fn p2m_frames(frames: &Frames) -> Result<Record, Error> {
    let own =
        |(index, mfn): (usize, &u64)| frames.pfn(*mfn).ok_or(Error::P2mFrame { index, mfn: *mfn });
    let pfns = frames.p2m.frames().iter().enumerate().map(own).collect::<Result<_, _>>()?;
    // `P2m::read` has seen to it that there is one PFN at least, and that they fit.
    let end_pfn = u32::try_from(frames.p2m.pfns().saturating_sub(1)).unwrap_or(u32::MAX);
    Ok(Record::P2mFrames(libxc::P2mFrames { start_pfn: 0, end_pfn, frames: pfns }))
}

fn vcpu_records(xen: &Xen, domid: u16, id: u32, frames: &Frames) -> Result<Vec<Record>, Error> {
    let context = xen.vcpu_context(domid, id)?;
    let basic = vcpu::to_stream(&context, id, |mfn| frames.pfn(mfn))
        .map_err(|bad| Error::Vcpu { vcpu: id, bad })?;
    let extended = xen.ext_vcpu_context(domid, id)?.as_bytes().to_vec();
    let (_, xsave) = xen.vcpu_ext_state(domid, id)?;
    let msrs = xen.vcpu_msrs(domid, id)?;
    let mut records = vec![
        Record::VcpuBasic(Vcpu { id, context: basic }),
        Record::VcpuExtended(Vcpu { id, context: extended }),
    ];
    // Xen's restore refuses empty records.
    if !xsave.is_empty() {
        records.push(Record::VcpuXsave(Vcpu { id, context: xsave }));
    }
    if !msrs.is_empty() {
        records.push(Record::VcpuMsrs(Vcpu { id, context: msrs.as_bytes().to_vec() }));
    }
    Ok(records)
}
