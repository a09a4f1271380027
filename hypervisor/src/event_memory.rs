//! A domain's event-channel memory: ports in the heap, bitmaps and queues in the guest's pages.

use crate::util::{boxed, index, low32};
use abi::{Errno, Mfn, Pirq, Port, VcpuId};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use events::{PortCell, Priority, Private, Queue, Shared, Virq};
use machine::memory;
use machine::once::Once;
use machine::static_ref::StaticRef;

const CELLS_PER_BUCKET: u32 = 128;
const BUCKETS: usize = 1024;
const VIRQS: usize = 24;
/// Offsets in `shared_info` (x86-64).
const PENDING_OFFSET: usize = 2048;
const MASK_OFFSET: usize = 2560;

/// What the model needs of a vCPU.
struct PerVcpu {
    virqs: [AtomicU32; VIRQS],
    queues: [Queue; 16],
    info: StaticRef<[AtomicU64; 8]>,
    info8: StaticRef<[AtomicU8; 64]>,
    control: StaticRef<[AtomicU32; 18]>,
}

/// All of it.
pub struct EventMemory {
    buckets: Box<[Once<Box<[PortCell]>>]>,
    grown: AtomicU32,
    max_port: u32,
    vcpus: Box<[PerVcpu]>,
    pirqs: Box<[AtomicU32]>,
    pending: StaticRef<[AtomicU64; 64]>,
    mask: StaticRef<[AtomicU64; 64]>,
    words: Box<[StaticRef<[AtomicU32; 1024]>]>,
}

impl EventMemory {
    /// For so many vCPUs, PIRQs and ports.
    pub fn new(vcpus: u32, pirqs: u32, max_port: u32, shared_info: Mfn) -> Result<Self, Errno> {
        let max_port = max_port.min((1 << 17) - 1);
        let buckets = (max_port / CELLS_PER_BUCKET).saturating_add(1) as usize;
        let pending = StaticRef::none();
        pending.set(memory::view64(shared_info, PENDING_OFFSET));
        let mask = StaticRef::none();
        mask.set(memory::view64(shared_info, MASK_OFFSET));
        let this = EventMemory {
            buckets: boxed(buckets.min(BUCKETS), |_| Once::new())?,
            grown: AtomicU32::new(0),
            max_port,
            vcpus: boxed(vcpus as usize, |_| PerVcpu {
                virqs: [const { AtomicU32::new(0) }; VIRQS],
                queues: [const { Queue::new() }; 16],
                info: StaticRef::none(),
                info8: StaticRef::none(),
                control: StaticRef::none(),
            })?,
            pirqs: boxed(pirqs as usize, |_| AtomicU32::new(0))?,
            pending,
            mask,
            words: boxed(128, |_| StaticRef::none())?,
        };
        for (i, _) in (0u32..32).zip(this.vcpus.iter()) {
            this.set_info(i, shared_info, index(u64::from(i) << 6));
        }
        Ok(this)
    }

    fn vcpu(&self, vcpu: VcpuId) -> Option<&PerVcpu> {
        self.vcpus.get(vcpu.0 as usize)
    }

    /// Points a vCPU's `vcpu_info` at a page; `false` when there is no such vCPU or place.
    pub fn set_info(&self, vcpu: u32, mfn: Mfn, offset: usize) -> bool {
        let (Some(v), Some(words), Some(bytes)) = (
            self.vcpus.get(vcpu as usize),
            memory::view64(mfn, offset),
            memory::view8(mfn, offset),
        ) else {
            return false;
        };
        v.info.set(Some(words));
        v.info8.set(Some(bytes));
        true
    }

    /// A vCPU's `vcpu_info`.
    pub fn info(&self, vcpu: VcpuId) -> Option<&'static [AtomicU64; 8]> {
        self.vcpu(vcpu)?.info.get()
    }

    /// Installs a vCPU's FIFO control block.
    pub fn set_control(&self, vcpu: VcpuId, mfn: Mfn, offset: usize) -> Result<(), Errno> {
        let block = memory::view32(mfn, offset).ok_or(Errno::EINVAL)?;
        self.vcpu(vcpu).ok_or(Errno::ENOENT)?.control.set(Some(block));
        Ok(())
    }

    /// Installs a page of FIFO event words.
    pub fn set_words(&self, page: u32, mfn: Mfn) -> Result<(), Errno> {
        let words = memory::view32(mfn, 0).ok_or(Errno::EINVAL)?;
        self.words.get(page as usize).ok_or(Errno::ENOSPC)?.set(Some(words));
        Ok(())
    }

    /// Forgets control blocks and event words.
    pub fn drop_fifo(&self) {
        self.vcpus.iter().for_each(|v| v.control.set(None));
        self.words.iter().for_each(|w| w.set(None));
    }

    /// How many PIRQs the domain may have.
    pub fn pirq_count(&self) -> u32 {
        low32(self.pirqs.len() as u64)
    }
}

impl Private for EventMemory {
    #[inline]
    fn port(&self, port: Port) -> Option<&PortCell> {
        if port.0 > self.max_port {
            return None;
        }
        let bucket = self.buckets.get((port.0 / CELLS_PER_BUCKET) as usize)?.get()?;
        bucket.get((port.0 % CELLS_PER_BUCKET) as usize)
    }

    fn grow(&self) -> Result<(), Errno> {
        let n = self.grown.load(Ordering::Relaxed);
        let slot = self.buckets.get(n as usize).ok_or(Errno::ENOSPC)?;
        let cells = boxed(CELLS_PER_BUCKET as usize, |_| PortCell::new())?;
        slot.set(cells);
        self.grown.store(n.wrapping_add(1), Ordering::Relaxed);
        Ok(())
    }

    fn vcpus(&self) -> u32 {
        low32(self.vcpus.len() as u64)
    }

    #[inline]
    fn virq(&self, vcpu: VcpuId, virq: Virq) -> Option<&AtomicU32> {
        self.vcpu(vcpu)?.virqs.get(virq.get() as usize)
    }

    #[inline]
    fn pirq(&self, pirq: Pirq) -> Option<&AtomicU32> {
        self.pirqs.get(pirq.0 as usize)
    }

    #[inline]
    fn queue(&self, vcpu: VcpuId, priority: Priority) -> Option<&Queue> {
        self.vcpu(vcpu)?.queues.get(usize::from(priority.get()))
    }
}

impl Shared for EventMemory {
    #[inline]
    fn pending(&self, index: u32) -> Option<&AtomicU64> {
        self.pending.get()?.get(index as usize)
    }
    #[inline]
    fn mask(&self, index: u32) -> Option<&AtomicU64> {
        self.mask.get()?.get(index as usize)
    }
    #[inline]
    fn upcall_pending(&self, vcpu: VcpuId) -> Option<&AtomicU8> {
        self.vcpu(vcpu)?.info8.get()?.first()
    }
    #[inline]
    fn pending_sel(&self, vcpu: VcpuId) -> Option<&AtomicU64> {
        self.vcpu(vcpu)?.info.get()?.get(1)
    }
    #[inline]
    fn event_word(&self, port: Port) -> Option<&AtomicU32> {
        self.words.get((port.0 / 1024) as usize)?.get()?.get((port.0 % 1024) as usize)
    }
    #[inline]
    fn ready(&self, vcpu: VcpuId) -> Option<&AtomicU32> {
        self.vcpu(vcpu)?.control.get()?.first()
    }
    #[inline]
    fn head(&self, vcpu: VcpuId, priority: Priority) -> Option<&AtomicU32> {
        self.vcpu(vcpu)?.control.get()?.get(usize::from(priority.get()).wrapping_add(2))
    }
}
