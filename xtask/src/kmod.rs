//! Kernel modules of the distribution, with what they depend on, for an image.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cpio::Archive;
use crate::{elf, process};

const UNPACK_LIMIT: Duration = Duration::from_secs(60);

/// The module tree of one kernel package.
pub struct Modules {
    /// `lib/modules/VERSION` of the package.
    folder: PathBuf,
    /// Kernel release, the folder's own name.
    release: String,
    /// Path below `folder` for each module, by its name with `-` written as `_`.
    paths: BTreeMap<String, String>,
    /// Names of what is part of the kernel image.
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Finds the modules of the unpacked kernel package at `root`.
    pub fn new(root: &Path) -> Result<Self> {
        let base = ["usr/lib/modules", "lib/modules"].map(|sub| root.join(sub));
        let base = base
            .into_iter()
            .find(|dir| dir.is_dir())
            .context("a kernel package without modules")?;
        let folder = crate::anchors::find_one(&base, "")?;
        let release = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let builtin =
            fs::read_to_string(folder.join("modules.builtin")).context("read modules.builtin")?;
        let builtin = builtin.lines().map(name_of).collect();
        let mut modules = Self { folder, release, paths: BTreeMap::new(), builtin };
        let top = modules.folder.clone();
        modules.scan(&top)?;
        Ok(modules)
    }

    fn scan(&mut self, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_symlink() {
                continue;
            } else if path.is_dir() {
                self.scan(&path)?;
            } else if name.contains(".ko") {
                let below =
                    path.strip_prefix(&self.folder).context("a module outside its folder")?;
                self.paths.insert(name_of(&name), below.to_string_lossy().into_owned());
            }
        }
        Ok(())
    }

    /// Puts the named modules and their dependencies into `archive`, uncompressed, with a
    /// `modules.dep` that busybox's modprobe reads. Names that are built in are left out.
    pub fn add(&self, archive: &mut Archive, names: &[&str]) -> Result<()> {
        let mut done = BTreeMap::new();
        for name in names {
            self.add_one(archive, &name.replace('-', "_"), &mut done)?;
        }
        let mut table = String::new();
        for (path, needs) in done.values().flatten() {
            writeln!(
                table,
                "{path}:{}",
                needs.iter().map(|need| format!(" {need}")).collect::<String>()
            )?;
        }
        archive.file(&format!("usr/lib/modules/{}/modules.dep", self.release), table, false);
        Ok(())
    }

    /// Answers the path in the image of `name` (none when built in) and, in load order with the
    /// nearest first, of all it needs.
    fn add_one(
        &self,
        archive: &mut Archive,
        name: &str,
        done: &mut BTreeMap<String, Option<(String, Vec<String>)>>,
    ) -> Result<Option<(String, Vec<String>)>> {
        if let Some(known) = done.get(name) {
            return Ok(known.clone());
        }
        if self.builtin.contains(name) {
            done.insert(name.to_owned(), None);
            return Ok(None);
        }
        let packed = self
            .paths
            .get(name)
            .with_context(|| format!("kernel {} has no module {name}", self.release))?;
        let bytes = read_module(&self.folder.join(packed))?;
        let path = packed.split(".ko").next().unwrap_or(packed).to_owned() + ".ko";
        let mut needs: Vec<String> = Vec::new();
        for list in elf::modinfo(&bytes, "depends").with_context(|| format!("module {name}"))? {
            for need in list.split(',').filter(|need| !need.is_empty()) {
                let below = self.add_one(archive, &need.replace('-', "_"), done)?;
                for item in below.into_iter().flat_map(|(path, more)| [vec![path], more].concat()) {
                    // A later place in the list is loaded earlier.
                    needs.retain(|known| *known != item);
                    needs.push(item);
                }
            }
        }
        archive.file(&format!("usr/lib/modules/{}/{path}", self.release), bytes, false);
        let entry = Some((path, needs));
        done.insert(name.to_owned(), entry.clone());
        Ok(entry)
    }
}

fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

fn read_module(path: &Path) -> Result<Vec<u8>> {
    let what = format!("decompress {}", path.display());
    let program = match path.extension().and_then(|ext| ext.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).with_context(|| format!("read {}", path.display())),
    };
    process::capture_bytes(Command::new(program).arg("-dcq").arg(path), UNPACK_LIMIT, &what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_known_by_its_file_name_with_underscores() {
        assert_eq!(name_of("kernel/drivers/xen/xen-evtchn.ko.xz"), "xen_evtchn");
        assert_eq!(name_of("virtio.ko"), "virtio");
    }
}
