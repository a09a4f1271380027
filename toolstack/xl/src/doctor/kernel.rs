//! The kernel: does it run on Xen as domain 0, with the drivers that guests need.

use super::{Finding, Places};

/// Device files, and the module that makes each.
const DEVICES: &[(&str, &str)] = &[
    ("/dev/xen/privcmd", "xen-privcmd"),
    ("/dev/xen/evtchn", "xen-evtchn"),
    ("/dev/xen/gntdev", "xen-gntdev"),
    ("/dev/xen/xenbus", "xenfs"),
];

/// Back ends, the module of each, and what guests have by it.
const BACK_ENDS: &[(&str, &str, &str)] = &[
    ("/sys/bus/xen-backend/drivers/vbd", "xen-blkback", "disks"),
    ("/sys/bus/xen-backend/drivers/vif", "xen-netback", "network interfaces"),
];

/// Options of the kernel that a domain 0 needs, where the kernel's configuration can be read.
const OPTIONS: &[&str] = &[
    "CONFIG_XEN",
    "CONFIG_XEN_DOM0",
    "CONFIG_XEN_PV",
    "CONFIG_HVC_XEN",
    "CONFIG_XEN_BLKDEV_BACKEND",
    "CONFIG_XEN_NETDEV_BACKEND",
    "CONFIG_XEN_DEV_EVTCHN",
    "CONFIG_XENFS",
    "CONFIG_XEN_GNTDEV",
    "CONFIG_XEN_PRIVCMD",
    "CONFIG_BLK_DEV_LOOP",
    "CONFIG_BRIDGE",
];

/// Modules of other hypervisors, which cannot use the CPU beside Xen.
const OTHERS: &[(&str, &str)] = &[
    ("kvm", "KVM"),
    ("kvm_intel", "KVM"),
    ("kvm_amd", "KVM"),
    ("vboxdrv", "VirtualBox"),
    ("vmmon", "VMware"),
];

/// Looks at it.
pub fn look(places: &Places) -> Vec<Finding> {
    if places.read("/sys/hypervisor/type").trim() != "xen" {
        return vec![Finding::problem(
            "Xen",
            "this kernel does not run on Xen",
            "restart, and choose the entry with the hypervisor in the boot menu; if there is none, \
             run update-grub",
        )];
    }
    let mut findings = vec![Finding::ok("Xen", "this kernel runs on it")];
    findings.push(mount(places));
    findings.extend(devices(places));
    findings.extend(back_ends(places));
    findings.extend(options(places));
    findings.extend(others(places));
    findings
}

/// `/proc/xen`: mounted, and saying that this is the domain that controls.
fn mount(places: &Places) -> Finding {
    let subject = "/proc/xen";
    let capabilities = places.read("/proc/xen/capabilities");
    if capabilities.split_whitespace().any(|word| word == "control_d") {
        return Finding::ok(subject, "this is domain 0");
    }
    if places.exists("/proc/xen/capabilities") {
        return Finding::problem(
            subject,
            "this is a guest, not domain 0",
            "run xl in domain 0, the system that the hypervisor started first",
        );
    }
    Finding::problem(
        subject,
        "is not mounted",
        "mount -t xenfs xenfs /proc/xen; to keep it, put `xenfs /proc/xen xenfs defaults 0 0` into \
         /etc/fstab",
    )
}

fn devices(places: &Places) -> Vec<Finding> {
    let missing: Vec<_> = DEVICES.iter().filter(|(device, _)| !places.exists(device)).collect();
    if missing.is_empty() {
        return vec![Finding::ok("devices", "the kernel's Xen devices are there")];
    }
    let one = |(device, module): &&(&str, &str)| {
        Finding::problem("devices", format!("{device} is missing"), format!("modprobe {module}"))
    };
    missing.iter().map(one).collect()
}

fn back_ends(places: &Places) -> Vec<Finding> {
    let one = |(driver, module, what): &(&str, &str, &str)| {
        if places.exists(driver) {
            Finding::ok("drivers", format!("{module} serves guests' {what}"))
        } else {
            Finding::problem(
                "drivers",
                format!("{module} is not loaded: guests cannot have {what}"),
                format!("modprobe {module}"),
            )
        }
    };
    BACK_ENDS.iter().map(one).collect()
}

/// The options that the kernel was built without.
fn options(places: &Places) -> Option<Finding> {
    let release = places.read("/proc/sys/kernel/osrelease");
    let config = places.read(&format!("/boot/config-{}", release.trim()));
    if config.is_empty() {
        return None;
    }
    let has = |option: &str| {
        config
            .lines()
            .any(|line| line.strip_prefix(option).is_some_and(|rest| rest == "=y" || rest == "=m"))
    };
    let missing: Vec<_> = OPTIONS.iter().filter(|option| !has(option)).copied().collect();
    Some(if missing.is_empty() {
        Finding::ok("kernel options", "all that a domain 0 needs are set")
    } else {
        Finding::problem(
            "kernel options",
            format!("the kernel was built without {}", missing.join(", ")),
            "use a kernel that has them; the distribution's usual one has",
        )
    })
}

fn others(places: &Places) -> Option<Finding> {
    let modules = places.read("/proc/modules");
    let loaded: Vec<_> = modules.lines().filter_map(|line| line.split(' ').next()).collect();
    let found: Vec<_> = OTHERS.iter().filter(|(module, _)| loaded.contains(module)).collect();
    let (_, name) = found.first()?;
    let names: Vec<_> = found.iter().rev().map(|(module, _)| *module).collect();
    Some(Finding::problem(
        "other hypervisors",
        format!("{name} is loaded ({}): it and Xen take the CPU from each other", names.join(", ")),
        format!("modprobe -r {}", names.join(" ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::fake::{System, problems};
    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("/sys/hypervisor/type", "xen\n"),
        ("/proc/xen/capabilities", "control_d\n"),
        ("/dev/xen/privcmd", ""),
        ("/dev/xen/evtchn", ""),
        ("/dev/xen/gntdev", ""),
        ("/dev/xen/xenbus", ""),
        ("/sys/bus/xen-backend/drivers/vbd/", ""),
        ("/sys/bus/xen-backend/drivers/vif/", ""),
        ("/proc/modules", "bridge 1 0 - Live 0\n"),
    ];

    fn found(without: &str, more: &[(&str, &str)]) -> Vec<String> {
        let kept = GOOD.iter().filter(|(path, _)| *path != without);
        let files: Vec<_> = kept.chain(more).copied().collect();
        problems(&look(&System::of(&files).places()))
    }

    #[test]
    fn a_good_kernel_has_no_problem() {
        assert_eq!(found("", &[]), Vec::<String>::new());
    }

    #[test]
    fn without_xen_only_that_is_told() {
        assert_eq!(found("/sys/hypervisor/type", &[]), ["Xen: this kernel does not run on Xen"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(found("/proc/xen/capabilities", &[]), ["/proc/xen: is not mounted"]);
        assert_eq!(found("/dev/xen/gntdev", &[]), ["devices: /dev/xen/gntdev is missing"]);
        assert_eq!(
            found("/sys/bus/xen-backend/drivers/vbd/", &[]),
            ["drivers: xen-blkback is not loaded: guests cannot have disks"]
        );
    }

    #[test]
    fn a_guest_is_told_that_it_is_one() {
        assert_eq!(
            found("/proc/xen/capabilities", &[("/proc/xen/capabilities", "")]),
            ["/proc/xen: this is a guest, not domain 0"]
        );
    }

    #[test]
    fn another_hypervisor_is_named_with_its_modules() {
        let modules = ("/proc/modules", "kvm_intel 1 0 - Live 0\nkvm 2 1 kvm_intel, Live 0\n");
        assert_eq!(
            found("/proc/modules", &[modules]),
            [
                "other hypervisors: KVM is loaded (kvm_intel, kvm): it and Xen take the CPU from each other"
            ]
        );
    }

    #[test]
    fn options_that_the_kernel_lacks_are_named() {
        let mut config = String::new();
        for option in OPTIONS.iter().filter(|option| **option != "CONFIG_XENFS") {
            config.push_str(&format!("{option}=m\n"));
        }
        let more =
            [("/proc/sys/kernel/osrelease", "6.12\n"), ("/boot/config-6.12", config.as_str())];
        assert_eq!(found("", &more), ["kernel options: the kernel was built without CONFIG_XENFS"]);
    }
}
