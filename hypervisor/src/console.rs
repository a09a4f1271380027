//! The hypervisor's console: a ring that keeps what was printed, and a serial port.

use crate::options::options;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use machine::lock::Lock;
use machine::serial::{Format, Uart};

/// Bytes of the ring that can be read back (`xl dmesg`).
pub const RING_SIZE: usize = 64 << 10;

/// How much a message matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is doubtful.
    Warning,
    /// Worth knowing.
    Info,
    /// For those who look for a fault.
    Debug,
}

struct Ring {
    bytes: [u8; RING_SIZE],
    /// Bytes ever written; the ring holds the last [`RING_SIZE`] of them.
    written: u64,
    /// Everything before this was cleared by a reader.
    cleared: u64,
    uart: Option<Uart>,
    at_line_start: bool,
}

static RING: Lock<Ring> = Lock::new(Ring {
    bytes: [0; RING_SIZE],
    written: 0,
    cleared: 0,
    uart: None,
    at_line_start: true,
});
static GUEST_LEVEL: AtomicU8 = AtomicU8::new(Level::Warning as u8);
static LEVEL: AtomicU8 = AtomicU8::new(Level::Debug as u8);
/// Set while a panic prints: the lock is ignored as far as possible.
static PANICKING: AtomicBool = AtomicBool::new(false);

impl Ring {
    fn put(&mut self, byte: u8) {
        let at = (self.written % RING_SIZE as u64) as usize;
        if let Some(slot) = self.bytes.get_mut(at) {
            *slot = byte;
        }
        self.written = self.written.wrapping_add(1);
        if let Some(uart) = &self.uart {
            if byte == b'\n' {
                uart.put(b'\r');
            }
            uart.put(byte);
        }
    }
}

/// Prints `prefix` at the start of each line.
struct Prefixed<'a> {
    ring: &'a mut Ring,
    prefix: &'static str,
}

impl Write for Prefixed<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for byte in s.bytes() {
            if self.ring.at_line_start {
                self.prefix.bytes().for_each(|b| self.ring.put(b));
            }
            self.ring.put(byte);
            self.ring.at_line_start = byte == b'\n';
        }
        Ok(())
    }
}

/// Uses this port from here on, and sends it what was printed so far.
pub fn attach_serial(uart: Uart) {
    let mut ring = RING.lock();
    for i in 0..ring.written {
        let byte = ring.bytes.get((i % RING_SIZE as u64) as usize).copied().unwrap_or(b'?');
        if byte == b'\n' {
            uart.put(b'\r');
        }
        uart.put(byte);
    }
    ring.uart = Some(uart);
}

/// Sets what is printed of the hypervisor's and of guests' messages.
pub fn set_levels(own: Level, guest: Level) {
    LEVEL.store(own as u8, Relaxed);
    GUEST_LEVEL.store(guest as u8, Relaxed);
}

/// Prints a line of the hypervisor's own.
pub fn print(level: Level, args: fmt::Arguments<'_>) {
    if level as u8 <= LEVEL.load(Relaxed) {
        emit("(XEN) ", args);
    }
}

/// Prints a line about something that a guest caused.
pub fn print_guest(level: Level, args: fmt::Arguments<'_>) {
    if level as u8 <= GUEST_LEVEL.load(Relaxed) {
        emit("(XEN) ", args);
    }
}

fn emit(prefix: &'static str, args: fmt::Arguments<'_>) {
    let mut ring = if PANICKING.load(Relaxed) {
        let mut tries = 0u32;
        loop {
            match RING.try_lock() {
                Some(r) => break r,
                None if tries < 10_000_000 => tries = tries.wrapping_add(1),
                None => return,
            }
        }
    } else {
        RING.lock()
    };
    let mut out = Prefixed { ring: &mut ring, prefix };
    // Writing to the ring cannot fail.
    let _ = out.write_fmt(args);
    let _ = out.write_str("\n");
}

/// Prints a guest's console text as it is.
pub fn write_raw(bytes: &[u8]) {
    let mut ring = RING.lock();
    for &b in bytes {
        ring.put(b);
        ring.at_line_start = b == b'\n';
    }
}

/// From here on the lock is not waited for without end.
pub fn panicking() {
    PANICKING.store(true, Relaxed);
}

/// Next byte of the serial port's input.
pub fn read_serial() -> Option<u8> {
    RING.lock().uart.as_ref().and_then(|u| u.get())
}

/// Copies up to `to.len()` bytes from position `from` (counted since boot) on; returns the position
/// of the first byte copied and how many.
pub fn read_ring(from: u64, to: &mut [u8]) -> (u64, usize) {
    let ring = RING.lock();
    let oldest = ring.written.saturating_sub(RING_SIZE as u64).max(ring.cleared);
    let start = from.max(oldest);
    let mut n = 0usize;
    for slot in to.iter_mut() {
        let pos = start.wrapping_add(n as u64);
        if pos >= ring.written {
            break;
        }
        *slot = ring.bytes.get((pos % RING_SIZE as u64) as usize).copied().unwrap_or(b'?');
        n = n.wrapping_add(1);
    }
    (start, n)
}

/// Forgets what was printed so far.
pub fn clear_ring() {
    let mut ring = RING.lock();
    ring.cleared = ring.written;
}

/// How many bytes were ever printed.
pub fn written() -> u64 {
    RING.lock().written
}

/// Takes the levels and the port from the command line.
pub fn init() {
    let o = options();
    set_levels(o.loglvl, o.guest_loglvl);
    if let Some(base) = o.console_port() {
        let uart = Uart::new(base, 4);
        if uart.init(Some(o.com1_baud), Format::EIGHT_N_ONE) {
            attach_serial(uart);
        }
    }
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
    if let Some(uart) = RING.lock().uart.as_ref() {
        uart.set_receive_interrupt(true);
    }
}
