//! Is what a configuration names there? Files, devices, bridges, scripts, CPUs of dom0.
//!
//! Only looks: opens files for reading at most, changes nothing. What lies in another backend
//! domain cannot be seen from here and is not asked for.

mod files;
mod network;

use std::path::{Path, PathBuf};

use crate::document::{Document, Value, ValueKind};
use crate::source::Span;
use crate::{Diagnostic, Disk, DiskFormat, DomainConfig, HostCpus};
use files::{Kind, kind_of};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Host {
    /// Folder that stands for `/`.
    pub root: PathBuf,
    /// The host's CPUs, where they are known.
    pub cpus: Option<HostCpus>,
}

impl Default for Host {
    fn default() -> Self {
        Self { root: PathBuf::from("/"), cpus: None }
    }
}

impl Host {
    /// The place of a path below the root; a relative one counts from the present folder, or
    /// from a root that is not `/`.
    fn path(&self, path: &str) -> PathBuf {
        if !path.starts_with('/') && self.root == Path::new("/") {
            return PathBuf::from(path);
        }
        self.root.join(path.trim_start_matches('/'))
    }
}

/// Folders of boot loaders named without a slash.
const LOADER_DIRS: [&str; 6] = [
    "/usr/lib/ferroxen/bin",
    "/usr/lib/xen/bin",
    "/usr/lib/xen-4.20/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/usr/sbin",
];

/// Folder of hotplug scripts named without a slash.
const SCRIPT_DIR: &str = "/etc/xen/scripts";

/// What is missing, or is not what it should be. `document`: where `config` comes from, for the
/// places of what is said.
pub fn check_host(
    config: &DomainConfig,
    document: Option<&Document>,
    host: &Host,
) -> Vec<Diagnostic> {
    let mut look = Look { host, document, diagnostics: Vec::new() };
    look.boot(config);
    for (index, disk) in config.disks.iter().enumerate() {
        look.disk(index, disk);
    }
    for (index, vif) in config.vifs.iter().enumerate() {
        look.vif(index, vif);
    }
    look.cpus(config);
    look.diagnostics
}

struct Look<'a> {
    host: &'a Host,
    document: Option<&'a Document>,
    diagnostics: Vec<Diagnostic>,
}

/// What a message is about: a key, or an element of its list, and a part of its text.
#[derive(Clone, Copy)]
struct About<'a> {
    key: &'a str,
    index: Option<usize>,
    part: &'a str,
}

impl Look<'_> {
    fn say(&mut self, about: About<'_>, message: String, help: Option<String>) {
        let mut error = match self.document {
            Some(document) => document.error(place(document, about), message),
            None => Diagnostic::error("configuration", message),
        };
        error.help = help;
        self.diagnostics.push(error);
    }

    fn warn(&mut self, about: About<'_>, message: String, help: Option<String>) {
        self.say(about, message, help);
        if let Some(last) = self.diagnostics.last_mut() {
            last.severity = crate::Severity::Warning;
        }
    }

    /// The file is there, is a file, can be read; its kind.
    fn file(&mut self, about: About<'_>, what: &str, path: &str) -> Option<Kind> {
        match kind_of(&self.host.path(path)) {
            Ok(Kind::Folder) => {
                let help =
                    files::candidates(self.host, &format!("{}/", path.trim_end_matches('/')));
                self.say(about, format!("{what} \"{path}\" is a folder"), help);
                None
            }
            Ok(kind) => {
                if !path.starts_with('/') {
                    let message = format!(
                        "{what} \"{path}\" is looked for in the present folder: a restart of the \
                         guest would not find it"
                    );
                    let help = "write the whole path, from / on".to_owned();
                    self.warn(about, message, Some(help));
                }
                Some(kind)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let place = self.host.path(path);
                let (message, help) = match std::fs::read_link(&place) {
                    Ok(target) => {
                        let target = target.display();
                        (
                            format!(
                                "{what} \"{path}\" is a link to \"{target}\", which is not there"
                            ),
                            None,
                        )
                    }
                    Err(_) => {
                        let help = files::candidates(self.host, path);
                        (format!("{what} \"{path}\" is not there"), help)
                    }
                };
                self.say(about, message, help);
                None
            }
            Err(error) => {
                let help = (error.kind() == std::io::ErrorKind::PermissionDenied)
                    .then(|| "only root can start guests: use sudo".to_owned());
                self.say(about, format!("{what} \"{path}\" cannot be read: {error}"), help);
                None
            }
        }
    }

    fn boot(&mut self, config: &DomainConfig) {
        let Some(pv) = config.pv() else { return };
        if let Some(bootloader) = &pv.bootloader {
            self.program("bootloader", bootloader);
            return;
        }
        if let Some(kernel) = &pv.kernel {
            let about = About { key: "kernel", index: None, part: "" };
            match self.file(about, "the kernel", kernel) {
                None | Some(Kind::Elf | Kind::BzImage | Kind::Compressed) => {}
                Some(Kind::Cpio) => {
                    let help = "an initial RAM disk belongs into ramdisk = \"...\"".to_owned();
                    self.say(
                        about,
                        format!("\"{kernel}\" is an initial RAM disk, no kernel"),
                        Some(help),
                    );
                }
                Some(kind) => {
                    let message = format!("\"{kernel}\" is no kernel: it is {}", kind.words());
                    let help = "kernels are ELF files or bzImages (vmlinuz)".to_owned();
                    self.say(about, message, Some(help));
                }
            }
        }
        if let Some(ramdisk) = &pv.ramdisk {
            let about = About { key: "ramdisk", index: None, part: "" };
            match self.file(about, "the RAM disk", ramdisk) {
                Some(kind @ (Kind::BzImage | Kind::Elf)) => {
                    let message = format!("\"{ramdisk}\" is {}, no RAM disk", kind.words());
                    let help = "are kernel and ramdisk exchanged?".to_owned();
                    self.say(about, message, Some(help));
                }
                Some(Kind::Empty) => self.say(about, format!("\"{ramdisk}\" is empty"), None),
                _ => {}
            }
        }
    }

    fn program(&mut self, key: &str, program: &str) {
        let about = About { key, index: None, part: "" };
        if program.starts_with('/') {
            if self.file(about, "the boot loader", program).is_some()
                && !files::executable(&self.host.path(program))
            {
                let help = format!("chmod +x {program}");
                self.say(about, format!("\"{program}\" cannot be executed"), Some(help));
            }
            return;
        }
        let there = |dir: &&str| self.host.path(dir).join(program).is_file();
        if program.contains('/') || !LOADER_DIRS.iter().any(there) {
            let message = format!("the boot loader \"{program}\" is not there");
            let help = format!("looked in {}", LOADER_DIRS.join(", "));
            self.say(about, message, Some(help));
        }
    }

    fn script(&mut self, about: About<'_>, script: &str) {
        let path =
            if script.contains('/') { script.to_owned() } else { format!("{SCRIPT_DIR}/{script}") };
        if self.file(about, "the script", &path).is_some()
            && !files::executable(&self.host.path(&path))
        {
            let help = format!("chmod +x {path}");
            self.say(about, format!("the script \"{path}\" cannot be executed"), Some(help));
        }
    }

    fn disk(&mut self, index: usize, disk: &Disk) {
        let about = |part| About { key: "disk", index: Some(index), part };
        if disk.backend.as_deref().is_some_and(|domain| !matches!(domain, "0" | "Domain-0")) {
            return;
        }
        if let Some(script) = &disk.script {
            // What the target means only the script knows.
            return self.script(about(script), script);
        }
        let (Some(path), Some(target)) = (disk.path(), disk.target.as_deref()) else { return };
        let what = if disk.cdrom { "the CD image" } else { "the disk" };
        let Some(kind) = self.file(about(target), what, &path) else { return };
        match kind {
            Kind::Device => {}
            Kind::Special => {
                let message = format!("{what} \"{path}\" is neither a file nor a block device");
                self.say(about(target), message, None);
            }
            Kind::Empty => {
                let message = format!("{what} \"{path}\" is an empty file");
                let help = format!("give it a size: truncate -s 4G {path}");
                self.say(about(target), message, Some(help));
            }
            Kind::Qcow | Kind::Qcow2 | Kind::Vhd | Kind::Qed if disk.format == DiskFormat::Raw => {
                let name = kind.words();
                let message = format!("{what} \"{path}\" is {name}, but the format is raw");
                let help =
                    "the guest would see the image's inner structures: name its format".to_owned();
                self.warn(about(target), message, Some(help));
            }
            _ => {}
        }
        if disk.access.writable() && !files::writable(&self.host.path(&path)) {
            let message = format!("{what} \"{path}\" cannot be written");
            let help = "make it writable, or give it to the guest with access ro".to_owned();
            self.say(about(target), message, Some(help));
        }
    }

    fn cpus(&mut self, config: &DomainConfig) {
        let Some(cpus) = &self.host.cpus else { return };
        for (key, lists) in [("cpus", &config.hard_affinity), ("cpus_soft", &config.soft_affinity)]
        {
            let wrong = lists.iter().find_map(|list| list.resolve(cpus).err());
            if let Some(wrong) = wrong {
                self.say(About { key, index: None, part: "" }, wrong.to_string(), None);
            }
        }
    }
}

/// The place of what a message is about.
fn place(document: &Document, about: About<'_>) -> Span {
    let settings = document.settle(&mut Vec::new());
    let Some(value) = settings.iter().find(|s| s.key == about.key).map(|s| &s.value) else {
        return Span::NOWHERE;
    };
    let item: Option<&Value> = match (&value.kind, about.index) {
        (ValueKind::List(items), Some(index)) => items.get(index),
        _ => None,
    };
    let value = item.unwrap_or(value);
    match value.text().and_then(|text| text.find(about.part)) {
        Some(start) if !about.part.is_empty() => value.part(start, start + about.part.len()),
        _ => value.span,
    }
}

/// The name of a path's last part.
fn last(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
