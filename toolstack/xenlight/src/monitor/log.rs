//! A guest's log: `/var/log/xen/xl-NAME.log`, and older ones as `.1` to `.10`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::Paths;

/// Older logs that are kept.
const KEPT: u32 = 10;

/// The log of a guest's monitor.
pub fn log_path(paths: &Paths, name: &str) -> PathBuf {
    paths.log.join(format!("xl-{}.log", name.replace('/', "_")))
}

/// Makes a new log; the old ones move on.
pub(super) fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    if path.exists() {
        for n in (1..KEPT).rev() {
            if numbered(n).exists() {
                fs::rename(numbered(n), numbered(n + 1))?;
            }
        }
        fs::rename(path, numbered(1))?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn old_logs_move_on_and_the_eleventh_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = log_path(&Paths::below(dir.path()), "web");
        for n in 0..13 {
            write!(create(&path).unwrap(), "{n}").unwrap();
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "12");
        assert_eq!(read(&path.with_extension("log.1")), "11");
        assert_eq!(read(&path.with_extension("log.10")), "2");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 11);
    }
}
