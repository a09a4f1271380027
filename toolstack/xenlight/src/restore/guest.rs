//! A guest from a file, whole: `xl restore`.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xen_stream::Input;
use xl_config::DomainConfig;

use super::{read_config, read_domain};
use crate::Context;
use crate::create::{self, Contents, CreateError, Created};
use crate::save::Progress;

/// A guest that cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is broken, cut off, or of another kind: seen before anything was touched.
    #[error("cannot restore from {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: xen_stream::Error,
    },
    /// The file has no end.
    #[error(
        "cannot restore from {}: it was cut off after {bytes} bytes: saving was not completed, or \
         not all of the file was copied", path.display()
    )]
    CutOff {
        /// Which.
        path: PathBuf,
        /// Bytes that it has.
        bytes: u64,
    },
    /// The configuration in it makes no sense.
    #[error("cannot restore from {}: its configuration is not valid", path.display())]
    Config {
        /// Which.
        path: PathBuf,
        /// Why.
        source: xl_config::JsonError,
    },
    /// The guest could not be made. Nothing is left of it.
    #[error(transparent)]
    Create(Box<CreateError>),
}

/// A save file that has been opened, with its configuration.
pub struct SaveFile {
    input: Input<BufReader<File>>,
    /// What the guest is to be; may be changed before [`restore`](Self::restore).
    pub config: DomainConfig,
    /// Bytes of the header's optional data, which the configuration is in.
    pub optional_bytes: usize,
}

impl SaveFile {
    /// Opens a file, and reads what precedes the guest itself.
    ///
    /// # Errors
    /// [`GuestError`]
    pub fn open(path: &Path) -> Result<SaveFile, GuestError> {
        let path = path.to_owned();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) => return Err(GuestError::Open { path, source }),
        };
        let mut input = Input::new(BufReader::with_capacity(1 << 20, file));
        let text = match read_config(&mut input) {
            Ok(text) => text,
            Err(source) => return Err(GuestError::File { path, source }),
        };
        match length_if_cut_off(input.inner().get_ref()) {
            Ok(None) => {}
            Ok(Some(bytes)) => return Err(GuestError::CutOff { path, bytes }),
            Err(source) => return Err(GuestError::Open { path, source }),
        }
        match DomainConfig::from_json(&text) {
            Ok(config) => Ok(SaveFile { input, config, optional_bytes: text.len() + 5 }),
            Err(source) => Err(GuestError::Config { path, source }),
        }
    }

    /// Makes the guest.
    ///
    /// # Errors
    /// [`GuestError::Create`]
    pub fn restore(
        mut self,
        cx: &mut Context,
        options: &create::Options,
        progress: &mut dyn Progress,
    ) -> Result<Created, GuestError> {
        let input = &mut self.input;
        let mut read =
            |xen: &sys::Xen, target: &super::Target| read_domain(xen, target, input, progress);
        let made = create::create_from(cx, &self.config, options, Contents::Saved(&mut read));
        made.map_err(|error| GuestError::Create(Box::new(error)))
    }
}

/// The length of a file that does not end with an END record (a type and a length, all zeros): told
/// at once, and not after gigabytes. Pipes and devices are read to see.
fn length_if_cut_off(file: &File) -> std::io::Result<Option<u64>> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(None);
    }
    let mut end = [1; 8];
    file.read_exact_at(&mut end, found.len().saturating_sub(8))?;
    Ok((end != [0; 8]).then_some(found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    fn refused(content: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, content).unwrap();
        let error = SaveFile::open(&path).err().unwrap();
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        let said = error.to_string();
        let place = dir.path().to_string_lossy();
        format!("{said}: {cause}").replace(&*place, "")
    }

    #[test]
    fn what_is_no_save_file_is_told_before_anything_is_touched() {
        let mut no_json = xen_stream::Output::new(Vec::new());
        xen_stream::file::Header { config: "name = 'x'".into() }.write(&mut no_json).unwrap();
        xen_stream::libxl::write_header(&mut no_json).unwrap();
        let no_json = no_json.finish(xen_stream::Place::FileHeader).unwrap();
        assert_eq!(
            refused(b""),
            "cannot restore from /f: the file ends at byte 0, in the header of the save file: 48 more \
             bytes were expected there"
        );
        assert_eq!(
            refused(&[b'x'; 100]),
            "cannot restore from /f: the header of the save file at byte 0: this is no file made by \
             `xl save`"
        );
        let cut = refused(&no_json);
        assert!(cut.starts_with("cannot restore from /f: it was cut off after 79 bytes"), "{cut}");
        let said = refused(&[no_json, vec![0; 16]].concat());
        assert!(
            said.starts_with("cannot restore from /f: its configuration is not valid"),
            "{said}"
        );
        let missing = SaveFile::open(Path::new("/nowhere/f")).err().unwrap();
        assert_eq!(missing.to_string(), "cannot open /nowhere/f");
    }
}
