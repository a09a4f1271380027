//! Configurations as libxl's values.

use serde_json::{Map, Value, json};

use super::JsonForm;
use crate::{
    Access, Action, CpuList, Disk, DomainConfig, Kind, Mac, Pv, TscMode, Vfb, Vif, VifType,
};

/// `INVALID_DOMID` as it stands in stored configurations.
const NO_DOMID: u64 = 0xffff_ffff;

/// A map that leaves out what has its default.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn some<T: Into<Value>>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// libxl's "defbool": left out where nothing was said.
    fn truth(&mut self, name: &str, value: Option<bool>) {
        self.some(name, value.map(|truth| if truth { "True" } else { "False" }));
    }

    fn list(&mut self, name: &str, values: Vec<Value>) {
        if !values.is_empty() {
            self.set(name, values);
        }
    }

    fn texts(&mut self, name: &str, texts: &[String]) {
        self.list(name, texts.iter().map(|text| json!(text)).collect());
    }

    fn value(self) -> Value {
        Value::Object(self.0)
    }
}

pub(super) fn domain(config: &DomainConfig, form: JsonForm) -> Value {
    let mut fields = Fields::default();
    fields.set("c_info", create_info(config, form));
    fields.set("b_info", build_info(config, form));
    fields.list("disks", config.disks.iter().map(|item| disk(item, form)).collect());
    fields.list("nics", config.vifs.iter().map(|item| vif(item, form)).collect());
    let vfbs = (0_u32..).zip(&config.vfbs);
    fields.list("vfbs", vfbs.map(|(devid, item)| vfb(devid, item)).collect());
    let count = u32::try_from(config.vfbs.len()).unwrap_or(u32::MAX);
    fields.list("vkbs", (0..count).map(|devid| json!({ "devid": devid })).collect());
    let events = config.events;
    for (name, action) in [
        ("on_poweroff", events.on_poweroff),
        ("on_reboot", events.on_reboot),
        ("on_watchdog", events.on_watchdog),
        ("on_crash", events.on_crash),
        ("on_soft_reset", events.on_soft_reset),
    ] {
        if action != Action::Destroy {
            fields.set(name, action_name(action));
        }
    }
    fields.value()
}

/// libxl's name of an action: underscores, and one in another order.
pub(super) fn action_name(action: Action) -> String {
    match action {
        Action::RenameRestart => "restart_rename".to_owned(),
        action => action.name().replace('-', "_"),
    }
}

fn create_info(config: &DomainConfig, form: JsonForm) -> Value {
    let mut fields = Fields::default();
    fields.set("type", kind_name(&config.kind));
    if !config.name.is_empty() {
        fields.set("name", config.name.as_str());
    }
    if form == JsonForm::Stored {
        fields.set("domid", NO_DOMID);
    }
    fields.some("uuid", config.uuid.map(|uuid| uuid.to_string()));
    fields.some("pool_name", config.pool.as_deref());
    fields.truth("run_hotplug_scripts", config.written.host.then_some(config.run_hotplug_scripts));
    fields.truth("driver_domain", config.driver_domain);
    fields.value()
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Pv(_) => "pv",
        Kind::Pvh(_) => "pvh",
        Kind::Hvm(_) => "hvm",
    }
}

fn build_info(config: &DomainConfig, form: JsonForm) -> Value {
    let stored = form == JsonForm::Stored;
    let written = config.written;
    let mut fields = Fields::default();
    if stored || written.vcpus || written.max_vcpus {
        fields.set("max_vcpus", config.max_vcpus);
    }
    if stored || written.vcpus {
        fields.set("avail_vcpus", (0..config.vcpus).map(Value::from).collect::<Vec<_>>());
    }
    fields.list("vcpu_hard_affinity", affinity(&config.hard_affinity));
    fields.list("vcpu_soft_affinity", affinity(&config.soft_affinity));
    if written.placement {
        fields.truth("numa_placement", Some(false));
    }
    if config.tsc_mode != TscMode::Default {
        fields.set("tsc_mode", config.tsc_mode.name());
    }
    if stored || written.memory {
        fields.set("max_memkb", config.max_memory_kib);
        fields.set("target_memkb", config.memory_kib);
    }
    if stored {
        fields.set("video_memkb", 0);
    }
    fields.truth("disable_migrate", config.nomigrate);
    fields.some("blkdev_start", config.blkdev_start.as_deref());
    fields.some("max_grant_frames", config.grants.max_frames);
    fields.some("max_maptrack_frames", config.grants.max_maptrack_frames);
    fields.some("max_grant_version", config.grants.max_version.map(|version| version.number()));
    let model = &config.device_model;
    fields.some("device_model", model.program.as_deref());
    fields.some("device_model_user", model.user.as_deref());
    fields.texts("extra", &model.args);
    fields.texts("extra_pv", &model.args_pv);
    let mut scheduler = Fields::default();
    scheduler.some("weight", config.weight);
    scheduler.some("cap", config.cap);
    fields.set("sched_params", scheduler.value());
    fields.truth("claim_mode", written.host.then_some(config.claim_mode));
    fields.some("event_channels", config.max_event_channels);
    if let Some(pv) = config.pv() {
        boot(&mut fields, pv);
    }
    let mut kind = Fields::default();
    kind.truth("e820_host", config.e820_host);
    fields.set(&format!("type.{}", kind_name(&config.kind)), kind.value());
    fields.set("arch_arm", json!({}));
    fields.set("arch_x86", if stored { json!({ "msr_relaxed": "False" }) } else { json!({}) });
    fields.value()
}

fn boot(fields: &mut Fields, pv: &Pv) {
    fields.some("kernel", pv.kernel.as_deref());
    fields.some("cmdline", pv.cmdline.as_deref());
    fields.some("ramdisk", pv.ramdisk.as_deref());
    fields.some("bootloader", pv.bootloader.as_deref());
    fields.texts("bootloader_args", &pv.bootloader_args);
    fields.truth("bootloader_restrict", pv.bootloader_restrict);
    fields.some("bootloader_user", pv.bootloader_user.as_deref());
}

/// The CPUs of each vCPU; nothing where a list still depends on the host.
fn affinity(lists: &[CpuList]) -> Vec<Value> {
    let sets: Option<Vec<Value>> = lists
        .iter()
        .map(|list| Some(Value::from(list.fixed()?.iter().collect::<Vec<_>>())))
        .collect();
    sets.unwrap_or_default()
}

fn disk(disk: &Disk, form: JsonForm) -> Value {
    let mut fields = Fields::default();
    fields.some("backend_domname", disk.backend.as_deref());
    fields.some("pdev_path", disk.target.as_deref());
    fields.set("vdev", disk.vdev.name());
    fields.some("backend", disk.backend_type.map(|kind| kind.name()));
    fields.set("format", disk.format.name());
    fields.some("script", disk.script.as_deref());
    if disk.cdrom {
        fields.set("removable", 1);
    }
    if disk.access.writable() {
        fields.set("readwrite", 1);
    }
    if disk.cdrom {
        fields.set("is_cdrom", 1);
    }
    if disk.direct_io_safe {
        fields.set("direct_io_safe", true);
    }
    fields.truth("discard_enable", disk.discard);
    if form == JsonForm::Stored {
        fields.truth("colo_restore_enable", Some(false));
    }
    fields.truth("trusted", disk.trusted);
    fields.truth("grant_usage", disk.grant_usage);
    // Ours: libxl has no word for it and passes it over.
    fields.truth("shared", (disk.access == Access::Shared).then_some(true));
    fields.value()
}

fn vif(vif: &Vif, form: JsonForm) -> Value {
    let mut fields = Fields::default();
    fields.some("backend_domname", vif.backend.as_deref());
    fields.some("devid", vif.devid);
    fields.some("mtu", vif.mtu);
    fields.some("vlan", vif.vlan.as_deref());
    fields.some("model", vif.model.as_deref());
    let mac = vif.mac.filter(|mac: &Mac| !mac.is_zero());
    fields.some("mac", mac.map(|mac| mac.to_string()));
    fields.some("ip", vif.ip.as_deref());
    fields.some("bridge", vif.bridge.as_deref());
    fields.some("ifname", vif.vifname.as_deref());
    fields.some("script", vif.script.as_deref());
    let kind = match form {
        JsonForm::Parsed => vif.kind,
        JsonForm::Stored => Some(vif.kind.unwrap_or(VifType::Vif)),
    };
    fields.some("nictype", kind.map(VifType::json_name));
    fields.some("rate_bytes_per_interval", vif.rate.map(|rate| rate.bytes));
    fields.some("rate_interval_usecs", vif.rate.map(|rate| rate.interval_usecs));
    fields.some("gatewaydev", vif.gatewaydev.as_deref());
    fields.truth("trusted", vif.trusted);
    fields.value()
}

fn vfb(devid: u32, vfb: &Vfb) -> Value {
    let mut vnc = Fields::default();
    vnc.truth("enable", vfb.vnc);
    vnc.some("listen", vfb.vnc_listen.as_deref());
    vnc.some("passwd", vfb.vnc_password.as_deref());
    vnc.some("display", vfb.vnc_display.filter(|display| *display != 0));
    vnc.truth("findunused", vfb.vnc_unused);
    let mut sdl = Fields::default();
    sdl.truth("enable", vfb.sdl);
    sdl.truth("opengl", vfb.opengl);
    sdl.some("display", vfb.display.as_deref());
    sdl.some("xauthority", vfb.xauthority.as_deref());
    let mut fields = Fields::default();
    fields.set("devid", devid);
    fields.set("vnc", vnc.value());
    fields.set("sdl", sdl.value());
    fields.some("keymap", vfb.keymap.as_deref());
    fields.value()
}
