//! sysctl: CPUs, nodes, and where they are.

use zerocopy::FromZeros;

use abi::GuestPtr;
use abi::sysctl::{
    self, CpuInfo, CpuTopo, CpuTopoInfo, GetCpuInfo, INVALID_ID, INVALID_NODE_DIST, MemInfo,
    SysctlCmd,
};

use crate::error::Result;
use crate::xen::Xen;

/// More CPUs or nodes than this are not believed.
const MAX: u32 = 16384;

/// A set of CPUs (or nodes), of a fixed number of bits.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CpuMap {
    bytes: Vec<u8>,
    bits: usize,
}

impl CpuMap {
    /// An empty set of so many bits.
    pub fn new(bits: usize) -> Self {
        Self { bytes: vec![0; bits.div_ceil(8)], bits }
    }

    /// All of so many bits.
    pub fn all(bits: usize) -> Self {
        let mut map = Self::new(bits);
        for n in 0..bits {
            map.set(n, true);
        }
        map
    }

    /// The set whose bits these are, lowest first in each byte; those past `bits` are dropped.
    pub fn from_bytes(bytes: &[u8], bits: usize) -> Self {
        let mut map = Self::new(bits);
        for (to, from) in map.bytes.iter_mut().zip(bytes) {
            *to = *from;
        }
        if let Some(last) = map.bytes.last_mut()
            && !bits.is_multiple_of(8)
        {
            *last &= (1u8 << (bits % 8)).wrapping_sub(1);
        }
        map
    }

    /// Its bits, lowest first in each byte.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bits it has room for.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// Whether `n` is in it.
    pub fn contains(&self, n: usize) -> bool {
        n < self.bits && self.bytes.get(n / 8).is_some_and(|b| b >> (n % 8) & 1 != 0)
    }

    /// Puts `n` in or takes it out; false if there is no room for it.
    pub fn set(&mut self, n: usize, present: bool) -> bool {
        let Some(byte) = self.bytes.get_mut(n / 8).filter(|_| n < self.bits) else { return false };
        let bit = 1u8 << (n % 8);
        *byte = if present { *byte | bit } else { *byte & !bit };
        true
    }

    /// Its members in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.bits).filter(|n| self.contains(*n))
    }

    /// How many members it has.
    pub fn count(&self) -> usize {
        self.bytes.iter().map(|b| b.count_ones() as usize).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Whether it has all.
    pub fn is_full(&self) -> bool {
        self.count() == self.bits
    }
}

/// Where a CPU is. `None` for one that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTopology {
    /// Core within its socket.
    pub core: u32,
    /// Socket.
    pub socket: u32,
    /// Node.
    pub node: u32,
}

/// A node; `None` in [`NumaInfo`] for one that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumaNode {
    /// Bytes of its memory.
    pub bytes: u64,
    /// Free bytes of it.
    pub free: u64,
}

/// The host's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaInfo {
    /// Each, by its number.
    pub nodes: Vec<Option<NumaNode>>,
    /// Distance from each (row) to each; `None` where it is not known.
    pub distances: Vec<Vec<Option<u32>>>,
}

impl Xen {
    /// Where each CPU is, by its number.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn cpu_topology(&self) -> Result<Vec<Option<CpuTopology>>> {
        let name = "sysctl cputopoinfo";
        let mut argument = CpuTopoInfo { num_cpus: 0, _pad: 0, cputopo: GuestPtr::NULL };
        self.sysctl(name, SysctlCmd::CPUTOPOINFO, &mut argument)?;
        let room = argument.num_cpus.min(MAX);
        let buffer = self.room::<CpuTopo>(room as usize)?;
        argument =
            CpuTopoInfo { num_cpus: room, _pad: 0, cputopo: GuestPtr::new(buffer.address()) };
        self.sysctl(name, SysctlCmd::CPUTOPOINFO, &mut argument)?;
        let list = buffer.list::<CpuTopo>(argument.num_cpus.min(room) as usize);
        Ok(list.iter().map(place).collect())
    }

    /// The host's nodes.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn numa_info(&self) -> Result<NumaInfo> {
        let name = "sysctl numainfo";
        let mut argument = sysctl::NumaInfo::new_zeroed();
        self.sysctl(name, SysctlCmd::NUMAINFO, &mut argument)?;
        let room = argument.num_nodes.min(1024);
        let square = (room as usize).saturating_mul(room as usize);
        let (info, distance) = (self.room::<MemInfo>(room as usize)?, self.room::<u32>(square)?);
        argument.num_nodes = room;
        argument.meminfo = GuestPtr::new(info.address());
        argument.distance = GuestPtr::new(distance.address());
        self.sysctl(name, SysctlCmd::NUMAINFO, &mut argument)?;
        let count = argument.num_nodes.min(room) as usize;
        let nodes = info.list::<MemInfo>(count).into_iter().map(|n| {
            (n.memsize != u64::MAX).then_some(NumaNode { bytes: n.memsize, free: n.memfree })
        });
        let distances = distance.list::<u32>(count.saturating_mul(count));
        let known = |d: &u32| Some(*d).filter(|d| *d != INVALID_NODE_DIST);
        let row = |row: &[u32]| row.iter().map(known).collect();
        Ok(NumaInfo {
            nodes: nodes.collect(),
            distances: distances.chunks(count.max(1)).map(row).collect(),
        })
    }

    /// Nanoseconds that each CPU was idle, by its number.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn cpu_idle_times(&self, max_cpus: u32) -> Result<Vec<u64>> {
        let room = max_cpus.min(MAX);
        let buffer = self.room::<CpuInfo>(room as usize)?;
        let mut argument = GetCpuInfo {
            max_cpus: room,
            _pad0: 0,
            info: GuestPtr::new(buffer.address()),
            nr_cpus: 0,
            _pad1: 0,
        };
        self.sysctl("sysctl getcpuinfo", SysctlCmd::GETCPUINFO, &mut argument)?;
        let list = buffer.list::<CpuInfo>(argument.nr_cpus.min(room) as usize);
        Ok(list.iter().map(|c| c.idletime).collect())
    }
}

fn place(cpu: &CpuTopo) -> Option<CpuTopology> {
    let CpuTopo { core, socket, node } = *cpu;
    (core != INVALID_ID && socket != INVALID_ID).then_some(CpuTopology { core, socket, node })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_keeps_what_is_put_in_and_drops_bits_past_its_end() {
        let mut map = CpuMap::new(10);
        assert!(map.set(0, true) && map.set(9, true));
        assert!(!map.set(10, true));
        assert_eq!(map.as_bytes(), [1, 2]);
        assert_eq!(map.iter().collect::<Vec<_>>(), [0, 9]);
        assert_eq!(CpuMap::from_bytes(&[0xff, 0xff], 10), CpuMap::all(10));
        assert!(CpuMap::all(10).is_full() && CpuMap::new(3).is_empty());
    }
}
