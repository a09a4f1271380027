//! Printing: dom0 through the hypervisor's console, a guest through its console ring.

use crate::hypercall::{addr, call3, nr, yield_now};
use crate::{events, memory, start};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};

struct Line {
    bytes: [u8; 512],
    used: usize,
}

impl Line {
    fn send(&mut self) {
        let mut left = &self.bytes[..self.used];
        if !start::privileged() {
            ring_write(left);
            self.used = 0;
            return;
        }
        while !left.is_empty() {
            let wrote = call3(nr::CONSOLE_IO, 0, left.len() as u64, addr(left));
            // 0 is all of it; a guest that cannot print has nobody to tell.
            let Some(rest) = usize::try_from(wrote).ok().filter(|&n| n > 0) else { break };
            left = left.get(rest..).unwrap_or(&[]);
        }
        self.used = 0;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used == self.bytes.len() {
                self.send();
            }
            self.bytes[self.used] = byte;
            self.used += 1;
        }
        Ok(())
    }
}

/// Prints, in one hypercall when it is at most 512 bytes, so that lines stay whole.
pub fn print(args: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; 512], used: 0 };
    // Writing to a `Line` cannot fail.
    let _ = line.write_fmt(args);
    line.send();
}

/// Waits until all that was printed was read, as far as somebody reads.
pub fn flush() {
    yield_now();
    if let Some(ring) = ring() {
        wait_for(|| ring.out_cons.load(Ordering::SeqCst) == ring.out_prod.load(Ordering::SeqCst));
    }
}

/// A guest's console: what it reads, what it writes, and how far both are.
#[repr(C)]
struct Ring {
    input: [AtomicU8; 1024],
    output: [AtomicU8; OUTPUT as usize],
    in_cons: AtomicU32,
    in_prod: AtomicU32,
    out_cons: AtomicU32,
    out_prod: AtomicU32,
}

const OUTPUT: u32 = 2048;
/// How often the reader is given the processor before it counts as absent.
const PATIENCE: u32 = 1 << 20;

fn ring() -> Option<&'static Ring> {
    let place = start::console()?;
    let va = start::VIRT_BASE + (memory::mfn_to_pfn(place.mfn) << 12);
    // SAFETY: the builder mapped the page for good along with the image, it is aligned, and all
    // fields are atomics, as the reader changes them at any time.
    Some(unsafe { &*(va as *const Ring) })
}

/// Gives the processor away until something holds, or patience ends.
fn wait_for(holds: impl Fn() -> bool) {
    for _ in 0..PATIENCE {
        if holds() {
            break;
        }
        yield_now();
    }
}

fn ring_write(bytes: &[u8]) {
    let (Some(ring), Some(place)) = (ring(), start::console()) else { return };
    let used = || {
        let from = ring.out_cons.load(Ordering::SeqCst);
        ring.out_prod.load(Ordering::SeqCst).wrapping_sub(from)
    };
    for part in bytes.chunks(OUTPUT as usize) {
        let len = part.len() as u32;
        wait_for(|| used() + len <= OUTPUT);
        if used() + len > OUTPUT {
            // Nobody reads: there is nobody to tell.
            return;
        }
        let at = ring.out_prod.load(Ordering::SeqCst);
        for (offset, &byte) in (0u32..).zip(part) {
            let index = (at.wrapping_add(offset) % OUTPUT) as usize;
            ring.output[index].store(byte, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        ring.out_prod.store(at.wrapping_add(len), Ordering::SeqCst);
        let _ = events::send(place.port);
    }
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($arg)*)))
    };
}
