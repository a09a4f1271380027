//! Tests with a domain's memory made of plain atomics.

mod bindings;
mod fifo;
mod hostile;
mod naive;
mod two_level;

use crate::{Bindings, Events, PortCell, Priority, Private, Queue, Shared, Virq, WORDS_PER_PAGE};
use abi::{DomId, Errno, Pirq, Port, VcpuId};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

const BUCKET: usize = 256;

/// What a vCPU shares with the hypervisor.
#[derive(Default)]
pub struct VcpuMemory {
    pub upcall: AtomicU8,
    pub sel: AtomicU64,
    pub has_block: AtomicBool,
    pub ready: AtomicU32,
    pub heads: [AtomicU32; 16],
    queues: [Queue; 16],
    virqs: [AtomicU32; 24],
}

pub struct Fake {
    ports: Vec<OnceLock<Vec<PortCell>>>,
    pub bucket_limit: usize,
    pub pending: Vec<AtomicU64>,
    pub mask: Vec<AtomicU64>,
    pub vcpus: Vec<VcpuMemory>,
    pirqs: Vec<AtomicU32>,
    pub words: Vec<AtomicU32>,
    pub pages: AtomicU32,
}

impl Fake {
    fn new(vcpus: usize, pages: u32) -> Fake {
        let words = pages * WORDS_PER_PAGE;
        Fake {
            ports: (0..512).map(|_| OnceLock::new()).collect(),
            bucket_limit: 512,
            pending: (0..64).map(|_| AtomicU64::new(0)).collect(),
            mask: (0..64).map(|_| AtomicU64::new(0)).collect(),
            vcpus: (0..vcpus).map(|_| VcpuMemory::default()).collect(),
            pirqs: (0..16).map(|_| AtomicU32::new(0)).collect(),
            words: (0..words).map(|_| AtomicU32::new(0)).collect(),
            pages: AtomicU32::new(0),
        }
    }

    fn vcpu(&self, vcpu: VcpuId) -> Option<&VcpuMemory> {
        self.vcpus.get(vcpu.0 as usize)
    }
}

impl Private for Fake {
    fn port(&self, port: Port) -> Option<&PortCell> {
        let bucket = self.ports.get(port.0 as usize / BUCKET)?.get()?;
        bucket.get(port.0 as usize % BUCKET)
    }
    fn grow(&self) -> Result<(), Errno> {
        let empty = self.ports.iter().take(self.bucket_limit).find(|b| b.get().is_none());
        let new = (0..BUCKET).map(|_| PortCell::new()).collect();
        empty.ok_or(Errno::ENOMEM)?.set(new).map_err(|_| Errno::ENOMEM)
    }
    fn vcpus(&self) -> u32 {
        self.vcpus.len() as u32
    }
    fn virq(&self, vcpu: VcpuId, virq: Virq) -> Option<&AtomicU32> {
        self.vcpu(vcpu)?.virqs.get(virq.get() as usize)
    }
    fn pirq(&self, pirq: Pirq) -> Option<&AtomicU32> {
        self.pirqs.get(pirq.0 as usize)
    }
    fn queue(&self, vcpu: VcpuId, priority: Priority) -> Option<&Queue> {
        self.vcpu(vcpu)?.queues.get(usize::from(priority.get()))
    }
}

impl Shared for Fake {
    fn pending(&self, index: u32) -> Option<&AtomicU64> {
        self.pending.get(index as usize)
    }
    fn mask(&self, index: u32) -> Option<&AtomicU64> {
        self.mask.get(index as usize)
    }
    fn upcall_pending(&self, vcpu: VcpuId) -> Option<&AtomicU8> {
        Some(&self.vcpu(vcpu)?.upcall)
    }
    fn pending_sel(&self, vcpu: VcpuId) -> Option<&AtomicU64> {
        Some(&self.vcpu(vcpu)?.sel)
    }
    fn event_word(&self, port: Port) -> Option<&AtomicU32> {
        let there = port.0 / WORDS_PER_PAGE < self.pages.load(Ordering::SeqCst);
        self.words.get(port.0 as usize).filter(|_| there)
    }
    fn ready(&self, vcpu: VcpuId) -> Option<&AtomicU32> {
        let v = self.vcpu(vcpu)?;
        v.has_block.load(Ordering::SeqCst).then_some(&v.ready)
    }
    fn head(&self, vcpu: VcpuId, priority: Priority) -> Option<&AtomicU32> {
        let v = self.vcpu(vcpu)?;
        v.heads.get(usize::from(priority.get())).filter(|_| v.has_block.load(Ordering::SeqCst))
    }
}

pub struct Domain {
    pub events: Events<Fake>,
    pub lock: Bindings,
}

impl Domain {
    pub fn new(id: u16, vcpus: usize, max_port: u32, pages: u32) -> Domain {
        let events = Events::new(DomId(id), Fake::new(vcpus, pages)).unwrap();
        Domain { events, lock: Bindings::new(DomId(id), max_port) }
    }

    pub fn memory(&self) -> &Fake {
        self.events.memory()
    }

    /// Gives a vCPU a control block.
    pub fn init_control(&mut self, vcpu: u32) -> Result<(), Errno> {
        let memory = self.events.memory();
        self.events.init_control(&mut self.lock, VcpuId(vcpu), 0, || {
            memory.vcpus[vcpu as usize].has_block.store(true, Ordering::SeqCst);
            Ok(())
        })
    }

    /// Adds a page of words, all masked as an honest guest has them.
    pub fn expand(&mut self) -> Result<Vec<(Port, crate::Raised)>, Errno> {
        let memory = self.events.memory();
        let mut raised = Vec::new();
        let install = |page: u32| {
            for word in &memory.words[(page * WORDS_PER_PAGE) as usize..][..WORDS_PER_PAGE as usize]
            {
                word.store(1 << 30, Ordering::SeqCst);
            }
            memory.pages.store(page + 1, Ordering::SeqCst);
            Ok(())
        };
        self.events.expand_array(&mut self.lock, install, |p, r| raised.push((p, r)))?;
        Ok(raised)
    }
}
