//! sysctl: control of the host.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use abi::GuestPtr;
use abi::domctl::GetDomainInfo;
use abi::sysctl::{
    self, AvailHeap, CpuFeatureset, CpuHotplug, CpuLevellingCaps, DebugKeys, FeaturesetIndex,
    GetDomainInfoList, ReadConsole, SYSCTL_INTERFACE_VERSION, SchedId, Sysctl, SysctlCmd,
};
use abi::xen::Hypercall;

use crate::domain::DomainInfo;
use crate::error::Result;
use crate::xen::{Call, Xen};

/// Domains asked for in one call.
const DOMAINS: u32 = 256;

/// What the host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysInfo {
    /// Threads of a core.
    pub threads_per_core: u32,
    /// Cores of a socket.
    pub cores_per_socket: u32,
    /// CPUs on line.
    pub online_cpus: u32,
    /// Greatest CPU number.
    pub max_cpu_id: u32,
    /// Nodes on line.
    pub nodes: u32,
    /// Greatest node number.
    pub max_node_id: u32,
    /// TSC frequency.
    pub cpu_khz: u32,
    /// `PHYSCAP_*` of [`abi::sysctl`].
    pub capabilities: u32,
    /// The architecture's own.
    pub arch_capabilities: u32,
    /// Pages of memory.
    pub total_pages: u64,
    /// Free pages.
    pub free_pages: u64,
    /// Free pages still to be scrubbed.
    pub scrub_pages: u64,
    /// Pages claimed and not yet given.
    pub outstanding_pages: u64,
    /// Greatest frame.
    pub max_mfn: u64,
    /// Feature words, as `xl info` prints them.
    pub hw_caps: [u32; 8],
}

impl PhysInfo {
    /// CPU numbers, on line or not: what a map of CPUs needs room for.
    pub fn cpus(&self) -> u32 {
        self.max_cpu_id.saturating_add(1)
    }

    /// Whether it has all of these `PHYSCAP_*`.
    pub fn can(&self, capability: u32) -> bool {
        self.capabilities & capability == capability
    }
}

/// Text read from the hypervisor's console ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleChunk {
    /// The text.
    pub text: Vec<u8>,
    /// Where to read on from.
    pub next: u32,
}

impl Xen {
    /// Makes a sysctl with a structure that is copied in and back out.
    pub(crate) fn sysctl<T>(
        &self,
        name: &'static str,
        cmd: SysctlCmd,
        argument: &mut T,
    ) -> Result<i64>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        const { assert!(size_of::<T>() <= 128) };
        let mut op = Sysctl { cmd, interface_version: SYSCTL_INTERFACE_VERSION, u: [0; 16] };
        if let Some(to) = op.u.as_mut_bytes().get_mut(..size_of::<T>()) {
            to.copy_from_slice(argument.as_bytes());
        }
        let buffer = self.pool.of(&op)?;
        let call = Call::new(name);
        let result = self.call(call, Hypercall::SYSCTL, [buffer.address(), 0, 0, 0, 0])?;
        let op: Sysctl = buffer.get(0);
        if let Ok((answer, _)) = T::read_from_prefix(op.u.as_bytes()) {
            *argument = answer;
        }
        Ok(result)
    }

    /// What the host is.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn physinfo(&self) -> Result<PhysInfo> {
        let mut p = sysctl::PhysInfo::new_zeroed();
        self.sysctl("sysctl physinfo", SysctlCmd::PHYSINFO, &mut p)?;
        Ok(PhysInfo {
            threads_per_core: p.threads_per_core,
            cores_per_socket: p.cores_per_socket,
            online_cpus: p.nr_cpus,
            max_cpu_id: p.max_cpu_id,
            nodes: p.nr_nodes,
            max_node_id: p.max_node_id,
            cpu_khz: p.cpu_khz,
            capabilities: p.capabilities,
            arch_capabilities: p.arch_capabilities,
            total_pages: p.total_pages,
            free_pages: p.free_pages,
            scrub_pages: p.scrub_pages,
            outstanding_pages: p.outstanding_pages,
            max_mfn: p.max_mfn,
            hw_caps: p.hw_cap,
        })
    }

    /// At most 256 domains, from number `first` up. An empty list is the end.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn domain_list(&self, first: u16) -> Result<Vec<DomainInfo>> {
        let buffer = self.room::<GetDomainInfo>(DOMAINS as usize)?;
        let mut argument = GetDomainInfoList {
            first_domain: first,
            _pad0: 0,
            max_domains: DOMAINS,
            buffer: GuestPtr::new(buffer.address()),
            num_domains: 0,
            _pad1: 0,
        };
        self.sysctl("sysctl getdomaininfolist", SysctlCmd::GETDOMAININFOLIST, &mut argument)?;
        let list = buffer.list::<GetDomainInfo>(argument.num_domains.min(DOMAINS) as usize);
        Ok(list.iter().map(DomainInfo::of).collect())
    }

    /// All domains, in order of their numbers.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn domains(&self) -> Result<Vec<DomainInfo>> {
        let mut all = Vec::new();
        let mut first = 0;
        loop {
            let list = self.domain_list(first)?;
            let Some(last) = list.last().map(|d| d.domid) else { return Ok(all) };
            let whole = list.len() < DOMAINS as usize;
            all.extend(list);
            match last.checked_add(1).filter(|next| !whole && *next > first) {
                Some(next) => first = next,
                None => return Ok(all),
            }
        }
    }

    /// Reads the hypervisor's console ring: from where `from` says or its start, up to 16 KiB at a time
    /// (an empty text is the end); `clear` forgets what is in it.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn read_console(&self, from: Option<u32>, clear: bool) -> Result<ConsoleChunk> {
        const ROOM: u32 = 16384;
        let buffer = self.pool.get(ROOM as usize)?;
        let mut argument = ReadConsole {
            clear: u8::from(clear),
            incremental: u8::from(from.is_some()),
            pad0: 0,
            pad1: 0,
            index: from.unwrap_or(0),
            buffer: GuestPtr::new(buffer.address()),
            count: ROOM,
            _pad: 0,
        };
        self.sysctl("sysctl readconsole", SysctlCmd::READCONSOLE, &mut argument)?;
        let text = buffer.bytes(argument.count.min(ROOM) as usize);
        Ok(ConsoleChunk { text, next: argument.index })
    }

    /// All of the hypervisor's console ring; `clear` forgets what was read.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn console_log(&self, clear: bool) -> Result<Vec<u8>> {
        // 64 MiB is more than any ring; the bound is for a ring that fills faster than it is read.
        const MAX: usize = 64 << 20;
        let mut chunk = self.read_console(None, clear)?;
        let mut text = std::mem::take(&mut chunk.text);
        while text.len() < MAX {
            let more = self.read_console(Some(chunk.next), clear)?;
            if more.text.is_empty() {
                break;
            }
            text.extend_from_slice(&more.text);
            chunk = more;
        }
        Ok(text)
    }

    /// Does what debug keys do when typed at the hypervisor's console.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn debug_keys(&self, keys: &[u8]) -> Result<()> {
        let buffer = self.pool.of(keys)?;
        let nr_keys = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let mut argument = DebugKeys { keys: GuestPtr::new(buffer.address()), nr_keys, _pad: 0 };
        self.sysctl("sysctl debug_keys", SysctlCmd::DEBUG_KEYS, &mut argument).map(drop)
    }

    /// Number of the host's default scheduler, `SCHEDULER_*` of [`abi::domctl`].
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn sched_id(&self) -> Result<u32> {
        let mut argument = SchedId { sched_id: 0 };
        self.sysctl("sysctl sched_id", SysctlCmd::SCHED_ID, &mut argument)?;
        Ok(argument.sched_id)
    }

    /// Free bytes with addresses of at least and at most so many bits (0: any), on a node or all.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn avail_heap(&self, min_bits: u32, max_bits: u32, node: Option<u32>) -> Result<u64> {
        let mut argument = AvailHeap {
            min_bitwidth: min_bits,
            max_bitwidth: max_bits,
            node: node.map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX)),
            _pad: 0,
            avail_bytes: 0,
        };
        self.sysctl("sysctl availheap", SysctlCmd::AVAILHEAP, &mut argument)?;
        Ok(argument.avail_bytes)
    }

    /// Takes a CPU on or off line: `op` is `CPU_HOTPLUG_*` of [`abi::sysctl`].
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn cpu_hotplug(&self, cpu: u32, op: u32) -> Result<()> {
        let mut argument = CpuHotplug { cpu, op };
        let name = "sysctl cpu_hotplug";
        self.until_done(Call::new(name), || {
            self.sysctl(name, SysctlCmd::CPU_HOTPLUG, &mut argument).map(drop)
        })
    }

    /// What CPUID masking the host has, `CPU_LEVELCAP_*` of [`abi::sysctl`].
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn cpu_levelling_caps(&self) -> Result<u32> {
        let mut argument = CpuLevellingCaps { caps: 0 };
        let name = "sysctl get_cpu_levelling_caps";
        self.sysctl(name, SysctlCmd::GET_CPU_LEVELLING_CAPS, &mut argument)?;
        Ok(argument.caps)
    }

    /// The words of a feature set.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn cpu_featureset(&self, index: FeaturesetIndex) -> Result<Vec<u32>> {
        let name = "sysctl get_cpu_featureset";
        let mut argument = CpuFeatureset { index, nr_features: 0, features: GuestPtr::NULL };
        self.sysctl(name, SysctlCmd::GET_CPU_FEATURESET, &mut argument)?;
        let room = argument.nr_features.min(1024);
        let buffer = self.room::<u32>(room as usize)?;
        argument.features = GuestPtr::new(buffer.address());
        argument.nr_features = room;
        self.sysctl(name, SysctlCmd::GET_CPU_FEATURESET, &mut argument)?;
        Ok(buffer.list(argument.nr_features.min(room) as usize))
    }
}
