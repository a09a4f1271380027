//! PAGE_DATA: pages of memory, each with its frame number and its type.

use crate::input::{u32_at, u64_at};
use crate::{PAGE, Problem};

/// Bits of an entry that hold the frame number; the type is in the uppermost four.
const PFN_MASK: u64 = (1 << 52) - 1;
const KIND_SHIFT: u32 = 60;

/// Type of a page: the uppermost four bits of `XEN_DOMCTL_PFINFO_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageKind(u8);

impl PageKind {
    /// A page of data.
    pub const NORMAL: PageKind = PageKind(0);
    /// A page that hardware reports as broken; without content.
    pub const BROKEN: PageKind = PageKind(13);
    /// A page to be allocated; without content.
    pub const ALLOCATE: PageKind = PageKind(14);
    /// A frame number without a page.
    pub const INVALID: PageKind = PageKind(15);

    /// The type with that number, if there is one.
    pub fn new(number: u8) -> Option<PageKind> {
        matches!(number, 0..=4 | 9..=15).then_some(PageKind(number))
    }

    /// The type in a word of `XEN_DOMCTL_getpageframeinfo3` (bits 28 to 31).
    pub fn from_frame_info(word: u64) -> Option<PageKind> {
        Self::new((word >> 28 & 15) as u8)
    }

    /// Its number, 0 to 15.
    pub fn number(self) -> u8 {
        self.0
    }

    /// True where the page's content is in the stream.
    pub fn has_content(self) -> bool {
        self.0 < Self::BROKEN.0
    }

    /// Level of a page table, 1 to 4.
    pub fn table_level(self) -> Option<u8> {
        match self.0 {
            level @ 1..=4 => Some(level),
            pinned @ 9..=12 => Some(pinned - 8),
            _ => None,
        }
    }

    /// True for a page table that the guest has pinned.
    pub fn is_pinned(self) -> bool {
        matches!(self.0, 9..=12)
    }
}

/// A page's number and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry {
    /// Guest frame number, less than 2^52.
    pub pfn: u64,
    /// Type.
    pub kind: PageKind,
}

impl PageEntry {
    fn parse(word: u64) -> Result<PageEntry, Problem> {
        let pfn = word & PFN_MASK;
        let number = (word >> KIND_SHIFT) as u8;
        if word & !(PFN_MASK | 15 << KIND_SHIFT) != 0 {
            return Err(Problem::PageEntry(word));
        }
        match PageKind::new(number) {
            Some(kind) => Ok(PageEntry { pfn, kind }),
            None => Err(Problem::PageType { pfn, kind: number }),
        }
    }

    fn word(self) -> u64 {
        self.pfn & PFN_MASK | u64::from(self.kind.0) << KIND_SHIFT
    }
}

/// Pages and their content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageData {
    entries: Vec<PageEntry>,
    content: Vec<u8>,
}

impl PageData {
    /// Adds a page without content.
    pub fn push_empty(&mut self, entry: PageEntry) {
        debug_assert!(!entry.kind.has_content());
        self.entries.push(entry);
    }

    /// Adds a page with its content.
    pub fn push(&mut self, entry: PageEntry, content: &[u8; PAGE]) {
        debug_assert!(entry.kind.has_content());
        self.entries.push(entry);
        self.content.extend_from_slice(content);
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without entries; such a record must not be written.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all pages, and keeps the room.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.content.clear();
    }

    /// The entries, each with its content where its type has some.
    pub fn pages(&self) -> impl Iterator<Item = (PageEntry, Option<&[u8; PAGE]>)> {
        let (content, _) = self.content.as_chunks::<PAGE>();
        let mut content = content.iter();
        self.entries.iter().map(move |&entry| {
            (entry, if entry.kind.has_content() { content.next() } else { None })
        })
    }

    /// The entries alone.
    pub fn entries(&self) -> &[PageEntry] {
        &self.entries
    }

    pub(super) fn parse(mut body: Vec<u8>) -> Result<PageData, Problem> {
        let length = body.len();
        if length < 8 {
            return Err(Problem::Length { found: length, wanted: "8 or more were expected" });
        }
        let count = u32_at(&body, 0);
        let misfit = Problem::Count { count: u64::from(count), things: "pages", length };
        // Both products are below 2^47.
        let words_end = 8 + count as usize * 8;
        if count == 0 || words_end > length {
            return Err(misfit);
        }
        let entries = (0..count as usize)
            .map(|i| PageEntry::parse(u64_at(&body, 8 + i * 8)))
            .collect::<Result<Vec<_>, _>>()?;
        let pages = entries.iter().filter(|entry| entry.kind.has_content()).count();
        if length - words_end != pages * PAGE {
            return Err(misfit);
        }
        body.drain(..words_end);
        Ok(PageData { entries, content: body })
    }

    /// The body's first part (count and entries) and second part (content).
    pub(super) fn parts(&self) -> (Vec<u8>, &[u8]) {
        let mut head = Vec::with_capacity(8 + self.entries.len() * 8);
        head.extend_from_slice(&(self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            head.extend_from_slice(&entry.word().to_le_bytes());
        }
        (head, &self.content)
    }
}
