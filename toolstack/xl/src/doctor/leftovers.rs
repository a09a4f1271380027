//! What domains that are gone, and tools that were killed, left behind.

use super::{Finding, Places};
use crate::failure::{Failure, OrFail as _};
use crate::format;
use crate::session::Session;
use std::collections::BTreeSet;
use sys::DomainInfo;
use xenlight::Context;
use xenlight::cleanup::{self, Leftover};
use xenlight::life::{self, Domain};
use xenlight::monitor::{self, Launch, Status};
use xenstore::{Access as _, Client};

/// Kinds of devices whose back ends are in domain 0.
const KINDS: &[&str] = &["vbd", "vif", "console", "vfb", "vkbd"];

/// Looks for it.
pub fn look(session: &mut Session, places: &Places) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Ok((xen, store)) = session.both() else { return findings };
    let Ok(domains) = xen.domains() else { return findings };
    findings.extend(domains.iter().filter(|info| info.dying).map(zombie));
    let alive = Alive::of(&domains);
    let nodes = nodes(store, &alive);
    findings.extend(nodes.iter().map(|path| {
        Finding::problem(
            "store",
            format!("{path} belongs to a domain that is gone"),
            format!("xenstore-rm {path}"),
        )
    }));
    findings.extend(interfaces(places, &alive));
    findings.extend(loops(places, &used_loops(store)));
    findings.extend(userdata(places, &alive));
    if let Ok(context) = session.context() {
        findings.extend(half_made(context));
        findings.extend(unwatched(context));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("leftovers", "none"));
    }
    findings
}

/// What does away with all that can safely be done away with.
const CURE: &str = "xl doctor --cure";

/// Domains whose creation or save was cut short, because the tool was killed.
fn half_made(context: &mut Context) -> Vec<Finding> {
    let found = cleanup::find(context).unwrap_or_default();
    let half = found
        .iter()
        .filter(|one| matches!(one, Leftover::HalfCreated { .. } | Leftover::HalfSaved(_)));
    half.map(|one| Finding::problem("domains", one.describe(), CURE)).collect()
}

/// Domains that nobody waits for any more, because their monitor was killed.
fn unwatched(context: &mut Context) -> Vec<Finding> {
    let all = life::names(context).unwrap_or_default();
    let killed = all.iter().filter(|domain| {
        domain.domid != 0
            && monitor::status(&context.paths, domain.domid, &domain.name) == Status::Killed
    });
    killed
        .map(|Domain { domid, name }| {
            Finding::problem(
                "monitors",
                format!(
                    "nobody waits for the end of domain {domid} ({name}): its monitor was killed"
                ),
                CURE,
            )
        })
        .collect()
}

/// Does away with what can safely be done away with, and starts monitors anew; what was done.
pub fn cure(session: &mut Session) -> Result<Vec<String>, Failure> {
    let failed = || "cannot look for what is left".to_owned();
    let context = session.context()?;
    let mut done = Vec::new();
    for leftover in cleanup::find(context).or_fail(failed)? {
        if !leftover.can_be_removed() {
            continue;
        }
        cleanup::remove(context, &leftover).or_fail(|| leftover.describe())?;
        done.push(format!("removed: {}", leftover.describe()));
    }
    let own = Launch::own().or_fail(|| "cannot find this program's own file".to_owned())?;
    for (Domain { domid, .. }, started) in monitor::adopt(context, &own).or_fail(failed)? {
        let pid = started.or_fail(|| format!("cannot start a monitor for domain {domid}"))?;
        done.push(format!("started: process {pid} waits for the end of domain {domid}"));
    }
    Ok(done)
}

/// The domains that there are.
struct Alive {
    domids: BTreeSet<u16>,
    uuids: BTreeSet<String>,
}

impl Alive {
    fn of(domains: &[DomainInfo]) -> Self {
        Self {
            domids: domains.iter().map(|info| info.domid).collect(),
            uuids: domains.iter().map(|info| format::uuid(&info.handle)).collect(),
        }
    }

    /// Whether a name is the number of a domain that is gone.
    fn is_gone(&self, name: &str) -> bool {
        name.parse().is_ok_and(|domid| !self.domids.contains(&domid))
    }
}

fn zombie(info: &DomainInfo) -> Finding {
    let DomainInfo { domid, pages, .. } = info;
    Finding::problem(
        "domains",
        format!("domain {domid} is dead, but somebody holds {pages} pages of it"),
        "its back ends or another domain have to let go: see xl debug-keys g, then xl dmesg",
    )
}

/// Paths in the store that belong to nobody any more.
fn nodes(store: &mut Client, alive: &Alive) -> Vec<String> {
    let mut found = Vec::new();
    let mut below = |store: &mut Client, folder: &str, gone: &dyn Fn(&str) -> bool| {
        let names = store.try_list(folder).ok().flatten().unwrap_or_default();
        let gone = names.iter().filter(|name| gone(name));
        found.extend(gone.map(|name| format!("{folder}/{name}")));
    };
    below(store, "/local/domain", &|name| alive.is_gone(name));
    below(store, "/libxl", &|name| alive.is_gone(name));
    below(store, "/vm", &|name| !alive.uuids.contains(name));
    for kind in KINDS {
        below(store, &format!("/local/domain/0/backend/{kind}"), &|name| alive.is_gone(name));
    }
    found
}

/// Network interfaces of domains that are gone.
fn interfaces(places: &Places, alive: &Alive) -> Vec<Finding> {
    let owner = |name: &String| {
        let (domid, _) = name.strip_prefix("vif")?.split_once('.')?;
        Some(alive.is_gone(domid))
    };
    let names = places.list("/sys/class/net").into_iter();
    let gone = names.filter(|name| owner(name) == Some(true));
    gone.map(|name| {
        Finding::problem(
            "interfaces",
            format!("{name} belongs to a domain that is gone"),
            format!("ip link delete {name}"),
        )
    })
    .collect()
}

/// The loop devices that disks of guests are on.
fn used_loops(store: &mut Client) -> BTreeSet<String> {
    let folder = "/local/domain/0/backend/vbd";
    let mut paths = Vec::new();
    for domid in store.try_list(folder).ok().flatten().unwrap_or_default() {
        let disks = store.try_list(&format!("{folder}/{domid}")).ok().flatten().unwrap_or_default();
        for disk in disks {
            for name in ["node", "physical-device-path", "params"] {
                paths.push(format!("{folder}/{domid}/{disk}/{name}"));
            }
        }
    }
    let values = store.read_many(&paths).unwrap_or_default();
    let name = |value: String| value.strip_prefix("/dev/").map(str::to_owned);
    values.into_iter().flatten().filter_map(name).collect()
}

/// Loop devices that nobody uses: no guest, no mount, no swap, nothing built on them.
fn loops(places: &Places, used: &BTreeSet<String>) -> Vec<Finding> {
    let mounts = places.read("/proc/mounts") + &places.read("/proc/swaps");
    let mounted = |name: &str| {
        let device = format!("/dev/{name}");
        mounts.lines().any(|line| {
            let first = line.split_whitespace().next().unwrap_or_default();
            first == device || first.strip_prefix(&device).is_some_and(|rest| rest.starts_with('p'))
        })
    };
    let names = places.list("/sys/block").into_iter().filter(|name| name.starts_with("loop"));
    let idle = names.filter(|name| {
        places.exists(&format!("/sys/block/{name}/loop/backing_file"))
            && places.read(&format!("/sys/block/{name}/loop/autoclear")).trim() != "1"
            && places.list(&format!("/sys/block/{name}/holders")).is_empty()
            && !used.contains(name)
            && !mounted(name)
    });
    idle.map(|name| {
        let file = places.read(&format!("/sys/block/{name}/loop/backing_file"));
        Finding::problem(
            "loop devices",
            format!("/dev/{name} is on {}, and nobody uses it", file.trim()),
            format!("losetup -d /dev/{name}"),
        )
    })
    .collect()
}

/// Stored configurations of domains that are gone.
fn userdata(places: &Places, alive: &Alive) -> Vec<Finding> {
    let folder = "/var/lib/xen";
    let gone = |name: &String| {
        let rest = name.strip_prefix("userdata-d.")?;
        let (domid, rest) = rest.split_once('.')?;
        let uuid = rest.split('.').next()?;
        Some(alive.is_gone(domid) || !alive.uuids.contains(uuid))
    };
    let names = places.list(folder).into_iter().filter(|name| gone(name) == Some(true));
    names
        .map(|name| {
            Finding::problem(
                "stored configurations",
                format!("{folder}/{name} belongs to a domain that is gone"),
                format!("rm {folder}/{name}"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fake::{System, problems};
    use super::*;
    use crate::format::list::tests::domain;

    fn alive() -> Alive {
        let mut guest = domain(3, 0, 0);
        guest.handle = [0x11; 16];
        Alive::of(&[domain(0, 0, 0), guest])
    }

    #[test]
    fn interfaces_of_dead_domains_are_found_and_those_of_live_ones_are_not() {
        let system = System::of(&[
            ("/sys/class/net/vif3.0/", ""),
            ("/sys/class/net/vif9.1/", ""),
            ("/sys/class/net/eth0/", ""),
        ]);
        assert_eq!(
            problems(&interfaces(&system.places(), &alive())),
            ["interfaces: vif9.1 belongs to a domain that is gone"]
        );
    }

    #[test]
    fn only_loop_devices_that_nobody_uses_are_found() {
        let file = |n: u8| format!("/sys/block/loop{n}/loop/backing_file");
        let files = [
            (file(0), "/idle.img\n"),
            (file(1), "/guest.img\n"),
            (file(2), "/mounted.img\n"),
            (file(3), "/lvm.img\n"),
            (file(4), "/auto.img\n"),
            ("/sys/block/loop3/holders/dm-0/".to_owned(), ""),
            ("/sys/block/loop4/loop/autoclear".to_owned(), "1\n"),
            ("/sys/block/loop5/".to_owned(), ""),
            ("/proc/mounts".to_owned(), "/dev/loop2p1 /mnt ext4 rw 0 0\n"),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let used = BTreeSet::from(["loop1".to_owned()]);
        assert_eq!(
            problems(&loops(&System::of(&files).places(), &used)),
            ["loop devices: /dev/loop0 is on /idle.img, and nobody uses it"]
        );
    }

    #[test]
    fn stored_configurations_are_matched_by_number_and_uuid() {
        let of =
            |domid: u16, uuid: &str| format!("/var/lib/xen/userdata-d.{domid}.{uuid}.libxl-json");
        let live = format::uuid(&[0x11; 16]);
        let other = format::uuid(&[0x22; 16]);
        let files = [of(3, &live), of(3, &other), of(8, &live), "/var/lib/xen/dump/".to_owned()];
        let files: Vec<_> = files.iter().map(|path| (path.as_str(), "")).collect();
        let found = problems(&userdata(&System::of(&files).places(), &alive()));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|text| !text.contains(&format!("d.3.{live}"))), "{found:?}");
    }
}
