//! The entries that a guest shares with the hypervisor, word by word.
//!
//! Every method is one access to memory that another CPU may be changing. The traits exist so
//! that tests can change the words between any two accesses; the hypervisor uses [`AtomicV1`] and
//! [`AtomicV2`], which are single instructions.

use crate::ActiveEntry;
use crate::status::{Status, Version, gtf};
use abi::{DomId, GrantRef};
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// The first word of an entry: flags in the low half, the domain it is for in the high half.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header(pub u32);

impl Header {
    /// Joins its two halves.
    pub fn new(flags: u16, domid: DomId) -> Header {
        Header((u32::from(domid.0) << 16) | u32::from(flags))
    }

    /// The `GTF_*` flags.
    pub fn flags(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The kind of entry.
    pub fn kind(self) -> u16 {
        self.flags() & gtf::TYPE_MASK
    }

    /// Whom it is for.
    pub fn domid(self) -> DomId {
        DomId((self.0 >> 16) as u16)
    }

    /// The same with more flags set.
    #[must_use]
    pub fn with(self, flags: u16) -> Header {
        Header(self.0 | u32::from(flags))
    }
}

/// A version 1 entry: 8 bytes.
pub trait WordsV1 {
    /// Reads the header.
    fn header(&self) -> Header;
    /// Replaces the header if it is still `old`; otherwise says what it is.
    fn exchange_header(&self, old: Header, new: Header) -> Result<(), Header>;
    /// Sets flags.
    fn set_flags(&self, flags: u16);
    /// Clears flags.
    fn clear_flags(&self, flags: u16);
    /// Reads the frame number.
    fn frame(&self) -> u32;
    /// Writes the frame number.
    fn set_frame(&self, frame: u32);
    /// Writes the header.
    fn set_header(&self, header: Header);
}

/// A version 2 entry: 16 bytes, and 2 bytes in a status frame.
pub trait WordsV2 {
    /// Reads the header.
    fn header(&self) -> Header;
    /// Replaces the header if it is still `old`; otherwise says what it is.
    fn exchange_header(&self, old: Header, new: Header) -> Result<(), Header>;
    /// Sets flags of the header.
    fn set_flags(&self, flags: u16);
    /// Writes the header.
    fn set_header(&self, header: Header);
    /// Reads the second word: offset and length of a part, or a third domain's id.
    fn span(&self) -> u32;
    /// Writes the second word.
    fn set_span(&self, span: u32);
    /// Reads the last 8 bytes: a frame number, or a third domain's grant reference.
    fn frame(&self) -> u64;
    /// Writes the last 8 bytes.
    fn set_frame(&self, frame: u64);
    /// Sets bits of the status word.
    fn set_status(&self, bits: u16);
    /// Clears bits of the status word.
    fn clear_status(&self, bits: u16);
    /// Reads the status word.
    fn status(&self) -> u16;
}

/// Where the entries of one domain are. Given by the hypervisor.
///
/// `None` answers a reference beyond the frames that exist. While a table has `n` shared frames,
/// `v1` and `active` must answer for every reference below 512 n and `v2` for those below 256 n
/// (the last only once version 2 was chosen).
pub trait Memory {
    /// A version 1 entry.
    type V1<'a>: WordsV1
    where
        Self: 'a;
    /// A version 2 entry.
    type V2<'a>: WordsV2
    where
        Self: 'a;
    /// The entry of that number, in version 1's layout.
    fn v1(&self, gref: GrantRef) -> Option<Self::V1<'_>>;
    /// The entry of that number, in version 2's layout, with its status word.
    fn v2(&self, gref: GrantRef) -> Option<Self::V2<'_>>;
    /// The hypervisor's own record of that number.
    fn active(&self, gref: GrantRef) -> Option<&ActiveEntry>;
}

/// A version 1 entry in memory.
#[derive(Clone, Copy, Debug)]
pub struct AtomicV1<'a> {
    /// Bytes 0 to 3.
    pub header: &'a AtomicU32,
    /// Bytes 4 to 7.
    pub frame: &'a AtomicU32,
}

impl WordsV1 for AtomicV1<'_> {
    fn header(&self) -> Header {
        Header(self.header.load(Ordering::Acquire))
    }
    fn exchange_header(&self, old: Header, new: Header) -> Result<(), Header> {
        exchange(self.header, old, new)
    }
    fn set_flags(&self, flags: u16) {
        self.header.fetch_or(u32::from(flags), Ordering::AcqRel);
    }
    fn clear_flags(&self, flags: u16) {
        self.header.fetch_and(!u32::from(flags), Ordering::AcqRel);
    }
    fn frame(&self) -> u32 {
        self.frame.load(Ordering::Relaxed)
    }
    fn set_frame(&self, frame: u32) {
        self.frame.store(frame, Ordering::Relaxed);
    }
    fn set_header(&self, header: Header) {
        self.header.store(header.0, Ordering::Release);
    }
}

/// A version 2 entry in memory.
#[derive(Clone, Copy, Debug)]
pub struct AtomicV2<'a> {
    /// Bytes 0 to 3.
    pub header: &'a AtomicU32,
    /// Bytes 4 to 7.
    pub span: &'a AtomicU32,
    /// Bytes 8 to 15.
    pub frame: &'a AtomicU64,
    /// The entry's word in the status frames.
    pub status: &'a AtomicU16,
}

impl WordsV2 for AtomicV2<'_> {
    fn header(&self) -> Header {
        Header(self.header.load(Ordering::Acquire))
    }
    fn exchange_header(&self, old: Header, new: Header) -> Result<(), Header> {
        exchange(self.header, old, new)
    }
    fn set_flags(&self, flags: u16) {
        self.header.fetch_or(u32::from(flags), Ordering::AcqRel);
    }
    fn set_header(&self, header: Header) {
        self.header.store(header.0, Ordering::Release);
    }
    fn span(&self) -> u32 {
        self.span.load(Ordering::Relaxed)
    }
    fn set_span(&self, span: u32) {
        self.span.store(span, Ordering::Relaxed);
    }
    fn frame(&self) -> u64 {
        self.frame.load(Ordering::Relaxed)
    }
    fn set_frame(&self, frame: u64) {
        self.frame.store(frame, Ordering::Relaxed);
    }
    fn set_status(&self, bits: u16) {
        // A full barrier: the guest may look at the status after changing the header, and the
        // header is read again after this.
        self.status.fetch_or(bits, Ordering::SeqCst);
    }
    fn clear_status(&self, bits: u16) {
        self.status.fetch_and(!bits, Ordering::SeqCst);
    }
    fn status(&self) -> u16 {
        self.status.load(Ordering::Acquire)
    }
}

fn exchange(word: &AtomicU32, old: Header, new: Header) -> Result<(), Header> {
    word.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Acquire)
        .map(|_| ())
        .map_err(Header)
}

/// What a grant is wanted for: the kinds of entry that serve differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A mapping: whole pages only.
    Map,
    /// A copy: parts of pages will do.
    Copy,
    /// A copy through a third domain's grant.
    Transit,
}

impl Purpose {
    /// Whether an entry with this header serves `by` for this purpose.
    fn suits(self, header: Header, by: DomId) -> bool {
        let kind_suits = match self {
            Purpose::Map => header.flags() & (gtf::TYPE_MASK | gtf::SUB_PAGE) == gtf::PERMIT_ACCESS,
            Purpose::Copy => header.kind() == gtf::PERMIT_ACCESS,
            Purpose::Transit => header.kind() == gtf::TRANSITIVE,
        };
        kind_suits && header.domid() == by
    }
}

/// What is asked of a shared entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Who wants to use it.
    pub by: DomId,
    /// For reading only.
    pub readonly: bool,
    /// For what.
    pub purpose: Purpose,
    /// Nobody uses it yet, so that its kind and its user must still be checked. When somebody
    /// does, the active entry decides, whatever the guest has since written here.
    pub first: bool,
}

/// How often a header that changes under us is tried again. A guest gains nothing by changing it
/// for ever but this many more tries.
const TRIES: u32 = 5;

/// An entry in the layout that its table has now.
pub(crate) enum Words<A, B> {
    V1(A),
    V2(B),
}

impl<A: WordsV1, B: WordsV2> Words<A, B> {
    pub fn of<'a, M: Memory<V1<'a> = A, V2<'a> = B> + 'a>(
        memory: &'a M,
        version: Version,
        gref: GrantRef,
    ) -> Option<Self> {
        match version {
            Version::V1 => memory.v1(gref).map(Words::V1),
            Version::V2 => memory.v2(gref).map(Words::V2),
        }
    }

    pub fn header(&self) -> Header {
        match self {
            Words::V1(words) => words.header(),
            Words::V2(words) => words.header(),
        }
    }

    pub fn frame(&self) -> u64 {
        match self {
            Words::V1(words) => u64::from(words.frame()),
            Words::V2(words) => words.frame(),
        }
    }

    /// Marks the entry in use, if it permits `demand`. Returns the header that permitted it.
    pub fn claim(&self, demand: Demand) -> Result<Header, Status> {
        match self {
            Words::V1(words) => claim_v1(words, demand),
            Words::V2(words) => claim_v2(words, demand),
        }
    }

    /// Clears in-use marks.
    pub fn clear(&self, marks: u16) {
        if marks == 0 {
            return;
        }
        match self {
            Words::V1(words) => words.clear_flags(marks),
            Words::V2(words) => words.clear_status(marks),
        }
    }
}

/// The in-use marks for a use.
fn marks(readonly: bool) -> u16 {
    if readonly { gtf::READING } else { gtf::READING | gtf::WRITING }
}

fn permits(header: Header, demand: Demand) -> bool {
    (!demand.first || demand.purpose.suits(header, demand.by))
        && (demand.readonly || header.flags() & gtf::READONLY == 0)
}

fn claim_v1(words: &impl WordsV1, demand: Demand) -> Result<Header, Status> {
    let mut header = words.header();
    for _ in 0..TRIES {
        if !permits(header, demand) {
            return Err(Status::GeneralError);
        }
        match words.exchange_header(header, header.with(marks(demand.readonly))) {
            Ok(()) => return Ok(header),
            Err(now) => header = now,
        }
    }
    Err(Status::GeneralError)
}

fn claim_v2(words: &impl WordsV2, demand: Demand) -> Result<Header, Status> {
    if !permits(words.header(), demand) {
        return Err(Status::GeneralError);
    }
    words.set_status(marks(demand.readonly));
    // The granter may have withdrawn the entry before it could see the status.
    let header = words.header();
    if permits(header, demand) {
        return Ok(header);
    }
    // When somebody else uses the entry its reading mark is not ours to clear; its writing mark
    // is, as a claim is made only while nobody holds that.
    words.clear_status(if demand.first { gtf::READING | gtf::WRITING } else { gtf::WRITING });
    Err(Status::GeneralError)
}
