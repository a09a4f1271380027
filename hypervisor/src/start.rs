//! From the first instruction in Rust to the first in dom0.

use crate::options::{self, options};
use crate::{
    Ferroxen, console, cpus, dom0, frames, irq, mitigations, policy, schedule, serial_input, time,
};
use machine::acpi::Processor;
use machine::bringup::{self, Trampoline};
use machine::layout::MAX_CPUS;

/// A CPU begins here.
pub fn start(cpu: u32) -> ! {
    if cpu == 0 { first() } else { other(cpu as usize) }
}

/// A CPU that the first one woke.
fn other(cpu: usize) -> ! {
    machine::mitigate::init_cpu();
    irq::init_cpu(cpu);
    schedule::add_cpu(cpu);
    cpus::set_online(cpu);
    machine::entry::enter_guest::<Ferroxen>()
}

fn first() -> ! {
    cpus::set_online(0);
    schedule::add_cpu(0);
    options::read_command_line();
    console::init();
    banner();
    let blocks = prepare_cpus();
    let scratch = dom0::reserve_scratch();
    if !frames::init() {
        crate::panic::bug("no memory map from the boot loader");
    }
    policy::init();
    mitigations::apply();
    if !irq::init() {
        crate::panic::bug("no APIC, or no MADT that names I/O APICs");
    }
    if !time::init() {
        crate::panic::bug("no clock to calibrate the TSC with");
    }
    console::enlarge_ring();
    irq::init_serial();
    wake_cpus(blocks);
    match dom0::build_dom0(scratch) {
        Ok(d) => {
            serial_input::start(options().input_to_dom0);
            d.controller_pauses.store(0, core::sync::atomic::Ordering::Relaxed);
            d.unpause();
        }
        Err(e) => crate::panic::panicked(format_args!("Could not construct domain 0: {e}"), None),
    }
    machine::entry::enter_guest::<Ferroxen>()
}

/// The processors that there are and that are to be used, the first CPU included.
fn processors() -> impl Iterator<Item = &'static Processor> {
    let madt = machine::acpi::tables().and_then(|t| t.madt.as_ref());
    let all = madt.map_or(&[][..], |m| &m.cpus);
    all.iter().filter(|p| p.enabled)
}

/// Makes what each CPU will need, while memory is there to be taken. Returns for how many.
#[inline(never)]
fn prepare_cpus() -> u32 {
    let present = processors().count().max(1);
    let wanted = match options().maxcpus {
        0 => present,
        n => present.min(n as usize),
    };
    if wanted > MAX_CPUS {
        crate::warning!("{wanted} CPUs are more than the {MAX_CPUS} that can be used");
    }
    let wanted = u32::try_from(wanted.min(MAX_CPUS)).unwrap_or(1);
    let ready = machine::boot::prepare_cpus::<Ferroxen>(wanted);
    if ready < wanted {
        crate::warning!("memory for {ready} CPUs only");
    }
    ready
}

/// Starts the other CPUs, up to `count` in all.
#[inline(never)]
fn wake_cpus(count: u32) {
    let first = machine::apic::id();
    let Some(trampoline) = Trampoline::install().filter(|_| count > 1) else { return };
    let mut next = 1;
    for p in processors().filter(|p| p.apic_id != first) {
        if next == count {
            break;
        }
        match trampoline.start::<Ferroxen>(next, p) {
            Ok(()) => {
                while !cpus::online().contains(next as usize) {
                    machine::smp::serve();
                    machine::cpu::relax();
                }
                next = next.wrapping_add(1);
            }
            Err(why) => crate::warning!("CPU with APIC id {:#x} is left out: {why}", p.apic_id),
        }
    }
    crate::info!("Brought up {} CPUs", cpus::online().len());
    let warp = bringup::tsc_warp();
    if warp != 0 {
        crate::warning!(
            "The CPUs' time-stamp counters differ by {warp} ticks or more: time will jump"
        );
    }
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
