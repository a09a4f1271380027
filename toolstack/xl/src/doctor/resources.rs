//! What guests are made of: memory, loop devices, bridges.

use super::{Finding, Places};
use crate::session::Session;

/// Less free memory than this, in MiB, is hardly enough for any guest.
const LITTLE_MIB: u64 = 64;

/// Looks at it.
pub fn look(session: &mut Session, places: &Places) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(memory(session));
    findings.push(loops(places));
    findings.push(bridge(places));
    findings
}

fn memory(session: &mut Session) -> Vec<Finding> {
    let Ok(xen) = session.xen() else { return Vec::new() };
    let Ok(physical) = xen.physinfo() else { return Vec::new() };
    let free = physical.free_pages.saturating_sub(physical.outstanding_pages) / 256;
    let command_line = xen.command_line().unwrap_or_default();
    let mut findings = vec![if free < LITTLE_MIB {
        Finding::problem(
            "memory",
            format!("only {free} MiB are free for guests"),
            "give domain 0 less: dom0_mem=1024M,max:1024M on the hypervisor's command line, or \
             xl mem-set 0 1024m now; or end a guest",
        )
    } else {
        Finding::ok("memory", format!("{free} MiB are free for guests"))
    }];
    if !command_line.split_whitespace().any(|word| word.starts_with("dom0_mem=")) {
        findings.push(Finding::advice(
            "memory",
            "domain 0 took all memory at boot and gives it back piece by piece",
            "put dom0_mem=1024M,max:1024M (or what your domain 0 needs) on the hypervisor's command \
             line",
        ));
    }
    findings
}

/// Whether disks in files can be had.
fn loops(places: &Places) -> Finding {
    let subject = "loop devices";
    if !places.exists("/dev/loop-control") {
        return Finding::problem(
            subject,
            "the module loop is not loaded: guests' disks cannot be files",
            "modprobe loop",
        );
    }
    let used = |name: &String| places.exists(&format!("/sys/block/{name}/loop/backing_file"));
    let all = places.list("/sys/block").into_iter().filter(|name| name.starts_with("loop"));
    let (used, free): (Vec<_>, Vec<_>) = all.partition(used);
    let limit = places.read("/sys/module/loop/parameters/max_loop").trim().parse().unwrap_or(0);
    if free.is_empty() && limit > 0 && used.len() >= limit {
        return Finding::problem(
            subject,
            format!("all {} are in use", used.len()),
            "detach some (losetup -l shows them), or load the module with a greater max_loop",
        );
    }
    Finding::ok(subject, format!("{} in use; more can be had", used.len()))
}

/// Whether there is a bridge that interfaces of guests can be put on.
fn bridge(places: &Places) -> Finding {
    let subject = "bridge";
    let is_bridge = |name: &String| places.exists(&format!("/sys/class/net/{name}/bridge"));
    let bridges: Vec<_> = places.list("/sys/class/net").into_iter().filter(is_bridge).collect();
    let configured = places
        .read("/etc/xen/xl.conf")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("vif.default.bridge"))
        .filter_map(|rest| Some(rest.trim_start().strip_prefix('=')?.trim().to_owned()))
        .map(|value| value.trim_matches(['"', '\'']).to_owned())
        .next_back();
    match (configured, bridges.as_slice()) {
        (Some(name), _) if !bridges.contains(&name) => Finding::problem(
            subject,
            format!("xl.conf names {name}, which there is not"),
            format!("ip link add {name} type bridge && ip link set {name} up, or correct xl.conf"),
        ),
        (_, []) => Finding::problem(
            subject,
            "there is none: vif= without a bridge that exists fails",
            "ip link add xenbr0 type bridge && ip link set xenbr0 up; put your network card on it by \
             your distribution's network settings",
        ),
        (_, names) => Finding::ok(subject, names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::fake::System;
    use super::*;

    #[test]
    fn a_missing_loop_module_is_told() {
        let finding = loops(&System::of(&[]).places());
        assert_eq!(
            (finding.level, finding.cure.as_deref()),
            (Level::Problem, Some("modprobe loop"))
        );
    }

    #[test]
    fn loop_devices_run_out_only_where_there_is_a_limit() {
        let used = ("/sys/block/loop0/loop/backing_file", "/a\n");
        let files =
            [("/dev/loop-control", ""), used, ("/sys/module/loop/parameters/max_loop", "1\n")];
        assert_eq!(loops(&System::of(&files).places()).what, "all 1 are in use");
        let files = [("/dev/loop-control", ""), used];
        assert_eq!(loops(&System::of(&files).places()).what, "1 in use; more can be had");
    }

    #[test]
    fn bridges_are_named_and_their_lack_is_told() {
        let system =
            System::of(&[("/sys/class/net/xenbr0/bridge/", ""), ("/sys/class/net/lo/", "")]);
        assert_eq!(bridge(&system.places()), Finding::ok("bridge", "xenbr0"));
        let system = System::of(&[("/sys/class/net/lo/", "")]);
        assert_eq!(bridge(&system.places()).level, Level::Problem);
    }

    #[test]
    fn a_bridge_of_xl_conf_that_there_is_not_is_named() {
        let system = System::of(&[
            ("/sys/class/net/xenbr0/bridge/", ""),
            ("/etc/xen/xl.conf", "autoballoon=\"off\"\nvif.default.bridge=\"br0\"\n"),
        ]);
        assert_eq!(bridge(&system.places()).what, "xl.conf names br0, which there is not");
    }
}
