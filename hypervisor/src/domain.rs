//! Domains: what a virtual machine owns and may do.

use crate::event_memory::EventMemory;
use crate::frames::{self, pages};
use crate::util::boxed;
use crate::vcpu::Vcpu;
use abi::{DomId, Errno, Mfn, VcpuId};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use events::{Bindings, Events};
use machine::lock::Lock;
use pages::{Access, PageList};

/// vCPUs that a domain may have.
pub const MAX_VCPUS: u32 = 128;
/// Domain ids that the table holds.
const TABLE_SIZE: usize = 1024;

/// How far a domain's end has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd)]
#[repr(u8)]
pub enum Life {
    /// It lives.
    Alive = 0,
    /// Its resources are being given back.
    Dying = 1,
    /// Only references to its pages keep it.
    Dead = 2,
}

/// A domain's pages.
pub struct Memory {
    /// All of them, those shared with the hypervisor not included.
    pub list: PageList,
    /// How many it may have.
    pub max: u64,
    /// How many were claimed for it and not yet populated.
    pub claimed: u64,
    /// Hypervisor pages lent to it.
    pub shared: alloc::vec::Vec<Mfn>,
}

/// A virtual machine.
pub struct Domain {
    /// Its number.
    pub id: DomId,
    /// It is dom0: it may control others and the machine.
    pub privileged: bool,
    /// Its users' name for it.
    pub handle: Lock<[u8; 16]>,
    /// How many of its vCPUs poll.
    pub pollers: AtomicU32,
    /// Event channels.
    pub events: Events<EventMemory>,
    /// Guest pages that the FIFO ABI uses.
    pub event_pages: Lock<alloc::vec::Vec<pages::TypedRef>>,
    /// The right to change their bindings.
    pub bindings: Lock<Bindings>,
    /// Grants.
    pub grants: crate::grant::GrantState,
    /// The page shared with its kernel.
    pub shared_info: Mfn,
    /// Its pages.
    pub memory: Lock<Memory>,
    /// Count of its pages, readable without the lock.
    pub page_count: AtomicU64,
    vcpus: Box<[Lock<Option<Arc<Vcpu>>>]>,
    /// How often it was paused.
    pub pauses: AtomicU32,
    /// The toolstack paused it (so often at most once).
    pub controller_pauses: AtomicU32,
    life: AtomicU8,
    /// It shut down, and why (`SHUTDOWN_*`), in the low byte; bit 8: it did.
    pub shutdown: AtomicU32,
    /// vm_assist modes.
    pub assists: AtomicU64,
    /// Map given to it by `XENMEM_set_memory_map`.
    pub memory_map: Lock<alloc::vec::Vec<abi::memory::E820Entry>>,
    /// Seconds added to the wall clock.
    pub time_offset: AtomicU64,
    /// Its CPUID and MSR policy.
    pub policy: Lock<cpu_policy::Policy>,
    /// I/O memory, ports and interrupts that it was given.
    pub permissions: Lock<crate::permission::Permissions>,
    /// A debugger wants its crashes.
    pub debugger: AtomicBool,
    /// Address size 64 was set, so that its hypercall page can be filled.
    pub tsc_mode: AtomicU32,
}

static TABLE: [Lock<Option<Arc<Domain>>>; TABLE_SIZE] = [const { Lock::new(None) }; TABLE_SIZE];
/// Which domain gets virtual interrupts of the machine, by VIRQ: dom0 unless set otherwise.
pub static VIRQ_HANDLERS: [AtomicU32; 24] = [const { AtomicU32::new(0) }; 24];

/// What a new domain is to have.
pub struct Config {
    /// Its number.
    pub id: DomId,
    /// Whether it is dom0.
    pub privileged: bool,
    /// Its users' name for it.
    pub handle: [u8; 16],
    /// vCPUs at most.
    pub max_vcpus: u32,
    /// Highest event channel.
    pub max_event_port: u32,
    /// Grant table pages at most.
    pub max_grant_frames: u32,
    /// Maptrack pages at most.
    pub max_maptrack_frames: u32,
    /// Highest version of the grant table.
    pub max_grant_version: u32,
}

/// The domain with this number. `DOMID_SELF` is not one.
pub fn by_id(id: DomId) -> Option<Arc<Domain>> {
    TABLE.get(usize::from(id.0))?.lock().clone()
}

/// The first domain from `id` on.
pub fn next_from(id: DomId) -> Option<Arc<Domain>> {
    TABLE.iter().skip(usize::from(id.0)).find_map(|slot| slot.lock().clone())
}

/// A free domain number, from `hint` on and around.
pub fn free_id(hint: u16) -> Option<DomId> {
    let n = TABLE_SIZE as u16;
    let start = hint.clamp(1, n.wrapping_sub(1));
    (start..n)
        .chain(1..start)
        .find(|&id| TABLE.get(usize::from(id)).is_some_and(|s| s.lock().is_none()))
        .map(DomId)
}

/// Takes a domain that has nothing left out of the table.
pub fn forget(d: &Arc<Domain>) {
    for slot in &d.vcpus {
        slot.lock().take();
    }
    if let Some(slot) = TABLE.get(usize::from(d.id.0)) {
        slot.lock().take();
    }
}

impl Domain {
    /// Makes a domain and enters it into the table, paused once by its controller.
    pub fn create(c: &Config) -> Result<Arc<Domain>, Errno> {
        let slot = TABLE.get(usize::from(c.id.0)).ok_or(Errno::EINVAL)?;
        if slot.lock().is_some() {
            return Err(Errno::EEXIST);
        }
        if c.max_vcpus == 0 || c.max_vcpus > MAX_VCPUS {
            return Err(Errno::EINVAL);
        }
        let shared_info = frames::alloc_zeroed()?;
        let made = Self::with_shared_info(c, shared_info);
        let domain = match made {
            Ok(d) => Arc::new(d),
            Err(e) => {
                frames::free(shared_info, 0);
                return Err(e);
            }
        };
        if pages().share(shared_info, c.id, Access::ReadWrite).is_err() {
            return Err(Errno::EINVAL);
        }
        machine::paging::set_m2p(shared_info, abi::xen::SHARED_M2P_ENTRY);
        *slot.lock() = Some(domain.clone());
        crate::time::init_wall_clock(&domain);
        Ok(domain)
    }

    fn with_shared_info(c: &Config, shared_info: Mfn) -> Result<Domain, Errno> {
        let pirqs = if c.privileged { crate::irq::DOM0_PIRQS } else { 32 };
        let memory = EventMemory::new(c.max_vcpus, pirqs, c.max_event_port, shared_info)?;
        Ok(Domain {
            id: c.id,
            privileged: c.privileged,
            handle: Lock::new(c.handle),
            pollers: AtomicU32::new(0),
            events: Events::new(c.id, memory)?,
            event_pages: Lock::new(alloc::vec::Vec::new()),
            bindings: Lock::new(Bindings::new(c.id, c.max_event_port)),
            grants: crate::grant::GrantState::new(c)?,
            shared_info,
            memory: Lock::new(Memory {
                list: PageList::new(),
                max: 0,
                claimed: 0,
                shared: alloc::vec::Vec::new(),
            }),
            page_count: AtomicU64::new(0),
            vcpus: boxed(c.max_vcpus as usize, |_| Lock::new(None))?,
            pauses: AtomicU32::new(1),
            controller_pauses: AtomicU32::new(1),
            life: AtomicU8::new(Life::Alive as u8),
            shutdown: AtomicU32::new(0),
            assists: AtomicU64::new(0),
            memory_map: Lock::new(alloc::vec::Vec::new()),
            time_offset: AtomicU64::new(0),
            policy: Lock::new(crate::policy::initial(c.privileged)),
            permissions: Lock::new(crate::permission::Permissions::new(c.privileged)),
            debugger: AtomicBool::new(false),
            tsc_mode: AtomicU32::new(0),
        })
    }

    /// How many vCPUs it may have.
    pub fn max_vcpus(&self) -> u32 {
        self.vcpus.len() as u32
    }

    /// One of its vCPUs.
    pub fn vcpu(&self, id: VcpuId) -> Option<Arc<Vcpu>> {
        self.vcpus.get(id.0 as usize)?.lock().clone()
    }

    /// All its vCPUs.
    pub fn vcpus(&self) -> impl Iterator<Item = Arc<Vcpu>> + '_ {
        self.vcpus.iter().filter_map(|slot| slot.lock().clone())
    }

    /// Makes a vCPU, off line.
    pub fn add_vcpu(self: &Arc<Self>, id: VcpuId) -> Result<Arc<Vcpu>, Errno> {
        let slot = self.vcpus.get(id.0 as usize).ok_or(Errno::EINVAL)?;
        if let Some(v) = slot.lock().clone() {
            return Ok(v);
        }
        let vcpu = Arc::new(Vcpu::new(self.clone(), id));
        vcpu.hot.set_vcpu_info(self.events.memory().info(id));
        crate::schedule::place(&vcpu);
        *slot.lock() = Some(vcpu.clone());
        Ok(vcpu)
    }

    /// How far its end has come.
    pub fn life(&self) -> Life {
        match self.life.load(Ordering::Acquire) {
            0 => Life::Alive,
            1 => Life::Dying,
            _ => Life::Dead,
        }
    }

    /// Goes on to its end.
    pub fn set_life(&self, life: Life) {
        self.life.store(life as u8, Ordering::Release);
    }

    /// What it may do with a frame that is not RAM.
    pub fn mmio_access(&self, mfn: Mfn) -> Access {
        self.permissions.lock().memory(mfn)
    }

    /// Takes a page that was freed off its list.
    pub fn page_gone(&self, mfn: Mfn) {
        let mut m = self.memory.lock();
        if m.list.remove(&frames::Machine, mfn) {
            self.page_count.fetch_sub(1, Ordering::AcqRel);
        } else if let Some(i) = m.shared.iter().position(|&s| s == mfn) {
            m.shared.swap_remove(i);
        }
    }

    /// Gives it a page from the heap that the caller has just allocated.
    pub fn page_added(&self, mfn: Mfn) -> Result<(), Errno> {
        let mut m = self.memory.lock();
        if let Some(f) = frames::frame(mfn) {
            f.set_next(0);
            f.set_prev(0);
        }
        if pages().assign(mfn, self.id).is_err() {
            return Err(Errno::EINVAL);
        }
        if !m.list.push(&frames::Machine, mfn) {
            crate::error!("BUG: frame {mfn:#x} of d{} cannot be listed", self.id);
        }
        self.page_count.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Lends it a zeroed page of the hypervisor's.
    pub fn lend_page(&self, access: Access) -> Result<Mfn, Errno> {
        let mut m = self.memory.lock();
        m.shared.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let mfn = frames::alloc_zeroed()?;
        if pages().share(mfn, self.id, access).is_err() {
            frames::free(mfn, 0);
            return Err(Errno::EINVAL);
        }
        m.shared.push(mfn);
        Ok(mfn)
    }

    /// Pauses it: none of its vCPUs runs when this returns, but the caller's own.
    pub fn pause(&self) {
        self.pauses.fetch_add(1, Ordering::AcqRel);
        for v in self.vcpus() {
            crate::schedule::sleep(&v);
        }
    }

    /// Takes one pause back.
    pub fn unpause(&self) {
        if self.pauses.fetch_sub(1, Ordering::AcqRel) == 1 {
            for v in self.vcpus() {
                crate::schedule::wake(&v);
            }
        }
    }

    /// Ends the domain's running: it is stopped, and its controller told.
    pub fn shut_down(self: &Arc<Self>, reason: u32) {
        if self.privileged {
            crate::shutdown::hardware_domain(reason);
        }
        if self.shutdown.swap(reason | 0x100, Ordering::AcqRel) & 0x100 == 0 {
            self.pause();
            send_machine_virq(abi::xen::Virq::DOM_EXC);
        }
    }

    /// Notes why the domain is about to shut down, without doing it.
    pub fn shutdown_code(&self, reason: u32) {
        if self.shutdown.load(Ordering::Acquire) & 0x100 == 0 {
            self.shutdown.store(reason & 0xff, Ordering::Release);
        }
    }

    /// Kills the domain for what it did; the reason goes to the log.
    pub fn crash(self: &Arc<Self>, why: core::fmt::Arguments<'_>) {
        if self.shutdown.load(Ordering::Acquire) & 0x100 == 0 {
            crate::error!("d{} crashed: {why}", self.id);
        }
        self.shut_down(abi::sched::ShutdownReason::CRASH.0);
    }
}

/// Raises a virtual interrupt of the machine (not of a vCPU) with the domain that handles it.
pub fn send_machine_virq(virq: abi::xen::Virq) {
    let handler = VIRQ_HANDLERS.get(virq.0 as usize).map_or(0, |h| h.load(Ordering::Relaxed));
    let handler = DomId(u16::try_from(handler).unwrap_or(0));
    if let (Some(d), Some(v)) = (by_id(handler), events::Virq::new(virq.0)) {
        let raised = d.events.raise_virq(VcpuId(0), v);
        crate::evtchn::follow_up(&d, raised, None);
    }
}
