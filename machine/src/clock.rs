//! Platform timers, and the calibration of the time-stamp counter and the APIC timer.
//!
//! The platform timer is what frequencies are measured against: the HPET, else the ACPI power
//! management timer, else channel 2 of the 8254. Time itself is the TSC's.

use crate::acpi::Tables;
use crate::apic;
use crate::cpu::{cpuid, rdtsc};
use crate::lock::Lock;
use crate::mmio::Registers;
use crate::once::Once;
use crate::port::{inb, inl, outb};

/// Nanoseconds in a second.
pub const NS_PER_SEC: u64 = 1_000_000_000;
/// How long a calibration waits.
const CALIBRATION_NS: u64 = 10_000_000;
/// TSC ticks after which a timer that does not move is given up: seconds at any frequency.
const STUCK_TICKS: u64 = 20_000_000_000;

/// A change of unit by shift and multiply, as pvclock has it: `((x << shift) * mul_frac) >> 32`,
/// with a right shift where `shift` is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Fraction of 2^32, at least one half.
    pub mul_frac: u32,
    /// Power of two.
    pub shift: i8,
}

impl Scale {
    /// From ticks at `from_hz` to ticks at `to_hz`; `None` for 0 and for more than 2^56.
    pub fn new(from_hz: u64, to_hz: u64) -> Option<Scale> {
        let sane = 1..=1u64 << 56;
        if !sane.contains(&from_hz) || !sane.contains(&to_hz) {
            return None;
        }
        // Brings `from` into (to, 2 to], so that the fraction is in [1/2, 1).
        let (mut from, mut shift) = (u128::from(from_hz), 0i8);
        let to = u128::from(to_hz);
        while from <= to {
            from <<= 1;
            shift = shift.checked_add(1)?;
        }
        let mut divisor = to;
        while from > divisor << 1 {
            // Doubling the other side keeps all digits of `from`.
            divisor <<= 1;
            shift = shift.checked_sub(1)?;
        }
        let mul_frac = u32::try_from((divisor << 32).checked_div(from)?).ok()?;
        Some(Scale { mul_frac, shift })
    }

    /// Converts. A left shift drops what leaves the 64 bits, as pvclock does.
    #[inline(always)]
    pub fn apply(self, ticks: u64) -> u64 {
        let by = u32::from(self.shift.unsigned_abs());
        let shifted = if self.shift >= 0 { ticks.wrapping_shl(by) } else { ticks.wrapping_shr(by) };
        // 64 times 32 bits less 32: it always fits, the compiler knows, and makes `mul`, `shrd` of it.
        let product = u128::from(shifted).wrapping_mul(self.mul_frac.into());
        u64::try_from(product >> 32).unwrap_or(u64::MAX)
    }
}

/// What runs how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Ticks of the TSC a second.
    pub tsc_hz: u64,
    /// Ticks of the APIC timer a second; 0 where the timer goes by the TSC.
    pub apic_hz: u64,
    /// The TSC's value at time 0.
    pub tsc_base: u64,
    /// From TSC ticks to nanoseconds: what pvclock tells guests.
    pub to_ns: Scale,
    /// From nanoseconds to TSC ticks.
    pub to_tsc: Scale,
    /// From TSC ticks to those of the APIC timer.
    to_apic: Scale,
}

impl Clock {
    /// From known frequencies, with time 0 at `tsc_base`.
    pub fn new(tsc_hz: u64, apic_hz: u64, tsc_base: u64) -> Option<Clock> {
        Some(Clock {
            tsc_hz,
            apic_hz,
            tsc_base,
            to_ns: Scale::new(tsc_hz, NS_PER_SEC)?,
            to_tsc: Scale::new(NS_PER_SEC, tsc_hz)?,
            to_apic: Scale::new(tsc_hz, if apic_hz == 0 { tsc_hz } else { apic_hz })?,
        })
    }

    /// The TSC's frequency in kHz.
    pub fn tsc_khz(&self) -> u32 {
        u32::try_from(self.tsc_hz / 1000).unwrap_or(u32::MAX)
    }

    /// Nanoseconds since time 0 at the TSC value `tsc`.
    #[inline(always)]
    pub fn ns_from_tsc(&self, tsc: u64) -> u64 {
        self.to_ns.apply(tsc.wrapping_sub(self.tsc_base))
    }

    /// The TSC value `ns` nanoseconds after time 0.
    #[inline(always)]
    pub fn tsc_from_ns(&self, ns: u64) -> u64 {
        self.to_tsc.apply(ns).wrapping_add(self.tsc_base)
    }

    /// Nanoseconds since time 0.
    #[inline(always)]
    pub fn now(&self) -> u64 {
        self.ns_from_tsc(rdtsc())
    }

    /// Arms this CPU's timer for `ns` nanoseconds after time 0: at once if that is past, and
    /// possibly earlier if it is further away than the timer counts. The handler looks at the time.
    #[inline]
    pub fn arm(&self, ns: u64) {
        let deadline = self.tsc_from_ns(ns);
        if apic::has_deadline() {
            // 0 would stop the timer.
            apic::arm_deadline(deadline.max(1));
        } else {
            let ticks = self.to_apic.apply(deadline.saturating_sub(rdtsc()));
            // One more, so that the timer does not come before the time.
            let ticks = u32::try_from(ticks.saturating_add(1)).unwrap_or(u32::MAX);
            apic::arm_timer(ticks);
        }
    }
}

/// Kinds of platform timer.
#[derive(Clone, Copy, Debug)]
enum Source {
    Hpet(Registers),
    /// Port, and the counter's bits.
    Pm(u16, u64),
    Pit,
}

/// A counter that runs at a known frequency.
#[derive(Clone, Copy, Debug)]
pub struct PlatformTimer {
    source: Source,
    hz: u64,
    mask: u64,
}

/// Low and high word of the HPET's capabilities, and its other registers.
const HPET_CAPABILITIES: usize = 0;
const HPET_PERIOD: usize = 4;
const HPET_CONFIG: usize = 0x10;
const HPET_COUNTER: usize = 0xf0;
const FS_PER_SEC: u64 = 1_000_000_000_000_000;
const PM_TIMER_HZ: u64 = 3_579_545;
const PIT_HZ: u64 = 1_193_182;

static PIT: Lock<()> = Lock::new(());

impl PlatformTimer {
    /// The best that the machine has, running.
    pub fn find(tables: Option<&Tables>) -> PlatformTimer {
        let hpet = tables.and_then(|t| t.hpet).and_then(Self::hpet);
        let pm = || tables.and_then(Self::pm);
        hpet.or_else(pm).unwrap_or_else(Self::pit)
    }

    fn hpet(phys: u64) -> Option<PlatformTimer> {
        let registers = Registers::map(phys, 1024)?;
        let period = u64::from(registers.read32(HPET_PERIOD));
        // The specification's limit is 100 ns; a period below 1 ns is nobody's.
        if !(1_000_000..=100_000_000).contains(&period)
            || registers.read32(HPET_CAPABILITIES) == u32::MAX
        {
            return None;
        }
        // Running, without taking the 8254's and the clock's interrupts.
        let config = registers.read32(HPET_CONFIG);
        registers.write32(HPET_CONFIG, config & !3 | 1);
        let hz = FS_PER_SEC.checked_div(period)?;
        Some(PlatformTimer { source: Source::Hpet(registers), hz, mask: 0xffff_ffff })
    }

    fn pm(tables: &Tables) -> Option<PlatformTimer> {
        let fadt = tables.fadt?;
        let port = u16::try_from(fadt.pm_timer.address).ok()?;
        if fadt.pm_timer.space != 1 || port == 0 {
            return None;
        }
        let mask = if fadt.pm_timer_32bit { 0xffff_ffff } else { 0xff_ffff };
        Some(PlatformTimer { source: Source::Pm(port, mask), hz: PM_TIMER_HZ, mask })
    }

    fn pit() -> PlatformTimer {
        let _guard = PIT.lock();
        // Gate of channel 2 on, loudspeaker off; rate generator, full 16 bits.
        outb(0x61, inb(0x61) & 0xfc | 1);
        outb(0x43, 0xb4);
        outb(0x42, 0);
        outb(0x42, 0);
        PlatformTimer { source: Source::Pit, hz: PIT_HZ, mask: 0xffff }
    }

    /// Its name, as the log shows it.
    pub fn name(&self) -> &'static str {
        match self.source {
            Source::Hpet(_) => "HPET",
            Source::Pm(..) => "ACPI PM timer",
            Source::Pit => "PIT",
        }
    }

    /// Ticks a second.
    pub fn hz(&self) -> u64 {
        self.hz
    }

    /// Values that the counter has before it starts again at 0, less one: a power of two.
    pub fn mask(&self) -> u64 {
        self.mask
    }

    /// The counter, which counts up.
    #[inline]
    pub fn read(&self) -> u64 {
        match self.source {
            Source::Hpet(registers) => registers.read32(HPET_COUNTER).into(),
            Source::Pm(port, mask) => u64::from(inl(port)) & mask,
            Source::Pit => {
                let _guard = PIT.lock();
                outb(0x43, 0x80);
                let count = u16::from_le_bytes([inb(0x42), inb(0x42)]);
                count.wrapping_neg().into()
            }
        }
    }

    /// Nanoseconds that `ticks` take.
    pub fn ns(&self, ticks: u64) -> u64 {
        let ns = u128::from(ticks).wrapping_mul(NS_PER_SEC.into()).checked_div(self.hz.into());
        ns.and_then(|ns| u64::try_from(ns).ok()).unwrap_or(u64::MAX)
    }
}

/// Platform time in nanoseconds: the counter with its wraps counted.
pub struct PlatformTime {
    timer: PlatformTimer,
    state: Lock<(u64, u64)>,
}

impl PlatformTime {
    /// Time 0 is now.
    pub fn new(timer: PlatformTimer) -> PlatformTime {
        PlatformTime { state: Lock::new((timer.read(), 0)), timer }
    }

    /// The timer below.
    pub fn timer(&self) -> &PlatformTimer {
        &self.timer
    }

    /// Nanoseconds since time 0. Call it at least every [`PlatformTime::max_gap_ns`].
    pub fn now(&self) -> u64 {
        let mut state = self.state.lock();
        let raw = self.timer.read();
        let passed = raw.wrapping_sub(state.0) & self.timer.mask;
        *state = (raw, state.1.wrapping_add(passed));
        self.timer.ns(state.1)
    }

    /// Half the time after which the counter has been all round.
    pub fn max_gap_ns(&self) -> u64 {
        self.timer.ns(self.timer.mask >> 1)
    }
}

/// All counters at one moment: when the platform timer had just ticked.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    timer: u64,
    tsc: u64,
    apic: u32,
    /// TSC ticks within which that moment lies.
    width: u64,
}

/// Waits for a tick of the timer, `None` when there comes none.
fn tick(timer: &PlatformTimer) -> Option<Sample> {
    let start = rdtsc();
    let mut before = start;
    let first = timer.read();
    loop {
        let (value, apic, after) = (timer.read(), apic::timer_left(), rdtsc());
        if value != first {
            let width = after.wrapping_sub(before);
            return Some(Sample { timer: value, tsc: before.wrapping_add(width / 2), apic, width });
        }
        if after.wrapping_sub(start) > STUCK_TICKS {
            return None;
        }
        before = after;
    }
}

/// The tightest of a few ticks: interruptions by the firmware or a host fall out.
fn sample(timer: &PlatformTimer) -> Option<Sample> {
    let mut best = tick(timer)?;
    for _ in 0..4 {
        let next = tick(timer)?;
        if next.width < best.width {
            best = next;
        }
    }
    Some(best)
}

/// Frequencies of the TSC and the APIC timer by measurement.
fn measure(timer: &PlatformTimer) -> Option<(u64, u64)> {
    apic::arm_timer(if apic::has_deadline() { 0 } else { u32::MAX });
    let start = sample(timer)?;
    let wait = CALIBRATION_NS.checked_mul(timer.hz)?.checked_div(NS_PER_SEC)?;
    loop {
        let passed = timer.read().wrapping_sub(start.timer) & timer.mask;
        if passed >= wait {
            break;
        }
        if rdtsc().wrapping_sub(start.tsc) > STUCK_TICKS {
            return None;
        }
    }
    let end = sample(timer)?;
    apic::stop_timer();
    let ticks = end.timer.wrapping_sub(start.timer) & timer.mask;
    let hz = |count: u64| {
        let scaled = u128::from(count).wrapping_mul(timer.hz.into());
        u64::try_from(scaled.checked_div(ticks.into())?).ok()
    };
    let apic = if apic::has_deadline() { 0 } else { start.apic.wrapping_sub(end.apic) };
    Some((hz(end.tsc.wrapping_sub(start.tsc))?, hz(apic.into())?))
}

/// Frequencies of the TSC and of the APIC timer from CPUID leaves 0x15 and 0x16, `None` where the
/// processor does not give them. Intel SDM volume 2, CPUID; volume 3, 20.7.3.
fn from_cpuid(leaf_15: [u32; 4], leaf_16: [u32; 4]) -> Option<(u64, u64)> {
    let [denominator, numerator, crystal, _] = leaf_15.map(u64::from);
    if denominator == 0 || numerator == 0 {
        return None;
    }
    let base_hz = u64::from(leaf_16[0] & 0xffff).wrapping_mul(1_000_000);
    let crystal = match crystal {
        0 => base_hz.wrapping_mul(denominator).checked_div(numerator)?,
        known => known,
    };
    let tsc = crystal.checked_mul(numerator)?.checked_div(denominator)?;
    (tsc != 0).then_some((tsc, crystal))
}

/// Leaves 0x15 and 0x16 of an Intel processor.
fn known_frequencies() -> Option<(u64, u64)> {
    let [last, vendor @ ..] = cpuid(0, 0);
    // "Genu", "ntel", "ineI" in ebx, ecx, edx.
    if vendor != [0x756e_6547, 0x6c65_746e, 0x4965_6e69] || last < 0x15 {
        return None;
    }
    let leaf_16 = if last >= 0x16 { cpuid(0x16, 0) } else { [0; 4] };
    from_cpuid(cpuid(0x15, 0), leaf_16)
}

/// Finds out the frequencies, on the first CPU with its APIC on. Waits 10 ms unless the processor
/// tells them. `None` when there is nothing that ticks.
pub fn calibrate(timer: &PlatformTimer) -> Option<Clock> {
    let (tsc, apic) = match known_frequencies() {
        Some(known) => known,
        None => measure(timer)?,
    };
    let apic = if apic::has_deadline() { 0 } else { apic };
    if apic == 0 && !apic::has_deadline() {
        return None;
    }
    Clock::new(tsc, apic, rdtsc())
}

static CLOCK: Once<Clock> = Once::new();

/// [`calibrate`]s and keeps the result for [`get`].
pub fn init(timer: &PlatformTimer) -> Option<&'static Clock> {
    CLOCK.set(calibrate(timer)?);
    CLOCK.get()
}

/// The clock, once there is one.
#[inline]
pub fn get() -> Option<&'static Clock> {
    CLOCK.get()
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::unwrap_used)]
mod tests {
    use super::*;

    const RATES: [u64; 9] = [
        1,
        32_768,
        PIT_HZ,
        PM_TIMER_HZ,
        100_000_000,
        NS_PER_SEC - 1,
        NS_PER_SEC,
        2_893_437_017,
        5_000_000_000,
    ];

    #[test]
    fn scales_have_fractions_of_at_least_one_half() {
        for from in RATES {
            for to in RATES {
                let s = Scale::new(from, to).unwrap();
                assert!(s.mul_frac >= 1 << 31, "{from} -> {to}: {s:?}");
            }
        }
        assert_eq!(Scale::new(0, 1), None);
        assert_eq!(Scale::new(1, 0), None);
        assert_eq!(Scale::new(u64::MAX, 1), None);
    }

    #[test]
    fn a_gigahertz_counts_nanoseconds_exactly() {
        let s = Scale::new(NS_PER_SEC, NS_PER_SEC).unwrap();
        assert_eq!(s, Scale { mul_frac: 1 << 31, shift: 1 });
        for ns in [0, 1, 999, 123_456_789_012_345, (1 << 63) - 1] {
            assert_eq!(s.apply(ns), ns);
        }
    }

    #[test]
    fn a_scale_is_as_good_as_the_division_to_one_in_two_billion() {
        for from in RATES {
            for to in RATES.into_iter().filter(|&to| to <= from * 1000) {
                let s = Scale::new(from, to).unwrap();
                for exponent in 0..44 {
                    let ticks = (1u64 << exponent) + exponent;
                    let exact = u128::from(ticks) * u128::from(to) / u128::from(from);
                    let got = u128::from(s.apply(ticks));
                    // A right shift drops up to a tick's low bits, and mul rounds down.
                    assert!(got <= exact, "{from} -> {to}, {ticks}");
                    assert!(
                        exact - got <= (exact >> 31) + 2,
                        "{from} -> {to}, {ticks}: {got} {exact}"
                    );
                }
            }
        }
    }

    #[test]
    fn times_go_to_ticks_and_back() {
        let c = Clock::new(2_893_437_017, 1_000_000_000, 1 << 40).unwrap();
        assert_eq!(c.ns_from_tsc(1 << 40), 0);
        for ns in [0, 1, 1000, 3_600_000_000_000, 31_536_000_000_000_000] {
            let back = c.ns_from_tsc(c.tsc_from_ns(ns));
            assert!(back <= ns && ns - back <= (ns >> 30) + 2, "{ns} {back}");
        }
        assert_eq!(c.tsc_khz(), 2_893_437);
    }

    #[test]
    fn the_crystal_is_used_when_the_processor_tells_it_and_derived_when_not() {
        let told = from_cpuid([2, 216, 24_000_000, 0], [0; 4]);
        assert_eq!(told, Some((2_592_000_000, 24_000_000)));
        let derived = from_cpuid([2, 216, 0, 0], [2592, 0, 0, 0]);
        assert_eq!(derived, Some((2_592_000_000, 24_000_000)));
        assert_eq!(from_cpuid([2, 216, 0, 0], [0; 4]), None);
        assert_eq!(from_cpuid([0, 216, 24_000_000, 0], [2592, 0, 0, 0]), None);
        assert_eq!(from_cpuid([2, 0, 24_000_000, 0], [2592, 0, 0, 0]), None);
    }
}
