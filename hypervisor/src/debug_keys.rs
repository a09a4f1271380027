//! Debug keys: what an operator can ask of the running hypervisor.

use crate::cpus;
use crate::domain;
use abi::DomId;
use core::sync::atomic::Ordering::Relaxed;

/// Which key does what; also what `h` prints.
const KEYS: &[(u8, &str)] = &[
    (b'0', "dump Dom0 registers"),
    (b'R', "reboot machine"),
    (b'd', "dump registers"),
    (b'e', "dump evtchn info"),
    (b'g', "print grant table usage"),
    (b'h', "show this message"),
    (b'm', "memory info"),
    (b'q', "dump domain (and guest debug) info"),
    (b'r', "dump run queues"),
    (b't', "display clock and timer info"),
];

/// Does what a key asks.
pub fn handle(key: u8) {
    match key {
        b'h' => {
            crate::info!("'h' pressed -> showing installed handlers");
            for (key, what) in KEYS {
                crate::info!(" key '{}' => {what}", char::from(*key));
            }
        }
        b'0' => dump_vcpus(Some(DomId(0))),
        b'd' => dump_vcpus(None),
        b'q' => each_domain(dump_domain),
        b'e' => each_domain(dump_events),
        b'g' => each_domain(dump_grants),
        b'm' => memory(),
        b'r' => run_queues(),
        b't' => timers(),
        b'R' => {
            crate::info!("'R' pressed -> rebooting machine");
            crate::shutdown::reboot()
        }
        _ => {}
    }
}

fn each_domain(mut f: impl FnMut(&domain::Domain)) {
    let mut id = DomId(0);
    while let Some(d) = domain::next_from(id) {
        f(&d);
        id = DomId(d.id.0.wrapping_add(1));
    }
}

fn dump_vcpus(only: Option<DomId>) {
    each_domain(|d| {
        if only.is_some_and(|id| id != d.id) {
            return;
        }
        for v in d.vcpus() {
            let here = v.sched.holder() == Some(machine::percpu::cpu_id());
            let when = if here { "now" } else { "as last saved" };
            crate::info!("*** Dumping d{}v{} state ({when}): ***", d.id, v.id);
            let saved = || v.saved.lock().regs;
            let regs = if here { machine::percpu::entry_regs() } else { saved() };
            crate::panic::registers(&regs);
        }
    });
}

fn dump_domain(d: &domain::Domain) {
    crate::info!(
        "General information for domain {}: life {:?} pauses {} pages {} shutdown {:#x}",
        d.id,
        d.life(),
        d.pauses.load(Relaxed),
        d.page_count.load(Relaxed),
        d.shutdown.load(Relaxed)
    );
    for v in d.vcpus() {
        crate::info!(
            "  vcpu {}: {:?} cpu {} online {} blocked {} pauses {} upcall pending {} masked {}",
            v.id,
            v.run(),
            v.cpu.load(Relaxed),
            v.online.load(Relaxed),
            v.blocked.load(Relaxed),
            v.pauses.load(Relaxed),
            v.upcall_pending(),
            v.events_masked()
        );
    }
}

fn dump_events(d: &domain::Domain) {
    crate::info!("Event channel information for domain {}:", d.id);
    for port in (1..4096).map(abi::Port) {
        let Some(channel) = d.events.channel(port) else { break };
        if channel.state != events::State::Free {
            use events::Shared;
            let word = d.events.memory().event_word(port).map_or(0, |w| w.load(Relaxed));
            crate::info!("  {port:>4}: {:?} vcpu {} word {word:#x}", channel.state, channel.vcpu);
        }
    }
}

fn dump_grants(d: &domain::Domain) {
    let (frames, most) = d.grants.frames();
    crate::info!(
        "Grant table of domain {}: {frames} of {most} frames, {} grants of others mapped",
        d.id,
        d.grants.handles_in_use()
    );
}

fn memory() {
    let heap = crate::frames::heap();
    crate::info!(
        "Physical memory: {} pages, {} free",
        crate::frames::total_pages(),
        heap.free_pages()
    );
    drop(heap);
    crate::info!(
        "Domains: {}; page references lost: {}; heap: {} bytes free",
        domain::count(),
        pages::lost(),
        machine::boot::heap_free()
    );
}

fn timers() {
    let now = crate::time::now();
    crate::info!("system time {now} ns, wall clock {} s", crate::time::wall_seconds());
    // Times from now, in nanoseconds.
    let left = |at: u64| if at == u64::MAX { -1 } else { at.wrapping_sub(now).cast_signed() };
    for cpu in cpus::online().iter() {
        let c = cpus::get(cpu);
        crate::info!(
            "CPU {cpu}: set for {}, first timer {}, scheduler {}, idle {} ns",
            left(c.deadline.load(Relaxed)),
            left(c.timers.lock().first()),
            left(c.slice_end.load(Relaxed)),
            c.idle_time(now)
        );
    }
    each_domain(|d| {
        for v in d.vcpus() {
            crate::info!(
                "  d{}v{}: one-shot {} period {} poll {}",
                d.id,
                v.id,
                left(v.timer.load(Relaxed)),
                v.period.load(Relaxed),
                left(v.poll_deadline.load(Relaxed))
            );
        }
    });
}

fn run_queues() {
    for cpu in cpus::online().iter() {
        match cpus::get(cpu).current() {
            Some(v) => crate::info!("CPU {cpu}: runs d{}v{}", v.domain.id, v.id),
            None => crate::info!("CPU {cpu}: idle"),
        }
    }
    each_domain(|d| {
        for v in d.vcpus().filter(|v| v.run() == crate::vcpu::Run::Queued) {
            crate::info!("   waits: d{}v{}", d.id, v.id);
        }
    });
}
