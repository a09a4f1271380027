//! Giving frames away into a slot that the receiver offers (`GNTTABOP_transfer`).

use crate::shared::{Header, Memory, Words, WordsV1, WordsV2};
use crate::status::{Status, gtf};
use crate::table::GrantTable;
use abi::{DomId, Gfn, GrantRef, Mfn};

/// A committed slot: it must be filled, as the receiver waits for it.
#[must_use = "the receiver may be spinning until the slot is filled"]
#[derive(Debug, PartialEq, Eq)]
pub struct Slot {
    gref: GrantRef,
    /// Where the receiver wants the frame in its own count; a guest's number, unchecked.
    pub gfn: Gfn,
}

const TRIES: u32 = 5;

impl<M: Memory> GrantTable<M> {
    /// Commits the slot `gref`, which must be offered to `from`, to being filled.
    ///
    /// # Errors
    /// `GeneralError` when it is not such a slot (Xen's answer, for a bad reference too).
    pub fn commit_transfer(&self, gref: GrantRef, from: DomId) -> Result<Slot, Status> {
        let (locked, version) = self.lock(gref).map_err(|_| Status::GeneralError)?;
        let words = self.words(version, gref).map_err(|_| Status::GeneralError)?;
        let offered = Header::new(gtf::ACCEPT_TRANSFER, from);
        let committed = offered.with(gtf::TRANSFER_COMMITTED);
        for _ in 0..TRIES {
            if words.header() != offered {
                return Err(Status::GeneralError);
            }
            let exchanged = match &words {
                Words::V1(words) => words.exchange_header(offered, committed),
                Words::V2(words) => words.exchange_header(offered, committed),
            };
            if exchanged.is_ok() {
                let slot = Slot { gref, gfn: Gfn(words.frame()) };
                drop(locked);
                return Ok(slot);
            }
        }
        Err(Status::GeneralError)
    }

    /// Fills a committed slot: the frame's number first, then the mark that it is there. Frame
    /// numbers beyond 32 bits do not fit into version 1 entries; the caller keeps to
    /// [`Self::transfer_fits`].
    pub fn complete_transfer(&self, slot: Slot, mfn: Mfn) {
        let Ok((locked, version)) = self.lock(slot.gref) else { return };
        match self.words(version, slot.gref) {
            Ok(Words::V1(words)) => {
                words.set_frame((mfn.0 & 0xffff_ffff) as u32);
                words.set_flags(gtf::TRANSFER_COMPLETED);
            }
            Ok(Words::V2(words)) => {
                words.set_frame(mfn.0);
                words.set_flags(gtf::TRANSFER_COMPLETED);
            }
            Err(_) => {}
        }
        drop(locked);
    }

    /// Whether a frame's number fits into this table's entries.
    pub fn transfer_fits(&self, mfn: Mfn) -> bool {
        match self.version() {
            crate::Version::V1 => u32::try_from(mfn.0).is_ok(),
            crate::Version::V2 => true,
        }
    }
}
