//! Printing through the hypervisor's console.

use crate::hypercall::{addr, call3, nr};
use core::fmt::{self, Write};

struct Line {
    bytes: [u8; 512],
    used: usize,
}

impl Line {
    fn send(&mut self) {
        let mut left = &self.bytes[..self.used];
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

/// Prints nothing, but gives the console a chance.
pub fn flush() {
    crate::hypercall::yield_now();
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($arg)*)))
    };
}
