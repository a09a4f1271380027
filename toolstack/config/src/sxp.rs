//! The S-expressions that `xl create -n` and `xl list -l` print with `output_format="sxp"`.

use std::fmt::{Display, Write};

use crate::{BackendType, Disk, DiskFormat, DomainConfig, Vfb, Vif};

/// How libxl writes a truth of which nothing was said.
const UNSAID: &str = "<default>";

/// How C writes a text that is not there.
const NULL: &str = "(null)";

impl DomainConfig {
    /// The configuration as S-expressions; `domid`: of a running guest.
    pub fn to_sxp(&self, domid: Option<u16>) -> String {
        let mut out = Out { text: String::new(), domid };
        out.line(0, "(domain");
        out.field(1, "domid", out.domid());
        out.line(1, "(create_info)");
        for (name, value) in [("hvm", "0"), ("hap", UNSAID), ("oos", UNSAID), ("ssidref", "0")] {
            out.field(1, name, value);
        }
        out.field(1, "name", &self.name);
        let uuid = self.uuid.filter(|_| domid.is_some()).map(|uuid| uuid.to_string());
        out.field(1, "uuid", uuid.as_deref().unwrap_or("<unknown>"));
        if let Some(pool) = &self.pool {
            out.field(1, "cpupool", pool);
        }
        out.field(1, "xsdata", NULL);
        out.field(1, "platformdata", NULL);
        self.sxp_build(&mut out);
        for disk in &self.disks {
            out.disk(disk);
        }
        for vif in &self.vifs {
            out.vif(vif);
        }
        for (devid, vfb) in self.vfbs.iter().enumerate() {
            out.vfb(devid, vfb);
        }
        out.line(0, ")");
        out.text
    }

    fn sxp_build(&self, out: &mut Out) {
        out.line(1, "(build_info)");
        let shown = self.written.vcpus || self.written.max_vcpus || out.domid.is_some();
        out.field(1, "max_vcpus", if shown { self.max_vcpus } else { 0 });
        let frames = |frames: Option<u32>| frames.map_or("-1".to_owned(), |n| n.to_string());
        out.field(1, "max_grant_frames", frames(self.grants.max_frames));
        out.field(1, "max_maptrack_frames", frames(self.grants.max_maptrack_frames));
        out.field(1, "tsc_mode", self.tsc_mode.name());
        out.field(1, "max_memkb", self.max_memory_kib);
        out.field(1, "target_memkb", self.memory_kib);
        out.field(1, "nomigrate", truth(self.nomigrate));
        let Some(pv) = self.pv() else { return };
        if let Some(bootloader) = &pv.bootloader {
            out.field(1, "bootloader", bootloader);
            if !pv.bootloader_args.is_empty() {
                out.field(1, "bootloader_args", pv.bootloader_args.join(" "));
            }
        }
        out.line(1, "(image");
        out.field(2, "linux", 0);
        out.field(3, "kernel", text(&pv.kernel));
        out.field(3, "cmdline", text(&pv.cmdline));
        out.field(3, "ramdisk", text(&pv.ramdisk));
        out.field(3, "e820_host", truth(self.e820_host));
        // xl closes one parenthesis more than it opens here.
        out.line(2, ")");
        out.line(1, ")");
    }
}

fn truth(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "True",
        Some(false) => "False",
        None => UNSAID,
    }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or(NULL)
}

struct Out {
    text: String,
    domid: Option<u16>,
}

impl Out {
    fn domid(&self) -> String {
        self.domid.map_or("-1".to_owned(), |domid| domid.to_string())
    }

    fn line(&mut self, depth: usize, line: impl Display) {
        for _ in 0..depth {
            self.text.push('\t');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn field(&mut self, depth: usize, name: &str, value: impl Display) {
        self.line(depth, format_args!("({name} {value})"));
    }

    fn open(&mut self, kind: &str) {
        self.line(1, "(device");
        self.line(2, format_args!("({kind}"));
    }

    fn ends(&mut self) {
        self.field(3, "backend_domid", 0);
        self.field(3, "frontend_domid", self.domid());
    }

    fn close(&mut self) {
        self.line(2, ")");
        self.line(1, ")");
    }

    fn disk(&mut self, disk: &Disk) {
        self.open("tap");
        self.ends();
        // An empty drive's path is not there, or empty, by how the file said it.
        self.field(3, "physpath", text(&disk.target));
        let backend = match disk.backend_type {
            None => 0,
            Some(BackendType::Phy) => 1,
            Some(BackendType::Tap) => 2,
            Some(BackendType::Qdisk) => 3,
            Some(BackendType::Standalone) => 4,
        };
        self.field(3, "phystype", backend);
        self.field(3, "virtpath", &disk.vdev);
        self.field(3, "unpluggable", u8::from(disk.cdrom));
        self.field(3, "readwrite", u8::from(disk.access.writable()));
        self.field(3, "is_cdrom", u8::from(disk.cdrom || disk.format == DiskFormat::Empty));
        self.close();
    }

    fn vif(&mut self, vif: &Vif) {
        self.open("vif");
        if let Some(name) = &vif.vifname {
            self.field(3, "vifname", name);
        }
        self.ends();
        self.field(3, "devid", vif.devid.unwrap_or(0));
        self.field(3, "mtu", vif.mtu.unwrap_or(0));
        self.field(3, "model", text(&vif.model));
        self.field(3, "mac", vif.mac.unwrap_or_default().to_string().replace(':', ""));
        self.close();
    }

    fn vfb(&mut self, devid: usize, vfb: &Vfb) {
        self.open("vfb");
        self.ends();
        self.field(3, "devid", devid);
        self.field(3, "vnc", truth(vfb.vnc));
        self.field(3, "vnclisten", text(&vfb.vnc_listen));
        self.field(3, "vncdisplay", vfb.vnc_display.unwrap_or(0));
        self.field(3, "vncunused", truth(vfb.vnc_unused));
        self.field(3, "keymap", text(&vfb.keymap));
        self.field(3, "sdl", truth(vfb.sdl));
        self.field(3, "opengl", truth(vfb.opengl));
        self.field(3, "display", text(&vfb.display));
        self.field(3, "xauthority", text(&vfb.xauthority));
        self.close();
    }
}
