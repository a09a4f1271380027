//! Page tables of a PV guest in a stream: with PFNs in place of MFNs, and back.

use super::p2m::FRAME_MASK;

const PRESENT: u64 = 1;
/// Entries of an L4 table that are the hypervisor's, not the guest's.
const XEN_SLOTS: std::ops::RangeInclusive<usize> = 256..=271;

/// An entry that cannot be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEntry {
    /// Its index in the table.
    pub index: usize,
    /// The entry.
    pub entry: u64,
}

/// Puts another frame number into each entry that is present: the one that `other` says.
/// What the hypervisor has in an L4 table becomes zero: it puts it there itself.
///
/// # Errors
/// [`BadEntry`] for the first entry for which `other` has no answer.
pub fn translate(
    table: &mut [u64],
    level: u8,
    mut other: impl FnMut(u64) -> Option<u64>,
) -> Result<(), BadEntry> {
    for (index, entry) in table.iter_mut().enumerate() {
        if level == 4 && XEN_SLOTS.contains(&index) {
            *entry = 0;
        } else if *entry & PRESENT != 0 {
            let frame = (*entry & FRAME_MASK) >> 12;
            match other(frame).filter(|frame| *frame <= FRAME_MASK >> 12) {
                Some(frame) => *entry = *entry & !FRAME_MASK | frame << 12,
                None => return Err(BadEntry { index, entry: *entry }),
            }
        }
    }
    Ok(())
}

/// A page's 512 words.
pub fn words(page: &[u8; 4096]) -> Vec<u64> {
    let (words, _) = page.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// The page with those words; those beyond 512 are left out.
pub fn page(words: &[u64]) -> [u8; 4096] {
    let mut page = [0; 4096];
    let (places, _) = page.as_chunks_mut::<8>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const NX: u64 = 1 << 63;

    #[test]
    fn frames_change_and_flags_stay() {
        let mut table = vec![0x1000 | 0x67, NX | 0x2000 | 0x25, 0x3000 | 0x66];
        translate(&mut table, 1, |frame| Some(frame + 0x100)).unwrap();
        assert_eq!(table, [0x10_1000 | 0x67, NX | 0x10_2000 | 0x25, 0x3000 | 0x66]);
    }

    #[test]
    fn the_hypervisors_part_of_an_l4_table_becomes_zero_and_only_there() {
        let full = vec![0x5000 | 1; 512];
        for (level, zeros) in [(4, 16), (3, 0), (1, 0)] {
            let mut table = full.clone();
            translate(&mut table, level, Some).unwrap();
            assert_eq!(table.iter().filter(|entry| **entry == 0).count(), zeros);
        }
        let mut table = full;
        translate(&mut table, 4, Some).unwrap();
        assert_eq!((table[255], table[256], table[271], table[272]), (0x5001, 0, 0, 0x5001));
    }

    #[test]
    fn an_entry_of_a_foreign_frame_is_named() {
        let mut table = vec![0, 0, 0x7000 | 0x63, 1];
        let refused = translate(&mut table, 2, |frame| (frame != 7).then_some(frame));
        assert_eq!(refused, Err(BadEntry { index: 2, entry: 0x7063 }));
    }

    #[test]
    fn words_and_pages_are_the_same_thing() {
        let list: Vec<u64> = (0..512).map(|n| n * 0x0101_0101_0101).collect();
        assert_eq!(words(&page(&list)), list);
    }
}
