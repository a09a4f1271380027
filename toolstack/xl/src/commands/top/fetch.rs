//! What `top` shows: from the hypervisor, the store, and the kernel's counters of back ends.

use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::format::top::{Net, Sample, Shown, Traffic, Usage, Vbd};
use crate::session::Session;
use std::collections::BTreeMap;
use std::path::Path;
use sys::{DomainInfo, Xen};

/// Where Linux's disk back ends show their counters.
const BACKENDS: &str = "/sys/bus/xen-backend/devices";
/// Where Linux shows the counters of network interfaces.
const INTERFACES: &str = "/proc/net/dev";

/// All domains at this moment.
pub fn sample(session: &mut Session, shown: Shown) -> Result<Sample, Failure> {
    let infos = domains::list(session)?;
    // Of the moment at which CPU times were told: shares are of the time between two of them.
    let at_ns = clock();
    let domids: Vec<_> = infos.iter().map(|info| info.domid).collect();
    let names = domains::names(session.store()?, &domids)?;
    let xen = session.xen()?;
    let physical = xen.physinfo().or_fail(|| "cannot look at the host".to_owned())?;
    let mut nets = nets(&std::fs::read_to_string(INTERFACES).unwrap_or_default());
    let mut vbds = vbds(Path::new(BACKENDS));
    let mut all = Vec::new();
    for (info, name) in infos.into_iter().zip(names) {
        let vcpus = if shown.vcpus { vcpu_times(xen, &info) } else { Vec::new() };
        let domid = info.domid;
        all.push(Usage {
            info,
            name,
            vcpus,
            nets: nets.remove(&domid).unwrap_or_default(),
            vbds: vbds.remove(&domid).unwrap_or_default(),
            cpu_percent: 0.0,
        });
    }
    let (major, minor) = xen.version().unwrap_or_default();
    let extra = xen.extra_version().unwrap_or_default();
    Ok(Sample {
        domains: all,
        pages: (physical.total_pages, physical.free_pages),
        cpus: (physical.online_cpus, physical.cpu_khz),
        version: format!("{major}.{minor}{extra}"),
        at_ns,
    })
}

fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// The time of each vCPU that is on line; a domain may end while it is looked at.
fn vcpu_times(xen: &Xen, info: &DomainInfo) -> Vec<(u32, u64)> {
    (0..info.vcpus())
        .filter_map(|vcpu| xen.vcpu_info(info.domid, vcpu).ok())
        .filter(|vcpu| vcpu.online)
        .map(|vcpu| (vcpu.vcpu, vcpu.cpu_time_ns))
        .collect()
}

/// The interfaces `vifDOMID.DEVID` of the kernel's table. What this end received the guest sent; C's xentop
/// shows it as this end's, and so does ours.
fn nets(table: &str) -> BTreeMap<u16, Vec<Net>> {
    let mut all: BTreeMap<u16, Vec<Net>> = BTreeMap::new();
    for line in table.lines() {
        if let Some((domid, net)) = net(line) {
            all.entry(domid).or_default().push(net);
        }
    }
    for nets in all.values_mut() {
        nets.sort_by_key(|net| net.devid);
    }
    all
}

fn net(line: &str) -> Option<(u16, Net)> {
    let (name, counters) = line.split_once(':')?;
    let (domid, devid) = name.trim().strip_prefix("vif")?.split_once('.')?;
    let (domid, devid) = (domid.parse().ok()?, devid.parse().ok()?);
    let numbers: Vec<u64> =
        counters.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let traffic = |from: usize| -> Option<Traffic> {
        let [bytes, packets, errors, drops] =
            numbers.get(from..from.checked_add(4)?)?.try_into().ok()?;
        Some(Traffic { bytes, packets, errors, drops })
    };
    Some((domid, Net { devid, rx: traffic(0)?, tx: traffic(8)? }))
}

/// The disks `vbd-DOMID-VDEV` of the kernel's back end.
fn vbds(folder: &Path) -> BTreeMap<u16, Vec<Vbd>> {
    let mut all: BTreeMap<u16, Vec<Vbd>> = BTreeMap::new();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let Some((domid, vdev)) = name.to_str().and_then(vbd_name) else { continue };
        let counter = |name: &str| {
            let text = std::fs::read_to_string(entry.path().join("statistics").join(name));
            text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
        };
        all.entry(domid).or_default().push(Vbd {
            vdev,
            out_of_requests: counter("oo_req"),
            reads: counter("rd_req"),
            writes: counter("wr_req"),
            sectors_read: counter("rd_sect"),
            sectors_written: counter("wr_sect"),
        });
    }
    for vbds in all.values_mut() {
        vbds.sort_by_key(|vbd| vbd.vdev);
    }
    all
}

fn vbd_name(name: &str) -> Option<(u16, u32)> {
    let (domid, vdev) = name.strip_prefix("vbd-")?.split_once('-')?;
    Some((domid.parse().ok()?, vdev.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_interfaces_go_to_their_domains() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n    \
             lo:       0       0    0    0    0     0          0         0        0       0\n\
             vif1.0:     544       8    1    2    0     0          0         0      876      10    3    4    0     0       0          0\n\
             vif1.1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
             vif2.x: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
             vif3.0: cut short\n";
        let nets = nets(table);
        assert_eq!(nets.len(), 1);
        let traffic = |bytes, packets, errors, drops| Traffic { bytes, packets, errors, drops };
        let first = Net { devid: 0, rx: traffic(544, 8, 1, 2), tx: traffic(876, 10, 3, 4) };
        assert_eq!(nets[&1][0], first);
        assert_eq!(nets[&1][1].tx, traffic(9, 10, 11, 12));
    }

    #[test]
    fn counters_of_disks_go_to_their_domains() {
        let folder = tempfile::tempdir().unwrap();
        for (disk, reads) in [("vbd-1-51728", "5"), ("vbd-1-51712", "3"), ("vif-1-0", "9")] {
            let statistics = folder.path().join(disk).join("statistics");
            std::fs::create_dir_all(&statistics).unwrap();
            std::fs::write(statistics.join("rd_req"), format!("{reads}\n")).unwrap();
        }
        let vbds = vbds(folder.path());
        assert_eq!(vbds.len(), 1);
        assert_eq!(vbds[&1].len(), 2);
        assert_eq!((vbds[&1][0].vdev, vbds[&1][0].reads), (51712, 3));
        assert_eq!((vbds[&1][1].vdev, vbds[&1][1].reads), (51728, 5));
    }
}
