//! Restoring a PV guest from a file of `xl save`, ours or Xen's own.
//!
//! The domain exists already, paused and empty; here it gets its memory and registers. What surrounds
//! that (creating it, the store, devices) is done as for a new guest.

mod finish;
mod guest;
mod memory;

use std::io::Read;

use abi::arch_x86;
use sys::{Policy, TscInfo, Xen};
use xen_stream::libxc::{self, DomainKind, Record, Vcpu};
use xen_stream::{Input, PAGE, file, libxl};

use crate::grants::{self, Ring, SeedError};
use crate::save::{Progress, vcpu};
pub use guest::{GuestError, SaveFile};

use finish::VcpuState;
use memory::Memory;

/// Where the daemons of the rings run.
const DAEMONS: u16 = 0;
/// vCPUs that a stream may have: what Xen allows a PV guest.
const MAX_VCPUS: u32 = 8192;

/// A guest that cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is broken, cut off, or of another kind.
    #[error(transparent)]
    Stream(#[from] xen_stream::Error),
    /// Only PV guests can be restored yet.
    #[error("the file holds an HVM or PVH guest: restoring these is not implemented")]
    NotPv,
    /// Only 64-bit guests can be restored.
    #[error(
        "the file holds a PV guest with words of {width} bytes and {levels} levels of page tables: \
         only 64-bit ones can be restored"
    )]
    Width {
        /// Bytes of its words.
        width: u8,
        /// Levels of its page tables.
        levels: u8,
    },
    /// Records of live migration or of a replicated guest.
    #[error("the file holds a {0} record: restoring a checkpointed stream is not implemented")]
    Checkpoint(&'static str),
    /// A device model's state for a PV guest.
    #[error("the file holds state of a device model (QEMU): restoring that is not implemented")]
    Emulator,
    /// Records in an order that makes no sense.
    #[error("the file has a {record} record before {missing}")]
    Order {
        /// The record.
        record: &'static str,
        /// What must come before.
        missing: &'static str,
    },
    /// Something is not in the file at all.
    #[error("the file is complete, and yet lacks {0}")]
    Missing(&'static str),
    /// A size that no guest can have.
    #[error("the file claims a guest with page frames {start:#x} to {end:#x}")]
    Pfns {
        /// First.
        start: u32,
        /// Last.
        end: u32,
    },
    /// A P2M of the wrong size.
    #[error("the file has {found} pages of P2M for {pfns:#x} page frames; {wanted} are needed")]
    P2mFrames {
        /// Pages that it has.
        found: u64,
        /// Pages that are needed.
        wanted: u64,
        /// PFNs of the guest.
        pfns: u64,
    },
    /// A frame number beyond the guest's.
    #[error("the file has page frame {pfn:#x} in {what}, which is not one of the guest's")]
    NoSuchPfn {
        /// The number.
        pfn: u64,
        /// Where it is.
        what: String,
    },
    /// A page that must be there and is not.
    #[error("the file has no page {pfn:#x}, which is to hold {what}")]
    NoPage {
        /// Its number.
        pfn: u64,
        /// What is in it.
        what: &'static str,
    },
    /// A vCPU that the guest does not have.
    #[error("the file has state of vCPU {vcpu}; the guest has {vcpus}")]
    NoSuchVcpu {
        /// Which.
        vcpu: u32,
        /// How many it has.
        vcpus: u32,
    },
    /// State of a vCPU without its registers.
    #[error("the file has only a part of the state of vCPU {0}")]
    VcpuIncomplete(u32),
    /// A vCPU's registers make no sense.
    #[error("vCPU {vcpu}: {bad}")]
    Vcpu {
        /// Which.
        vcpu: u32,
        /// What is wrong.
        bad: vcpu::Bad,
    },
    /// Not enough memory, on the host or by the domain's limit.
    #[error(
        "domain {domid} could be given {given} pages only: the host's memory, or its limit, is used up"
    )]
    NoMemory {
        /// Which.
        domid: u16,
        /// Pages that it has.
        given: u64,
    },
    /// A ring in a frame that an entry of version 1 has no room for.
    #[error("a ring of the guest lies in frame {0:#x}, which a grant entry has no room for")]
    RingFrame(u64),
    /// The domain has gone meanwhile.
    #[error("domain {0} was destroyed while it was restored")]
    Vanished(u16),
    /// The hypervisor does not take what CPUID told the guest.
    #[error("this host cannot give the guest the CPU that it was saved with")]
    CpuPolicy(#[source] sys::Error),
    /// The hypervisor refuses.
    #[error(transparent)]
    Xen(#[from] sys::Error),
}

/// The domain to be filled.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its number; paused, without memory, with its vCPUs.
    pub domid: u16,
    /// Its port for xenstore.
    pub store_port: u32,
    /// Its port for the console.
    pub console_port: u32,
}

/// What the daemons need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Frame of the xenstore ring.
    pub store_gfn: u64,
    /// Frame of the console ring.
    pub console_gfn: u64,
    /// Pages that the domain has.
    pub pages: u64,
}

/// Reads what precedes the guest itself; its configuration in libxl's JSON form.
///
/// # Errors
/// [`xen_stream::Error`]
pub fn read_config<R: Read>(input: &mut Input<R>) -> Result<String, xen_stream::Error> {
    let header = file::Header::read(input)?;
    libxl::read_header(input)?;
    Ok(header.config)
}

/// Reads the rest of a save file into a domain. It stays paused; the store does not know it.
///
/// # Errors
/// [`Error`]; the domain is then of no use, and to be destroyed by the caller.
pub fn read_domain<R: Read>(
    xen: &Xen,
    target: &Target,
    input: &mut Input<R>,
    progress: &mut dyn Progress,
) -> Result<Rings, Error> {
    let mut rings = None;
    for index in 0.. {
        match libxl::Record::read(input, index)? {
            libxl::Record::End => break,
            libxl::Record::LibxcContext if rings.is_none() => {
                rings = Some(read_libxc(xen, target, input, progress)?);
            }
            libxl::Record::LibxcContext => return Err(Error::Checkpoint("second LIBXC_CONTEXT")),
            libxl::Record::EmulatorContext(_) | libxl::Record::EmulatorXenstoreData(_) => {
                return Err(Error::Emulator);
            }
            libxl::Record::CheckpointEnd => return Err(Error::Checkpoint("CHECKPOINT_END")),
            libxl::Record::CheckpointState(_) => return Err(Error::Checkpoint("CHECKPOINT_STATE")),
            libxl::Record::Optional { .. } => {}
        }
    }
    rings.ok_or(Error::Missing("the guest itself (a LIBXC_CONTEXT record)"))
}

fn read_libxc<R: Read>(
    xen: &Xen,
    target: &Target,
    input: &mut Input<R>,
    progress: &mut dyn Progress,
) -> Result<Rings, Error> {
    if libxc::Header::read(input)?.kind != DomainKind::Pv {
        return Err(Error::NotPv);
    }
    let mut state = State::new(xen, target);
    for index in 0.. {
        match Record::read(input, index)? {
            Record::End => break,
            record => state.take(record, progress)?,
        }
    }
    state.finish(progress)
}

/// What has been read so far.
struct State<'a> {
    xen: &'a Xen,
    target: &'a Target,
    is_64_bit: bool,
    policy: Policy,
    memory: Option<Memory>,
    shared_info: Option<Box<[u8; PAGE]>>,
    vcpus: Vec<(u32, VcpuState)>,
}

impl<'a> State<'a> {
    fn new(xen: &'a Xen, target: &'a Target) -> Self {
        let policy = Policy { leaves: Vec::new(), msrs: Vec::new() };
        let (is_64_bit, memory, shared_info, vcpus) = (false, None, None, Vec::new());
        State { xen, target, is_64_bit, policy, memory, shared_info, vcpus }
    }

    fn take(&mut self, record: Record, progress: &mut dyn Progress) -> Result<(), Error> {
        let domid = self.target.domid;
        match record {
            Record::PvInfo { guest_width: 8, pt_levels: 4 } => {
                self.xen.set_address_size(domid, 64)?;
                self.is_64_bit = true;
            }
            Record::PvInfo { guest_width: width, pt_levels: levels } => {
                return Err(Error::Width { width, levels });
            }
            Record::CpuidPolicy(leaves) => {
                self.policy.leaves = leaves.into_iter().map(policy_leaf).collect();
            }
            Record::MsrPolicy(msrs) => {
                self.policy.msrs = msrs.into_iter().map(policy_msr).collect();
            }
            Record::StaticDataEnd => self.set_policy()?,
            Record::P2mFrames(p2m) => {
                if !self.is_64_bit {
                    let (record, missing) = ("X86_PV_P2M_FRAMES", "X86_PV_INFO");
                    return Err(Error::Order { record, missing });
                }
                self.memory = Some(Memory::new(domid, p2m)?);
            }
            Record::PageData(pages) => {
                let (record, missing) = ("PAGE_DATA", "X86_PV_P2M_FRAMES");
                let memory = self.memory.as_mut().ok_or(Error::Order { record, missing })?;
                memory.take(self.xen, &pages)?;
                let last = pages.entries().last().map_or(0, |entry| entry.pfn);
                progress.pages(last, memory.pfns());
            }
            Record::TscInfo(tsc) => self.xen.set_tsc_info(
                domid,
                &TscInfo {
                    mode: tsc.mode,
                    khz: tsc.khz,
                    incarnation: tsc.incarnation,
                    elapsed_ns: tsc.nsec,
                },
            )?,
            Record::SharedInfo(page) => self.shared_info = Some(page),
            Record::VcpuBasic(vcpu) => self.vcpu(vcpu, |state| &mut state.basic)?,
            Record::VcpuExtended(vcpu) => self.vcpu(vcpu, |state| &mut state.extended)?,
            Record::VcpuXsave(vcpu) => self.vcpu(vcpu, |state| &mut state.xsave)?,
            Record::VcpuMsrs(vcpu) => self.vcpu(vcpu, |state| &mut state.msrs)?,
            Record::HvmContext(_) | Record::HvmParams(_) => return Err(Error::NotPv),
            Record::Verify => return Err(Error::Checkpoint("VERIFY")),
            Record::Checkpoint => return Err(Error::Checkpoint("CHECKPOINT")),
            Record::CheckpointDirtyPfns(_) => {
                return Err(Error::Checkpoint("CHECKPOINT_DIRTY_PFN_LIST"));
            }
            Record::Toolstack(_) => return Err(Error::Checkpoint("TOOLSTACK")),
            Record::End | Record::Optional { .. } => {}
        }
        Ok(())
    }

    fn vcpu(
        &mut self,
        vcpu: Vcpu,
        place: fn(&mut VcpuState) -> &mut Option<Vcpu>,
    ) -> Result<(), Error> {
        let id = vcpu.id;
        if id >= MAX_VCPUS {
            return Err(Error::NoSuchVcpu { vcpu: id, vcpus: MAX_VCPUS });
        }
        // A record whose body is empty says nothing.
        let vcpu = Some(vcpu).filter(|vcpu| !vcpu.context.is_empty());
        match self.vcpus.iter_mut().find(|(known, _)| *known == id) {
            Some((_, state)) => *place(state) = vcpu,
            None => {
                let mut state = VcpuState::default();
                *place(&mut state) = vcpu;
                self.vcpus.push((id, state));
            }
        }
        Ok(())
    }

    /// What CPUID tells the guest must not change under it.
    fn set_policy(&mut self) -> Result<(), Error> {
        if self.policy.leaves.is_empty() && self.policy.msrs.is_empty() {
            return Ok(());
        }
        let set = self.xen.set_domain_cpu_policy(self.target.domid, &self.policy);
        set.map_err(Error::CpuPolicy)
    }

    fn finish(self, progress: &mut dyn Progress) -> Result<Rings, Error> {
        let memory = self.memory.ok_or(Error::Missing("its memory"))?;
        progress.pages(memory.pfns(), memory.pfns());
        let shared_info = self.shared_info.ok_or(Error::Missing("the shared page"))?;
        let rings = finish::finish(self.xen, self.target, &memory, &shared_info, &self.vcpus)?;
        let ring = |frame| Ring { daemon: DAEMONS, frame };
        let (console, store) = (ring(rings.console_gfn), ring(rings.store_gfn));
        grants::seed(self.xen, self.target.domid, console, store).map_err(|error| match error {
            SeedError::Table(source) => source.into(),
            SeedError::Frame(mfn) => Error::RingFrame(mfn),
        })?;
        Ok(rings)
    }
}

fn policy_leaf(l: libxc::CpuidLeaf) -> arch_x86::CpuidLeaf {
    arch_x86::CpuidLeaf { leaf: l.leaf, subleaf: l.subleaf, a: l.a, b: l.b, c: l.c, d: l.d }
}

fn policy_msr(m: libxc::MsrEntry) -> arch_x86::MsrEntry {
    arch_x86::MsrEntry { idx: m.idx, flags: m.flags, val: m.val }
}
