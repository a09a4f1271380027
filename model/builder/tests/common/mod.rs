//! Kernels put together by hand, and a memory that tables are built in and walked.
#![allow(dead_code)]

use std::collections::HashMap;

use abi::{Mfn, Pfn};
use builder::kernel::Sink;
use builder::tables::TableMemory;

/// A Xen note.
pub fn note(kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(4u32.to_le_bytes());
    out.extend((desc.len() as u32).to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend(b"Xen\0");
    out.extend(desc);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

pub fn number(kind: u32, value: u64) -> Vec<u8> {
    note(kind, &value.to_le_bytes())
}

/// The notes that Linux has, but those of the types in `without`.
pub fn linux_notes(without: &[u32]) -> Vec<u8> {
    let all: [(u32, Vec<u8>); 10] = [
        (6, note(6, b"linux\0")),
        (5, note(5, b"xen-3.0\0")),
        (8, note(8, b"generic\0")),
        (3, number(3, 0xffff_ffff_8000_0000)),
        (15, number(15, 0x80_0000_0000)),
        (1, number(1, 0xffff_ffff_8100_0010)),
        (10, note(10, b"!writable_page_tables")),
        (17, number(17, 0x8801)),
        (16, number(16, 1)),
        (4, number(4, 0)),
    ];
    all.iter().filter(|(kind, _)| !without.contains(kind)).flat_map(|(_, n)| n.clone()).collect()
}

/// A load segment: physical address, bytes in the file, bytes in memory.
pub type Load = (u64, Vec<u8>, u64);

/// An ELF file of these segments and notes (0x1000 bytes in, if any segment is).
pub fn elf(loads: &[Load], notes: &[u8]) -> Vec<u8> {
    let mut file = vec![0u8; 64 + 56 * (loads.len() + 1)];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    file[16..18].copy_from_slice(&2u16.to_le_bytes());
    file[18..20].copy_from_slice(&62u16.to_le_bytes());
    file[24..32].copy_from_slice(&0x1000_0000u64.to_le_bytes());
    file[32..40].copy_from_slice(&64u64.to_le_bytes());
    file[54..56].copy_from_slice(&56u16.to_le_bytes());
    file[56..58].copy_from_slice(&(loads.len() as u16 + 1).to_le_bytes());
    let header = |file: &mut Vec<u8>, n: usize, kind: u32, paddr: u64, data: &[u8], mem: u64| {
        let offset = file.len() as u64;
        let at = 64 + 56 * n;
        file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
        file[at + 8..at + 16].copy_from_slice(&offset.to_le_bytes());
        file[at + 24..at + 32].copy_from_slice(&paddr.to_le_bytes());
        file[at + 32..at + 40].copy_from_slice(&(data.len() as u64).to_le_bytes());
        file[at + 40..at + 48].copy_from_slice(&mem.to_le_bytes());
        file.extend(data);
    };
    for (n, (paddr, data, mem)) in loads.iter().enumerate() {
        header(&mut file, n, 1, *paddr, data, *mem);
    }
    header(&mut file, loads.len(), 4, 0, notes, 0);
    file
}

/// A small kernel as Linux would be: two segments at 16 MiB, the second mostly zeroed memory.
pub fn small_kernel(without: &[u32]) -> Vec<u8> {
    let text: Vec<u8> = (0..5000u32).map(|n| (n * 7) as u8).collect();
    let data = vec![0x5a; 300];
    elf(&[(0x100_0000, text, 5000), (0x100_3000, data, 0x5000)], &linux_notes(without))
}

/// A bzImage around a payload, which gets the size word at its end.
pub fn bzimage(payload: &[u8], size: u32) -> Vec<u8> {
    let mut file = vec![0u8; 512 * 3];
    file[0x1f1] = 2;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&8u32.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32 + 4).to_le_bytes());
    file.extend([0xcc; 8]);
    file.extend(payload);
    file.extend(size.to_le_bytes());
    file.extend([0xcc; 16]);
    file
}

/// A zstd frame of stored blocks.
pub fn zstd_stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    out.extend((data.len() as u32).to_le_bytes());
    let mut chunks = data.chunks(100_000).peekable();
    while let Some(chunk) = chunks.next() {
        let word = (chunk.len() as u32) << 3 | u32::from(chunks.peek().is_none());
        out.extend(&word.to_le_bytes()[..3]);
        out.extend(chunk);
    }
    out
}

/// Memory whose frames are anywhere; frames not written are absent.
#[derive(Default)]
pub struct Memory {
    pub bytes: HashMap<u64, Vec<u8>>,
    pub tables: HashMap<u64, Box<[u64; 512]>>,
    /// Frames in order, so that superpages can be.
    pub in_order: bool,
    pub pages: u64,
}

impl Memory {
    pub fn frame(&self, pfn: u64) -> Option<u64> {
        let mfn = if self.in_order { 0x20_0000 + pfn } else { 0x1000 + (pfn ^ 0x155) * 3 };
        (pfn < self.pages).then_some(mfn)
    }

    fn pfn(&self, mfn: u64) -> u64 {
        if self.in_order { mfn - 0x20_0000 } else { ((mfn - 0x1000) / 3) ^ 0x155 }
    }

    /// What an address translates to: PFN and whether writable, from the L4 at `root`.
    pub fn walk(&self, root: Pfn, va: u64) -> Option<(u64, bool)> {
        let mut table = root.0;
        let mut writable = true;
        for level in [4, 3, 2, 1] {
            let entry = self.tables[&table][(va >> (12 + 9 * (level - 1)) & 511) as usize];
            if entry & 1 == 0 {
                return None;
            }
            assert_eq!(entry & 0x64, 0x64, "user, accessed and dirty at level {level}");
            writable &= entry & 2 != 0;
            let mfn = entry >> 12;
            if entry & 0x80 != 0 {
                assert_eq!(level, 2);
                return Some((self.pfn(mfn + (va >> 12 & 511)), writable));
            }
            table = self.pfn(mfn);
        }
        Some((table, writable))
    }
}

impl TableMemory for Memory {
    type Error = ();
    fn mfn(&self, pfn: Pfn) -> Option<Mfn> {
        self.frame(pfn.0).map(Mfn)
    }
    fn clear(&mut self, table: Pfn) -> Result<(), ()> {
        let old = self.tables.insert(table.0, Box::new([0; 512]));
        assert!(old.is_none(), "{table:?} cleared twice");
        Ok(())
    }
    fn write_pte(&mut self, table: Pfn, index: u16, value: u64) -> Result<(), ()> {
        let entry = &mut self.tables.get_mut(&table.0).unwrap()[usize::from(index)];
        assert_eq!(*entry, 0, "entry {index} of {table:?} written twice");
        *entry = value;
        Ok(())
    }
}

impl Sink for Memory {
    type Error = ();
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), ()> {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.bytes.entry(at >> 12).or_insert_with(|| vec![0xee; 4096]);
            page[(at & 4095) as usize] = *byte;
        }
        Ok(())
    }
    fn zero(&mut self, address: u64, size: u64) -> Result<(), ()> {
        self.write(address, &vec![0; size as usize])
    }
}
