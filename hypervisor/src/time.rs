//! Time: nanoseconds since boot, the wall clock, and what guests see of both.

use crate::domain::Domain;
use crate::util::low32;
use crate::vcpu::Vcpu;
use abi::vcpu::{Runstate, RunstateInfo};
use abi::xen::VcpuTimeInfo;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use machine::clock::{self, Clock};
use machine::guest;

/// Seconds since 1970 at the start of system time, and nanoseconds.
static WALL_SECONDS: AtomicU64 = AtomicU64::new(0);
static WALL_NANOS: AtomicU64 = AtomicU64::new(0);
/// Offset of `wc_version` in `shared_info`, in words.
const WALL_CLOCK_WORD: usize = 3072 / 8;

fn clock() -> Option<&'static Clock> {
    clock::get()
}

/// Nanoseconds since boot.
#[inline]
pub fn now() -> u64 {
    clock().map_or(0, Clock::now)
}

/// Makes this CPU's timer fire at `at`.
pub fn arm(at: u64) {
    if let Some(c) = clock() {
        c.arm(at);
    }
}

/// The clock parameters that guests are given.
fn parameters() -> VcpuTimeInfo {
    let Some(c) = clock() else {
        return zerocopy::FromZeros::new_zeroed();
    };
    VcpuTimeInfo {
        version: 2,
        _pad0: 0,
        tsc_timestamp: c.tsc_base,
        system_time: 0,
        tsc_to_system_mul: c.to_ns.mul_frac,
        tsc_shift: c.to_ns.shift,
        flags: 0,
        _pad1: [0; 2],
    }
}

/// Writes the clock parameters into a vCPU's `vcpu_info`. They never change afterwards: the TSC
/// runs at one rate, the same on all CPUs.
pub fn set_clock(v: &Vcpu) {
    let p = parameters();
    let version = v.time_version.fetch_add(2, AcqRel).wrapping_add(2);
    let words = [
        u64::from(version),
        p.tsc_timestamp,
        p.system_time,
        u64::from(p.tsc_to_system_mul)
            | u64::from(p.tsc_shift.cast_unsigned()) << 32
            | u64::from(p.flags) << 40,
    ];
    let Some(slots) = v.hot.vcpu_info().get(4..8) else { return };
    if let Some(first) = slots.first() {
        first.store(u64::from(version | 1), Release);
    }
    for (slot, word) in slots.iter().zip(words).skip(1) {
        slot.store(word, Release);
    }
    if let Some(first) = slots.first() {
        first.store(u64::from(version), Release);
    }
}

/// Writes the areas that a vCPU registered by address, which is the running one.
pub fn update_guest_areas(v: &Vcpu) {
    let area = v.runstate_area.load(Relaxed);
    if area != 0 && v.in_kernel() {
        // An area that cannot be written any more is the guest's loss.
        let _ = write_runstate(v, area);
    }
    let area = v.time_area.load(Relaxed);
    if area != 0 && v.in_kernel() {
        let _ = guest::write(area, &parameters());
    }
}

/// How long a vCPU was in each state, until now.
pub fn runstate_info(v: &Vcpu) -> RunstateInfo {
    let r = v.sched.unit.runstate(now());
    RunstateInfo {
        state: Runstate(r.state as u32),
        _pad: 0,
        state_entry_time: r.since,
        time: r.time,
    }
}

/// Writes the runstate area. With the assist for it other vCPUs may read the area too: then the
/// top bit of the entry time says that it is being written (`XEN_RUNSTATE_UPDATE`).
fn write_runstate(v: &Vcpu, area: u64) -> Result<(), guest::BadAddress> {
    const UPDATING: u64 = 1 << 63;
    const ENTRY_TIME: u64 = 8;
    let mut info = runstate_info(v);
    let assist = abi::xen::VMASST_TYPE_RUNSTATE_UPDATE_FLAG;
    if v.domain.assists.load(Relaxed) >> assist & 1 == 0 {
        return guest::write(area, &info);
    }
    let since = info.state_entry_time;
    info.state_entry_time = since | UPDATING;
    guest::write(area.wrapping_add(ENTRY_TIME), &info.state_entry_time)?;
    guest::write(area, &info)?;
    guest::write(area.wrapping_add(ENTRY_TIME), &since)
}

/// Seconds since 1970, now.
pub fn wall_seconds() -> u64 {
    WALL_SECONDS.load(Relaxed).wrapping_add(now() / 1_000_000_000)
}

/// Nanoseconds since 1970, now; `None` while the date is not known.
pub fn wall_nanos() -> Option<u64> {
    let seconds = WALL_SECONDS.load(Relaxed);
    let start = seconds.saturating_mul(1_000_000_000).saturating_add(WALL_NANOS.load(Relaxed));
    (seconds != 0).then(|| start.saturating_add(now()))
}

/// Sets the wall clock: seconds and nanoseconds since 1970 at `system_time`.
pub fn set_wall_clock(seconds: u64, nanos: u64, system_time: u64) {
    let second = 1_000_000_000u128;
    let total = u128::from(seconds)
        .wrapping_mul(second)
        .wrapping_add(u128::from(nanos))
        .saturating_sub(u128::from(system_time));
    // A date beyond what 64 bits of seconds hold is the administrator's nonsense: the latest.
    WALL_SECONDS.store(u64::try_from(total / second).unwrap_or(u64::MAX), Relaxed);
    WALL_NANOS.store(u64::try_from(total % second).unwrap_or(0), Relaxed);
    let mut id = abi::DomId(0);
    while let Some(d) = crate::domain::next_from(id) {
        // A domain that is being taken apart may not have its page any more.
        if d.life() == crate::domain::Life::Alive {
            write_wall_clock(&d);
        }
        id = abi::DomId(d.id.0.wrapping_add(1));
    }
}

/// Tells a domain the wall clock: when it is made, and when its first vCPU gets its registers.
pub fn init_wall_clock(d: &Domain) {
    write_wall_clock(d);
}

fn write_wall_clock(d: &Domain) {
    let Some(words) = machine::memory::view64::<2>(d.shared_info, WALL_CLOCK_WORD * 8) else {
        return;
    };
    let seconds = WALL_SECONDS.load(Relaxed).wrapping_add(d.time_offset.load(Relaxed));
    let [first, second] = words;
    // Low half: version; high half: the seconds' low half. Odd while it changes.
    let version = low32(first.load(Acquire)) | 1;
    first.store(u64::from(version) | seconds << 32, Release);
    second.store(WALL_NANOS.load(Relaxed) | seconds >> 32 << 32, Release);
    first.store(u64::from(version.wrapping_add(1)) | seconds << 32, Release);
}

/// Finds the clocks. `false` when there is nothing to tell time by.
#[inline(never)]
pub fn init() -> bool {
    let timer = clock::PlatformTimer::find(machine::acpi::tables());
    let Some(c) = clock::init(&timer) else { return false };
    let fadt = machine::acpi::tables().and_then(|t| t.fadt.as_ref());
    let seconds = machine::rtc::read(fadt.map_or(0, |f| f.century)).unwrap_or(0);
    WALL_SECONDS.store(seconds, Relaxed);
    crate::info!(
        "Platform timer is {}; TSC {}.{:03} MHz",
        timer.name(),
        c.tsc_khz() / 1000,
        c.tsc_khz() % 1000
    );
    true
}
