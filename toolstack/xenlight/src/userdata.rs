//! The stored configuration of a running guest, in libxl's files:
//! `/var/lib/xen/userdata-d.DOMID.UUID.libxl-json`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use xl_config::{DomainConfig, Uuid};

use crate::{Context, Paths};

/// Why a stored configuration could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum UserdataError {
    /// The hypervisor does not say which guest it is.
    #[error("domain {domid}: asking for its UUID failed")]
    Xen {
        /// The domain.
        domid: u16,
        /// Why.
        #[source]
        source: sys::Error,
    },
    /// There is no such domain.
    #[error("there is no domain {domid}")]
    NoDomain {
        /// The number.
        domid: u16,
    },
    /// A file could not be read or written.
    #[error("cannot {what} the stored configuration {}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file's content makes no sense.
    #[error("the stored configuration {} is not valid: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

fn path(paths: &Paths, domid: u16, uuid: &Uuid) -> PathBuf {
    paths.lib.join(format!("userdata-d.{domid}.{uuid}.libxl-json"))
}

fn uuid_of(cx: &Context, domid: u16) -> Result<Uuid, UserdataError> {
    let info = cx.xen.domain_info(domid);
    let info = info.map_err(|source| UserdataError::Xen { domid, source })?;
    info.map(|info| Uuid(info.handle)).ok_or(UserdataError::NoDomain { domid })
}

/// The stored configuration of a guest; `None` if nobody stored one.
///
/// # Errors
/// [`UserdataError`].
pub fn load(cx: &Context, domid: u16) -> Result<Option<DomainConfig>, UserdataError> {
    let path = path(&cx.paths, domid, &uuid_of(cx, domid)?);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(UserdataError::File { what: "read", path, source }),
    };
    // libxl ends the text with a zero byte.
    match DomainConfig::from_json(text.trim_end_matches('\0')) {
        Ok(config) => Ok(Some(config)),
        Err(error) => Err(UserdataError::Invalid { path, why: error.to_string() }),
    }
}

/// Stores a guest's configuration: written beside and renamed, so that it is there whole or not.
///
/// # Errors
/// [`UserdataError`].
pub fn store(cx: &Context, domid: u16, config: &DomainConfig) -> Result<(), UserdataError> {
    let path = path(&cx.paths, domid, &uuid_of(cx, domid)?);
    let failed = |source| UserdataError::File { what: "write", path: path.clone(), source };
    fs::create_dir_all(&cx.paths.lib).map_err(failed)?;
    let beside = path.with_extension("libxl-json.new");
    let mut options = fs::OpenOptions::new();
    // It may hold passwords.
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside).map_err(failed)?;
    let mut text = config.to_stored_json();
    text.push('\0');
    file.write_all(text.as_bytes()).map_err(failed)?;
    fs::rename(&beside, &path).map_err(failed)
}

/// Changes the stored configuration of a guest, where there is one.
///
/// # Errors
/// [`UserdataError`].
pub fn change(
    cx: &Context,
    domid: u16,
    work: impl FnOnce(&mut DomainConfig),
) -> Result<(), UserdataError> {
    let Some(mut config) = load(cx, domid)? else { return Ok(()) };
    work(&mut config);
    store(cx, domid, &config)
}

/// Removes all that is stored for a domain's number.
pub fn remove_all(paths: &Paths, domid: u16) {
    let Ok(files) = fs::read_dir(&paths.lib) else { return };
    let prefix = format!("userdata-d.{domid}.");
    for file in files.flatten() {
        if file.file_name().to_string_lossy().starts_with(&prefix) {
            // What cannot be removed is overwritten by the next guest of this number and UUID.
            let _ = fs::remove_file(file.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_a_domains_number_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        fs::create_dir_all(&paths.lib).unwrap();
        let uuid = Uuid::default();
        for domid in [1, 11] {
            fs::write(path(&paths, domid, &uuid), "{}").unwrap();
        }
        remove_all(&paths, 1);
        assert!(!path(&paths, 1, &uuid).exists());
        assert!(path(&paths, 11, &uuid).exists());
    }
}
