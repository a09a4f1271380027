//! The memory of a PV guest as the guest itself numbers it: its P2M, and the way back.

use sys::{DomainInfo, Mapping, Protection, Xen};

use abi::xen::ArchSharedInfo;

const ENTRIES: u64 = 512;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
/// Bits of a page-table entry that hold the frame number.
pub(crate) const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;
/// PFNs that a guest may have at most: 1 TiB, eight times what a 64-bit PV guest is supported with.
pub(crate) const MAX_PFNS: u64 = 1 << 28;
/// What the guest has where a PFN has no page.
pub(crate) const INVALID: u64 = u64::MAX;
/// Offset of the architecture's part in the shared page.
const SHARED_INFO_ARCH: usize = 3136 - size_of::<ArchSharedInfo>();

/// A guest whose memory cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum P2mError {
    /// A page cannot be mapped, or the like.
    #[error("cannot read the guest's memory")]
    Xen(#[from] sys::Error),
    /// The guest has told of no P2M: its kernel has not started yet, or knows nothing of saving.
    #[error(
        "the guest has not said where its P2M is: its kernel is still starting, or cannot be saved"
    )]
    None,
    /// More than any guest can have.
    #[error("the guest claims {pfns:#x} page frames; one with its memory may have {limit:#x}")]
    TooLarge {
        /// What it claims.
        pfns: u64,
        /// The limit.
        limit: u64,
    },
    /// The linear P2M's page tables have a hole.
    #[error("the guest's P2M list is not mapped at {address:#x} (level {level})")]
    Hole {
        /// Virtual address in the guest.
        address: u64,
        /// Level of the table whose entry is missing.
        level: u32,
    },
    /// The list of lists has too few entries.
    #[error("the guest's list of P2M frames has no entry {0}")]
    NoFrame(u64),
}

/// The guest's own table: for each PFN its MFN, or whatever the guest has there.
pub struct P2m {
    entries: Vec<u64>,
    frames: Vec<u64>,
}

impl P2m {
    /// Reads it. The domain must not run.
    ///
    /// # Errors
    /// [`P2mError`]
    pub fn read(xen: &Xen, info: &DomainInfo, shared_info: &Mapping) -> Result<P2m, P2mError> {
        let domid = info.domid;
        let word = |field: usize| {
            let mut bytes = [0; 8];
            // The page is mapped whole.
            let _ = shared_info.read(SHARED_INFO_ARCH + field * 8, &mut bytes);
            u64::from_le_bytes(bytes)
        };
        let [count, list, _, root, address] = [0, 1, 2, 3, 4].map(word);
        let limit = info.max_pages.saturating_mul(64).saturating_add(1 << 20).min(MAX_PFNS);
        if count > limit {
            return Err(P2mError::TooLarge { pfns: count, limit });
        }
        if count == 0 {
            return Err(P2mError::None);
        }
        let wanted = count.div_ceil(ENTRIES);
        let frames = if root != 0 {
            linear_frames(xen, domid, root >> 12, address, wanted)?
        } else if list != 0 && list != INVALID {
            listed_frames(xen, domid, list, wanted)?
        } else {
            return Err(P2mError::None);
        };
        let mut entries = Vec::new();
        for batch in frames.chunks(1024) {
            let mapping = xen.map_foreign(domid, batch, Protection::Read)?;
            entries.extend((0..batch.len()).flat_map(|page| table(&mapping, page)));
        }
        entries.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(P2m { entries, frames })
    }

    /// Number of PFNs, at least one.
    pub fn pfns(&self) -> u64 {
        self.entries.len() as u64
    }

    /// What the guest has for that PFN; nobody has checked it.
    pub fn entry(&self, pfn: u64) -> Option<u64> {
        self.entries.get(usize::try_from(pfn).ok()?).copied()
    }

    /// MFNs of the pages that the table itself is in.
    pub fn frames(&self) -> &[u64] {
        &self.frames
    }
}

/// The 512 words of a mapping's page.
pub(crate) fn table(mapping: &Mapping, page: usize) -> Vec<u64> {
    let bytes = mapping.to_vec(page * sys::PAGE, sys::PAGE).unwrap_or_default();
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// Walks the guest's page tables: the frames that map `wanted` pages from `address` on.
fn linear_frames(
    xen: &Xen,
    domid: u16,
    root: u64,
    address: u64,
    wanted: u64,
) -> Result<Vec<u64>, P2mError> {
    let mut frames = Vec::new();
    // One turn for each L1 table: 2 MiB of addresses, 1 GiB of the guest's memory.
    while (frames.len() as u64) < wanted {
        let at = address.wrapping_add(frames.len() as u64 * 4096);
        let mut frame = root;
        for level in [4, 3, 2] {
            let mapping = xen.map_foreign(domid, &[frame], Protection::Read)?;
            let index = at >> (12 + 9 * (level - 1)) & (ENTRIES - 1);
            let entry = table(&mapping, 0).get(index as usize).copied().unwrap_or_default();
            if entry & PRESENT == 0 || entry & LARGE != 0 {
                return Err(P2mError::Hole { address: at, level });
            }
            frame = (entry & FRAME_MASK) >> 12;
        }
        let mapping = xen.map_foreign(domid, &[frame], Protection::Read)?;
        let first = at >> 12 & (ENTRIES - 1);
        for entry in table(&mapping, 0).into_iter().skip(first as usize) {
            if frames.len() as u64 == wanted {
                break;
            }
            if entry & PRESENT == 0 {
                let address = address.wrapping_add(frames.len() as u64 * 4096);
                return Err(P2mError::Hole { address, level: 1 });
            }
            frames.push((entry & FRAME_MASK) >> 12);
        }
    }
    Ok(frames)
}

/// The older form: a page of MFNs of pages of MFNs of P2M pages.
fn listed_frames(xen: &Xen, domid: u16, list: u64, wanted: u64) -> Result<Vec<u64>, P2mError> {
    let top = table(&xen.map_foreign(domid, &[list], Protection::Read)?, 0);
    let mut frames = Vec::new();
    for middle in top {
        if frames.len() as u64 >= wanted {
            break;
        }
        frames.extend(table(&xen.map_foreign(domid, &[middle], Protection::Read)?, 0));
    }
    if (frames.len() as u64) < wanted {
        return Err(P2mError::NoFrame(frames.len() as u64));
    }
    frames.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    Ok(frames)
}

/// P2M and the hypervisor's M2P together: which MFNs are the guest's, and as what.
pub struct Frames {
    /// The guest's table.
    pub p2m: P2m,
    m2p: Mapping,
    max_mfn: u64,
}

impl Frames {
    /// Reads the guest's table, and maps the hypervisor's.
    ///
    /// # Errors
    /// [`P2mError`]
    pub fn read(xen: &Xen, info: &DomainInfo, shared_info: &Mapping) -> Result<Frames, P2mError> {
        let max_mfn = xen.maximum_ram_page()?;
        let m2p = xen.map_machphys(max_mfn)?;
        Ok(Frames { p2m: P2m::read(xen, info, shared_info)?, m2p, max_mfn })
    }

    /// The MFN of a PFN, where both tables say that they belong together.
    pub fn mfn(&self, pfn: u64) -> Option<u64> {
        let mfn = self.p2m.entry(pfn)?;
        (self.m2p_entry(mfn)? == pfn).then_some(mfn)
    }

    /// The PFN of an MFN, where both tables say that they belong together.
    pub fn pfn(&self, mfn: u64) -> Option<u64> {
        let pfn = self.m2p_entry(mfn)?;
        (self.p2m.entry(pfn)? == mfn).then_some(pfn)
    }

    fn m2p_entry(&self, mfn: u64) -> Option<u64> {
        if mfn > self.max_mfn {
            return None;
        }
        let mut bytes = [0; 8];
        let offset = usize::try_from(mfn).ok()?.checked_mul(8)?;
        self.m2p.read(offset, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }
}
