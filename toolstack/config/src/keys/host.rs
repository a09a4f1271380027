//! The table of the keys of `xl.conf`.

use super::Form::{Choice, Cpus, Flag, FlagOrChoice, Number, Path, Text};
use super::Guests::All;
use super::Status::{Done, Ignored};
use super::{Form, Key, Status};

const fn k(
    name: &'static str,
    form: Form,
    default: &'static str,
    status: Status,
    help: &'static str,
) -> Key {
    Key { name, form, default, guests: All, status, help }
}

/// Every key of `xl.conf`.
#[rustfmt::skip] // One key a line is a table; folded it is none.
pub static HOST_KEYS: &[Key] = &[
    k("autoballoon", FlagOrChoice(&["on", "off", "auto"]), "auto", Done, "dom0 gives memory up for new guests"),
    k("run_hotplug_scripts", Flag, "1", Done, "hotplug scripts are run by the tools, not by udev"),
    k("lockfile", Path, "/var/lock/xl", Done, "file that serialises creations"),
    k("vif.default.script", Text, "vif-bridge", Done, "script of interfaces that name none"),
    k("vif.default.bridge", Text, "xenbr0", Done, "bridge of interfaces that name none"),
    k("vif.default.backend", Text, "0", Done, "backend of interfaces that name none"),
    k("vif.default.gatewaydev", Text, "", Done, "outgoing interface of interfaces that name none"),
    k("vifscript", Text, "", Done, "old name of vif.default.script"),
    k("defaultbridge", Text, "", Done, "old name of vif.default.bridge"),
    k("output_format", Choice(&["json", "sxp"]), "json", Done, "form of long outputs"),
    k("blkdev_start", Text, "xvda", Done, "first name for disks attached to dom0 for a boot loader"),
    k("claim_mode", Flag, "1", Done, "memory is claimed before it is populated"),
    k("kernel_cache", Flag, "1", Done, "unpacked kernels are kept in /var/cache/xen/kernels"),
    k("domid_policy", Choice(&["xen", "random"]), "xen", Done, "how domain numbers are chosen"),
    k("max_grant_frames", Number(1, 4_294_967_295), "hypervisor", Done, "frames of the grant table"),
    k("max_maptrack_frames", Number(0, 4_294_967_295), "hypervisor", Done, "frames of the map-tracking table"),
    k("max_grant_version", Number(1, 2), "hypervisor", Done, "highest version of grant entries"),
    k("vm.cpumask", Cpus, "all", Done, "CPUs that guests may run on"),
    k("vm.hvm.cpumask", Cpus, "all", Done, "CPUs that HVM and PVH guests may run on"),
    k("vm.pv.cpumask", Cpus, "all", Done, "CPUs that PV guests may run on"),
    k("bootloader_restrict", Flag, "0", Done, "boot loaders run without privileges"),
    k("remus.default.netbufscript", Text, "", Ignored("Remus is not supported yet"), "script of Remus's network buffer"),
    k("colo.default.proxyscript", Text, "", Ignored("COLO is not supported yet"), "script of COLO's proxy"),
];
