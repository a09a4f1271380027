//! From the first instruction in Rust to the first in dom0.

use crate::options::{self, Problem};
use crate::{Ferroxen, console, cpus, dom0, frames, irq, policy, time};

/// A CPU begins here.
pub fn start(cpu: u32) -> ! {
    cpus::set_online(cpu as usize);
    parse_command_line();
    console::init();
    banner();
    mitigations();
    let scratch = dom0::reserve_scratch();
    if !frames::init() {
        crate::panic::bug("no memory map from the boot loader");
    }
    policy::init();
    if !irq::init() {
        crate::panic::bug("no APIC, or no MADT that names I/O APICs");
    }
    if !time::init() {
        crate::panic::bug("no clock to calibrate the TSC with");
    }
    irq::init_serial();
    match dom0::build_dom0(scratch) {
        Ok(d) => {
            crate::info!(
                "*** Serial input to DOM0 (type 'CTRL-{}' three times to switch input)",
                char::from(options::options().conswitch)
            );
            d.controller_pauses.store(0, core::sync::atomic::Ordering::Relaxed);
            d.unpause();
        }
        Err(e) => crate::panic::panicked(format_args!("Could not construct domain 0: {e}"), None),
    }
    machine::entry::enter_guest::<Ferroxen>()
}

#[inline(never)]
fn parse_command_line() {
    let line = machine::boot::info().map_or(&[][..], |i| i.command_line());
    // QEMU and GRUB 1 put the image's name first.
    let line = match line.first() {
        Some(b'/') => line.iter().position(|&b| b == b' ').and_then(|i| line.get(i..)),
        _ => Some(line),
    };
    let parsed = options::parse(line.unwrap_or(&[]), |word, problem| {
        let word = core::str::from_utf8(word).unwrap_or("?");
        match problem {
            Problem::Unknown => crate::warning!("Command line: unknown option \"{word}\" ignored"),
            Problem::Malformed => {
                crate::warning!("Command line: the value of \"{word}\" does not fit; ignored");
            }
            Problem::NoEffect => crate::info!("Command line: \"{word}\" has no effect here"),
        }
    });
    options::set(parsed);
}

fn banner() {
    crate::info!(
        "Ferroxen version {}.{}{} (Xen interface), release {}",
        crate::hypercall::version::MAJOR,
        crate::hypercall::version::MINOR,
        crate::hypercall::version::EXTRA,
        env!("CARGO_PKG_VERSION")
    );
    crate::info!("Command line: {}", crate::hypercall::version::command_line());
}

/// Says what is done about what CPUs leak.
fn mitigations() {
    crate::info!("Speculative mitigation facilities:");
    crate::info!("  Compiled-in: direct dispatch (no jump tables), SMAP guards, patchable entry and exit");
    let mut any = false;
    for what in machine::patch::applied() {
        crate::info!("  Applied: {what}");
        any = true;
    }
    if !any {
        crate::info!("  Applied: nothing more; this CPU asks for nothing");
    }
}
