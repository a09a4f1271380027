//! Keys that people write and that are none: what they mean.

use super::Key;

/// What a name that is no key stands for.
const MISTAKES: &[(&str, &str)] = &[
    ("initrd", "ramdisk"),
    ("initramfs", "ramdisk"),
    ("initial_ramdisk", "ramdisk"),
    ("ram_disk", "ramdisk"),
    ("ram", "memory"),
    ("mem", "memory"),
    ("max_memory", "maxmem"),
    ("max_mem", "maxmem"),
    ("maxmemory", "maxmem"),
    ("cpu", "vcpus"),
    ("ncpus", "vcpus"),
    ("vcpu", "vcpus"),
    ("cores", "vcpus"),
    ("max_vcpus", "maxvcpus"),
    ("vcpu_avail", "vcpus"),
    ("cpu_affinity", "cpus"),
    ("affinity", "cpus"),
    ("weight", "cpu_weight"),
    ("cpu_cap", "cap"),
    ("nic", "vif"),
    ("nics", "vif"),
    ("vifs", "vif"),
    ("net", "vif"),
    ("network", "vif"),
    ("bridge", "vif"),
    ("mac", "vif"),
    ("disks", "disk"),
    ("disc", "disk"),
    ("hda", "disk"),
    ("cdrom", "disk"),
    ("image", "disk"),
    ("append", "extra"),
    ("args", "extra"),
    ("kernel_args", "extra"),
    ("kernel_cmdline", "cmdline"),
    ("command_line", "cmdline"),
    ("vmlinuz", "kernel"),
    ("linux", "kernel"),
    ("domain", "name"),
    ("domname", "name"),
    ("vm_name", "name"),
    ("title", "name"),
    ("domain_type", "type"),
    ("virt_type", "type"),
    ("cpupool", "pool"),
    ("on_shutdown", "on_poweroff"),
    ("on_halt", "on_poweroff"),
    ("on_restart", "on_reboot"),
    ("passthru", "pci"),
    ("boot_loader", "bootloader"),
    ("bootargs", "bootloader_args"),
    ("loader_args", "bootloader_args"),
    ("vnc_listen", "vnclisten"),
    ("vncpassword", "vncpasswd"),
];

/// The key of a table that is meant by a name that is none.
pub(crate) fn meant(name: &str, table: &'static [Key]) -> Option<&'static str> {
    let mistake = MISTAKES.iter().find(|(wrong, _)| *wrong == name).map(|(_, right)| *right);
    mistake
        .filter(|right| table.iter().any(|key| key.name == *right))
        .or_else(|| crate::similar::nearest(name, table.iter().map(|key| key.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_no_key_and_stands_for_one() {
        for (wrong, right) in MISTAKES {
            assert!(crate::keys::key(wrong).is_none(), "{wrong}");
            assert!(crate::keys::key(right).is_some(), "{right}");
        }
    }

    #[test]
    fn a_near_name_is_found_where_no_mistake_is_known() {
        assert_eq!(meant("initrd", crate::KEYS), Some("ramdisk"));
        assert_eq!(meant("kernal", crate::KEYS), Some("kernel"));
        assert_eq!(meant("memroy", crate::KEYS), Some("memory"));
        assert_eq!(meant("on_power_off", crate::KEYS), Some("on_poweroff"));
        assert_eq!(meant("qqqq", crate::KEYS), None);
    }
}
