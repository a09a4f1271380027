//! A guest's memory and registers in a file, for a debugger: `xl dump-core`, and what `coredump-*` does
//! with a guest that has crashed.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sys::{Errno, PageType, Protection, VersionInfo, Xen};
use xen_stream::elfcore::{self, Head, P2mEntry, XenVersion};
use xen_stream::{Output, PAGE, Place};
use zerocopy::FromZeros;

use crate::Context;
use crate::save::p2m::Frames;
use crate::save::{P2mError, Progress, Silent};

/// Pages that are looked at in one go.
const BATCH: usize = 1024;

/// A guest that cannot be dumped.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// No such domain, or it is being destroyed.
    #[error("there is no domain {0}")]
    NoSuchDomain(u16),
    /// Domain 0 would stop itself.
    #[error("domain 0 cannot be dumped")]
    Domain0,
    /// Only PV guests can be dumped yet.
    #[error("domain {0} is an HVM or PVH guest: dumping these is not implemented")]
    NotPv(u16),
    /// Its memory cannot be found.
    #[error("cannot find the memory of domain {domid}")]
    P2m {
        /// Which.
        domid: u16,
        /// Why.
        source: P2mError,
    },
    /// The file cannot be made.
    #[error("cannot create {}", path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}; what there was of it is removed", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: xen_stream::Error,
    },
    /// The hypervisor refuses.
    #[error(transparent)]
    Xen(#[from] sys::Error),
}

/// The file's errors get its name later.
enum Failure {
    Dump(DumpError),
    Stream(xen_stream::Error),
}

impl<T: Into<DumpError>> From<T> for Failure {
    fn from(error: T) -> Self {
        Failure::Dump(error.into())
    }
}

/// [`dump`] without a display; the file's folder is made if there is none.
///
/// # Errors
/// [`DumpError`]
pub fn dump_core(cx: &Context, domid: u16, path: &Path) -> Result<(), DumpError> {
    if let Some(folder) = path.parent() {
        let failed = |source| DumpError::Create { path: path.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    dump(&cx.xen, domid, path, &mut Silent)
}

/// Writes a core of a domain to a new file that only its owner can read; an old one of that name is
/// replaced. The domain does not run meanwhile.
///
/// # Errors
/// [`DumpError`]; the file is then removed.
pub fn dump(
    xen: &Xen,
    domid: u16,
    path: &Path,
    progress: &mut dyn Progress,
) -> Result<(), DumpError> {
    if domid == 0 {
        return Err(DumpError::Domain0);
    }
    let info = xen.domain_info(domid)?.filter(|info| !info.dying);
    if info.ok_or(DumpError::NoSuchDomain(domid))?.hvm {
        return Err(DumpError::NotPv(domid));
    }
    let file = create(path)?;
    xen.pause(domid)?;
    let written = write_core(xen, domid, file, progress);
    let resumed = xen.unpause(domid);
    if let Err(failure) = written {
        // What is told is why it failed.
        let _ = std::fs::remove_file(path);
        return Err(match failure {
            Failure::Dump(error) => error,
            Failure::Stream(source) => DumpError::Write { path: path.to_owned(), source },
        });
    }
    Ok(resumed?)
}

/// A link that somebody left in a folder for all is not followed: it is replaced.
fn create(path: &Path) -> Result<File, DumpError> {
    let failed = |source| DumpError::Create { path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)
}

fn write_core(
    xen: &Xen,
    domid: u16,
    file: File,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let info = xen.domain_info(domid)?.ok_or(DumpError::NoSuchDomain(domid))?;
    let page = xen.map_foreign(domid, &[info.shared_info_frame], Protection::Read)?;
    let frames =
        Frames::read(xen, &info, &page).map_err(|source| DumpError::P2m { domid, source })?;
    let mut shared_info = [0; PAGE];
    // The page is mapped whole.
    let _ = page.read(0, &mut shared_info);
    let mut vcpus = Vec::new();
    for id in 0..info.vcpus() {
        match xen.vcpu_context(domid, id) {
            Ok(context) => vcpus.push(*context),
            // It was never started.
            Err(e) if e.errno() == Some(Errno::NODATA) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let p2m = present(xen, domid, &frames)?;
    let version = version(&xen.version_info()?);
    let mut output = Output::new(BufWriter::with_capacity(1 << 20, file));
    let head = Head { version: &version, vcpus: &vcpus, shared_info: &shared_info, p2m: &p2m };
    head.write(&mut output).map_err(Failure::Stream)?;
    write_pages(xen, domid, &p2m, &mut output, progress)?;
    output.finish(Place::Core("the end")).map(drop).map_err(Failure::Stream)
}

/// Pages that are the domain's own and have content.
fn present(xen: &Xen, domid: u16, frames: &Frames) -> Result<Vec<P2mEntry>, sys::Error> {
    let mut found = Vec::new();
    let entry = |pfn| Some(P2mEntry { pfn, mfn: frames.mfn(pfn)? });
    let mut entries = (0..frames.p2m.pfns()).filter_map(entry);
    loop {
        let batch: Vec<P2mEntry> = entries.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(found);
        }
        let mfns: Vec<u64> = batch.iter().map(|entry| entry.mfn).collect();
        let types: Vec<PageType> = xen.page_types(domid, &mfns)?;
        let has_content = |(_, kind): &(P2mEntry, PageType)| kind.has_contents();
        found.extend(batch.into_iter().zip(types).filter(has_content).map(|(entry, _)| entry));
    }
}

fn write_pages<W: Write>(
    xen: &Xen,
    domid: u16,
    p2m: &[P2mEntry],
    output: &mut Output<W>,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let mut page = [0; PAGE];
    let mut done = 0;
    for batch in p2m.chunks(BATCH) {
        let mfns: Vec<u64> = batch.iter().map(|entry| entry.mfn).collect();
        let mapping = xen.map_foreign(domid, &mfns, Protection::Read)?;
        for place in 0..batch.len() {
            // Each has its place in the mapping.
            let _ = mapping.read(place * PAGE, &mut page);
            elfcore::write_page(output, &page).map_err(Failure::Stream)?;
        }
        done += batch.len() as u64;
        progress.pages(done, p2m.len() as u64);
    }
    Ok(())
}

/// As the core has it: texts in fields of a fixed size, cut where they are longer.
fn version(info: &VersionInfo) -> XenVersion {
    let mut compile_info = abi::version::CompileInfo::new_zeroed();
    text(&mut compile_info.compiler, &info.compile.compiler);
    text(&mut compile_info.compile_by, &info.compile.user);
    text(&mut compile_info.compile_domain, &info.compile.domain);
    text(&mut compile_info.compile_date, &info.compile.date);
    let mut version = XenVersion {
        major: u64::from(info.major),
        minor: u64::from(info.minor),
        extra: [0; 16],
        compile_info,
        capabilities: [0; 1024],
        changeset: [0; 64],
        virt_start: info.virt_start,
        page_size: u64::from(info.page_size),
    };
    text(&mut version.extra, &info.extra);
    text(&mut version.capabilities, &info.capabilities);
    text(&mut version.changeset, &info.changeset);
    version
}

/// The field's last byte stays zero.
fn text(field: &mut [u8], text: &str) {
    let room = field.len().saturating_sub(1);
    for (place, byte) in field.iter_mut().take(room).zip(text.bytes()) {
        *place = byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_is_cut_and_still_ends_with_a_zero() {
        let mut field = [0; 4];
        text(&mut field, "abcdef");
        assert_eq!(field, *b"abc\0");
    }

    #[test]
    fn a_link_in_the_files_place_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("core"));
        std::fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        drop(create(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "mine");
        assert!(!path.is_symlink());
    }
}
