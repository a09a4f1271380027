//! Sets of CPUs.

use abi::CpuId;

/// CPUs have numbers below this.
pub const MAX_CPUS: u32 = 256;

pub(crate) const WORDS: usize = 4;

/// A set of CPUs with numbers below [`MAX_CPUS`]; others are never in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuSet(pub(crate) [u64; WORDS]);

impl CpuSet {
    /// None.
    pub const EMPTY: CpuSet = CpuSet([0; WORDS]);
    /// All there can be.
    pub const ALL: CpuSet = CpuSet([u64::MAX; WORDS]);

    /// One CPU.
    pub fn of(cpu: CpuId) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        set.insert(cpu);
        set
    }

    /// From words of a bitmap, the lowest CPUs first.
    pub const fn from_words(words: [u64; WORDS]) -> CpuSet {
        CpuSet(words)
    }

    /// The words of the bitmap, the lowest CPUs first.
    pub const fn words(self) -> [u64; WORDS] {
        self.0
    }

    fn place(cpu: CpuId) -> (usize, u64) {
        (cpu.0.wrapping_shr(6) as usize, 1u64.wrapping_shl(cpu.0 & 63))
    }

    /// Adds a CPU.
    pub fn insert(&mut self, cpu: CpuId) {
        let (word, bit) = Self::place(cpu);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    /// Takes a CPU out.
    pub fn remove(&mut self, cpu: CpuId) {
        let (word, bit) = Self::place(cpu);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Whether it has the CPU.
    pub fn contains(&self, cpu: CpuId) -> bool {
        let (word, bit) = Self::place(cpu);
        self.0.get(word).is_some_and(|w| w & bit != 0)
    }

    /// The CPUs that are in both.
    #[must_use]
    pub fn and(&self, other: &CpuSet) -> CpuSet {
        let [a, b, c, d] = self.0;
        let [e, f, g, h] = other.0;
        CpuSet([a & e, b & f, c & g, d & h])
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// How many it has.
    pub fn len(&self) -> u32 {
        self.0.iter().fold(0, |n, word| n.wrapping_add(word.count_ones()))
    }

    /// The CPU with the lowest number.
    pub fn first(&self) -> Option<CpuId> {
        self.iter().next()
    }

    /// The CPUs in order.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        (0..MAX_CPUS).map(CpuId).filter(|&cpu| self.contains(cpu))
    }
}
