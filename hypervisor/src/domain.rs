//! Domains: what a virtual machine owns and may do.

use crate::event_memory::EventMemory;
use crate::frames::{self, pages};
use crate::util::boxed;
use crate::vcpu::Vcpu;
use abi::{DomId, Errno, Mfn, VcpuId};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use events::{Bindings, Events};
use machine::lock::Lock;
use machine::once::Once;
use pages::{Access, PageList};

/// vCPUs that a domain may have.
pub const MAX_VCPUS: u32 = 128;
/// Domain ids that the table holds: all that are not reserved.
const TABLE_SIZE: usize = IDS as usize;
const IDS: u16 = DomId::FIRST_RESERVED.0;

/// Bit of [`Domain::shutdown`]: it did shut down.
pub const SHUT_DOWN: u32 = 0x100;
/// Set in [`Domain::shutdown`] when the code has been given before the shutdown.
const CODE_GIVEN: u32 = 0x200;

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
    /// `XEN_CPUID_TSC_MODE_*`, as the tools set it.
    pub tsc_mode: AtomicU32,
    /// How often its counter was set: once by its creation, once more by each restore.
    pub tsc_incarnation: AtomicU32,
    /// What the control tools set.
    pub control: crate::control::Control,
}

/// Domain ids in a group; groups are made when they are first needed, and stay.
const GROUP: usize = 256;
type Slot = Lock<Option<Arc<Domain>>>;
static TABLE: [Once<Box<[Slot]>>; TABLE_SIZE.div_ceil(GROUP)] =
    [const { Once::new() }; TABLE_SIZE.div_ceil(GROUP)];
/// Which slots of the table are taken, so that looking for the next need not lock them all.
static TAKEN: [AtomicU64; TABLE_SIZE.div_ceil(64)] =
    [const { AtomicU64::new(0) }; TABLE_SIZE.div_ceil(64)];
/// The last id that was chosen for a domain.
static LAST_ID: AtomicU16 = AtomicU16::new(0);
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
    /// What the control tools settled.
    pub settings: crate::control::Settings,
}

/// The table's place for a domain, if its group was made.
#[inline]
fn slot(id: DomId) -> Option<&'static Slot> {
    let id = usize::from(id.0);
    TABLE.get(id / GROUP)?.get()?.get(id % GROUP)
}

/// The same, its group made if it was not.
fn make_slot(id: DomId) -> Result<&'static Slot, Errno> {
    let group = TABLE.get(usize::from(id.0) / GROUP).ok_or(Errno::EINVAL)?;
    if group.get().is_none() {
        // Should another have been quicker, this one is dropped.
        group.set(boxed(GROUP, |_| Lock::new(None))?);
    }
    slot(id).filter(|_| usize::from(id.0) < TABLE_SIZE).ok_or(Errno::EINVAL)
}

/// The domain with this number. `DOMID_SELF` is not one.
pub fn by_id(id: DomId) -> Option<Arc<Domain>> {
    slot(id)?.lock().clone()
}

fn word_and_bit(id: u16) -> Option<(&'static AtomicU64, u64)> {
    let word = TAKEN.get(usize::from(id / 64))?;
    Some((word, 1u64.wrapping_shl(u32::from(id % 64))))
}

fn is_taken(id: u16) -> bool {
    word_and_bit(id).is_none_or(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
}

/// The first domain from `id` on.
pub fn next_from(id: DomId) -> Option<Arc<Domain>> {
    let mut id = id.0;
    while usize::from(id) < TABLE_SIZE {
        let (word, _) = word_and_bit(id)?;
        let rest = word.load(Ordering::Acquire) >> (id % 64);
        if rest == 0 {
            id = (id | 63).wrapping_add(1);
            continue;
        }
        id = id.wrapping_add((rest.trailing_zeros() & 63) as u16);
        if let Some(d) = by_id(DomId(id)) {
            return Some(d);
        }
        id = id.wrapping_add(1);
    }
    None
}

/// How many domains there are.
pub fn count() -> u32 {
    TAKEN.iter().fold(0, |n, w| n.wrapping_add(w.load(Ordering::Acquire).count_ones()))
}

/// A free domain number: the next after the last that was chosen, so that numbers are not used
/// again soon.
pub fn free_id() -> Option<DomId> {
    let last = LAST_ID.load(Ordering::Relaxed);
    let after = last.wrapping_add(1).clamp(1, IDS);
    let id = (after..IDS).chain(1..after).find(|&id| !is_taken(id))?;
    LAST_ID.store(id, Ordering::Relaxed);
    Some(DomId(id))
}

/// Takes a domain that has nothing left out of the table.
pub fn forget(d: &Arc<Domain>) {
    let Some(slot) = slot(d.id) else { return };
    let found = {
        let mut slot = slot.lock();
        if !slot.as_ref().is_some_and(|other| Arc::ptr_eq(other, d)) {
            return;
        }
        if let Some((word, bit)) = word_and_bit(d.id.0) {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
        slot.take()
    };
    drop(found);
    for slot in &d.vcpus {
        let vcpu = slot.lock().take();
        drop(vcpu);
    }
}

impl Domain {
    /// Makes a domain and enters it into the table, paused once by its controller.
    pub fn create(c: &Config) -> Result<Arc<Domain>, Errno> {
        frames::make_heap_room()?;
        let slot = make_slot(c.id)?;
        let (word, bit) = word_and_bit(c.id.0).ok_or(Errno::EINVAL)?;
        crate::units::make_share(c.id)?;
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
        {
            let mut slot = slot.lock();
            let lent = slot.is_none() && domain.lend(shared_info, Access::ReadWrite).is_ok();
            if !lent {
                frames::free(shared_info, 0);
                return Err(Errno::EEXIST);
            }
            *slot = Some(domain.clone());
            word.fetch_or(bit, Ordering::AcqRel);
        }
        machine::paging::set_m2p(shared_info, abi::xen::SHARED_M2P_ENTRY);
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
            tsc_incarnation: AtomicU32::new(0),
            control: crate::control::Control::new(c.settings),
        })
    }

    /// How many vCPUs it may have.
    pub fn max_vcpus(&self) -> u32 {
        u32::try_from(self.vcpus.len()).unwrap_or(MAX_VCPUS)
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
        // An allocation that fails would stop the machine: find out before.
        crate::util::boxed(size_of::<Vcpu>(), |_| 0u8)?;
        frames::make_heap_room()?;
        let vcpu = Arc::new(Vcpu::new(self.clone(), id)?);
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

    /// Takes a page that was freed off its list. The last page of a dead domain takes the domain
    /// with it.
    pub fn page_gone(self: &Arc<Self>, mfn: Mfn) {
        let empty = {
            let mut m = self.memory.lock();
            if let Some(i) = m.shared.iter().position(|&s| s == mfn) {
                m.shared.swap_remove(i);
            } else if m.list.remove(&frames::Machine, mfn) {
                self.page_count.fetch_sub(1, Ordering::AcqRel);
            }
            m.list.is_empty() && m.shared.is_empty()
        };
        if empty && self.life() == Life::Dead {
            forget(self);
            send_machine_virq(abi::xen::Virq::DOM_EXC);
        }
    }

    /// Gives it a page from the heap that the caller has just allocated.
    pub fn page_added(&self, mfn: Mfn) -> Result<(), Errno> {
        let mut m = self.memory.lock();
        // Under the lock: whoever takes the domain apart takes it after the life has changed.
        if self.life() != Life::Alive {
            return Err(Errno::EINVAL);
        }
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
        let mfn = frames::alloc_zeroed()?;
        let lent = self.lend(mfn, access);
        if lent.is_err() {
            frames::free(mfn, 0);
        }
        lent.map(|()| mfn)
    }

    /// Lends it a page from the heap. On an error the page is still the caller's.
    fn lend(&self, mfn: Mfn, access: Access) -> Result<(), Errno> {
        let mut m = self.memory.lock();
        if self.life() != Life::Alive {
            return Err(Errno::EINVAL);
        }
        m.shared.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        if let Some(f) = frames::frame(mfn) {
            f.set_next(0);
            f.set_prev(0);
        }
        pages().share(mfn, self.id, access).map_err(|_| Errno::EINVAL)?;
        m.shared.push(mfn);
        Ok(())
    }

    /// Pauses it: none of its vCPUs runs when this returns, but the caller's own. Not for a
    /// domain's doings with itself: two of its vCPUs could wait for each other.
    pub fn pause(&self) {
        self.pauses.fetch_add(1, Ordering::AcqRel);
        for v in self.vcpus() {
            crate::schedule::sleep(&v);
        }
    }

    /// Pauses it without waiting for its vCPUs to stop.
    pub fn pause_soon(&self) {
        self.pauses.fetch_add(1, Ordering::AcqRel);
        for v in self.vcpus() {
            crate::schedule::sleep_soon(&v);
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
        let code = |old: u32| if old & CODE_GIVEN != 0 { old & 0xff } else { reason & 0xff };
        let change = |old: u32| (old & SHUT_DOWN == 0).then_some(code(old) | SHUT_DOWN);
        let changed = self.shutdown.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
        let Ok(reason) = changed.map(code) else { return };
        self.pause_soon();
        let port = self.control.suspend_port.load(Ordering::Acquire);
        if reason == abi::sched::ShutdownReason::SUSPEND.0 && port != 0 {
            // The port may have been closed since; then only the VIRQ tells.
            let _ = crate::evtchn::send(self, abi::Port(port));
        }
        send_machine_virq(abi::xen::Virq::DOM_EXC);
    }

    /// Lets it run on after it shut down, as after a suspend that was not completed.
    pub fn resume(&self) {
        if self.shutdown.swap(0, Ordering::AcqRel) & SHUT_DOWN != 0 {
            self.unpause();
        }
    }

    /// Notes why the domain is about to shut down, without doing it.
    pub fn shutdown_code(&self, reason: u32) {
        if self.shutdown.load(Ordering::Acquire) & SHUT_DOWN == 0 {
            self.shutdown.store(reason & 0xff | CODE_GIVEN, Ordering::Release);
        }
    }

    /// Kills the domain for what one of its vCPUs did; the reason and the registers go to the log.
    pub fn crash(
        self: &Arc<Self>,
        vcpu: VcpuId,
        regs: &machine::regs::GuestRegs,
        why: core::fmt::Arguments<'_>,
    ) {
        if self.shutdown.load(Ordering::Acquire) & SHUT_DOWN == 0 {
            crate::error!("d{} crashed: {why}", self.id);
            crate::panic::crashed(self.id, vcpu, regs);
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
