//! A running guest to a file, whole: `xl save`.

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::DomainInfo;
use xenstore::Access;
use xl_config::DomainConfig;

use super::under_way::{Journal, refuse_second};
use super::{Error, Progress, resume, suspend, write};
use crate::{Context, life, userdata};

/// What becomes of a guest that has been saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// It ends.
    #[default]
    Destroy,
    /// It goes on.
    Resume,
    /// It stays, paused; `xl unpause` lets it go on.
    Pause,
}

/// How to save.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What becomes of the guest.
    pub after: After,
    /// The configuration that goes into the file; `None`: the stored one.
    pub config: Option<DomainConfig>,
}

/// A guest that has been saved.
#[derive(Debug)]
pub struct Saved {
    /// Bytes of the file.
    pub bytes: u64,
    /// What is left of the guest, where it was to end.
    pub remains: life::Remains,
}

/// Saves a guest. Until the file is complete it has another name beside `path`; if saving fails, that is
/// removed, a file that was at `path` before is still there, and the guest goes on.
///
/// # Errors
/// [`Error`]
pub fn guest(
    cx: &mut Context,
    domid: u16,
    path: &Path,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Saved, Error> {
    let info = check(cx, domid)?;
    let config = config(cx, domid, options.config.as_ref())?;
    progress.header(config.len() + 5);
    let target = Target::open(path, info.pages)?;
    let beside = target.beside.as_deref();
    let mut journal = Journal::begin(&cx.paths.run, domid, info.handle, beside, options.after)?;
    journal.asking()?;
    suspend(&cx.xen, &mut cx.store, domid)?;
    let bytes = match target.fill(cx, domid, &config, &mut journal, progress) {
        Ok(bytes) => bytes,
        Err(error) => return Err(go_on(cx, domid, error)),
    };
    let mut remains = life::Remains::default();
    match options.after {
        After::Destroy => {
            remains = life::destroy(cx, domid).map_err(|source| Error::Life(Box::new(source)))?;
        }
        After::Resume => resume(&cx.xen, &mut cx.store, domid)?,
        After::Pause => {
            cx.xen.pause(domid)?;
            resume(&cx.xen, &mut cx.store, domid)?;
        }
    }
    Ok(Saved { bytes, remains })
}

/// Refuses what cannot be saved, before it is asked to suspend.
fn check(cx: &Context, domid: u16) -> Result<DomainInfo, Error> {
    if domid == 0 {
        return Err(Error::Domain0);
    }
    let info = cx.xen.domain_info(domid)?.filter(|info| !info.dying);
    let info = info.ok_or(Error::NoSuchDomain(domid))?;
    super::supported(&cx.xen, &info)?;
    refuse_second(&cx.paths.run, domid, info.handle)?;
    if info.paused && info.shutdown.is_none() {
        return Err(Error::Paused(domid));
    }
    Ok(info)
}

/// What the file says of the guest: the stored configuration, with the memory that it has by now.
fn config(cx: &mut Context, domid: u16, given: Option<&DomainConfig>) -> Result<String, Error> {
    let mut config = match given {
        Some(config) => config.clone(),
        None => userdata::load(cx, domid)?.ok_or(Error::NoConfig(domid))?,
    };
    if config.nomigrate == Some(true) {
        return Err(Error::NoMigrate(domid));
    }
    let home = format!("/local/domain/{domid}");
    if let Some(name) = cx.store.try_read(&format!("{home}/name"))? {
        config.name = name;
    }
    let target = cx.store.try_read(&format!("{home}/memory/target"))?;
    if let Some(kib) = target.and_then(|kib| kib.parse().ok()) {
        config.memory_kib = kib;
    }
    Ok(config.to_stored_json())
}

/// Lets the guest go on whose saving failed; why that failed, or both.
fn go_on(cx: &mut Context, domid: u16, error: Error) -> Error {
    match resume(&cx.xen, &mut cx.store, domid) {
        Ok(()) => error,
        Err(second) => Error::Stuck { domid, why: Box::new(error), source: Box::new(second) },
    }
}

/// Where the guest is written to.
struct Target {
    file: File,
    path: PathBuf,
    /// The name until it is complete; `None` for a pipe or device, which is written as it is.
    beside: Option<PathBuf>,
}

impl Target {
    fn open(path: &Path, pages: u64) -> Result<Target, Error> {
        let failed = |source| Error::Open { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.write(true);
        // What a link leads to is replaced, not the link.
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let special = path.metadata().is_ok_and(|found| {
            let kind = found.file_type();
            kind.is_fifo() || kind.is_char_device() || kind.is_block_device() || kind.is_dir()
        });
        if special {
            let file = options.open(path).map_err(failed)?;
            return Ok(Target { file, path: path.to_owned(), beside: None });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".incomplete");
        let beside = path.with_file_name(name);
        // A guest's memory has its secrets in it. What is left of an earlier try is of no use.
        let _ = std::fs::remove_file(&beside);
        let file = options.create_new(true).mode(0o600).open(&beside).map_err(failed)?;
        let target = Target { file, path: path.to_owned(), beside: Some(beside) };
        target.room(pages)?;
        Ok(target)
    }

    /// Refuses a file system that is too small, before the guest stops.
    fn room(&self, pages: u64) -> Result<(), Error> {
        // A file system that does not say is tried.
        let Ok(found) = rustix::fs::fstatvfs(&self.file) else { return Ok(()) };
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let wanted = pages.saturating_mul(4096);
        if free < wanted {
            let path = self.path.clone();
            return Err(Error::NoSpace { path, wanted_mib: wanted >> 20, free_mib: free >> 20 });
        }
        Ok(())
    }

    fn fill(
        mut self,
        cx: &Context,
        domid: u16,
        config: &str,
        journal: &mut Journal,
        progress: &mut dyn Progress,
    ) -> Result<u64, Error> {
        let buffered = BufWriter::with_capacity(1 << 20, &self.file);
        let (_, bytes) = write(&cx.xen, domid, config, buffered, progress)?;
        if let Some(beside) = &self.beside {
            let failed = |source| Error::Open { path: self.path.clone(), source };
            self.file.sync_all().map_err(failed)?;
            journal.written()?;
            std::fs::rename(beside, &self.path).map_err(failed)?;
            self.beside = None;
        } else {
            journal.written()?;
        }
        Ok(bytes)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // What is told is why saving failed.
            let _ = std::fs::remove_file(beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_given_up_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest.save");
        std::fs::write(&path, "old").unwrap();
        drop(Target::open(&path, 1).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_and_the_file_that_it_leads_to_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let target = Target::open(&link, 1).unwrap();
        assert_eq!(target.path, file.canonicalize().unwrap());
        assert!(dir.path().join("real.incomplete").exists());
    }

    #[test]
    fn a_guest_larger_than_the_file_system_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest.save");
        let error = Target::open(&path, 1 << 50).err().unwrap().to_string();
        assert!(error.contains("needs 4398046511104 MiB"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_told_with_the_files_name() {
        let error = Target::open(Path::new("/nowhere/guest.save"), 1).err().unwrap();
        assert_eq!(error.to_string(), "cannot write /nowhere/guest.save");
    }
}
