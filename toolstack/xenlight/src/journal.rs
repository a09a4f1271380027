//! What is under way: a file for each guest that is being created, so that the next run of a tool can
//! clean up after one that was killed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::process::Process;

/// How far a creation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The domain is incomplete.
    Building,
    /// All is done but the start: what is left paused is incomplete, what runs is whole.
    Starting,
    /// A running guest gets a disk: only loop devices may be left over.
    Attaching,
}

/// A creation under way, or that was when its creator died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who creates.
    pub creator: Process,
    /// The guest's UUID, which the hypervisor has from the first moment on.
    pub uuid: String,
    /// The guest's name.
    pub name: String,
    /// Its number, once there is one.
    pub domid: Option<u16>,
    /// How far.
    pub stage: Stage,
    /// Files that get loop devices.
    #[serde(default)]
    pub images: Vec<PathBuf>,
    /// Loop devices that were attached to something before.
    #[serde(default)]
    pub loops_before: Vec<PathBuf>,
}

/// The file of a creation under way; removed when dropped.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    entry: Entry,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct JournalError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

const PREFIX: &str = "creating.";

impl Journal {
    /// Says that a guest is going to be created by this process.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn begin(folder: &Path, uuid: &str, name: &str) -> Result<Self, JournalError> {
        Self::new(folder, uuid, name, Stage::Building)
    }

    /// Says that a running guest is going to get a disk.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn attach(
        folder: &Path,
        domid: u16,
        vdev: &str,
        images: Vec<PathBuf>,
        before: Vec<PathBuf>,
    ) -> Result<Self, JournalError> {
        let name = format!("disk {vdev} of domain {domid}");
        let mut journal = Self::new(folder, &format!("{domid}-{vdev}"), &name, Stage::Attaching)?;
        journal.attaching(images, before)?;
        Ok(journal)
    }

    fn new(folder: &Path, uuid: &str, name: &str, stage: Stage) -> Result<Self, JournalError> {
        let entry = Entry {
            creator: Process::own(),
            uuid: uuid.to_owned(),
            name: name.to_owned(),
            domid: None,
            stage,
            images: Vec::new(),
            loops_before: Vec::new(),
        };
        let path = folder.join(format!("{PREFIX}{uuid}"));
        std::fs::create_dir_all(folder)
            .map_err(|source| JournalError { path: folder.to_owned(), source })?;
        let journal = Self { path, entry };
        journal.write()?;
        Ok(journal)
    }

    /// Says that the guest has a number.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn numbered(&mut self, domid: u16) -> Result<(), JournalError> {
        self.entry.domid = Some(domid);
        self.write()
    }

    /// Says that files are going to get loop devices, and which loop devices there are now.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn attaching(
        &mut self,
        images: Vec<PathBuf>,
        before: Vec<PathBuf>,
    ) -> Result<(), JournalError> {
        self.entry.images = images;
        self.entry.loops_before = before;
        self.write()
    }

    /// Says that the guest is complete and is going to be started.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn starting(&mut self) -> Result<(), JournalError> {
        self.entry.stage = Stage::Starting;
        self.write()
    }

    fn write(&self) -> Result<(), JournalError> {
        let failed = |source| JournalError { path: self.path.clone(), source };
        let text = serde_json::to_string(&self.entry).map_err(|e| failed(e.into()))?;
        let beside = self.path.with_file_name(format!(".{}.new", self.entry.uuid));
        std::fs::write(&beside, text).map_err(failed)?;
        std::fs::rename(&beside, &self.path).map_err(failed)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // What is left is found stale later: nothing breaks.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Entries whose creator has ended, with their files; files that cannot be read count as none.
pub fn abandoned(folder: &Path) -> Vec<(PathBuf, Entry)> {
    let mut found = Vec::new();
    let Ok(files) = std::fs::read_dir(folder) else { return found };
    for file in files.flatten() {
        if !file.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = file.path();
        let entry = std::fs::read(&path).ok();
        let entry = entry.and_then(|text| serde_json::from_slice::<Entry>(&text).ok());
        if let Some(entry) = entry.filter(|entry| !entry.creator.alive()) {
            found.push((path, entry));
        }
    }
    found
}

/// UUIDs of guests that a living process is creating.
pub fn under_way(folder: &Path) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let entries = files.flatten().filter_map(|file| {
        if !file.file_name().to_string_lossy().starts_with(PREFIX) {
            return None;
        }
        serde_json::from_slice::<Entry>(&std::fs::read(file.path()).ok()?).ok()
    });
    entries.filter(|entry| entry.creator.alive()).map(|entry| entry.uuid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_is_abandoned_when_its_creator_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(dir.path(), "u-1", "guest").unwrap();
        journal.numbered(7).unwrap();
        assert_eq!(abandoned(dir.path()), vec![]);
        assert_eq!(under_way(dir.path()), vec!["u-1".to_owned()]);

        journal.entry.creator.start += 1;
        journal.starting().unwrap();
        let found = abandoned(dir.path());
        assert_eq!(under_way(dir.path()), Vec::<String>::new());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.domid, Some(7));
        assert_eq!(found[0].1.stage, Stage::Starting);
        drop(journal);
        assert_eq!(abandoned(dir.path()), vec![]);
    }
}
