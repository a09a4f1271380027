//! What a file is, and which ones have a name like it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::{Host, last};

/// What a file is, by its type and its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    Device,
    Special,
    Empty,
    Elf,
    BzImage,
    Compressed,
    Cpio,
    Qcow,
    Qcow2,
    Qed,
    Vhd,
    Text,
    Other,
}

impl Kind {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Folder => "a folder",
            Self::Device => "a block device",
            Self::Special => "a special file",
            Self::Empty => "empty",
            Self::Elf => "an ELF file",
            Self::BzImage => "a kernel (bzImage)",
            Self::Compressed => "a compressed file",
            Self::Cpio => "an initial RAM disk (cpio)",
            Self::Qcow => "a qcow image",
            Self::Qcow2 => "a qcow2 image",
            Self::Qed => "a qed image",
            Self::Vhd => "a vhd image",
            Self::Text => "a text",
            Self::Other => "of no known kind",
        }
    }
}

/// First bytes by which files are known.
const MAGICS: &[(&[u8], Kind)] = &[
    (b"\x7fELF", Kind::Elf),
    (b"070701", Kind::Cpio),
    (b"070702", Kind::Cpio),
    (b"\x1f\x8b", Kind::Compressed),
    (b"\xfd7zXZ\0", Kind::Compressed),
    (b"BZh", Kind::Compressed),
    (b"\x28\xb5\x2f\xfd", Kind::Compressed),
    (b"\x02\x21\x4c\x18", Kind::Compressed),
    (b"\x04\x22\x4d\x18", Kind::Compressed),
    (b"\x5d\0\0", Kind::Compressed),
    (b"\x89LZO", Kind::Compressed),
    (b"QFI\xfb\0\0\0\x01", Kind::Qcow),
    (b"QFI\xfb", Kind::Qcow2),
    (b"QED\0", Kind::Qed),
    (b"conectix", Kind::Vhd),
];

/// Where a bzImage has its name, and the name (Linux's boot protocol).
const BZIMAGE: (usize, &[u8]) = (0x202, b"HdrS");

pub(super) fn kind_of(path: &Path) -> io::Result<Kind> {
    let metadata = fs::metadata(path)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Ok(Kind::Folder);
    }
    if kind.is_block_device() {
        return Ok(Kind::Device);
    }
    if !kind.is_file() {
        return Ok(Kind::Special);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(1024).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(Kind::Empty);
    }
    let (at, name) = BZIMAGE;
    if bytes.get(at..).is_some_and(|rest| rest.starts_with(name)) {
        return Ok(Kind::BzImage);
    }
    if let Some((_, kind)) = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Ok(*kind);
    }
    let text = bytes.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e));
    Ok(if text { Kind::Text } else { Kind::Other })
}

/// It can be executed by somebody.
pub(super) fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// It can be written by whoever asks, its file system allowing.
pub(super) fn writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 4096;

/// Most names that are proposed.
const MAX_NAMES: usize = 3;

/// What is there instead of a path: files with names like it, or the folder that is missing too.
pub(super) fn candidates(host: &Host, path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    let folder = if folder.is_empty() { "/" } else { folder };
    let Ok(entries) = fs::read_dir(host.path(folder)) else {
        let missing = first_missing(host, folder)?;
        return Some(format!("the folder {missing} does not exist"));
    };
    let mut names: Vec<String> =
        entries.flatten().take(MAX_ENTRIES).map(|entry| last(&entry.path())).collect();
    names.sort();
    let slash = if folder == "/" { "" } else { "/" };
    let near: Vec<String> = if name.is_empty() {
        names.iter().take(MAX_NAMES).map(|name| format!("{folder}{slash}{name}")).collect()
    } else {
        alike(name, &names).map(|name| format!("{folder}{slash}{name}")).collect()
    };
    match near.as_slice() {
        [] if names.is_empty() => Some(format!("the folder {folder} is empty")),
        [] => None,
        [one] if !name.is_empty() => Some(format!("did you mean \"{one}\"?")),
        several => Some(format!("there is {}", several.join(", "))),
    }
}

/// Names that start as the one that is missing does (or it as they do), or the nearest.
fn alike<'a>(name: &'a str, names: &'a [String]) -> impl Iterator<Item = &'a String> {
    let starts = move |other: &&String| {
        other.starts_with(name) || name.starts_with(other.as_str()) && other.len() >= 4
    };
    let mut found: Vec<&String> = names.iter().filter(starts).take(MAX_NAMES).collect();
    if found.is_empty() {
        let near = crate::similar::nearest(name, names.iter().map(String::as_str));
        found =
            near.and_then(|near| names.iter().find(|other| *other == near)).into_iter().collect();
    }
    if found.is_empty() {
        // Another version of the same: `vmlinuz-6.1` for `vmlinuz-6.12`.
        let stem = name.split(['-', '.']).next().unwrap_or_default();
        let same = |other: &&String| stem.len() >= 4 && other.starts_with(stem);
        found = names.iter().filter(same).take(MAX_NAMES).collect();
    }
    found.into_iter()
}

fn first_missing(host: &Host, folder: &str) -> Option<String> {
    let mut so_far = String::new();
    for part in folder.split('/').filter(|part| !part.is_empty()) {
        so_far.push('/');
        so_far.push_str(part);
        if !host.path(&so_far).is_dir() {
            return Some(so_far);
        }
    }
    None
}
