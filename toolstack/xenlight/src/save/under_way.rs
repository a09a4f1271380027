//! Saves under way: a file for each, so that a guest whose saver was killed does not stay suspended.
//!
//! [`rescue`] lets such a guest go on and removes the file that was begun. Where the file was complete and
//! the guest was to end, it ends: two copies of it must not use its disks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenstore::Access;

use super::{After, Error, resume, suspend};
use crate::process::Process;
use crate::{Context, life, wait};

/// How long a guest that has seen the request is waited for to suspend.
const SUSPENDS: Duration = Duration::from_secs(10);
const PREFIX: &str = "saving.";

/// How far a save has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// The guest runs and was not asked to suspend.
    Begun,
    /// It was asked, and may have suspended.
    Asked,
    /// All is written: the file has its own name, or gets it next.
    Written,
}

/// A save under way, or that was when its saver died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    saver: Process,
    domid: u16,
    /// The guest's UUID: a number is used again.
    handle: [u8; 16],
    /// The file until it is complete; `None` for a pipe or device.
    beside: Option<PathBuf>,
    after: After,
    stage: Stage,
}

/// The file of a save under way; removed when dropped.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    entry: Entry,
}

/// A guest whose saver was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandoned {
    path: PathBuf,
    entry: Entry,
}

impl Abandoned {
    /// The guest's number.
    pub fn domid(&self) -> u16 {
        self.entry.domid
    }

    /// The process that saved it.
    pub fn saver(&self) -> u32 {
        self.entry.saver.pid
    }
}

/// What became of a guest whose saver was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescued {
    /// It goes on; what there was of its file is removed.
    Resumed,
    /// Its file is complete: it was ended, as was asked for.
    Ended,
    /// It had gone already.
    Gone,
}

impl Journal {
    /// Says that this process is going to save a guest.
    ///
    /// # Errors
    /// [`Error::BeingSaved`], [`Error::Open`].
    pub fn begin(
        run: &Path,
        domid: u16,
        handle: [u8; 16],
        beside: Option<&Path>,
        after: After,
    ) -> Result<Self, Error> {
        refuse_second(run, domid, handle)?;
        let path = run.join(format!("{PREFIX}{domid}"));
        std::fs::create_dir_all(run)
            .map_err(|source| Error::Open { path: run.to_owned(), source })?;
        let (saver, beside) = (Process::own(), beside.map(Path::to_owned));
        let entry = Entry { saver, domid, handle, beside, after, stage: Stage::Begun };
        let journal = Self { path, entry };
        journal.write()?;
        Ok(journal)
    }

    /// Says that the guest is going to be asked to suspend.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn asking(&mut self) -> Result<(), Error> {
        self.stage(Stage::Asked)
    }

    /// Says that the file is complete, but for its name.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn written(&mut self) -> Result<(), Error> {
        self.stage(Stage::Written)
    }

    fn stage(&mut self, stage: Stage) -> Result<(), Error> {
        self.entry.stage = stage;
        self.write()
    }

    fn write(&self) -> Result<(), Error> {
        let failed = |source| Error::Open { path: self.path.clone(), source };
        let text = serde_json::to_string(&self.entry).map_err(|e| failed(e.into()))?;
        let beside = self.path.with_file_name(format!(".{PREFIX}{}.new", self.entry.domid));
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

/// Says no where another process saves the guest.
///
/// # Errors
/// [`Error::BeingSaved`].
pub(super) fn refuse_second(run: &Path, domid: u16, handle: [u8; 16]) -> Result<(), Error> {
    let entry = read(&run.join(format!("{PREFIX}{domid}")));
    match entry.filter(|entry| entry.handle == handle && entry.saver.alive()) {
        Some(entry) => Err(Error::BeingSaved { domid, pid: entry.saver.pid }),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Option<Entry> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Saves whose process has ended before it was done.
pub fn abandoned(run: &Path) -> Vec<Abandoned> {
    let Ok(files) = std::fs::read_dir(run) else { return Vec::new() };
    let found = files.flatten().filter_map(|file| {
        file.file_name().to_str()?.strip_prefix(PREFIX)?;
        let path = file.path();
        let entry = read(&path).filter(|entry| !entry.saver.alive())?;
        Some(Abandoned { path, entry })
    });
    found.collect()
}

/// The abandoned save of one guest.
pub fn abandoned_of(run: &Path, domid: u16) -> Option<Abandoned> {
    abandoned(run).into_iter().find(|found| found.entry.domid == domid)
}

/// Lets a guest go on whose saver was killed, or ends it where its file was complete and it was to end.
/// The caller holds the lock of creations, so that two do not do it at once.
///
/// # Errors
/// [`Error`]; the next who looks tries again.
pub fn rescue(cx: &mut Context, found: &Abandoned) -> Result<Rescued, Error> {
    let entry = &found.entry;
    let domid = entry.domid;
    if read(&found.path).as_ref() != Some(entry) {
        // Somebody else was quicker.
        return Ok(Rescued::Resumed);
    }
    let info = cx.xen.domain_info(domid)?;
    let done = if info.is_none_or(|info| info.dying || info.handle != entry.handle) {
        Rescued::Gone
    } else if is_complete(entry) {
        finish(cx, entry)?
    } else {
        go_on(cx, entry)?;
        Rescued::Resumed
    };
    if done != Rescued::Ended
        && let Some(beside) = &entry.beside
    {
        // Half a guest is of no use; that it stays does no harm.
        let _ = std::fs::remove_file(beside);
    }
    let _ = std::fs::remove_file(&found.path);
    Ok(done)
}

/// Whether the file got its own name. What went to a pipe or device is whole when all is written.
fn is_complete(entry: &Entry) -> bool {
    let renamed = entry.beside.as_ref().is_none_or(|beside| !beside.exists());
    entry.stage == Stage::Written && renamed
}

/// What was to be done after the file was complete.
fn finish(cx: &mut Context, entry: &Entry) -> Result<Rescued, Error> {
    let domid = entry.domid;
    if entry.after == After::Destroy {
        life::destroy(cx, domid).map_err(|source| Error::Life(Box::new(source)))?;
        return Ok(Rescued::Ended);
    }
    if suspend::is_suspended(&cx.xen, domid)? {
        if entry.after == After::Pause {
            cx.xen.pause(domid)?;
        }
        resume(&cx.xen, &mut cx.store, domid)?;
    }
    Ok(Rescued::Resumed)
}

fn go_on(cx: &mut Context, entry: &Entry) -> Result<(), Error> {
    let domid = entry.domid;
    if entry.stage == Stage::Begun {
        return Ok(());
    }
    if !suspend::is_suspended(&cx.xen, domid)? {
        let node = suspend::node(domid);
        if cx.store.try_read(&node)?.as_deref() == Some(suspend::REQUEST)
            && !suspend::withdraw(&mut cx.store, &node)?
        {
            return Ok(());
        }
        let xen = &cx.xen;
        let suspended = wait::poll(SUSPENDS, || {
            suspend::is_suspended(xen, domid).unwrap_or(true).then_some(())
        });
        if suspended.is_none() {
            // Its saver was killed before it asked.
            return Ok(());
        }
    }
    resume(&cx.xen, &mut cx.store, domid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLE: [u8; 16] = [7; 16];

    #[test]
    fn a_save_is_abandoned_when_its_process_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(dir.path(), 3, HANDLE, None, After::Destroy).unwrap();
        assert_eq!(abandoned(dir.path()), []);
        journal.entry.saver.start += 1;
        journal.asking().unwrap();
        let found = abandoned_of(dir.path(), 3).unwrap();
        assert_eq!((found.domid(), found.entry.stage), (3, Stage::Asked));
        assert_eq!(abandoned_of(dir.path(), 4), None);
        drop(journal);
        assert_eq!(abandoned(dir.path()), []);
    }

    #[test]
    fn a_guest_is_not_saved_by_two_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let begin = |handle| Journal::begin(dir.path(), 3, handle, None, After::Resume);
        let _first = begin(HANDLE).unwrap();
        let error = begin(HANDLE).unwrap_err().to_string();
        let pid = std::process::id();
        assert_eq!(error, format!("domain 3 is being saved already, by process {pid}"));
        // Another guest that has got the number is none of this.
        begin([8; 16]).unwrap();
    }

    #[test]
    fn a_file_is_complete_when_it_has_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let beside = dir.path().join("g.incomplete");
        std::fs::write(&beside, "").unwrap();
        let mut journal =
            Journal::begin(dir.path(), 3, HANDLE, Some(&beside), After::Destroy).unwrap();
        journal.written().unwrap();
        assert!(!is_complete(&journal.entry));
        std::fs::remove_file(&beside).unwrap();
        assert!(is_complete(&journal.entry));
        journal.asking().unwrap();
        assert!(!is_complete(&journal.entry));
    }
}
