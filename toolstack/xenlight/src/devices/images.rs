//! Images and block devices: what a path is, and loop devices for plain files.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::DeviceError;
use crate::Paths;

/// What a path is, for telling whether two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A block device, by its number.
    Device(u64),
    /// A plain file, by its file system's device number and its inode.
    File(u64, u64),
}

/// A path, resolved and looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The path without symbolic links.
    pub path: PathBuf,
    /// What it is.
    pub identity: Identity,
}

/// A file on a loop device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The loop device.
    pub device: PathBuf,
    /// The file, as the kernel names it.
    pub file: PathBuf,
}

/// Looks at a disk's path.
pub fn look(vdev: &str, path: &Path, write: bool) -> Result<Image, DeviceError> {
    let failed =
        |source| DeviceError::Image { vdev: vdev.to_owned(), path: path.to_owned(), source };
    let resolved = fs::canonicalize(path).map_err(failed)?;
    let meta = fs::metadata(&resolved).map_err(failed)?;
    let kind = meta.file_type();
    let identity = if kind.is_block_device() {
        Identity::Device(meta.rdev())
    } else if kind.is_file() {
        Identity::File(meta.dev(), meta.ino())
    } else {
        let what = if kind.is_dir() {
            "a directory"
        } else if kind.is_char_device() {
            "a character device"
        } else {
            "a pipe or socket"
        };
        return Err(DeviceError::NoImage { vdev: vdev.to_owned(), path: resolved, what });
    };
    // The superuser could write to it all the same: a file without any write permission is protected.
    if write && kind.is_file() && meta.permissions().mode() & 0o222 == 0 {
        return Err(DeviceError::ReadOnly { vdev: vdev.to_owned(), path: resolved });
    }
    Ok(Image { path: resolved, identity })
}

/// A device number as the store has it: `MAJOR:MINOR`, hexadecimal.
pub fn number(rdev: u64) -> String {
    format!("{:x}:{:x}", major(rdev), minor(rdev))
}

/// The device number that a text like `7:0` means.
pub fn parse_number(text: &str) -> Option<(u32, u32)> {
    let (high, low) = text.split_once(':')?;
    Some((u32::from_str_radix(high, 16).ok()?, u32::from_str_radix(low, 16).ok()?))
}

/// The device number of a block device.
pub fn rdev(path: &Path) -> io::Result<u64> {
    let meta = fs::metadata(path)?;
    if meta.file_type().is_block_device() {
        Ok(meta.rdev())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a block device"))
    }
}

/// All loop devices that are attached to a file.
pub fn attached(paths: &Paths) -> Vec<Attached> {
    let Ok(folder) = fs::read_dir(paths.sys.join("block")) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in folder.flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("loop") {
            continue;
        }
        if let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) {
            let file = PathBuf::from(file.trim_end_matches('\n'));
            found.push(Attached { device: paths.dev.join(name), file });
        }
    }
    found.sort_by(|a, b| a.device.cmp(&b.device));
    found
}

/// The file behind a loop device, by identity; `None` for other devices, and files that are gone.
pub fn behind(paths: &Paths, loop_minor: u32) -> Option<Image> {
    let sys = paths.sys.join(format!("block/loop{loop_minor}/loop/backing_file"));
    let file = PathBuf::from(fs::read_to_string(sys).ok()?.trim_end_matches('\n'));
    let meta = fs::metadata(&file).ok()?;
    let identity = Identity::File(meta.dev(), meta.ino());
    meta.is_file().then_some(Image { path: file, identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_inode_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a.img"), dir.path().join("b.img"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let (a, b) = (look("xvda", &file, true).unwrap(), look("xvda", &link, true).unwrap());
        assert_eq!(a, b);
        assert_eq!(a.path, fs::canonicalize(&file).unwrap());
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let error = look("xvda", dir.path(), false).unwrap_err().to_string();
        assert!(error.contains("is a directory"), "{error}");
        let error = look("xvda", Path::new("/dev/null"), false).unwrap_err().to_string();
        assert!(error.contains("is a character device"), "{error}");
        let error = look("xvda", &dir.path().join("none"), false).unwrap_err();
        assert!(error.to_string().starts_with("disk xvda: cannot use "), "{error}");
    }

    #[test]
    fn a_file_without_write_permission_is_given_read_only_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.img");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(look("xvda", &file, false).is_ok());
        assert!(matches!(look("xvda", &file, true), Err(DeviceError::ReadOnly { .. })));
    }

    #[test]
    fn device_numbers_are_hexadecimal_in_the_store() {
        assert_eq!(number(rustix::fs::makedev(253, 17)), "fd:11");
        assert_eq!(parse_number("fd:11"), Some((253, 17)));
        assert_eq!(parse_number("fd"), None);
    }

    #[test]
    fn attached_files_are_read_from_the_kernels_folder() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        for (name, file) in [("loop1", "/b"), ("loop0", "/a (deleted)")] {
            let folder = paths.sys.join("block").join(name).join("loop");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("backing_file"), format!("{file}\n")).unwrap();
        }
        fs::create_dir_all(paths.sys.join("block/loop2")).unwrap();
        let files: Vec<_> = attached(&paths).into_iter().map(|a| a.file).collect();
        assert_eq!(files, [PathBuf::from("/a (deleted)"), PathBuf::from("/b")]);
    }
}
