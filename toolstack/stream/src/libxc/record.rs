//! The records of the libxc stream.

use std::io::{Read, Write};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::PageData;
use crate::input::{u32_at, u64_at};
use crate::{Error, Input, Output, PAGE, Place, Problem};

const END: u32 = 0;
const PAGE_DATA: u32 = 1;
const X86_PV_INFO: u32 = 2;
const X86_PV_P2M_FRAMES: u32 = 3;
const X86_PV_VCPU_BASIC: u32 = 4;
const X86_PV_VCPU_EXTENDED: u32 = 5;
const X86_PV_VCPU_XSAVE: u32 = 6;
const SHARED_INFO: u32 = 7;
const X86_TSC_INFO: u32 = 8;
const HVM_CONTEXT: u32 = 9;
const HVM_PARAMS: u32 = 10;
const TOOLSTACK: u32 = 11;
const X86_PV_VCPU_MSRS: u32 = 12;
const VERIFY: u32 = 13;
const CHECKPOINT: u32 = 14;
const CHECKPOINT_DIRTY_PFN_LIST: u32 = 15;
const STATIC_DATA_END: u32 = 16;
const X86_CPUID_POLICY: u32 = 17;
const X86_MSR_POLICY: u32 = 18;
const OPTIONAL: u32 = 1 << 31;

/// A record type's name.
pub fn name(kind: u32) -> Option<&'static str> {
    const NAMES: [&str; 19] = [
        "END",
        "PAGE_DATA",
        "X86_PV_INFO",
        "X86_PV_P2M_FRAMES",
        "X86_PV_VCPU_BASIC",
        "X86_PV_VCPU_EXTENDED",
        "X86_PV_VCPU_XSAVE",
        "SHARED_INFO",
        "X86_TSC_INFO",
        "HVM_CONTEXT",
        "HVM_PARAMS",
        "TOOLSTACK",
        "X86_PV_VCPU_MSRS",
        "VERIFY",
        "CHECKPOINT",
        "CHECKPOINT_DIRTY_PFN_LIST",
        "STATIC_DATA_END",
        "X86_CPUID_POLICY",
        "X86_MSR_POLICY",
    ];
    NAMES.get(kind as usize).copied()
}

/// State of a vCPU, as one of the hypercalls for it takes and gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Which.
    pub id: u32,
    /// Its state.
    pub context: Vec<u8>,
}

/// The guest's own table from PFN to MFN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P2mFrames {
    /// First PFN in it.
    pub start_pfn: u32,
    /// Last PFN in it.
    pub end_pfn: u32,
    /// PFNs of its pages, each with 512 entries, in order.
    pub frames: Vec<u64>,
}

/// A domain's TSC, as `XEN_DOMCTL_{get,set}tscinfo` have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscInfo {
    /// `TSC_MODE_*`.
    pub mode: u32,
    /// Frequency in kHz.
    pub khz: u32,
    /// Nanoseconds since the domain's start.
    pub nsec: u64,
    /// How often it was restored.
    pub incarnation: u32,
}

/// A CPUID leaf that the guest sees: `xen_cpuid_leaf_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CpuidLeaf {
    /// Leaf.
    pub leaf: u32,
    /// Subleaf; all ones where the leaf has none.
    pub subleaf: u32,
    /// EAX.
    pub a: u32,
    /// EBX.
    pub b: u32,
    /// ECX.
    pub c: u32,
    /// EDX.
    pub d: u32,
}

/// An MSR that the guest sees: `xen_msr_entry_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MsrEntry {
    /// Which.
    pub idx: u32,
    /// Zero.
    pub flags: u32,
    /// Value.
    pub val: u64,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing follows.
    End,
    /// Memory.
    PageData(PageData),
    /// How wide the guest is.
    PvInfo {
        /// Bytes of its words: 4 or 8.
        guest_width: u8,
        /// Levels of its page tables: 3 or 4.
        pt_levels: u8,
    },
    /// Where the guest keeps its P2M.
    P2mFrames(P2mFrames),
    /// Registers: `struct vcpu_guest_context`.
    VcpuBasic(Vcpu),
    /// Entry points and machine checks: `struct xen_domctl_ext_vcpucontext`.
    VcpuExtended(Vcpu),
    /// XCR0, XCR0 ever used, XSAVE area.
    VcpuXsave(Vcpu),
    /// MSRs: array of `struct xen_domctl_vcpu_msr`.
    VcpuMsrs(Vcpu),
    /// The shared page.
    SharedInfo(Box<[u8; PAGE]>),
    /// The TSC.
    TscInfo(TscInfo),
    /// State of an HVM guest.
    HvmContext(Vec<u8>),
    /// Parameters of an HVM guest: index and value.
    HvmParams(Vec<(u64, u64)>),
    /// A blob of development versions.
    Toolstack(Vec<u8>),
    /// Pages follow a second time, to be compared.
    Verify,
    /// A checkpoint is complete.
    Checkpoint,
    /// Pages that the other side changed.
    CheckpointDirtyPfns(Vec<u64>),
    /// What does not change while a domain runs is complete.
    StaticDataEnd,
    /// CPUID that the guest sees.
    CpuidPolicy(Vec<CpuidLeaf>),
    /// MSRs that the guest sees.
    MsrPolicy(Vec<MsrEntry>),
    /// A record that may be skipped.
    Optional {
        /// Its type, from 0x80000000 up.
        kind: u32,
        /// Its body.
        body: Vec<u8>,
    },
}

impl Record {
    /// Reads the next one, number `index` of the stream.
    pub fn read<R: Read>(input: &mut Input<R>, index: u64) -> Result<Record, Error> {
        let at = input.at();
        let (kind, body) = input.record(|kind| Place::LibxcRecord(index, kind))?;
        Self::parse(kind, body)
            .or_else(|p| Input::<R>::malformed(Place::LibxcRecord(index, Some(kind)), at, p))
    }

    fn parse(kind: u32, body: Vec<u8>) -> Result<Record, Problem> {
        let found = body.len();
        let empty = |record| match found {
            0 => Ok(record),
            _ => Err(Problem::Length { found, wanted: "none were expected" }),
        };
        Ok(match kind {
            END => return empty(Record::End),
            VERIFY => return empty(Record::Verify),
            CHECKPOINT => return empty(Record::Checkpoint),
            STATIC_DATA_END => return empty(Record::StaticDataEnd),
            PAGE_DATA => Record::PageData(PageData::parse(body)?),
            X86_PV_INFO => parse_pv_info(&body)?,
            X86_PV_P2M_FRAMES => Record::P2mFrames(P2mFrames::parse(&body)?),
            X86_PV_VCPU_BASIC => Record::VcpuBasic(Vcpu::parse(body)?),
            X86_PV_VCPU_EXTENDED => Record::VcpuExtended(Vcpu::parse(body)?),
            X86_PV_VCPU_XSAVE => Record::VcpuXsave(Vcpu::parse(body)?),
            X86_PV_VCPU_MSRS => Record::VcpuMsrs(Vcpu::parse(body)?),
            SHARED_INFO => match body.try_into() {
                Ok(page) => Record::SharedInfo(page),
                Err(_) => return Err(Problem::Length { found, wanted: "4096 were expected" }),
            },
            X86_TSC_INFO => Record::TscInfo(TscInfo::parse(&body)?),
            HVM_CONTEXT => Record::HvmContext(body),
            HVM_PARAMS => Record::HvmParams(parse_hvm_params(&body)?),
            TOOLSTACK => Record::Toolstack(body),
            CHECKPOINT_DIRTY_PFN_LIST => Record::CheckpointDirtyPfns(array(&body, "PFNs")?),
            X86_CPUID_POLICY => Record::CpuidPolicy(array(&body, "CPUID leaves")?),
            X86_MSR_POLICY => Record::MsrPolicy(array(&body, "MSRs")?),
            kind if kind & OPTIONAL != 0 => Record::Optional { kind, body },
            _ => return Err(Problem::UnknownRecord),
        })
    }

    /// Its type.
    pub fn kind(&self) -> u32 {
        match self {
            Record::End => END,
            Record::PageData(_) => PAGE_DATA,
            Record::PvInfo { .. } => X86_PV_INFO,
            Record::P2mFrames(_) => X86_PV_P2M_FRAMES,
            Record::VcpuBasic(_) => X86_PV_VCPU_BASIC,
            Record::VcpuExtended(_) => X86_PV_VCPU_EXTENDED,
            Record::VcpuXsave(_) => X86_PV_VCPU_XSAVE,
            Record::VcpuMsrs(_) => X86_PV_VCPU_MSRS,
            Record::SharedInfo(_) => SHARED_INFO,
            Record::TscInfo(_) => X86_TSC_INFO,
            Record::HvmContext(_) => HVM_CONTEXT,
            Record::HvmParams(_) => HVM_PARAMS,
            Record::Toolstack(_) => TOOLSTACK,
            Record::Verify => VERIFY,
            Record::Checkpoint => CHECKPOINT,
            Record::CheckpointDirtyPfns(_) => CHECKPOINT_DIRTY_PFN_LIST,
            Record::StaticDataEnd => STATIC_DATA_END,
            Record::CpuidPolicy(_) => X86_CPUID_POLICY,
            Record::MsrPolicy(_) => X86_MSR_POLICY,
            Record::Optional { kind, .. } => *kind,
        }
    }

    /// Writes it as number `index` of the stream.
    pub fn write<W: Write>(&self, output: &mut Output<W>, index: u64) -> Result<(), Error> {
        let kind = self.kind();
        let mut put =
            |parts: &[&[u8]]| output.record(kind, parts, Place::LibxcRecord(index, Some(kind)));
        match self {
            Record::End | Record::Verify | Record::Checkpoint | Record::StaticDataEnd => put(&[]),
            Record::PageData(pages) => {
                let (head, content) = pages.parts();
                put(&[&head, content])
            }
            Record::PvInfo { guest_width, pt_levels } => {
                put(&[&[*guest_width, *pt_levels, 0, 0, 0, 0, 0, 0]])
            }
            Record::P2mFrames(p2m) => put(&[
                &p2m.start_pfn.to_le_bytes(),
                &p2m.end_pfn.to_le_bytes(),
                p2m.frames.as_bytes(),
            ]),
            Record::VcpuBasic(vcpu)
            | Record::VcpuExtended(vcpu)
            | Record::VcpuXsave(vcpu)
            | Record::VcpuMsrs(vcpu) => put(&[&u64::from(vcpu.id).to_le_bytes(), &vcpu.context]),
            Record::SharedInfo(page) => put(&[page.as_slice()]),
            Record::TscInfo(tsc) => put(&[
                &tsc.mode.to_le_bytes(),
                &tsc.khz.to_le_bytes(),
                &tsc.nsec.to_le_bytes(),
                &u64::from(tsc.incarnation).to_le_bytes(),
            ]),
            Record::HvmParams(params) => {
                let words: Vec<u64> = params.iter().flat_map(|&(i, v)| [i, v]).collect();
                put(&[&(params.len() as u64).to_le_bytes(), words.as_bytes()])
            }
            Record::CheckpointDirtyPfns(pfns) => put(&[pfns.as_bytes()]),
            Record::CpuidPolicy(leaves) => put(&[leaves.as_bytes()]),
            Record::MsrPolicy(msrs) => put(&[msrs.as_bytes()]),
            Record::HvmContext(body) | Record::Toolstack(body) | Record::Optional { body, .. } => {
                put(&[body])
            }
        }
    }
}

impl Vcpu {
    fn parse(mut body: Vec<u8>) -> Result<Vcpu, Problem> {
        if body.len() < 8 {
            return Err(Problem::Length { found: body.len(), wanted: "8 or more were expected" });
        }
        let id = u32_at(&body, 0);
        body.drain(..8);
        Ok(Vcpu { id, context: body })
    }
}

impl P2mFrames {
    fn parse(body: &[u8]) -> Result<P2mFrames, Problem> {
        let length = body.len();
        let Some((head, frames)) = body.split_at_checked(8) else {
            return Err(Problem::Length { found: length, wanted: "8 or more were expected" });
        };
        let (start, end) = (u32_at(head, 0), u32_at(head, 4));
        if end < start {
            return Err(Problem::Range { start, end });
        }
        Ok(P2mFrames { start_pfn: start, end_pfn: end, frames: array(frames, "frames")? })
    }
}

impl TscInfo {
    fn parse(body: &[u8]) -> Result<TscInfo, Problem> {
        if body.len() != 24 {
            return Err(Problem::Length { found: body.len(), wanted: "24 were expected" });
        }
        Ok(TscInfo {
            mode: u32_at(body, 0),
            khz: u32_at(body, 4),
            nsec: u64_at(body, 8),
            incarnation: u32_at(body, 16),
        })
    }
}

fn parse_pv_info(body: &[u8]) -> Result<Record, Problem> {
    match *body {
        [guest_width, pt_levels, _, _, _, _, _, _] => Ok(Record::PvInfo { guest_width, pt_levels }),
        _ => Err(Problem::Length { found: body.len(), wanted: "8 were expected" }),
    }
}

fn parse_hvm_params(body: &[u8]) -> Result<Vec<(u64, u64)>, Problem> {
    let length = body.len();
    let Some((head, params)) = body.split_at_checked(8) else {
        return Err(Problem::Length { found: length, wanted: "8 or more were expected" });
    };
    let count = u32_at(head, 0);
    if count as usize * 16 != params.len() {
        return Err(Problem::Count { count: u64::from(count), things: "parameters", length });
    }
    Ok(params.chunks_exact(16).map(|pair| (u64_at(pair, 0), u64_at(pair, 8))).collect())
}

/// A body that is nothing but an array.
fn array<T: FromBytes + KnownLayout + Immutable>(
    body: &[u8],
    things: &'static str,
) -> Result<Vec<T>, Problem> {
    let size = size_of::<T>();
    if !body.len().is_multiple_of(size) {
        let count = (body.len() / size) as u64;
        return Err(Problem::Count { count, things, length: body.len() });
    }
    // Chunks have the size of a `T`, so that none is left out.
    Ok(body.chunks_exact(size).filter_map(|chunk| T::read_from_bytes(chunk).ok()).collect())
}
