//! `console` and `com1`.

use crate::Problem;
use crate::values::{number, number32};

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Console {
    /// The first serial port.
    pub com1: bool,
}

impl Console {
    /// A list of devices. Those that are known but cannot be used are reported and left out.
    pub(crate) fn parse(value: &[u8], report: &mut impl FnMut(&[u8], Problem)) -> Option<Self> {
        let mut console = Console::default();
        if value.is_empty() {
            return None;
        }
        for device in value.split(|&b| b == b',') {
            match device {
                // The letters take every second byte with the high bit set or clear, where a
                // debugger shares the port: none does here.
                b"com1" | b"com1H" | b"com1L" => console.com1 = true,
                b"none" => {}
                b"vga" | b"pv" | b"com2" | b"com2H" | b"com2L" | b"dbgp" | b"ehci" | b"xhci" => {
                    report(device, Problem::NoEffect);
                }
                _ => report(device, Problem::Malformed),
            }
        }
        Some(console)
    }
}

/// How a serial port is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Com {
    /// Bits per second; `None` leaves what the firmware set.
    pub baud: Option<u32>,
    /// Data bits, parity (a letter) and stop bits, as `8n1`.
    pub format: [u8; 3],
    /// First I/O port.
    pub port: u16,
    /// Interrupt line; 0 for none.
    pub irq: u8,
}

impl Com {
    /// The first port as a PC has it.
    pub const COM1: Com = Com { baud: Some(115_200), format: *b"8n1", port: 0x3f8, irq: 4 };

    /// `BAUD[/CLOCK][,DPS[,PORT[,IRQ]]]`; empty parts keep what they were. The last parts, for cards
    /// on the PCI bus, are not known.
    pub(crate) fn parse(self, value: &[u8]) -> Option<Self> {
        let mut com = self;
        let mut parts = value.split(|&b| b == b',');
        let baud = parts.next()?.split(|&b| b == b'/').next()?;
        match baud {
            b"" => {}
            b"auto" => com.baud = None,
            _ => com.baud = Some(number32(baud).filter(|r| (50..=115_200).contains(r))?),
        }
        if let Some(format) = parts.next().filter(|p| !p.is_empty()) {
            com.format = *format.first_chunk::<3>().filter(|_| format.len() == 3)?;
            let [data, parity, stop] = com.format;
            let fits = matches!(data, b'5'..=b'8')
                && matches!(parity, b'n' | b'o' | b'e' | b'm' | b's')
                && matches!(stop, b'1' | b'2');
            fits.then_some(())?;
        }
        if let Some(port) = parts.next().filter(|p| !p.is_empty()) {
            com.port = u16::try_from(number(port)?).ok().filter(|&p| p > 0 && p <= 0xfff8)?;
        }
        if let Some(irq) = parts.next().filter(|p| !p.is_empty()) {
            com.irq = u8::try_from(number(irq)?).ok().filter(|&i| i < 16)?;
        }
        parts.next().is_none().then_some(com)
    }
}
