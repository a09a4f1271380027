//! The hypervisor's console: a ring that keeps what was printed, and a serial port.

use crate::options::options;
use crate::util::index;
pub use ::options::Level;
use ::options::log::{RateLimit, Shown, Times, Verdict};
use ::options::{Levels, Stamp};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use machine::lock::{Lock, LockGuard};
use machine::serial::{Format, Uart};

/// Bytes that can be read back (`xl dmesg`) unless `conring_size` asks for more.
const RING_SIZE: usize = 64 << 10;
/// Bytes of the ring at most.
const RING_MAX: u64 = 1 << 20;

/// The bytes printed last.
struct Ring {
    first: [u8; RING_SIZE],
    /// Takes the place of `first` once it was allocated.
    large: &'static mut [u8],
    /// Bytes ever written; the ring holds the last of them.
    written: u64,
    /// Everything before this was cleared by a reader.
    cleared: u64,
}

impl Ring {
    fn bytes(&mut self) -> &mut [u8] {
        if self.large.is_empty() { &mut self.first } else { self.large }
    }

    /// The byte at a position counted since boot. The ring's size is a power of two.
    fn at(&mut self, position: u64) -> Option<&mut u8> {
        let bytes = self.bytes();
        let mask = bytes.len().wrapping_sub(1);
        bytes.get_mut(index(position) & mask)
    }

    fn oldest(&mut self) -> u64 {
        let len = self.bytes().len() as u64;
        self.written.saturating_sub(len).max(self.cleared)
    }

    fn put(&mut self, byte: u8) {
        let position = self.written;
        if let Some(slot) = self.at(position) {
            *slot = byte;
        }
        self.written = position.wrapping_add(1);
    }
}

struct Console {
    ring: Ring,
    uart: Option<Uart>,
    at_line_start: bool,
    own: Levels,
    guest: Levels,
    stamp: Stamp,
    /// Messages about guests, which could otherwise fill the log.
    limit: RateLimit,
}

static CONSOLE: Lock<Console> = Lock::new(Console {
    ring: Ring { first: [0; RING_SIZE], large: &mut [], written: 0, cleared: 0 },
    uart: None,
    at_line_start: true,
    own: Levels::OWN,
    guest: Levels::GUEST,
    stamp: Stamp::None,
    limit: RateLimit::new(),
});
/// Set while a panic prints: the lock is ignored as far as possible.
static PANICKING: AtomicBool = AtomicBool::new(false);

fn send(uart: Option<&Uart>, byte: u8) {
    if let Some(uart) = uart {
        if byte == b'\n' {
            uart.put(b'\r');
        }
        uart.put(byte);
    }
}

impl Console {
    fn put(&mut self, byte: u8) {
        self.ring.put(byte);
        send(self.uart.as_ref(), byte);
        self.at_line_start = byte == b'\n';
    }
}

/// Prints a prefix at the start of each line.
struct Prefixed<'a> {
    console: &'a mut Console,
    stamp: Shown,
}

/// Prints bytes as they are.
struct Plain<'a>(&'a mut Console);

impl Write for Plain<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        s.bytes().for_each(|b| self.0.put(b));
        Ok(())
    }
}

impl Write for Prefixed<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for byte in s.bytes() {
            if self.console.at_line_start {
                write!(Plain(self.console), "(XEN) {}", self.stamp)?;
            }
            self.console.put(byte);
        }
        Ok(())
    }
}

/// Uses this port from here on, and sends it what was printed so far.
fn attach_serial(uart: Uart) {
    let mut console = CONSOLE.lock();
    let (from, to) = (console.ring.oldest(), console.ring.written);
    for position in from..to {
        let byte = console.ring.at(position).map_or(b'?', |b| *b);
        send(Some(&uart), byte);
    }
    console.uart = Some(uart);
}

/// The lock; while a panic prints, for a while only.
fn lock() -> Option<LockGuard<'static, Console>> {
    if !PANICKING.load(Relaxed) {
        return Some(CONSOLE.lock());
    }
    for _ in 0..10_000_000u32 {
        if let Some(console) = CONSOLE.try_lock() {
            return Some(console);
        }
    }
    None
}

/// Prints a line of the hypervisor's own.
pub fn print(level: Level, args: fmt::Arguments<'_>) {
    if let Some(mut console) = lock() {
        let levels = console.own;
        judged(&mut console, levels, level, args);
    }
}

/// Lines about guests' doings in a second, at most: one that misbehaves in a loop must not keep the
/// console, and whoever waits for it, busy.
const GUEST_LINES: u64 = 50;
const SECOND: u64 = 1_000_000_000;
/// The second that is being counted, and the lines in it.
static GUEST_SECOND: AtomicU64 = AtomicU64::new(0);
static GUEST_COUNT: AtomicU64 = AtomicU64::new(0);

/// Whether another line about guests may be printed in this second. No lock is taken.
fn guest_line_allowed() -> bool {
    let second = crate::time::now().checked_div(SECOND).unwrap_or(0);
    if GUEST_SECOND.swap(second, Relaxed) != second {
        GUEST_COUNT.store(0, Relaxed);
    }
    GUEST_COUNT.fetch_add(1, Relaxed) < GUEST_LINES
}

/// Prints a line about something that a guest caused; beyond [`GUEST_LINES`] a second they are dropped.
pub fn print_guest(level: Level, args: fmt::Arguments<'_>) {
    if !guest_line_allowed() {
        return;
    }
    if let Some(mut console) = lock() {
        let levels = console.guest;
        judged(&mut console, levels, level, args);
    }
}

/// Prints a line if nobody else prints: for where the lock's holder may have been interrupted.
pub fn try_print(level: Level, args: fmt::Arguments<'_>) {
    if let Some(mut console) = CONSOLE.try_lock() {
        let levels = console.own;
        judged(&mut console, levels, level, args);
    }
}

fn judged(console: &mut Console, levels: Levels, level: Level, args: fmt::Arguments<'_>) {
    match levels.verdict(level) {
        Verdict::Print => line(console, args),
        Verdict::Limit => match console.limit.pass(crate::time::now()) {
            None => {}
            Some(0) => line(console, args),
            Some(missed) => {
                line(console, format_args!("{missed} messages were suppressed"));
                line(console, args);
            }
        },
        Verdict::Drop => {}
    }
}

fn line(console: &mut Console, args: fmt::Arguments<'_>) {
    let times = match console.stamp {
        Stamp::None => Times::default(),
        _ => Times {
            boot: crate::time::now(),
            wall: crate::time::wall_nanos(),
            counter: machine::cpu::rdtsc(),
        },
    };
    let stamp = Shown(console.stamp, times);
    let mut out = Prefixed { console, stamp };
    // Writing to the ring cannot fail.
    let _ = out.write_fmt(args);
    let _ = out.write_str("\n");
}

/// Prints a guest's console text as it is.
pub fn write_raw(bytes: &[u8]) {
    let to_ring = options().console_to_ring;
    let mut console = CONSOLE.lock();
    for &b in bytes {
        if to_ring {
            console.ring.put(b);
        }
        send(console.uart.as_ref(), b);
        console.at_line_start = b == b'\n';
    }
}

/// From here on the lock is not waited for without end.
pub fn panicking() {
    PANICKING.store(true, Relaxed);
}

/// Next byte of the serial port's input.
pub fn read_serial() -> Option<u8> {
    CONSOLE.lock().uart.as_ref().and_then(|u| u.get())
}

/// Copies up to `to.len()` bytes from position `from` (counted since boot) on; returns the position
/// of the first byte copied and how many.
pub fn read_ring(from: u64, to: &mut [u8]) -> (u64, usize) {
    let mut console = CONSOLE.lock();
    let ring = &mut console.ring;
    let start = from.max(ring.oldest());
    let mut n = 0usize;
    for slot in to.iter_mut() {
        let position = start.wrapping_add(n as u64);
        if position >= ring.written {
            break;
        }
        *slot = ring.at(position).map_or(b'?', |b| *b);
        n = n.wrapping_add(1);
    }
    (start, n)
}

/// Forgets what was printed so far.
pub fn clear_ring() {
    let mut console = CONSOLE.lock();
    console.ring.cleared = console.ring.written;
}

/// How many bytes were ever printed.
pub fn written() -> u64 {
    CONSOLE.lock().ring.written
}

/// Takes the levels and the port from the command line.
pub fn init() {
    let o = options();
    {
        let mut console = CONSOLE.lock();
        (console.own, console.guest, console.stamp) = (o.loglvl, o.guest_loglvl, o.timestamps);
    }
    if let Some(base) = o.console_port() {
        let uart = Uart::new(base, o.com1.irq);
        let format = Format::parse(&o.com1.format).unwrap_or(Format::EIGHT_N_ONE);
        if uart.init(o.com1.baud, format) {
            attach_serial(uart);
        }
    }
}

/// Makes the ring as large as the command line asks, once there is memory to allocate.
pub fn enlarge_ring() {
    let Some(asked) = options().conring_size else { return };
    // A power of two, as large as asked or larger.
    let size = index(asked.min(RING_MAX).next_power_of_two());
    if size <= RING_SIZE {
        return;
    }
    // The heap has just what building dom0 takes: the ring brings its own room.
    let mut ring = Vec::new();
    if !crate::frames::grow_heap() || ring.try_reserve_exact(size).is_err() {
        return crate::warning!("No memory for a console ring of {} KiB", size >> 10);
    }
    ring.resize(size, 0u8);
    let ring = ring.leak();
    {
        let old = &mut CONSOLE.lock().ring;
        let mask = size.wrapping_sub(1);
        for position in old.oldest()..old.written {
            let byte = old.at(position).map_or(b'?', |b| *b);
            if let Some(slot) = ring.get_mut(index(position) & mask) {
                *slot = byte;
            }
        }
        old.large = ring;
    }
    crate::info!("Allocated console ring of {} KiB.", size >> 10);
}

/// An error of the hypervisor's.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::console::print($crate::console::Level::Error, format_args!($($arg)*)) };
}
/// A warning of the hypervisor's.
#[macro_export]
macro_rules! warning {
    ($($arg:tt)*) => { $crate::console::print($crate::console::Level::Warning, format_args!($($arg)*)) };
}
/// A note of the hypervisor's.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::console::print($crate::console::Level::Info, format_args!($($arg)*)) };
}
/// Something that a guest caused and that its owner should know of.
#[macro_export]
macro_rules! guest_warning {
    ($($arg:tt)*) => { $crate::console::print_guest($crate::console::Level::Warning, format_args!($($arg)*)) };
}
/// Something that a guest caused, for those who look for a fault.
#[macro_export]
macro_rules! guest_debug {
    ($($arg:tt)*) => { $crate::console::print_guest($crate::console::Level::Debug, format_args!($($arg)*)) };
}

/// Lets the serial port interrupt when it receives.
pub fn enable_input() {
    if let Some(uart) = CONSOLE.lock().uart.as_ref() {
        uart.set_receive_interrupt(true);
    }
}
