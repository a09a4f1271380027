//! From a [`Document`] to a [`DomainConfig`]: every key known, every value in its range, nothing
//! that contradicts itself. Nothing outside the document is looked at.

mod devices;
mod processors;
mod typed;
mod values;

use crate::document::{Document, Setting, ValueKind};
use crate::keys::{Guests, KEYS, Key};
use crate::{
    Action, Diagnostic, DomainConfig, Errors, Events, GrantVersion, Grants, Hvm, Kind, Pv, Pvh,
    Uuid, Written,
};
use values::{Found, number_of, truth_of};

/// What is let through with a warning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lax {
    /// Keys and parameters that are not known (`--lax`).
    pub unknown: bool,
}

/// A configuration that was found good, and what is worth saying about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validated {
    /// What the guest is to be.
    pub config: DomainConfig,
    /// Warnings.
    pub warnings: Vec<Diagnostic>,
}

/// Memory of a guest whose file says nothing, KiB: libxl's default.
pub(crate) const DEFAULT_MEMORY_KIB: u64 = 32 * 1024;

/// Longest name of a guest, bytes.
const MAX_NAME: usize = 255;

/// Where the images that `firmware=` names lie.
const FIRMWARE_DIR: &str = "/usr/lib/xen-4.20/boot";

/// Checks a document. All errors found are reported, warnings among them.
pub fn validate(document: &Document, lax: &Lax) -> Result<Validated, Errors> {
    let mut diagnostics = Vec::new();
    let settings = document.settle(&mut diagnostics);
    let mut check =
        Check { document, table: KEYS, settings, diagnostics, lax: *lax, meant: Vec::new() };
    let config = check.config();
    let (config, warnings) = check.end(config)?;
    Ok(Validated { config, warnings })
}

/// In the order of the places that they are about.
fn sorted(document: &Document, mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let source = |name: &str| document.sources.iter().position(|source| source.name == name);
    diagnostics.sort_by_key(|one| (source(&one.file), one.line, one.column));
    diagnostics
}

/// The validation of one document. After the pass over the table, `settings` holds only keys
/// that are known, of the right type and in range, so that taking a value cannot fail.
pub(crate) struct Check<'a> {
    document: &'a Document,
    table: &'static [Key],
    settings: Vec<Setting>,
    diagnostics: Vec<Diagnostic>,
    lax: Lax,
    /// Keys that are meant by such as are not known: they are not missing.
    meant: Vec<&'static str>,
}

/// Kind of guest as `type` and `builder` say it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Pv,
    Pvh,
    Hvm,
}

impl Type {
    fn words(self) -> &'static str {
        match self {
            Self::Pv => "PV",
            Self::Pvh => "PVH",
            Self::Hvm => "HVM",
        }
    }

    fn has(self, guests: Guests) -> bool {
        match self {
            Self::Pv => guests.pv(),
            Self::Pvh => !matches!(guests, Guests::Pv | Guests::Hvm | Guests::Arm),
            Self::Hvm => !matches!(guests, Guests::Pv | Guests::PvPvh | Guests::Pvh | Guests::Arm),
        }
    }
}

impl<'a> Check<'a> {
    /// A document held against a table that is not that of guests.
    pub(crate) fn of(document: &'a Document, table: &'static [Key], lax: Lax) -> Self {
        let mut diagnostics = Vec::new();
        let settings = document.settle(&mut diagnostics);
        let mut check = Self { document, table, settings, diagnostics, lax, meant: Vec::new() };
        check.typed(Type::Pv);
        check
    }

    /// What was made of the document with its warnings, or what is wrong with it.
    pub(crate) fn end<T>(self, made: T) -> Result<(T, Vec<Diagnostic>), Errors> {
        let diagnostics = sorted(self.document, self.diagnostics);
        if diagnostics.iter().any(Diagnostic::is_error) {
            Err(Errors(diagnostics))
        } else {
            Ok((made, diagnostics))
        }
    }
}

impl Check<'_> {
    fn config(&mut self) -> DomainConfig {
        let kind = self.guest_type();
        self.typed(kind);
        let name = self.name("the guest");
        let vcpus = self.small("vcpus");
        let max_vcpus = self.small("maxvcpus");
        let (memory_kib, max_memory_kib) = self.memory();
        let kind = self.kind(kind);
        let mut config = DomainConfig::new_pv(&name.unwrap_or_default(), memory_kib);
        config.kind = kind;
        config.max_memory_kib = max_memory_kib;
        config.written = Written {
            vcpus: vcpus.is_some(),
            max_vcpus: max_vcpus.is_some(),
            memory: self.has("memory") || self.has("maxmem"),
            placement: self.has("cpus_soft")
                || self.value("cpus").is_some_and(|v| matches!(v.kind, ValueKind::List(_))),
            host: true,
        };
        config.max_vcpus = max_vcpus.or(vcpus).unwrap_or(1);
        config.vcpus = vcpus.unwrap_or(1);
        if config.vcpus > config.max_vcpus {
            let message =
                format!("vcpus is {}, more than maxvcpus, {}", config.vcpus, config.max_vcpus);
            self.fail("vcpus", message, Some("raise maxvcpus, or lower vcpus"));
        }
        config.uuid = self.text("uuid").and_then(|text| {
            let uuid = text.parse::<Uuid>();
            if let Err(error) = &uuid {
                self.fail("uuid", error.to_string(), Some("leave uuid out: one is then drawn"));
            }
            uuid.ok()
        });
        config.weight = self.small("cpu_weight");
        config.cap = self.small("cap");
        self.limits(&mut config);
        config.events = self.events();
        self.processors(&mut config);
        self.devices(&mut config);
        config
    }

    fn limits(&self, config: &mut DomainConfig) {
        config.tsc_mode = self.tsc_mode();
        config.pool = self.text("pool");
        config.nomigrate = self.flag("nomigrate");
        config.driver_domain = self.flag("driver_domain");
        config.e820_host = self.flag("e820_host");
        config.max_event_channels = self.small("max_event_channels");
        config.grants = Grants {
            max_frames: self.small("max_grant_frames"),
            max_maptrack_frames: self.small("max_maptrack_frames"),
            max_version: self.number("max_grant_version").map(|version| match version {
                1 => GrantVersion::V1,
                _ => GrantVersion::V2,
            }),
        };
    }

    /// `type` and its old form `builder`. What is wrong with their types is said by the table's pass.
    fn guest_type(&mut self) -> Type {
        let by_name = |name: &str| match name {
            "" => None,
            name if "pv".starts_with(name) => Some(Type::Pv),
            name if "pvh".starts_with(name) => Some(Type::Pvh),
            name if "hvm".starts_with(name) => Some(Type::Hvm),
            _ => None,
        };
        let kind = self.text("type").as_deref().and_then(by_name);
        let builder = match self.text("builder").as_deref() {
            Some("hvm") => Some(Type::Hvm),
            Some("generic" | "linux") => Some(Type::Pv),
            _ => None,
        };
        if let (Some(kind), Some(builder)) = (kind, builder)
            && kind != builder
        {
            let message = format!("builder says {}, type says {}", builder.words(), kind.words());
            self.fail("builder", message, Some("leave builder out, it is the old form"));
        }
        kind.or(builder).unwrap_or(Type::Pv)
    }

    pub(crate) fn name(&mut self, what: &str) -> Option<String> {
        if !self.has("name") {
            // A name that was refused by its type is not missing.
            if !self.tried("name") {
                let error = Diagnostic::error(self.document.file(), format!("{what} has no name"));
                self.diagnostics.push(error.help("add: name = \"...\""));
            }
            return None;
        }
        let name = self.text("name")?;
        let wrong = if name.is_empty() {
            Some(format!("{what}'s name is empty"))
        } else if name.len() > MAX_NAME {
            Some(format!("{what}'s name has {} bytes, more than {MAX_NAME}", name.len()))
        } else {
            let forbidden = name.chars().find(|c| *c == '/' || c.is_control());
            forbidden.map(|c| format!("{what}'s name must not have {c:?} in it"))
        };
        if let Some(wrong) = wrong {
            self.fail("name", wrong, None);
            return None;
        }
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("commands take \"{name}\" for a number, not for a name");
            self.warn("name", message, None);
        }
        Some(name)
    }

    /// Target and maximum, KiB.
    fn memory(&mut self) -> (u64, u64) {
        let mib = |mib: u64| mib.saturating_mul(1024);
        let memory = self.number("memory").map(mib);
        let max = self.number("maxmem").map(mib);
        if memory.is_none() && max.is_none() && !self.tried("memory") {
            let message = format!(
                "no memory is given: the guest gets {} MiB, too little for most kernels",
                DEFAULT_MEMORY_KIB / 1024
            );
            let warning = Diagnostic::error(self.document.file(), message).warning();
            self.diagnostics.push(warning.help("add: memory = 512"));
        }
        let target = memory.or(max).unwrap_or(DEFAULT_MEMORY_KIB);
        let max = max.unwrap_or(target);
        if max < target {
            let message =
                format!("maxmem is {} MiB, less than memory, {} MiB", max / 1024, target / 1024);
            self.fail("maxmem", message, Some("leave maxmem out, or raise it"));
        }
        (target, max)
    }

    fn kind(&mut self, kind: Type) -> Kind {
        let kernel = self.text("kernel").filter(|path| !path.is_empty());
        let ramdisk = self.text("ramdisk").filter(|path| !path.is_empty());
        match kind {
            Type::Pv => Kind::Pv(self.pv(kernel, ramdisk)),
            Type::Pvh => {
                self.unsupported(kind);
                Kind::Pvh(Pvh { kernel, ramdisk, cmdline: self.cmdline() })
            }
            Type::Hvm => {
                self.unsupported(kind);
                Kind::Hvm(Hvm { boot: self.text("boot"), firmware: self.text("firmware") })
            }
        }
    }

    fn unsupported(&mut self, kind: Type) {
        let key = if self.has("type") { "type" } else { "builder" };
        let message = format!("{} guests are not supported yet", kind.words());
        let help = "PV guests are: leave type (and builder) out, and give a kernel or a bootloader";
        self.fail(key, message, Some(help));
    }

    fn pv(&mut self, kernel: Option<String>, ramdisk: Option<String>) -> Pv {
        let firmware = self.text("firmware").filter(|name| !name.is_empty());
        let kernel = match (kernel, firmware) {
            (Some(kernel), Some(_)) => {
                let message = "both kernel and firmware are given: the guest starts with one";
                self.fail("firmware", message.to_owned(), None);
                Some(kernel)
            }
            (None, Some(name)) if matches!(name.as_str(), "pvgrub32" | "pvgrub64") => {
                Some(format!("{FIRMWARE_DIR}/{name}.bin"))
            }
            (kernel, Some(name)) => {
                let message = format!("a PV guest has no firmware \"{name}\"");
                self.fail("firmware", message, Some("\"pvgrub64\" and \"pvgrub32\" are known"));
                kernel
            }
            (kernel, None) => kernel,
        };
        let bootloader = self.text("bootloader").filter(|program| !program.is_empty());
        if kernel.is_none() && bootloader.is_none() {
            let keys = ["kernel", "bootloader", "firmware"];
            let tried = keys.iter().any(|key| self.tried(key) && !self.empty(key));
            if !tried {
                let message = "the guest has neither a kernel nor a bootloader";
                let error = Diagnostic::error(self.document.file(), message);
                self.diagnostics.push(error.help(
                    "add: kernel = \"/path/to/vmlinuz\" (and ramdisk), or bootloader = \"pygrub\"",
                ));
            }
        }
        Pv {
            kernel,
            ramdisk,
            cmdline: self.cmdline(),
            bootloader,
            bootloader_args: self.texts("bootloader_args"),
            bootloader_restrict: self.flag("bootloader_restrict"),
            bootloader_user: self.text("bootloader_user"),
        }
    }

    /// `cmdline`, or `root=` and `extra` joined.
    fn cmdline(&mut self) -> Option<String> {
        let root = self.text("root");
        let extra = self.text("extra");
        if let Some(cmdline) = self.text("cmdline") {
            for key in ["root", "extra"] {
                if self.has(key) {
                    let message = format!("\"{key}\" has no effect beside \"cmdline\"");
                    self.warn(key, message, None);
                }
            }
            return Some(cmdline);
        }
        match (root, extra) {
            (Some(root), Some(extra)) => Some(format!("root={root} {extra}")),
            (Some(root), None) => Some(format!("root={root}")),
            (None, extra) => extra,
        }
    }

    fn tsc_mode(&self) -> crate::TscMode {
        use crate::TscMode::{AlwaysEmulate, Default, Native};
        let Some(value) = self.value("tsc_mode") else { return Default };
        match (value.text().and_then(crate::TscMode::from_name), number_of(value)) {
            (Some(mode), _) => mode,
            (None, Found::Number(1)) => AlwaysEmulate,
            (None, Found::Number(2)) => Native,
            _ => Default,
        }
    }

    fn events(&self) -> Events {
        let usual = Events::default();
        let action = |key: &str, usual: Action| {
            self.text(key).as_deref().and_then(Action::from_name).unwrap_or(usual)
        };
        Events {
            on_poweroff: action("on_poweroff", usual.on_poweroff),
            on_reboot: action("on_reboot", usual.on_reboot),
            on_watchdog: action("on_watchdog", usual.on_watchdog),
            on_crash: action("on_crash", usual.on_crash),
            on_soft_reset: action("on_soft_reset", usual.on_soft_reset),
        }
    }

    pub(crate) fn value(&self, key: &str) -> Option<&crate::Value> {
        self.settings.iter().find(|setting| setting.key == key).map(|setting| &setting.value)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.value(key).and_then(|value| values::text_of(self.document, value))
    }

    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        self.value(key).map(|value| values::texts_of(self.document, value)).unwrap_or_default()
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        match number_of(self.value(key)?) {
            Found::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(crate) fn small<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        self.number(key).and_then(|number| number.try_into().ok())
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.value(key).and_then(truth_of)
    }

    /// The file has the key, or one that stands for it, however wrong.
    fn tried(&self, key: &str) -> bool {
        self.document.value(key).is_some() || self.meant.contains(&key)
    }

    fn empty(&self, key: &str) -> bool {
        self.document.value(key).is_some_and(|value| value.text() == Some(""))
    }

    /// An error at a key's value.
    pub(crate) fn fail(&mut self, key: &str, message: String, help: Option<&str>) {
        let span = self.value(key).map_or(crate::Span::NOWHERE, |value| value.span);
        let mut error = self.document.error(span, message);
        error.help = help.map(str::to_owned);
        self.diagnostics.push(error);
    }

    /// A warning at a key's value.
    fn warn(&mut self, key: &str, message: String, help: Option<&str>) {
        self.fail(key, message, help);
        if let Some(last) = self.diagnostics.last_mut() {
            last.severity = crate::Severity::Warning;
        }
    }
}
