//! What the scheduler knows of each vCPU, by handle.
//!
//! The records are never freed: a queue of the scheduler links them by handle, and another CPU may
//! look at one for a moment after its vCPU has gone. They are used again.

use crate::vcpu::Vcpu;
use abi::{DomId, Errno};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use machine::lock::Lock;
use machine::once::Once;
use machine::static_ref::StaticRef;
use scheduler::{Handle, Share, TimerPlace, TimerPlaces, Unit, Vcpus};

/// vCPUs that there can be at a time.
const MAX_UNITS: usize = 8192;
/// Domain numbers.
const MAX_DOMAINS: usize = DomId::FIRST_RESERVED.0 as usize;
/// No CPU.
const NONE: usize = usize::MAX;

/// The scheduler's record of a vCPU.
pub struct Record {
    /// Its number.
    pub handle: Handle,
    /// The model's part.
    pub unit: Unit,
    domain: AtomicU16,
    /// The vCPU, from [`Record::attach`] to [`Record::detach`].
    vcpu: Lock<Option<Arc<Vcpu>>>,
    /// The CPU whose registers hold the vCPU's state: while it runs, and for as long as that CPU
    /// has done nothing else since.
    holder: AtomicUsize,
    /// The CPU that keeps its timer.
    pub timer_cpu: Lock<usize>,
    /// Its place in that CPU's heap.
    timer_place: TimerPlace,
}

static RECORDS: [StaticRef<Record>; MAX_UNITS] = [const { StaticRef::none() }; MAX_UNITS];
/// Shares by domain; groups are made when they are first needed, and stay.
static SHARES: [Once<Box<[Share]>>; MAX_DOMAINS.div_ceil(GROUP)] =
    [const { Once::new() }; MAX_DOMAINS.div_ceil(GROUP)];
const GROUP: usize = 256;

/// Handles not in use: those that were, and the first that never was.
struct Free {
    used: Vec<&'static Record>,
    next: u32,
}

static FREE: Lock<Free> = Lock::new(Free { used: Vec::new(), next: 0 });

/// All records, as the model wants them.
pub struct All;

impl Vcpus for All {
    #[inline]
    fn unit(&self, vcpu: Handle) -> Option<&Unit> {
        Some(&record(vcpu)?.unit)
    }

    #[inline]
    fn share(&self, vcpu: Handle) -> Option<&Share> {
        let domain = record(vcpu)?.domain.load(Ordering::Relaxed);
        share(DomId(domain))
    }
}

impl TimerPlaces for All {
    #[inline]
    fn timer_place(&self, vcpu: Handle) -> Option<&TimerPlace> {
        Some(&record(vcpu)?.timer_place)
    }
}

/// The record behind a handle.
#[inline]
pub fn record(handle: Handle) -> Option<&'static Record> {
    RECORDS.get(handle.0 as usize)?.get()
}

/// A domain's share.
#[inline]
pub fn share(domain: DomId) -> Option<&'static Share> {
    let id = usize::from(domain.0);
    SHARES.get(id / GROUP)?.get()?.get(id % GROUP)
}

/// Gives a new domain its share, the default one.
pub fn make_share(domain: DomId) -> Result<(), Errno> {
    let group = SHARES.get(usize::from(domain.0) / GROUP).ok_or(Errno::EINVAL)?;
    if group.get().is_none() {
        // Should another have been quicker, this one is dropped.
        group.set(crate::util::boxed(GROUP, |_| Share::new())?);
    }
    share(domain).ok_or(Errno::EINVAL)?.set(scheduler::DEFAULT_WEIGHT, 0)
}

/// A record for a new vCPU of `domain`; goes back by [`give_back`].
pub fn take(domain: DomId) -> Result<&'static Record, Errno> {
    let mut free = FREE.lock();
    let record = match free.used.pop() {
        Some(r) => r,
        None => {
            // Room for all to come back, so that giving back never fails.
            let all = free.next.wrapping_add(1) as usize;
            free.used.try_reserve(all).map_err(|_| Errno::ENOMEM)?;
            let slot = RECORDS.get(free.next as usize).ok_or(Errno::ENOSPC)?;
            let r: &'static Record = crate::util::leaked(Record {
                handle: Handle(free.next),
                unit: Unit::new(0),
                domain: AtomicU16::new(0),
                vcpu: Lock::new(None),
                holder: AtomicUsize::new(NONE),
                timer_cpu: Lock::new(0),
                timer_place: TimerPlace::new(),
            })?;
            slot.set(Some(r));
            free.next = free.next.wrapping_add(1);
            r
        }
    };
    record.domain.store(domain.0, Ordering::Relaxed);
    record.unit.reset(crate::time::now());
    Ok(record)
}

/// Gives the record of a vCPU back that is no more, and is in no queue.
pub fn give_back(record: &'static Record) {
    FREE.lock().used.push(record);
}

impl Record {
    /// Lets the scheduler find the vCPU; it lives from now on until [`Record::detach`].
    pub fn attach(&self, v: &Arc<Vcpu>) {
        *self.vcpu.lock() = Some(v.clone());
    }

    /// Forgets the vCPU.
    pub fn detach(&self) {
        let gone = self.vcpu.lock().take();
        // Not under the lock: this may be the last reference.
        drop(gone);
    }

    /// The vCPU.
    pub fn vcpu(&self) -> Option<Arc<Vcpu>> {
        self.vcpu.lock().clone()
    }

    /// The CPU whose registers hold its state.
    #[inline]
    pub fn holder(&self) -> Option<usize> {
        let cpu = self.holder.load(Ordering::Acquire);
        (cpu != NONE).then_some(cpu)
    }

    /// Sets that. Before the CPU loads the vCPU's page tables, after it has unloaded them.
    pub fn set_holder(&self, cpu: Option<usize>) {
        self.holder.store(cpu.unwrap_or(NONE), Ordering::SeqCst);
    }
}
