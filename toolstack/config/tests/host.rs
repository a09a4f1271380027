//! What is said where the host lacks what a configuration names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A test fails by panicking.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;
use xl_config::{CpuSet, Host, HostCpus, Lax, check_host, parse, report, validate};

/// A host with a kernel, a RAM disk, disks, a bridge.
fn host() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for folder in [
        "boot",
        "srv/guests",
        "etc/xen/scripts",
        "usr/lib/xen/bin",
        "dev/vg0",
        "sys/class/net/xenbr0/bridge",
        "sys/class/net/eth0",
    ] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    let mut kernel = vec![0_u8; 0x300];
    kernel.splice(0x202..0x206, *b"HdrS");
    fs::write(path("boot/vmlinuz-6.12.9-amd64"), kernel).unwrap();
    fs::write(path("boot/initrd.img-6.12.9-amd64"), b"\x1f\x8b\x08\0").unwrap();
    fs::write(path("boot/initramfs.cpio"), b"070701000").unwrap();
    fs::write(path("boot/readme"), "text\n").unwrap();
    fs::write(path("boot/empty"), "").unwrap();
    symlink("vmlinuz-gone", path("boot/dangling")).unwrap();
    fs::write(path("srv/guests/web.img"), vec![0_u8; 1024]).unwrap();
    fs::write(path("srv/guests/web.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    fs::write(path("srv/guests/new.img"), "").unwrap();
    fs::write(path("etc/xen/scripts/vif-openvswitch"), "#!/bin/sh\n").unwrap();
    fs::write(path("usr/lib/xen/bin/pygrub"), "#!/bin/sh\n").unwrap();
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path("usr/lib/xen/bin/pygrub"), executable).unwrap();
    root
}

fn said(root: &Path, lines: &str) -> String {
    let mut text = "name = \"web\"\nmemory = 64\n".to_owned();
    if !lines.contains("kernel") && !lines.contains("bootloader") {
        text.push_str("kernel = \"/boot/vmlinuz-6.12.9-amd64\"\n");
    }
    text.push_str(lines);
    let document = parse(&text, "web.cfg").unwrap();
    let config = validate(&document, &Lax::default()).unwrap_or_else(|e| panic!("{e}")).config;
    let cpus = HostCpus { cpus: CpuSet::first(4), nodes: Vec::new() };
    let host = Host { root: root.to_owned(), cpus: Some(cpus) };
    let diagnostics = check_host(&config, Some(&document), &host);
    assert_eq!(check_host(&config, None, &host).len(), diagnostics.len());
    report(&diagnostics, false)
}

#[test]
fn what_the_usual_scripts_do_needs_no_scripts() {
    let root = host();
    for words in ["script=vif-bridge", "script=vif-route", "script=vif-nat,ip=10.0.0.1"] {
        assert_eq!(said(root.path(), &format!("vif = [ \"{words}\" ]\n")), "", "{words}");
    }
}

#[test]
fn a_guest_with_all_it_names_is_found_good() {
    let root = host();
    let good = "ramdisk = \"/boot/initrd.img-6.12.9-amd64\"\n\
         disk = [ \"/srv/guests/web.img,raw,xvda,rw\", \"/srv/guests/web.qcow2,qcow2,xvdb,ro\", \",,hdc,r,cdrom\" ]\n\
         vif = [ \"\", \"bridge=xenbr0\", \"bridge=other,backend=router\" ]\ncpus = \"0-3\"\n";
    assert_eq!(said(root.path(), good), "");
    assert_eq!(said(root.path(), "bootloader = \"pygrub\"\n"), "");
    assert_eq!(said(root.path(), "bootloader = \"/usr/lib/xen/bin/pygrub\"\n"), "");
}

#[test]
fn what_the_host_lacks_is_said_with_its_cure() {
    let root = host();
    let cases = [
        ("kernel_missing", "kernel = \"/boot/vmlinuz-6.12\"\n"),
        ("kernel_other_version", "kernel = \"/boot/vmlinuz-5.10.0-amd64\"\n"),
        ("kernel_without_likeness", "kernel = \"/boot/xyz\"\n"),
        ("kernel_folder_missing", "kernel = \"/xen/kernels/vmlinuz\"\n"),
        ("kernel_is_a_folder", "kernel = \"/boot\"\n"),
        ("kernel_relative", "kernel = \"boot/vmlinuz-6.12.9-amd64\"\n"),
        ("kernel_relative_and_missing", "kernel = \"boot/vmlinuz-6.12.9-amd46\"\n"),
        ("kernel_dangling_link", "kernel = \"/boot/dangling\"\n"),
        ("kernel_is_a_ram_disk", "kernel = \"/boot/initramfs.cpio\"\n"),
        ("kernel_is_a_text", "kernel = \"/boot/readme\"\n"),
        ("kernel_is_empty", "kernel = \"/boot/empty\"\n"),
        ("ramdisk_missing", "ramdisk = \"/boot/initrd.img\"\n"),
        ("ramdisk_is_a_kernel", "ramdisk = \"/boot/vmlinuz-6.12.9-amd64\"\n"),
        ("ramdisk_is_empty", "ramdisk = \"/boot/empty\"\n"),
        ("bootloader_missing", "bootloader = \"pvgrub\"\n"),
        ("disk_missing", "disk = [ \"\", \"/srv/guests/wbe.img,raw,xvda,rw\" ]\n"),
        ("disk_is_a_folder", "disk = [ \"/srv/guests,raw,xvda,rw\" ]\n"),
        ("disk_device_missing", "disk = [ \"phy:vg0/web,xvda,w\" ]\n"),
        ("disk_is_empty", "disk = [ \"/srv/guests/new.img,raw,xvda,rw\" ]\n"),
        ("disk_is_qcow2", "disk = [ \"/srv/guests/web.qcow2,raw,xvda,ro\" ]\n"),
        ("disk_script_missing", "disk = [ \"script=block-iscsi,vdev=xvda,target=iqn.x\" ]\n"),
        ("vif_no_bridge", "vif = [ \"bridge=br0\" ]\n"),
        ("vif_no_bridge_of_mistyped_name", "vif = [ \"mac=00:16:3e:00:00:01,bridge=xenbr\" ]\n"),
        ("vif_interface_is_no_bridge", "vif = [ \"bridge=eth0\" ]\n"),
        ("vif_script_not_executable", "vif = [ \"script=vif-openvswitch\" ]\n"),
        ("vif_name_in_use", "vif = [ \"vifname=eth0\" ]\n"),
        ("cpus_missing", "cpus = \"7\"\n"),
    ];
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        for (name, lines) in cases {
            let lines = lines.replace("\"\", ", "");
            let said = said(root.path(), &lines);
            assert!(!said.is_empty(), "{name}");
            insta::assert_snapshot!(format!("host_{name}"), said);
        }
    });
}

#[test]
fn the_default_bridge_is_named_where_it_is_missing() {
    let root = host();
    fs::remove_dir_all(root.path().join("sys/class/net/xenbr0")).unwrap();
    insta::assert_snapshot!(said(root.path(), "vif = [ \"\" ]\n"), @r#"
    web.cfg:4:9: error: there is no bridge "xenbr0" (the interface names none)
     4 | vif = [ "" ]
       |         ^^
      help: make it: ip link add xenbr0 type bridge && ip link set xenbr0 up
    "#);
}

#[test]
fn where_nothing_can_be_seen_of_the_network_nothing_is_said() {
    let root = host();
    fs::remove_dir_all(root.path().join("sys")).unwrap();
    assert_eq!(said(root.path(), "vif = [ \"bridge=br0\" ]\n"), "");
}
