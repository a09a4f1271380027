//! Disk specifications (`xl-disk-configuration(5)`).
//!
//! A lower-case prefix with a colon (`file:`, `phy:`) moves the parser to the old order
//! `target,vdev[:devtype],access`; without one it is `target,format,vdev,access`.

use super::{Grade, Word, WordError, flag, known};
use crate::{Access, BackendType, Disk, DiskFormat, Vdev};

/// The form, for help lines.
pub(crate) const DISK_FORM: &str = "a disk is \"TARGET,FORMAT,VDEV,ACCESS\", for example \
     \"/srv/guest.img,raw,xvda,rw\"";

const FORMATS: [&str; 6] = ["raw", "qcow", "qcow2", "vhd", "qed", "empty"];
const ACCESSES: [&str; 4] = ["ro", "rw", "r", "w"];
const BACKENDS: [&str; 4] = ["phy", "qdisk", "tap", "standalone"];
const PREFIXES_IGNORED: [&str; 6] = ["tapdisk", "tap", "tap2", "aio", "ioemu", "file"];
const PREFIXES_SCRIPT: [&str; 4] = ["iscsi", "nbd", "enbd", "drbd"];
const PARAMETERS: [&str; 11] = [
    "target",
    "format",
    "vdev",
    "access",
    "devtype",
    "backend",
    "backendtype",
    "script",
    "specification",
    "grant_usage",
    "colo-host",
];
const FLAGS: [&str; 6] =
    ["cdrom", "direct-io-safe", "discard", "no-discard", "trusted", "untrusted"];
const COLO: [&str; 7] =
    ["colo", "no-colo", "colo-host", "colo-port", "colo-export", "active-disk", "hidden-disk"];

/// What has been read so far.
#[derive(Default)]
struct Reading<'a> {
    faults: Vec<WordError>,
    target: Option<Word<'a>>,
    format: Option<Word<'a>>,
    vdev: Option<Word<'a>>,
    access: Option<Word<'a>>,
    devtype: Option<Word<'a>>,
    backend: Option<Word<'a>>,
    backend_type: Option<Word<'a>>,
    script: Option<Word<'a>>,
    grant_usage: Option<Word<'a>>,
    prefix_format: Option<DiskFormat>,
    prefix_script: Option<String>,
    old: bool,
    position: usize,
    given_up: bool,
    cdrom: bool,
    direct_io_safe: bool,
    discard: Option<bool>,
    trusted: Option<bool>,
}

/// Reads one specification; everything that is wrong with it.
pub(crate) fn parse_disk(text: &str) -> (Option<Disk>, Vec<WordError>) {
    let whole = Word { text, start: 0 };
    let mut reading = Reading::default();
    let mut rest = Some(reading.prefixes(whole));
    while let Some(here) = rest {
        let blanks = here.text.len() - here.text.trim_start().len();
        let here = Word { text: here.text.trim_start(), start: here.start + blanks };
        if let Some(target) = here.text.strip_prefix("target=") {
            let start = here.start + "target=".len();
            put(&mut reading.target, Word { text: target, start }, "target", &mut reading.faults);
            break;
        }
        let (word, after) = here.split(',');
        if reading.given_up {
            break;
        }
        reading.word(word.trim(), after.is_none());
        rest = after;
    }
    let disk = reading.finish(whole);
    (disk, reading.faults)
}

impl<'a> Reading<'a> {
    /// Takes the old prefixes off.
    fn prefixes(&mut self, whole: Word<'a>) -> Word<'a> {
        let mut rest = whole.trim();
        while let (prefix, Some(after)) = rest.split(':') {
            let name = prefix.text;
            let is_prefix = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            if !is_prefix {
                break;
            }
            if let Some(format) = ["raw", "qcow", "qcow2", "vhd"]
                .contains(&name)
                .then(|| DiskFormat::from_name(name))
                .flatten()
            {
                self.prefix_format = Some(format);
            } else if PREFIXES_SCRIPT.contains(&name) {
                self.prefix_script = Some(format!("block-{name}"));
            } else if !PREFIXES_IGNORED.contains(&name) && name != "phy" {
                self.faults.push(unknown_prefix(prefix, after));
                self.old = true;
                self.given_up = true;
                return after;
            }
            self.old = true;
            rest = after;
        }
        rest
    }

    fn word(&mut self, word: Word<'a>, last: bool) {
        if self.flag(word) {
            return;
        }
        if let Some((key, value)) = word.key_value()
            && key.text.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '_'))
            && !(self.position == 0 && self.old)
        {
            return self.parameter(key, value);
        }
        let position = self.position;
        self.position += 1;
        let empty = word.text.is_empty();
        match (position, self.old) {
            (0, _) if empty => {
                // An empty drive; other disks are refused at the end.
                self.target.get_or_insert(word);
            }
            _ if empty => {}
            (0, _) => put(&mut self.target, word, "target", &mut self.faults),
            (1, false) if is_old_vdev(word) => {
                self.old = true;
                self.old_vdev(word);
            }
            (1, false) => put(&mut self.format, word, "format", &mut self.faults),
            (2, false) => put(&mut self.vdev, word, "vdev", &mut self.faults),
            (1, true) => self.old_vdev(word),
            (3, false) | (2, true) => put(&mut self.access, word, "access", &mut self.faults),
            _ if empty && last => {}
            _ => {
                let names: Vec<_> = FLAGS.into_iter().chain(PARAMETERS).collect();
                let message = format!("\"{}\" is one word too many in this disk", word.text);
                let order =
                    if self.old { "TARGET,VDEV,ACCESS" } else { "TARGET,FORMAT,VDEV,ACCESS" };
                let help = match crate::similar::nearest(word.text, names) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("the order is {order}, then parameter=value"),
                };
                self.faults.push(word.wrong(message).help(help));
            }
        }
    }

    /// `sda1`, `hdc:cdrom`, `ioemu:hda`.
    fn old_vdev(&mut self, word: Word<'a>) {
        let word = match word.text.strip_prefix("ioemu:") {
            Some(text) => Word { text, start: word.start + "ioemu:".len() },
            None => word,
        };
        let (vdev, devtype) = word.split(':');
        if DiskFormat::from_name(vdev.text).is_some() {
            let fault =
                vdev.wrong(format!("the format \"{}\" where the vdev must stand", vdev.text));
            self.faults.push(fault.help(
                "after a prefix such as phy: or file: the order is TARGET,VDEV,ACCESS; \
                 leave the prefix out, or the format",
            ));
            self.given_up = true;
            return;
        }
        put(&mut self.vdev, vdev, "vdev", &mut self.faults);
        if let Some(devtype) = devtype {
            put(&mut self.devtype, devtype, "devtype", &mut self.faults);
        }
    }

    fn flag(&mut self, word: Word<'a>) -> bool {
        match word.text {
            "cdrom" => self.cdrom = true,
            "direct-io-safe" => self.direct_io_safe = true,
            "discard" => self.discard = Some(true),
            "no-discard" => self.discard = Some(false),
            "trusted" => self.trusted = Some(true),
            "untrusted" => self.trusted = Some(false),
            "no-colo" => {}
            "colo" => self.faults.push(word.wrong("COLO disks are not supported yet")),
            _ => return false,
        }
        true
    }

    fn parameter(&mut self, key: Word<'a>, value: Word<'a>) {
        let faults = &mut self.faults;
        let (name, place) = match key.text {
            "format" => ("format", &mut self.format),
            "vdev" => ("vdev", &mut self.vdev),
            "access" => ("access", &mut self.access),
            "devtype" => ("devtype", &mut self.devtype),
            "backend" => ("backend", &mut self.backend),
            "backendtype" => ("backendtype", &mut self.backend_type),
            "script" => ("script", &mut self.script),
            "grant_usage" => ("grant_usage", &mut self.grant_usage),
            "specification" if value.text == "xen" => return,
            "specification" if value.text == "virtio" => {
                return faults.push(value.wrong("virtio disks are not supported yet"));
            }
            "specification" => {
                let message = format!("unknown specification \"{}\"", value.text);
                return faults
                    .push(value.wrong(message).help(known(value.text, &["xen", "virtio"])));
            }
            colo if COLO.contains(&colo) => {
                return faults.push(key.wrong("COLO disks are not supported yet"));
            }
            name => {
                let names: Vec<_> = PARAMETERS.into_iter().chain(FLAGS).collect();
                let fault = key
                    .wrong(format!("unknown disk parameter \"{name}\""))
                    .help(known(name, &names))
                    .grade(Grade::Unknown);
                return faults.push(fault);
            }
        };
        put(place, value, name, faults);
    }

    fn finish(&mut self, whole: Word<'a>) -> Option<Disk> {
        if self.given_up {
            return None;
        }
        if let Some(word) = self.format.filter(|word| Vdev::parse(word.text).is_some()) {
            let fault =
                word.wrong(format!("the vdev \"{}\" where the format must stand", word.text));
            self.faults
                .push(fault.help(
                    "the order is TARGET,FORMAT,VDEV,ACCESS: write a format (raw) before it",
                ));
            return None;
        }
        let cdrom = self.is_cdrom();
        let access = self.take_access(cdrom);
        let format = self.take_format(cdrom);
        let vdev = self.take_vdev(whole);
        let backend_type = self.backend_type.and_then(|word| {
            let found = BackendType::from_name(word.text);
            if found.is_none() {
                let message = format!("unknown backend type \"{}\"", word.text);
                self.faults.push(word.wrong(message).help(known(word.text, &BACKENDS)));
            }
            found
        });
        let target = self.target.filter(|word| !word.text.is_empty()).map(|word| word.text);
        if target.is_none() && !cdrom && self.faults.is_empty() {
            let fault = whole.wrong("this disk has no target: only a CD drive can be empty");
            self.faults.push(fault.help(DISK_FORM));
        }
        let script = match (self.script, self.prefix_script.take()) {
            (Some(word), _) => Some(word.text.to_owned()),
            (None, prefix) => prefix,
        };
        let grant_usage = self.grant_usage.and_then(|word| flag(word, &mut self.faults));
        Some(Disk {
            vdev: vdev?,
            target: target.map(str::to_owned),
            format: if target.is_none() { DiskFormat::Empty } else { format },
            access,
            cdrom,
            backend: self.backend.map(|word| word.text.to_owned()),
            backend_type,
            script,
            direct_io_safe: self.direct_io_safe,
            discard: self.discard,
            trusted: self.trusted,
            grant_usage,
        })
    }

    fn is_cdrom(&mut self) -> bool {
        match self.devtype {
            Some(word) if word.text == "cdrom" => true,
            Some(word) if word.text == "disk" => false,
            Some(word) => {
                let message = format!("unknown device type \"{}\"", word.text);
                self.faults.push(word.wrong(message).help(known(word.text, &["cdrom", "disk"])));
                false
            }
            None => self.cdrom,
        }
    }

    fn take_access(&mut self, cdrom: bool) -> Access {
        let access = match self.access {
            None => return if cdrom { Access::ReadOnly } else { Access::ReadWrite },
            Some(word) => match word.text {
                "r" | "ro" => Access::ReadOnly,
                "w" | "rw" => Access::ReadWrite,
                "w!" | "rw!" => Access::Shared,
                text => {
                    let fault = word.wrong(format!("unknown access \"{text}\""));
                    let help = known(&text.to_lowercase(), &ACCESSES);
                    self.faults.push(fault.help(help));
                    return Access::ReadOnly;
                }
            },
        };
        if cdrom { Access::ReadOnly } else { access }
    }

    fn take_format(&mut self, cdrom: bool) -> DiskFormat {
        let Some(word) = self.format else {
            return self.prefix_format.unwrap_or_default();
        };
        let Some(format) = DiskFormat::from_name(word.text) else {
            let fault = word.wrong(format!("unknown disk format \"{}\"", word.text));
            let help = known(word.text, &FORMATS);
            self.faults.push(fault.help(help));
            return DiskFormat::Raw;
        };
        if format == DiskFormat::Empty && !cdrom {
            self.faults.push(word.wrong("only a CD drive can be empty").help("add devtype=cdrom"));
        }
        format
    }

    fn take_vdev(&mut self, whole: Word<'a>) -> Option<Vdev> {
        let Some(word) = self.vdev else {
            if self.faults.is_empty() {
                let fault =
                    whole.wrong("this disk has no vdev: under which name the guest sees it");
                let help = if whole.text.contains("target=") {
                    "target= takes all that follows it: write it last"
                } else {
                    DISK_FORM
                };
                self.faults.push(fault.help(help));
            }
            return None;
        };
        let vdev = Vdev::parse(word.text);
        if vdev.is_none() {
            let help = match word.text.strip_prefix("vd") {
                Some(rest) if Vdev::parse(&format!("xvd{rest}")).is_some() => {
                    format!("did you mean \"xvd{rest}\"?")
                }
                _ => "names are xvda, xvda1, sda, hda, d0p1 and so on, or a number".to_owned(),
            };
            let message = format!("\"{}\" is no name of a virtual disk", word.text);
            self.faults.push(word.wrong(message).help(help));
        }
        vdev
    }
}

/// `hdc:cdrom` where the format stands: the old order without a prefix.
fn is_old_vdev(word: Word<'_>) -> bool {
    word.text
        .split_once(':')
        .is_some_and(|(vdev, kind)| Vdev::parse(vdev).is_some() && matches!(kind, "cdrom" | "disk"))
}

fn unknown_prefix(prefix: Word<'_>, after: Word<'_>) -> WordError {
    let name = prefix.text;
    let fault = prefix.wrong(format!("unknown prefix \"{name}:\" of a disk"));
    if after.text.starts_with("//") {
        return fault.help(
            "a target is a path in dom0, no URL; scripts take others: script=NAME, target=...",
        );
    }
    let names: Vec<_> =
        PREFIXES_IGNORED.into_iter().chain(["phy", "raw", "qcow", "qcow2", "vhd"]).collect();
    fault.help(known(name, &names))
}

fn put<'a>(place: &mut Option<Word<'a>>, word: Word<'a>, name: &str, faults: &mut Vec<WordError>) {
    match place {
        Some(earlier) if !earlier.text.is_empty() => {
            let message =
                format!("the {name} of this disk is given twice: it was \"{}\"", earlier.text);
            faults.push(word.wrong(message));
        }
        _ => *place = Some(word),
    }
}
