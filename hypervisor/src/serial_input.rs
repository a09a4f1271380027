//! Input from the serial port: for dom0, or for the hypervisor after Ctrl-a three times.

use crate::domain;
use crate::options::options;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use machine::lock::Lock;

/// Bytes kept for dom0.
const ROOM: usize = 1024;

struct Buffer {
    bytes: [u8; ROOM],
    read: usize,
    len: usize,
}

static INPUT: Lock<Buffer> = Lock::new(Buffer { bytes: [0; ROOM], read: 0, len: 0 });
/// How often in a row the switch character came.
static SWITCH: AtomicU8 = AtomicU8::new(0);
/// Input goes to the hypervisor.
static OURS: AtomicBool = AtomicBool::new(false);

/// Takes what the serial port received.
pub fn receive() {
    let mut came = false;
    // The receiver holds 16 bytes; more than a few rounds are an endless device.
    for _ in 0..256u32 {
        let Some(byte) = crate::console::read_serial() else { break };
        came |= take(byte);
    }
    if came {
        domain::send_machine_virq(abi::xen::Virq::CONSOLE);
    }
}

/// Handles one byte; true if dom0 gets it.
fn take(byte: u8) -> bool {
    let switch = options().conswitch;
    if switch != 0 && byte == switch & 0x1f {
        if SWITCH.fetch_add(1, Relaxed) == 2 {
            SWITCH.store(0, Relaxed);
            toggle();
            return false;
        }
    } else {
        SWITCH.store(0, Relaxed);
    }
    if OURS.load(Relaxed) {
        crate::debug_keys::handle(byte);
        return false;
    }
    let mut b = INPUT.lock();
    if b.len == ROOM {
        return true;
    }
    let at = b.read.wrapping_add(b.len) % ROOM;
    if let Some(slot) = b.bytes.get_mut(at) {
        *slot = byte;
        b.len = b.len.wrapping_add(1);
    }
    true
}

/// dom0 is about to run: input is its own from here on, unless the command line says otherwise.
pub fn start(to_dom0: bool) {
    OURS.store(!to_dom0, Relaxed);
    announce();
}

fn toggle() {
    OURS.fetch_xor(true, Relaxed);
    announce();
}

fn announce() {
    let to = if OURS.load(Relaxed) { "Xen" } else { "DOM0" };
    match options().conswitch {
        0 => crate::info!("*** Serial input to {to}"),
        letter => crate::info!(
            "*** Serial input to {to} (type 'CTRL-{}' three times to switch input)",
            char::from(letter)
        ),
    }
}

/// Next byte for dom0.
pub fn next() -> Option<u8> {
    let mut b = INPUT.lock();
    if b.len == 0 {
        return None;
    }
    let byte = b.bytes.get(b.read).copied();
    b.read = b.read.wrapping_add(1) % ROOM;
    b.len = b.len.wrapping_sub(1);
    byte
}
