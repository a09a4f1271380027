//! `info`, `dmesg`.

use crate::cli::options::Parsed;
use crate::failure::OrFail as _;
use crate::format::info::{Host, Info, Topology};
use crate::format::{self, cpus};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;

/// `xl info`.
pub fn info(session: &mut Session, parsed: &Parsed) -> Outcome {
    let failed = || "cannot describe the host".to_owned();
    let xen = session.xen()?;
    let physical = xen.physinfo().or_fail(failed)?;
    let topology = if parsed.flag("numa") {
        let cpus = xen.cpu_topology().or_fail(|| "cannot look at the CPUs' topology".to_owned())?;
        let numa = xen.numa_info().or_fail(|| "cannot look at the memory's nodes".to_owned())?;
        Some(Topology { cpus, numa })
    } else {
        None
    };
    let scheduler = xen.sched_id().or_fail(failed)?;
    let info = Info {
        host: host(),
        // A hypervisor without sharing, or without more than one pool, says so by an error.
        sharing: xen.sharing_pages().unwrap_or_default(),
        free_cpus: xen.cpupool_free_cpus(physical.cpus()).map_or(0, |map| map.count()),
        physical,
        topology,
        xen: xen.version_info().or_fail(failed)?,
        scheduler: cpus::scheduler(scheduler),
    };
    let text = if parsed.json() {
        format::json::ours(&format::info::json(&info))
    } else {
        format::info::text(&info)
    };
    output::print(&text);
    Ok(0)
}

fn host() -> Host {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Host {
        name: text(uname.nodename()),
        release: text(uname.release()),
        version: text(uname.version()),
        machine: text(uname.machine()),
    }
}

/// `xl dmesg`.
pub fn dmesg(session: &mut Session, parsed: &Parsed) -> Outcome {
    let clear = parsed.flag("clear");
    let log = session
        .xen()?
        .console_log(clear)
        .or_fail(|| "cannot read the hypervisor's messages".to_owned())?;
    output::print(&String::from_utf8_lossy(&log));
    Ok(0)
}
