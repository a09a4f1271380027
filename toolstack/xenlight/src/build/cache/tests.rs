//! Only what was written for exactly this file, whole and by this user, is ever used.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Cache, CacheError, INCOMING, Key, MAX_BYTES, MAX_ENTRIES, START, keep, own, user};

/// A folder for the cache, and a kernel file beside it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("var/kernels")
    }

    /// The key of a kernel file of this name, made now.
    fn kernel(&self, name: &str) -> Key {
        let path = self.dir.path().join(name);
        fs::write(&path, name).unwrap();
        Key::of(&File::open(path).unwrap()).unwrap()
    }

    fn keep(&self, key: &Key, elf: &[u8]) -> Result<(), CacheError> {
        keep(&self.folder(), key, elf, later())
    }

    fn find(&self, key: &Key) -> Result<Option<Vec<u8>>, CacheError> {
        let Some(cache) = Cache::open(&self.folder())? else { return Ok(None) };
        Ok(cache.find(key)?.map(|(elf, _)| elf.bytes().to_vec()))
    }

    fn entry(&self, key: &Key) -> PathBuf {
        self.folder().join(key.name())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder())
            .unwrap()
            .map(|found| found.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// When a kernel that is made now has lain unchanged for long enough.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

fn pattern() -> Vec<u8> {
    (0..=255).cycle().take(70_001).collect()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_kept_is_found_again_and_closed_to_others() {
    let place = Place::new();
    let key = place.kernel("a");
    assert!(place.find(&key).unwrap().is_none());
    place.keep(&key, &pattern()).unwrap();
    assert_eq!(place.find(&key).unwrap().unwrap(), pattern());
    assert_eq!(fs::metadata(place.folder()).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(place.entry(&key)).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(place.names(), [key.name()]);
}

#[test]
fn a_kernel_that_changed_is_not_found_and_takes_its_old_entrys_place() {
    let place = Place::new();
    let old = place.kernel("a");
    place.keep(&old, b"old").unwrap();
    let path = place.dir.path().join("a");
    File::options().append(true).open(&path).unwrap().write_at(b"more", 1).unwrap();
    let new = Key::of(&File::open(&path).unwrap()).unwrap();
    assert_ne!(old, new);
    assert!(place.find(&new).unwrap().is_none());
    place.keep(&new, b"new").unwrap();
    assert_eq!(place.find(&new).unwrap().unwrap(), b"new");
    assert!(place.find(&old).unwrap().is_none());
    assert_eq!(place.names().len(), 1);
}

#[test]
fn a_kernel_that_was_changed_just_now_is_not_kept() {
    let place = Place::new();
    let key = place.kernel("a");
    let said = keep(&place.folder(), &key, b"elf", SystemTime::now()).unwrap_err();
    assert!(matches!(said, CacheError::Young), "{said}");
    assert!(!place.folder().exists());
}

#[test]
fn an_entry_of_any_other_length_is_not_used() {
    let place = Place::new();
    let key = place.kernel("a");
    let whole = START + pattern().len() as u64;
    for length in [0, 1, 50, 200, START - 1, START, whole - 1, whole + 1] {
        place.keep(&key, &pattern()).unwrap();
        File::options().write(true).open(place.entry(&key)).unwrap().set_len(length).unwrap();
        let said = place.find(&key).unwrap_err();
        assert!(matches!(said, CacheError::Damaged { .. }), "length {length}: {said}");
    }
    place.keep(&key, &pattern()).unwrap();
    assert!(place.find(&key).unwrap().is_some());
}

#[test]
fn a_changed_byte_anywhere_shows() {
    let place = Place::new();
    let key = place.kernel("a");
    // The header has no byte to spare; what follows it up to the kernel means nothing.
    let header = (0..size_of::<super::Header>() as u64).step_by(5);
    for at in header.chain([START, START + 35_000, START + 70_000]) {
        place.keep(&key, &pattern()).unwrap();
        let file = File::options().read(true).write(true).open(place.entry(&key)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        let said = place.find(&key).unwrap_err();
        assert!(matches!(said, CacheError::Damaged { .. }), "byte {at}: {said}");
    }
}

#[test]
fn an_entry_or_a_folder_that_others_may_change_is_not_used() {
    let place = Place::new();
    let key = place.kernel("a");
    place.keep(&key, b"elf").unwrap();
    chmod(&place.entry(&key), 0o640);
    assert!(matches!(place.find(&key).unwrap_err(), CacheError::Mode { mode: 0o640, .. }));
    chmod(&place.entry(&key), 0o600);
    chmod(&place.folder(), 0o770);
    assert!(matches!(place.find(&key).unwrap_err(), CacheError::Mode { mode: 0o770, .. }));
    assert!(matches!(place.keep(&key, b"elf").unwrap_err(), CacheError::Mode { .. }));
    chmod(&place.folder(), 0o700);
    assert!(place.find(&key).unwrap().is_some());
}

#[test]
fn what_belongs_to_another_user_is_not_used() {
    let place = Place::new();
    let path = place.dir.path().join("a");
    place.kernel("a");
    chmod(&path, 0o600);
    let found = fs::metadata(&path).unwrap();
    own(&path, &found, 0o600, user()).unwrap();
    let said = own(&path, &found, 0o600, user() + 1).unwrap_err();
    assert!(matches!(said, CacheError::Owner { .. }), "{said}");
}

#[test]
fn symbolic_links_are_not_followed() {
    let place = Place::new();
    let key = place.kernel("a");
    place.keep(&key, b"elf").unwrap();
    let aside = place.dir.path().join("aside");
    fs::rename(place.entry(&key), &aside).unwrap();
    std::os::unix::fs::symlink(&aside, place.entry(&key)).unwrap();
    assert!(matches!(place.find(&key).unwrap_err(), CacheError::Io { .. }));
    let link = place.dir.path().join("link");
    std::os::unix::fs::symlink(place.folder(), &link).unwrap();
    assert!(Cache::open(&link).is_err());
}

#[test]
fn the_entry_that_was_not_used_for_longest_makes_room() {
    let place = Place::new();
    let keys: Vec<Key> = (0..=MAX_ENTRIES).map(|n| place.kernel(&format!("{n}"))).collect();
    let (last, before) = keys.split_last().unwrap();
    for (n, key) in (0u64..).zip(before) {
        place.keep(key, b"elf").unwrap();
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + n);
        File::open(place.entry(key)).unwrap().set_modified(used).unwrap();
    }
    // The first is used once more, so that the second is the oldest.
    assert!(place.find(&keys[0]).unwrap().is_some());
    place.keep(last, b"elf").unwrap();
    assert_eq!(place.names().len(), MAX_ENTRIES);
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(place.find(key).unwrap().is_some(), n != 1, "entry {n}");
    }
}

#[test]
fn all_entries_together_stay_below_the_limit() {
    let place = Place::new();
    let (key, other) = (place.kernel("a"), place.kernel("b"));
    place.keep(&other, b"elf").unwrap();
    let file = File::options().write(true).open(place.entry(&other)).unwrap();
    file.set_len(MAX_BYTES).unwrap();
    place.keep(&key, b"elf").unwrap();
    assert_eq!(place.names(), [key.name()]);
}

#[test]
fn while_another_process_writes_nothing_is_kept_and_what_there_is_can_be_used() {
    let place = Place::new();
    let (key, other) = (place.kernel("a"), place.kernel("b"));
    place.keep(&key, b"elf").unwrap();
    let holder = Cache::open(&place.folder()).unwrap().unwrap();
    holder.lock().unwrap();
    assert!(matches!(place.keep(&other, b"elf").unwrap_err(), CacheError::Busy { .. }));
    assert!(place.find(&key).unwrap().is_some());
    drop(holder);
    place.keep(&other, b"elf").unwrap();
    assert_eq!(place.names().len(), 2);
}

#[test]
fn many_at_once_see_all_of_an_entry_or_none() {
    let place = Place::new();
    let key = place.kernel("a");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    match place.keep(&key, &pattern()) {
                        Ok(()) | Err(CacheError::Busy { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                    if let Some(found) = place.find(&key).unwrap() {
                        assert_eq!(found, pattern());
                    }
                }
            });
        }
    });
    assert_eq!(place.names(), [key.name()]);
}

#[test]
fn what_a_killed_tool_left_half_written_is_replaced() {
    let place = Place::new();
    let key = place.kernel("a");
    place.keep(&key, b"elf").unwrap();
    fs::write(place.folder().join(INCOMING), b"half").unwrap();
    place.keep(&key, b"new").unwrap();
    assert_eq!(place.find(&key).unwrap().unwrap(), b"new");
    assert_eq!(place.names(), [key.name()]);
}

#[test]
fn a_folder_that_cannot_be_made_is_said() {
    let place = Place::new();
    let key = place.kernel("a");
    fs::write(place.dir.path().join("var"), b"").unwrap();
    assert!(matches!(place.keep(&key, b"elf").unwrap_err(), CacheError::Io { what: "make", .. }));
}
