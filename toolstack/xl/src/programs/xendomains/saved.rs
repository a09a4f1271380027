//! Guests that are saved when the host ends, and restored when it starts: a file for each, by its name.

use super::own_command;
use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::output;
use crate::session::Session;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use xenlight::restore::SaveFile;
use xenlight::save::{self, Options, Silent};

/// The files of a folder, by name; what a killed save left is not meant.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Failure::caused(format!("cannot read {}", folder.display()), &error));
        }
    };
    let odd = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        name.starts_with('.') || name.ends_with(".incomplete")
    };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut paths: Vec<_> = paths.filter(|path| path.is_file() && !odd(path)).collect();
    paths.sort();
    Ok(paths)
}

/// Restores a guest. Its file goes then: restored twice, it would use disks that have changed since.
pub fn restore_one(session: &mut Session, path: &Path) -> Result<(), Failure> {
    let file = path.to_string_lossy();
    let name = SaveFile::open(path).or_fail(|| format!("cannot restore {file}"))?.config.name;
    if domains::find_name(session, &name)?.0.is_some() {
        return Err(Failure::new(format!("{file} is not restored: {name} runs already"))
            .help("remove the file, unless it is of use"));
    }
    output::print(&format!("Restoring Xen domain {name} (from {file})\n"));
    own_command(&["restore", &file], &format!("cannot restore {name}"))?;
    std::fs::remove_file(path).or_fail(|| format!("{name} runs, but {file} cannot be removed"))
}

/// Saves a guest; it ends by that.
pub fn save_one(session: &mut Session, folder: &Path, domid: u16) -> Result<(), Failure> {
    let failed = || format!("cannot save domain {domid}: it is shut down");
    std::fs::create_dir_all(folder).or_fail(failed)?;
    let context = session.context()?;
    let name = context.name(domid).or_fail(failed)?;
    let name = name.ok_or_else(|| Failure::new(failed()).help("it has no name"))?;
    let path = folder.join(name.replace('/', "_"));
    output::print(&format!("Saving Xen domain {name} (to {})\n", path.display()));
    save::guest(context, domid, &path, &Options::default(), &mut Silent).map(drop).or_fail(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_by_name_and_what_is_incomplete_does_not_come() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["web", "db", "mail.incomplete", ".hidden"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("lost+found")).unwrap();
        let found = files(folder.path()).unwrap();
        assert_eq!(found, [folder.path().join("db"), folder.path().join("web")]);
        assert!(files(Path::new("/nosuch/folder")).unwrap().is_empty());
    }
}
