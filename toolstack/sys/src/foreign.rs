//! Mapping other domains' memory and the hypervisor's resources.

use rustix::io::Errno;
use rustix::mm::ProtFlags;

use abi::GuestPtr;
use abi::memory::{MachphysMfnList, MemoryCmd, RESOURCE_GRANT_TABLE};
use abi::xen::Hypercall;

use crate::bounce::PAGE;
use crate::error::{Error, Result};
use crate::mapping::Mapping;
use crate::raw::{MAX_FRAMES, Resource};
use crate::xen::{Call, Xen};

/// Entries of a chunk of the machine-to-physical table: 2 MiB.
const M2P_CHUNK_ENTRIES: u64 = (2 << 20) / 8;

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
}

impl Protection {
    fn flags(self) -> ProtFlags {
        match self {
            Self::Read => ProtFlags::READ,
            Self::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        }
    }
}

/// Those frames of a domain that could be mapped.
#[derive(Debug)]
pub struct Present {
    /// The pages that could be, in order; `None` if none could.
    pub mapping: Option<Mapping>,
    /// For each frame which page of the mapping it is, or why it is none.
    pub places: Vec<std::result::Result<usize, Errno>>,
}

impl Xen {
    /// Maps frames of a domain, one page after the other; all of them, or it is an error.
    ///
    /// # Errors
    /// [`Error::Map`] for the first frame that cannot be mapped, [`Error::Argument`], [`Error::Device`].
    pub fn map_foreign(
        &self,
        domid: u16,
        frames: &[u64],
        protection: Protection,
    ) -> Result<Mapping> {
        let (mapping, errors) = self.map_foreign_some(domid, frames, protection)?;
        let failed =
            frames.iter().zip(&errors).find_map(|(frame, e)| e.map(|errno| (frame, errno)));
        match failed {
            Some((frame, errno)) => Err(Error::Map { domid, frame: *frame, errno }),
            None => Ok(mapping),
        }
    }

    /// Maps those frames of a domain that can be mapped, and says why the others cannot. Pages of the
    /// latter must not be touched: a read or write of them ends the program.
    ///
    /// # Errors
    /// [`Error::Argument`], [`Error::Device`].
    pub(crate) fn map_foreign_some(
        &self,
        domid: u16,
        frames: &[u64],
        protection: Protection,
    ) -> Result<(Mapping, Vec<Option<Errno>>)> {
        if frames.is_empty() || frames.len() > MAX_FRAMES {
            let value = frames.len() as u64;
            return Err(Error::Argument { call: "map_foreign", what: "number of frames", value });
        }
        let mut errors = vec![0i32; frames.len()];
        let pages = self
            .backend
            .map_foreign(domid, protection.flags(), frames, &mut errors)
            .map_err(|errno| Error::Device {
                device: "privcmd".to_owned(),
                operation: "mapping another domain's memory",
                errno,
            })?;
        let error = |e: &i32| (*e != 0).then(|| Errno::from_raw_os_error(e.wrapping_neg()));
        let errors = errors.iter().map(error).collect();
        Ok((Mapping::new(pages, protection == Protection::ReadWrite), errors))
    }

    /// Maps those frames of a domain that can be mapped.
    ///
    /// # Errors
    /// [`Error::Argument`], [`Error::Device`], [`Error::Map`] if a frame vanishes in between.
    pub fn map_foreign_present(
        &self,
        domid: u16,
        frames: &[u64],
        protection: Protection,
    ) -> Result<Present> {
        let (mapping, errors) = self.map_foreign_some(domid, frames, protection)?;
        if errors.iter().all(Option::is_none) {
            let places = (0..frames.len()).map(Ok).collect();
            return Ok(Present { mapping: Some(mapping), places });
        }
        drop(mapping);
        let mut present = Vec::new();
        let mut places = Vec::with_capacity(frames.len());
        for (frame, error) in frames.iter().zip(&errors) {
            match error {
                Some(errno) => places.push(Err(*errno)),
                None => {
                    places.push(Ok(present.len()));
                    present.push(*frame);
                }
            }
        }
        if present.is_empty() {
            return Ok(Present { mapping: None, places });
        }
        Ok(Present { mapping: Some(self.map_foreign(domid, &present, protection)?), places })
    }

    /// Maps the first `frames` frames of a domain's grant table (shared entries), making them if needed.
    ///
    /// # Errors
    /// [`Error::Device`] and those of [`Xen::setup_grant_table`] and [`Xen::map_foreign`].
    pub fn map_grant_table(&self, domid: u16, frames: u32) -> Result<Mapping> {
        match self.map_grant_resource(domid, frames) {
            // A kernel before 4.18: the frames are made, then mapped as any.
            Err(_) => {
                let made = self.setup_grant_table(domid, frames)?;
                self.map_foreign(domid, &made, Protection::ReadWrite)
            }
            mapped => mapped,
        }
    }

    fn map_grant_resource(&self, domid: u16, frames: u32) -> Result<Mapping> {
        let resource = Resource {
            domid,
            kind: u32::from(RESOURCE_GRANT_TABLE),
            id: abi::memory::RESOURCE_GRANT_TABLE_ID_SHARED,
            first: 0,
            frames: frames as usize,
        };
        let pages = self.backend.map_resource(&resource).map_err(|errno| Error::Device {
            device: "privcmd".to_owned(),
            operation: "mapping a grant table",
            errno,
        })?;
        Ok(Mapping::new(pages, true))
    }

    /// Maps the machine-to-physical table for reading, for frames up to `max_mfn`: 8 bytes for each frame.
    ///
    /// # Errors
    /// [`Error::Hypercall`], [`Error::Map`].
    pub fn map_machphys(&self, max_mfn: u64) -> Result<Mapping> {
        let name = "memory_op machphys_mfn_list";
        let chunks = max_mfn / M2P_CHUNK_ENTRIES + 1;
        let room = u32::try_from(chunks).ok().filter(|n| *n <= 1 << 20).ok_or(Error::Argument {
            call: name,
            what: "greatest frame",
            value: max_mfn,
        })?;
        let list = self.room::<u64>(room as usize)?;
        let mut argument = MachphysMfnList {
            max_extents: room,
            _pad0: 0,
            extent_start: GuestPtr::new(list.address()),
            nr_extents: 0,
            _pad1: 0,
        };
        let cmd = u64::from(MemoryCmd::MACHPHYS_MFN_LIST.0);
        self.call_with(Call::new(name), Hypercall::MEMORY_OP, cmd, &mut argument)?;
        let starts = list.list::<u64>(argument.nr_extents.min(room) as usize);
        let per_chunk = (2 << 20) / PAGE as u64;
        let frames: Vec<u64> =
            starts.iter().flat_map(|s| (0..per_chunk).map(|n| s.wrapping_add(n))).collect();
        self.map_foreign(abi::DomId::XEN.0, &frames, Protection::Read)
    }
}
