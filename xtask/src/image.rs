//! The small dom0 and the example guest: first file systems made of the distribution's packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::anchors::Anchors;
use crate::cpio::Archive;
use crate::kmod::Modules;
use crate::suite::Suite;
use crate::userland::{self, Built};
use crate::{elf, paths};

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Modules that dom0's start-up script loads.
const DOM0_MODULES: &[&str] = &[
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xen-privcmd",
    "xenfs",
    "xen-blkback",
    "xen-netback",
    "loop",
    "bridge",
];
/// Modules that are there for whoever needs them: drivers of the emulated machine's devices.
const DOM0_DRIVERS: &[&str] = &[
    "virtio-blk",
    "virtio-net",
    "virtio-pci",
    "ahci",
    "sd-mod",
    "nvme",
    "e1000e",
    "ext4",
    "tun",
    "msr",
    "rtc-cmos",
];
const GUEST_MODULES: &[&str] = &["xen-blkfront", "xen-netfront"];

/// Programs of the C toolstack, below its own `bin`; those that a release lacks are left out.
const TOOLS: &[&str] = &[
    "xl",
    "xenstored",
    "xenconsoled",
    "xenconsole",
    "xen-init-dom0",
    "libxl-save-helper",
    "xentop",
    "xenpm",
    "lsevtchn",
    "xen-cpuid",
    "xen-diag",
    "xenctx",
    "xenhypfs",
];
const STORE_TOOLS: &[&str] = &["read", "write", "list", "rm", "ls", "exists", "watch", "chmod"];
/// What the hotplug scripts are written for, and what they lock with.
const SCRIPT_TOOLS: &[&str] = &["usr/bin/bash", "usr/bin/flock"];
/// Asked of busybox before it has installed its own links.
const FIRST_APPLETS: &[&str] = &["sh", "mount"];

/// Whose toolstack dom0 has.
#[derive(Clone, Copy)]
pub enum Toolstack<'a> {
    /// The distribution's.
    Distribution,
    /// Ours.
    Own(&'a [Built]),
    /// Both, to compare: `TOOLS=rust` on dom0's command line picks ours.
    Both(&'a [Built]),
}

/// What a boot needs besides the hypervisor.
pub struct Images {
    /// dom0's first file system.
    pub dom0: PathBuf,
    /// The example guest's; a copy lies in dom0 as `/boot/guest.cpio`.
    pub guest: PathBuf,
}

/// What images are made of; cheap enough to make each time, so they are never stale.
pub struct Recipe<'a> {
    /// Whose kernel and modules.
    pub kernel: &'a Anchors,
    /// Whose user space.
    pub user: &'a Anchors,
    /// Name of the folder that they are kept in.
    pub name: &'a str,
    /// Whose toolstack.
    pub toolstack: Toolstack<'a>,
    /// Further programs `(path, bytes)` in both images.
    pub extra: &'a [(&'a str, &'a [u8])],
}

impl<'a> Recipe<'a> {
    /// One suite's kernel and toolstack.
    pub fn new(anchors: &'a Anchors, name: &'a str) -> Self {
        let toolstack = Toolstack::Distribution;
        Self { kernel: anchors, user: anchors, name, toolstack, extra: &[] }
    }

    /// Makes both images.
    pub fn make(&self) -> Result<Images> {
        let folder = paths::images().join(self.name);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let images = Images { dom0: folder.join("dom0.cpio"), guest: folder.join("guest.cpio") };
        let modules = Modules::new(&self.kernel.kernel_root())?;
        let source = Source { root: self.user.root(), suite: self.user.suite };

        let guest = guest(&source, &modules, self.extra).context("make the guest's image")?;
        store(&images.guest, &guest)?;
        let kernel = fs::read(self.kernel.vmlinuz()).context("read the kernel image")?;
        let mut dom0 = dom0(&source, &modules, kernel, guest).context("make dom0's image")?;
        match self.toolstack {
            Toolstack::Distribution => source.toolstack(&mut dom0)?,
            Toolstack::Own(own) => add_own(&mut dom0, own),
            Toolstack::Both(own) => {
                source.toolstack(&mut dom0)?;
                add_own(&mut dom0, own);
            }
        }
        add(&mut dom0, self.extra);
        store(&images.dom0, &dom0.pack()?)?;
        Ok(images)
    }
}

/// Bytes of the distribution's toolstack: its programs, and the libraries that the rest of dom0
/// has no use for.
pub fn size_of_toolstack(anchors: &Anchors) -> Result<u64> {
    let source = Source { root: anchors.root(), suite: anchors.suite };
    let mut rest = source.skeleton()?;
    for program in SCRIPT_TOOLS {
        source.program(&mut rest, program)?;
    }
    let before = rest.bytes();
    source.toolstack(&mut rest)?;
    Ok(rest.bytes() - before)
}

/// Writes beside and renames, and only what changed.
fn store(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let beside = path.with_extension(format!("new{}", std::process::id()));
    fs::write(&beside, bytes).with_context(|| format!("write {}", beside.display()))?;
    fs::rename(&beside, path).with_context(|| format!("rename to {}", path.display()))
}

fn guest(source: &Source, modules: &Modules, extra: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = source.skeleton()?;
    modules.add(&mut archive, GUEST_MODULES)?;
    archive.file("init", include_str!("../image/domu-init"), true);
    add(&mut archive, extra);
    archive.pack()
}

fn dom0(source: &Source, modules: &Modules, kernel: Vec<u8>, guest: Vec<u8>) -> Result<Archive> {
    let mut archive = source.skeleton()?;
    for program in SCRIPT_TOOLS {
        source.program(&mut archive, program)?;
    }
    source.tree(&mut archive, "etc/xen/scripts")?;
    archive.file("etc/xen/xl.conf", "autoballoon=\"off\"\nlockfile=\"/run/lock/xl\"\n", false);
    for folder in ["var/log/xen/console", "var/lib/xen/dump", "var/lib/xen/save"] {
        archive.folder(folder);
    }

    let all: Vec<&str> = DOM0_MODULES.iter().chain(DOM0_DRIVERS).copied().collect();
    modules.add(&mut archive, &all)?;
    archive.file("etc/dom0/modules", DOM0_MODULES.join("\n") + "\n", false);
    archive.file("init", include_str!("../image/dom0-init"), true);
    archive.file("usr/bin/make-disk", include_str!("../image/make-disk"), true);
    archive.file("usr/bin/until-gone", include_str!("../image/until-gone"), true);
    archive.file("usr/bin/destroy-all", include_str!("../image/destroy-all"), true);
    archive.file("usr/bin/retry", include_str!("../image/retry"), true);
    archive.file("usr/bin/many-guests", include_str!("../image/many-guests"), true);
    archive.file("usr/bin/taken", include_str!("../image/taken"), true);
    archive.file("root/pv.cfg", include_str!("../image/pv.cfg"), false);
    archive.file("root/tiny.cfg", include_str!("../image/tiny.cfg"), false);
    archive.file("root/hello.cfg", include_str!("../image/hello.cfg"), false);
    archive.file("root/hostile.cfg", include_str!("../image/hostile.cfg"), false);
    archive.file("boot/vmlinuz", kernel, false);
    archive.file("boot/guest.cpio", guest, false);
    Ok(archive)
}

fn add_own(archive: &mut Archive, programs: &[Built]) {
    for program in programs {
        let path = |name: &str| format!("{}/{name}", userland::FOLDER);
        archive.file(&path(program.name), program.bytes.clone(), true);
        program.links.iter().for_each(|link| archive.link(&path(link), program.name));
    }
}

fn add(archive: &mut Archive, programs: &[(&str, &[u8])]) {
    for (path, bytes) in programs {
        archive.file(path, *bytes, true);
    }
}

/// The unpacked user space that files are taken from.
struct Source {
    root: PathBuf,
    suite: Suite,
}

impl Source {
    /// What both images have: the folders, busybox, an account, devices for the first lines.
    fn skeleton(&self) -> Result<Archive> {
        let mut archive = Archive::new();
        for name in ["bin", "sbin", "lib", "lib64"] {
            archive.folder(&format!("usr/{name}"));
            archive.link(name, &format!("usr/{name}"));
        }
        for name in ["proc", "sys", "dev", "run", "tmp", "root", "var", LIBRARIES] {
            archive.folder(name);
        }
        archive.link("var/run", "../run");
        archive.link("var/lock", "../run/lock");
        archive.device("dev/console", 5, 1);
        archive.device("dev/null", 1, 3);
        archive.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", false);
        archive.file("etc/group", "root:x:0:\n", false);
        archive.file("usr/bin/busybox", self.read("usr/bin/busybox")?, true);
        // What the kernel starts when the toolstack asks for an orderly end; there is no init
        // daemon to tell.
        for name in ["poweroff", "reboot"] {
            let script = format!("#!/bin/sh\n/bin/busybox sync\nexec /bin/busybox {name} -f\n");
            archive.file(&format!("usr/sbin/{name}"), script, true);
        }
        for name in FIRST_APPLETS {
            archive.link(&format!("usr/bin/{name}"), "busybox");
        }
        Ok(archive)
    }

    /// The distribution's toolstack.
    fn toolstack(&self, archive: &mut Archive) -> Result<()> {
        let own = format!("usr/lib/xen-{}", self.suite.xen_version());
        archive.link("usr/lib/xen", &format!("xen-{}", self.suite.xen_version()));
        let mut found = 0;
        for tool in TOOLS {
            let path = format!("{own}/bin/{tool}");
            if self.root.join(&path).is_file() {
                self.program(archive, &path)?;
                found += 1;
            }
        }
        if found == 0 {
            bail!("no tool of the C toolstack below {}", self.root.join(own).display());
        }
        for tool in STORE_TOOLS {
            self.program(archive, &format!("usr/bin/xenstore-{tool}"))?;
        }
        // xl's threads end by it.
        self.library(archive, "libgcc_s.so.1")
    }

    /// A file by its path in a merged-/usr system; packages may still have it without `usr/`.
    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let usual = self.root.join(path);
        let file = match path.strip_prefix("usr/") {
            Some(short) if !usual.exists() => self.root.join(short),
            _ => usual,
        };
        fs::read(&file).with_context(|| format!("read {}", file.display()))
    }

    /// A program, the loader it asks for and its libraries.
    fn program(&self, archive: &mut Archive, path: &str) -> Result<()> {
        let bytes = self.read(path)?;
        if let Some(loader) = elf::interpreter(&bytes).with_context(|| path.to_owned())? {
            let loader = loader.trim_start_matches('/');
            let place = if loader.starts_with("usr/") {
                loader.to_owned()
            } else {
                format!("usr/{loader}")
            };
            if !archive.has(&place) {
                let name = loader.rsplit('/').next().unwrap_or(loader);
                archive.file(&place, self.find_library(name)?, true);
            }
        }
        self.libraries(archive, &bytes).with_context(|| path.to_owned())?;
        archive.file(path, bytes, true);
        Ok(())
    }

    fn libraries(&self, archive: &mut Archive, bytes: &[u8]) -> Result<()> {
        for name in elf::needed(bytes)? {
            self.library(archive, &name)?;
        }
        Ok(())
    }

    fn library(&self, archive: &mut Archive, name: &str) -> Result<()> {
        let place = format!("{LIBRARIES}/{name}");
        if archive.has(&place) {
            return Ok(());
        }
        let bytes = self.find_library(name)?;
        archive.file(&place, bytes.clone(), true);
        self.libraries(archive, &bytes).with_context(|| name.to_owned())
    }

    fn find_library(&self, name: &str) -> Result<Vec<u8>> {
        let own = format!("usr/lib/xen-{}/lib/x86_64-linux-gnu", self.suite.xen_version());
        let folders = [LIBRARIES, &own, "lib/x86_64-linux-gnu", "usr/lib64", "lib64"];
        let file = folders
            .iter()
            .map(|folder| self.root.join(folder).join(name))
            .find(|file| file.is_file())
            .with_context(|| format!("no library {name} below {}", self.root.display()))?;
        fs::read(&file).with_context(|| format!("read {}", file.display()))
    }

    /// Everything below a folder, executable bits kept, links followed.
    fn tree(&self, archive: &mut Archive, path: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.root.join(path);
        for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let entry = entry?;
            let below = format!("{path}/{}", entry.file_name().to_string_lossy());
            let file = entry.path();
            // A link to a place that only an installed system has is not followed.
            let Ok(meta) = fs::metadata(&file) else { continue };
            if meta.is_dir() {
                self.tree(archive, &below)?;
            } else {
                let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
                archive.file(&below, bytes, meta.permissions().mode() & 0o100 != 0);
            }
        }
        Ok(())
    }
}
