//! A 16550 serial port.
//!
//! Registers as in the PC16550D data sheet: offsets 0 to 7 from the port's base.

use crate::port::{inb, outb};

/// Data; with the divisor latch open, its low byte.
const DATA: u16 = 0;
/// Interrupt enable; with the divisor latch open, its high byte.
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

const DIVISOR_LATCH: u8 = 0x80;
const RECEIVED: u8 = 1;
const TRANSMIT_EMPTY: u8 = 1 << 5;
/// Divisor 1 gives this many bits a second.
const BASE_BAUD: u32 = 115_200;
/// Bytes that the transmit FIFO takes when it is empty.
const FIFO: u8 = 16;
/// Polls of the line status before a byte is given up. A poll takes about a microsecond on a real
/// bus, and a full FIFO at 9600 baud 17 ms.
const POLLS: u32 = 40_000;

/// Parity of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// None: `n`.
    None,
    /// Odd: `o`.
    Odd,
    /// Even: `e`.
    Even,
    /// Always one: `m`.
    Mark,
    /// Always zero: `s`.
    Space,
}

/// How characters look on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    data_bits: u8,
    parity: Parity,
    stop_bits: u8,
}

impl Format {
    /// Eight data bits, no parity, one stop bit.
    pub const EIGHT_N_ONE: Format = Format { data_bits: 8, parity: Parity::None, stop_bits: 1 };

    /// Reads the usual three letters: `8n1`, `7e2`.
    pub fn parse(text: &[u8]) -> Option<Format> {
        let &[data, parity, stop] = text else { return None };
        let parity = match parity {
            b'n' => Parity::None,
            b'o' => Parity::Odd,
            b'e' => Parity::Even,
            b'm' => Parity::Mark,
            b's' => Parity::Space,
            _ => return None,
        };
        let data_bits = data.wrapping_sub(b'0');
        let stop_bits = stop.wrapping_sub(b'0');
        ((5..=8).contains(&data_bits) && (1..=2).contains(&stop_bits)).then_some(Format {
            data_bits,
            parity,
            stop_bits,
        })
    }

    /// The line control register for it.
    fn line_control(self) -> u8 {
        let parity = match self.parity {
            Parity::None => 0,
            Parity::Odd => 0x08,
            Parity::Even => 0x18,
            Parity::Mark => 0x28,
            Parity::Space => 0x38,
        };
        let stop = if self.stop_bits == 2 { 4 } else { 0 };
        self.data_bits.wrapping_sub(5) & 3 | stop | parity
    }
}

/// The divisor for `baud`, nearest; `None` for rates that cannot be had.
fn divisor(baud: u32) -> Option<u16> {
    let rounded = BASE_BAUD.checked_add(baud / 2)?.checked_div(baud)?;
    u16::try_from(rounded).ok().filter(|&d| d != 0)
}

/// One port. Calls on the same port must be serialised by the owner.
#[derive(Clone, Copy, Debug)]
pub struct Uart {
    base: u16,
    irq: u8,
}

impl Uart {
    /// The port with registers from `io_base` on (COM1: 0x3f8) and ISA interrupt `irq` (COM1: 4).
    pub const fn new(io_base: u16, irq: u8) -> Uart {
        Uart { base: io_base, irq }
    }

    /// First I/O port.
    pub fn io_base(&self) -> u16 {
        self.base
    }

    /// ISA interrupt.
    pub fn irq(&self) -> u8 {
        self.irq
    }

    fn reg(&self, offset: u16) -> u16 {
        self.base.wrapping_add(offset)
    }

    /// Sets speed and format, empties the FIFOs, turns interrupts off. `baud` `None` leaves the
    /// speed as the firmware set it. `false`, and nothing was changed, when there is no such port
    /// or speed.
    pub fn init(&self, baud: Option<u32>, format: Format) -> bool {
        // Where no port is, the bus reads as ones.
        if inb(self.reg(LINE_STATUS)) == 0xff {
            return false;
        }
        let divisor = match baud.map(divisor) {
            Some(None) => return false,
            Some(some) => some,
            None => None,
        };
        let control = format.line_control();
        outb(self.reg(INTERRUPT_ENABLE), 0);
        if let Some(divisor) = divisor {
            let [low, high] = divisor.to_le_bytes();
            outb(self.reg(LINE_CONTROL), control | DIVISOR_LATCH);
            outb(self.reg(DATA), low);
            outb(self.reg(INTERRUPT_ENABLE), high);
        }
        outb(self.reg(LINE_CONTROL), control);
        // FIFOs on and emptied, an interrupt from the first byte on.
        outb(self.reg(FIFO_CONTROL), 0x07);
        // DTR and RTS.
        outb(self.reg(MODEM_CONTROL), 0x03);
        true
    }

    /// Room in the transmitter: how many bytes [`Uart::send`] may be given now.
    pub fn room(&self) -> u8 {
        if inb(self.reg(LINE_STATUS)) & TRANSMIT_EMPTY != 0 { FIFO } else { 0 }
    }

    /// Hands over one byte for which [`Uart::room`] promised a place.
    pub fn send(&self, byte: u8) {
        outb(self.reg(DATA), byte);
    }

    /// Sends a byte when the transmitter has room. `false`, and the byte is lost, when it has none
    /// for too long.
    pub fn put(&self, byte: u8) -> bool {
        for _ in 0..POLLS {
            if self.room() != 0 {
                self.send(byte);
                return true;
            }
            crate::cpu::relax();
        }
        false
    }

    /// A received byte, if there is one.
    pub fn get(&self) -> Option<u8> {
        let status = inb(self.reg(LINE_STATUS));
        (status != 0xff && status & RECEIVED != 0).then(|| inb(self.reg(DATA)))
    }

    /// Turns the interrupt for received bytes on or off. It is edge-like on the ISA bus: the
    /// handler must take bytes until there are none.
    pub fn set_receive_interrupt(&self, on: bool) {
        // OUT2 connects the port's interrupt to the bus.
        outb(self.reg(MODEM_CONTROL), if on { 0x0b } else { 0x03 });
        outb(self.reg(INTERRUPT_ENABLE), u8::from(on));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_three_letters_within_what_the_port_can_do() {
        assert_eq!(Format::parse(b"8n1"), Some(Format::EIGHT_N_ONE));
        assert_eq!(Format::parse(b"7e2").map(Format::line_control), Some(0x1e));
        assert_eq!(Format::parse(b"5s1").map(Format::line_control), Some(0x38));
        for bad in [&b""[..], b"8n", b"8n11", b"9n1", b"4n1", b"8x1", b"8n3", b"8n0"] {
            assert_eq!(Format::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Format::EIGHT_N_ONE.line_control(), 3);
    }

    #[test]
    fn divisors_are_the_nearest_and_never_zero() {
        assert_eq!(divisor(115_200), Some(1));
        assert_eq!(divisor(9600), Some(12));
        assert_eq!(divisor(110), Some(1047));
        assert_eq!(divisor(0), None);
        assert_eq!(divisor(1), None);
        assert_eq!(divisor(1_000_000), None);
        assert_eq!(divisor(u32::MAX), None);
    }
}
