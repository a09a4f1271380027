//! Configurations from libxl's values.

mod devices;

use serde_json::{Map, Value};

use crate::{
    Action, CpuList, CpuSet, DeviceModel, DomainConfig, Events, GrantVersion, Grants, Kind, Pv,
    TscMode, Uuid, Written,
};

/// Why a configuration in libxl's form cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON.
    #[error("the configuration is no JSON")]
    Syntax(#[from] serde_json::Error),
    /// A field is missing.
    #[error("the configuration has no field {0}")]
    Missing(String),
    /// A field has a value that it cannot have.
    #[error("the field {field} cannot be {value}")]
    Wrong {
        /// Its path: `b_info.max_vcpus`.
        field: String,
        /// The value as JSON, cut after 80 characters.
        value: String,
    },
    /// A field asks for what is not supported yet.
    #[error("the configuration's {field} ({what}) is not supported yet")]
    Unsupported {
        /// Its path.
        field: String,
        /// What it is, in words.
        what: String,
    },
}

/// Most elements that a list of a configuration has.
const MAX_ITEMS: usize = 4096;

/// Device lists and the like that are refused while not empty.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("pcidevs", "PCI devices"),
    ("rdms", "reserved device memory"),
    ("dtdevs", "devices of the device tree"),
    ("virtios", "virtio devices"),
    ("vtpms", "virtual TPMs"),
    ("p9s", "shared file systems"),
    ("pvcallsifs", "PV sockets"),
    ("vdispls", "virtual displays"),
    ("vsnds", "virtual sound cards"),
    ("channels", "channels"),
    ("usbctrls", "USB controllers"),
    ("usbdevs", "USB devices"),
];

/// Fields of `b_info` that are refused while not empty.
const UNSUPPORTED_BUILD: &[(&str, &str)] = &[
    ("ioports", "I/O ports"),
    ("irqs", "interrupts"),
    ("iomem", "I/O memory"),
    ("cpuid", "changes to CPUID"),
    ("vnuma_nodes", "virtual NUMA nodes"),
];

/// A map with its path, for messages.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value, path: &str) -> Result<Self, JsonError> {
        match value {
            Value::Object(map) => Ok(Self { map, path: path.to_owned() }),
            other => Err(wrong(path, other)),
        }
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str) -> JsonError {
        wrong(&self.path(name), self.get(name).unwrap_or(&Value::Null))
    }

    fn map(&self, name: &str) -> Result<Option<Fields<'a>>, JsonError> {
        self.get(name).map(|value| Fields::of(value, &self.path(name))).transpose()
    }

    fn text(&self, name: &str) -> Result<Option<String>, JsonError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, JsonError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| number.try_into().ok());
        number.map(Some).ok_or_else(|| self.wrong(name))
    }

    /// "True" and "False", true and false, 1 and 0, "<default>".
    fn truth(&self, name: &str) -> Result<Option<bool>, JsonError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(*truth)),
            Some(Value::Number(number)) => Ok(Some(number.as_i64() != Some(0))),
            Some(Value::String(text)) => match text.as_str() {
                "True" => Ok(Some(true)),
                "False" => Ok(Some(false)),
                "<default>" => Ok(None),
                _ => Err(self.wrong(name)),
            },
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn list(&self, name: &str) -> Result<&'a [Value], JsonError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) if items.len() <= MAX_ITEMS => Ok(items),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, JsonError> {
        let texts = self.list(name)?.iter().map(|item| item.as_str().map(str::to_owned));
        texts.collect::<Option<_>>().ok_or_else(|| self.wrong(name))
    }

    /// Lists that must be empty.
    fn refuse(&self, names: &[(&str, &str)]) -> Result<(), JsonError> {
        for (name, what) in names {
            let empty = match self.get(name) {
                None => true,
                Some(Value::Array(items)) => items.is_empty(),
                Some(Value::Object(map)) => {
                    map.values().all(|value| value.as_array().is_some_and(Vec::is_empty))
                }
                Some(_) => false,
            };
            if !empty {
                return Err(JsonError::Unsupported {
                    field: self.path(name),
                    what: (*what).to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn wrong(field: &str, value: &Value) -> JsonError {
    JsonError::Wrong {
        field: if field.is_empty() { "(whole)".to_owned() } else { field.to_owned() },
        value: value.to_string().chars().take(80).collect(),
    }
}

pub(super) fn domain(value: &Value) -> Result<DomainConfig, JsonError> {
    let fields = Fields::of(value, "")?;
    let missing = |name: &str| JsonError::Missing(name.to_owned());
    let create = fields.map("c_info")?.ok_or_else(|| missing("c_info"))?;
    let build = fields.map("b_info")?.ok_or_else(|| missing("b_info"))?;
    match create.text("type")?.as_deref() {
        Some("pv") => {}
        Some(kind @ ("pvh" | "hvm")) => {
            let what = format!("{} guest", kind.to_uppercase());
            return Err(JsonError::Unsupported { field: create.path("type"), what });
        }
        Some(_) => return Err(create.wrong("type")),
        None => return Err(missing("c_info.type")),
    }
    fields.refuse(UNSUPPORTED)?;
    build.refuse(UNSUPPORTED_BUILD)?;
    let mut config = DomainConfig::new_pv(&create.text("name")?.unwrap_or_default(), 0);
    config.uuid = match create.text("uuid")? {
        Some(text) => Some(text.parse::<Uuid>().map_err(|_| create.wrong("uuid"))?),
        None => None,
    };
    config.pool = create.text("pool_name")?;
    config.driver_domain = create.truth("driver_domain")?;
    config.run_hotplug_scripts = create.truth("run_hotplug_scripts")?.unwrap_or(true);
    processors(&mut config, &build)?;
    memory(&mut config, &build)?;
    limits(&mut config, &build)?;
    boot(&mut config, &build)?;
    config.events = events(&fields)?;
    devices::all(&mut config, &fields)?;
    Ok(config)
}

fn processors(config: &mut DomainConfig, build: &Fields<'_>) -> Result<(), JsonError> {
    let max = build.number::<u32>("max_vcpus")?;
    let available = build.list("avail_vcpus")?;
    config.written = Written {
        vcpus: !available.is_empty(),
        max_vcpus: max.is_some(),
        memory: false,
        placement: build.truth("numa_placement")? == Some(false),
        host: build.get("claim_mode").is_some(),
    };
    config.max_vcpus = max.unwrap_or(1);
    if config.max_vcpus == 0 || config.max_vcpus > crate::MAX_CPU + 1 {
        return Err(build.wrong("max_vcpus"));
    }
    config.vcpus = u32::try_from(available.len().max(1)).map_err(|_| build.wrong("avail_vcpus"))?;
    if config.vcpus > config.max_vcpus {
        return Err(build.wrong("avail_vcpus"));
    }
    config.hard_affinity = affinity(build, "vcpu_hard_affinity")?;
    config.soft_affinity = affinity(build, "vcpu_soft_affinity")?;
    let tsc = build.text("tsc_mode")?;
    config.tsc_mode = match tsc.as_deref() {
        None => TscMode::Default,
        Some(name) => TscMode::from_name(name).ok_or_else(|| build.wrong("tsc_mode"))?,
    };
    if let Some(scheduler) = build.map("sched_params")? {
        config.weight = scheduler.number("weight")?;
        config.cap = scheduler.number("cap")?;
    }
    Ok(())
}

fn affinity(build: &Fields<'_>, name: &str) -> Result<Vec<CpuList>, JsonError> {
    let list = |item: &Value| -> Option<CpuList> {
        let cpus = item.as_array()?.iter().map(|cpu| {
            let cpu = u32::try_from(cpu.as_u64()?).ok()?;
            (cpu <= crate::MAX_CPU).then_some(cpu)
        });
        Some(CpuList::of(&cpus.collect::<Option<CpuSet>>()?))
    };
    let lists: Option<Vec<CpuList>> = build.list(name)?.iter().map(list).collect();
    lists.ok_or_else(|| build.wrong(name))
}

fn memory(config: &mut DomainConfig, build: &Fields<'_>) -> Result<(), JsonError> {
    let max = build.number::<u64>("max_memkb")?;
    let target = build.number::<u64>("target_memkb")?;
    config.written.memory = max.is_some() || target.is_some();
    let target = target.or(max).unwrap_or(crate::validate::DEFAULT_MEMORY_KIB);
    config.memory_kib = target;
    config.max_memory_kib = max.unwrap_or(target).max(target);
    Ok(())
}

fn limits(config: &mut DomainConfig, build: &Fields<'_>) -> Result<(), JsonError> {
    config.nomigrate = build.truth("disable_migrate")?;
    config.blkdev_start = build.text("blkdev_start")?;
    config.claim_mode = build.truth("claim_mode")?.unwrap_or(true);
    config.max_event_channels = build.number::<u32>("event_channels")?.filter(|max| *max != 0);
    config.grants = Grants {
        max_frames: build.number("max_grant_frames")?,
        max_maptrack_frames: build.number("max_maptrack_frames")?,
        max_version: match build.number::<u32>("max_grant_version")? {
            None => None,
            Some(1) => Some(GrantVersion::V1),
            Some(2) => Some(GrantVersion::V2),
            Some(_) => return Err(build.wrong("max_grant_version")),
        },
    };
    config.device_model = DeviceModel {
        program: build.text("device_model")?,
        args: build.texts("extra")?,
        args_pv: build.texts("extra_pv")?,
        user: build.text("device_model_user")?,
    };
    Ok(())
}

fn boot(config: &mut DomainConfig, build: &Fields<'_>) -> Result<(), JsonError> {
    // Older libxl kept some of these below `type.pv`.
    let kind = build.map("type.pv")?;
    let text = |name: &str| match build.text(name)? {
        Some(text) => Ok(Some(text)),
        None => kind.as_ref().map_or(Ok(None), |kind| kind.text(name)),
    };
    config.kind = Kind::Pv(Pv {
        kernel: text("kernel")?,
        ramdisk: text("ramdisk")?,
        cmdline: text("cmdline")?,
        bootloader: text("bootloader")?,
        bootloader_args: build.texts("bootloader_args")?,
        bootloader_restrict: build.truth("bootloader_restrict")?,
        bootloader_user: text("bootloader_user")?,
    });
    config.e820_host = kind.as_ref().map_or(Ok(None), |kind| kind.truth("e820_host"))?;
    Ok(())
}

fn events(fields: &Fields<'_>) -> Result<Events, JsonError> {
    let action = |name: &str| match fields.text(name)? {
        None => Ok(Action::Destroy),
        Some(text) => Action::ALL
            .into_iter()
            .find(|action| super::write::action_name(*action) == text)
            .ok_or_else(|| fields.wrong(name)),
    };
    Ok(Events {
        on_poweroff: action("on_poweroff")?,
        on_reboot: action("on_reboot")?,
        on_watchdog: action("on_watchdog")?,
        on_crash: action("on_crash")?,
        on_soft_reset: action("on_soft_reset")?,
    })
}
