//! The examples that users find on the web (`../shared/seeds`) mean what they mean there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A test fails by panicking.

use xl_config::{Access, Disk, DomainConfig, Errors, Lax, Validated, Vif, parse, validate};

fn taken(text: &str) -> Validated {
    validate(&parse(text, "guest.cfg").unwrap(), &Lax::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn config(text: &str) -> DomainConfig {
    taken(text).config
}

fn refused(text: &str) -> Errors {
    validate(&parse(text, "guest.cfg").unwrap(), &Lax::default()).unwrap_err()
}

/// Seed 000: a guest with a file as its disk.
#[test]
fn a_guest_of_a_file_with_root_and_extra() {
    let config = config(
        "kernel = \"/xen/kernels/vmlinuz-3.14.4xed-xen\"\nmemory = 512\nname   = \"gen2-core\"\n\
         vif = ['mac=00:16:3e:ba:da:55,bridge=br0']\n\
         disk   = ['file:/xen/disks/ext4-gen2-core.img,sda1,w']\n\
         root   = \"/dev/xvda1\"\nextra = \"raid=noautodetect\"",
    );
    let pv = config.pv().unwrap();
    assert_eq!(pv.cmdline.as_deref(), Some("root=/dev/xvda1 raid=noautodetect"));
    assert_eq!((config.memory_kib, config.max_memory_kib), (512 << 10, 512 << 10));
    let disk = config.disks.first().unwrap();
    assert_eq!((disk.vdev.name(), disk.vdev.number()), ("sda1", 2049));
    assert_eq!(disk.path().as_deref(), Some("/xen/disks/ext4-gen2-core.img"));
    assert_eq!(disk.access, Access::ReadWrite);
    let vif = config.vifs.first().unwrap();
    assert_eq!(vif.mac.unwrap().to_string(), "00:16:3e:ba:da:55");
    assert_eq!(vif.bridge.as_deref(), Some("br0"));
}

/// Seed 004: installation from a CD image.
#[test]
fn a_guest_installed_from_an_image() {
    let text = "name = \"domU\"\nkernel = \"/mnt/arch/boot/x86_64/vmlinuz-linux\"\n\
         ramdisk = \"/mnt/arch/boot/x86_64/initramfs-linux.img\"\n\
         extra = \"archisobasedir=arch archisodevice=UUID=YYYY-mm-dd-HH-MM-SS-00\"\nmemory = 512\n\
         disk = [ \"phy:/path/to/partition,sda1,w\", \"file:/path/to/ISO,sdb,r\" ]\n\
         vif = [ 'mac=00:16:3e:XX:XX:XX,bridge=xenbr0' ]\n";
    // The page tells to put one's own digits there: whoever forgot to is told.
    assert!(refused(text).0.iter().all(|error| error.message.contains("XX")));
    let config = config(&text.replace("XX:XX:XX", "01:02:03"));
    let [partition, image] = config.disks.as_slice() else { panic!("{:?}", config.disks) };
    assert_eq!(partition.path().as_deref(), Some("/path/to/partition"));
    assert_eq!((partition.vdev.number(), partition.access), (2049, Access::ReadWrite));
    assert_eq!((image.vdev.number(), image.access, image.cdrom), (2064, Access::ReadOnly, false));
    let pv = config.pv().unwrap();
    assert_eq!(pv.ramdisk.as_deref(), Some("/mnt/arch/boot/x86_64/initramfs-linux.img"));
    assert_eq!(
        pv.cmdline.as_deref(),
        Some("archisobasedir=arch archisodevice=UUID=YYYY-mm-dd-HH-MM-SS-00")
    );
}

/// Seed 004: after the installation a boot loader takes the kernel's place.
#[test]
fn a_guest_started_by_pygrub() {
    let config = config(
        "name = \"PV_domU\"\nbootloader = \"pygrub\"\nmemory = 512\n\
         disk = [ \"phy:/path/to/partition,sda1,w\" ]\n",
    );
    let pv = config.pv().unwrap();
    assert_eq!((pv.bootloader.as_deref(), pv.kernel.as_deref()), (Some("pygrub"), None));
}

/// Seed 004: `initrd` instead of `ramdisk`, which C's xl passes over without a word.
#[test]
fn initrd_instead_of_ramdisk_is_told() {
    let errors = refused("name='a'\nkernel='/k'\ninitrd='/r'\nmemory=64\n");
    let [error] = errors.0.as_slice() else { panic!("{errors}") };
    assert_eq!(error.help.as_deref(), Some("did you mean \"ramdisk\"?"));
}

/// Seed 004: an HVM guest parses, and is refused for what it is only.
#[test]
fn an_hvm_guest_is_refused_as_one() {
    let errors = refused(
        "name = 'HVM_domU'\nbuilder = 'hvm'\nmemory = 512\nvcpus = 2\n\
         disk = [ 'phy:/dev/vg0/hvm_arch,xvda,w', 'file:/path/to/ISO,hdc:cdrom,r' ]\n\
         vif = [ 'mac=00:16:3e:00:00:00,bridge=xenbr0' ]\nvnc = 1\nvnclisten = ''\nvncdisplay = 1\n",
    );
    let [error] = errors.0.as_slice() else { panic!("{errors}") };
    assert_eq!(error.message, "HVM guests are not supported yet");
    assert_eq!((error.line, error.column), (2, 11));
}

#[test]
fn the_disks_of_the_seeds_mean_what_they_say() {
    for (word, vdev, path, access, cdrom) in [
        ("file:/xen/disks/x.img,sda1,w", 2049, "/xen/disks/x.img", Access::ReadWrite, false),
        ("phy:lvm/vg/root,sda1,w", 2049, "/dev/lvm/vg/root", Access::ReadWrite, false),
        ("phy:sdb3,xvda,w", 51712, "/dev/sdb3", Access::ReadWrite, false),
        ("phy:/dev/vg0/hvm_arch,xvda,w", 51712, "/dev/vg0/hvm_arch", Access::ReadWrite, false),
        ("file:/path/to/ISO,hdc:cdrom,r", 5632, "/path/to/ISO", Access::ReadOnly, true),
        ("phy:/dev/vg0/a,xvda,w!", 51712, "/dev/vg0/a", Access::Shared, false),
        ("/srv/a.img,raw,xvda1,rw", 51713, "/srv/a.img", Access::ReadWrite, false),
        ("tap:aio:/srv/a.img,xvda,r", 51712, "/srv/a.img", Access::ReadOnly, false),
    ] {
        let disk = Disk::parse(word).unwrap_or_else(|error| panic!("{word}: {error}"));
        assert_eq!(disk.vdev.number(), vdev, "{word}");
        assert_eq!(disk.path().as_deref(), Some(path), "{word}");
        assert_eq!((disk.access, disk.cdrom), (access, cdrom), "{word}");
    }
}

#[test]
fn an_empty_drive_is_a_cd_drive_only() {
    for word in [",hdc:cdrom,r", ",,hdc,r,cdrom", "vdev=hdc,devtype=cdrom"] {
        let disk = Disk::parse(word).unwrap_or_else(|error| panic!("{word}: {error}"));
        assert_eq!((disk.target, disk.cdrom, disk.vdev.number()), (None, true, 5632), "{word}");
    }
    assert!(Disk::parse(",,xvda,rw").is_err());
}

#[test]
fn a_target_at_the_end_takes_commas_and_equals_signs() {
    let disk = Disk::parse("format=raw, vdev=xvda, access=ro, target=/srv/a,b=c:d e").unwrap();
    assert_eq!(disk.path().as_deref(), Some("/srv/a,b=c:d e"));
    assert_eq!(disk.access, Access::ReadOnly);
}

/// Seed 003: every parameter of an interface that xm's manual names.
#[test]
fn the_interfaces_parameters_of_the_seeds_are_known() {
    let vif = Vif::parse(
        "type=netfront, mac=00:16:3e:1:2:3, bridge=xenbr0, ip=10.0.0.1 10.0.0.2, script=vif-bridge, \
         backend=0, vifname=web0, rate=10Mb/s@20ms, model=e1000, accel=none",
    )
    .unwrap();
    assert_eq!(vif.mac.unwrap().to_string(), "00:16:3e:01:02:03");
    assert_eq!(vif.rate.unwrap().to_string(), "25000,20000");
    assert_eq!(vif.ip.as_deref(), Some("10.0.0.1 10.0.0.2"));
    assert_eq!(Vif::parse("").unwrap(), Vif::default());
}

/// Seed 001: frame buffers; where libxl gives VNC for `type=sdl`, ours gives SDL.
#[test]
fn frame_buffers_are_what_their_type_says() {
    let of = |word: &str| {
        let text = format!("name='a'\nkernel='/k'\nmemory=64\nvfb = [ '{word}' ]\n");
        config(&text).vfbs.first().cloned().unwrap()
    };
    let vnc = of("type=vnc, vncunused=1");
    assert_eq!((vnc.vnc, vnc.sdl, vnc.vnc_unused), (None, None, Some(true)));
    let sdl = of("type=sdl");
    assert_eq!((sdl.vnc, sdl.sdl), (Some(false), Some(true)));
}

/// What xen-tools writes: quoted numbers, and keys that xl never had.
#[test]
fn the_templates_of_xen_tools_still_work() {
    let taken = taken(
        "#\n# Configuration file for the Xen instance web, created\n#\n\n\
         kernel      = '/boot/vmlinuz-6.12'\nextra       = 'elevator=noop'\nramdisk     = '/boot/initrd.img-6.12'\n\
         vcpus       = '2'\nmemory      = '512'\nmaxmem      = '1024'\n\n\
         root        = '/dev/xvda2 ro'\ndisk        = [\n\
         \x20                 'file:/srv/xen/domains/web/disk.img,xvda2,w',\n\
         \x20                 'file:/srv/xen/domains/web/swap.img,xvda1,w',\n\
         \x20             ]\n\n\
         name        = 'web'\ndhcp        = 'dhcp'\nhostname    = 'web'\nnetmask     = '255.255.255.0'\n\
         gateway     = '10.0.0.1'\nvif         = [ 'ip=10.0.0.2 ,mac=00:16:3E:11:22:33' ]\n\n\
         on_poweroff = 'destroy'\non_reboot   = 'restart'\non_crash    = 'restart'\n",
    );
    let config = taken.config;
    assert_eq!(
        (config.vcpus, config.memory_kib, config.max_memory_kib),
        (2, 512 << 10, 1024 << 10)
    );
    assert_eq!(config.disks.len(), 2);
    assert_eq!(config.vifs.first().unwrap().ip.as_deref(), Some("10.0.0.2"));
    let said: Vec<_> =
        taken.warnings.iter().map(|w| w.message.split('"').nth(1).unwrap()).collect();
    assert_eq!(said, ["dhcp", "hostname", "netmask", "gateway"]);
}

#[test]
fn windows_line_ends_and_a_comment_without_a_newline_are_taken() {
    let config =
        config("name = 'a'\r\nkernel = '/k'\r\nmemory = 64\r\nvif = [\r\n '', # one\r\n]\r\n# end");
    assert_eq!((config.name.as_str(), config.vifs.len()), ("a", 1));
}

#[test]
fn the_last_setting_wins_and_appending_joins() {
    let taken = taken(
        "name='a'; kernel='/k'; memory=64\nmemory = 0x80\nextra='a'\nextra+=' b'\n\
         disk=['/a,raw,xvda,rw']\ndisk+=['/b,raw,xvdb,rw']\n",
    );
    assert_eq!(taken.config.memory_kib, 128 << 10);
    assert_eq!(taken.config.pv().unwrap().cmdline.as_deref(), Some("a b"));
    assert_eq!(taken.config.disks.len(), 2);
    assert_eq!(taken.warnings.len(), 1);
}
