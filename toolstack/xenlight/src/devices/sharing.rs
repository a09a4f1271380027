//! Who else uses an image: other guests, and file systems mounted in domain 0.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::makedev;
use xenstore::Access;

use super::DeviceError;
use super::images::{Identity, Image, behind, parse_number};
use crate::{Context, Paths};

/// Devices below or above one that are looked at: more than any layout of volumes has.
const LAYERS: usize = 1024;

/// One use of a block device or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Everything that it stands for: the device, and the file behind it.
    pub identities: Vec<Identity>,
    /// It writes.
    pub writes: bool,
    /// It was told to share (`w!`).
    pub shares: bool,
    /// Who: "guest web (domain 3) has it read-write as xvda".
    pub text: String,
    /// UUID path of the guest; uses within one guest do not conflict.
    pub vm: Option<String>,
}

/// All uses that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(pub Vec<User>);

impl Users {
    /// Asks the store and the kernel.
    ///
    /// # Errors
    /// The store's.
    pub fn find(cx: &mut Context) -> Result<Self, DeviceError> {
        let mut users = mounts(&cx.paths);
        let mut backends = Vec::new();
        let base = "/local/domain/0/backend/vbd";
        for domid in cx.store.try_list(base)?.unwrap_or_default() {
            for devid in cx.store.try_list(&format!("{base}/{domid}"))?.unwrap_or_default() {
                backends.push((domid.clone(), format!("{base}/{domid}/{devid}")));
            }
        }
        let nodes = backends.iter().flat_map(|(domid, dir)| {
            let home = format!("/local/domain/{domid}");
            let of = |dir: &str, name: &str| format!("{dir}/{name}");
            [
                of(dir, "physical-device"),
                of(dir, "mode"),
                of(dir, "dev"),
                of(&home, "name"),
                of(&home, "vm"),
            ]
        });
        let values = cx.store.read_many(&nodes.collect::<Vec<_>>())?;
        for ((domid, _), values) in backends.iter().zip(values.chunks_exact(5)) {
            users.extend(guest(cx, domid, values));
        }
        Ok(Self(users))
    }

    /// The first use that does not go together with reading (and writing) `image` by the guest with
    /// UUID path `vm`.
    pub fn conflict(&self, image: &Image, write: bool, vm: Option<&str>) -> Option<&User> {
        self.0.iter().find(|user| {
            let same_guest = vm.is_some() && user.vm.as_deref() == vm;
            let matters = write || (user.writes && !user.shares);
            user.identities.contains(&image.identity) && matters && !same_guest
        })
    }
}

/// A guest's use, by the nodes of its backend: device number, mode, name in the guest; the guest's name and
/// UUID path.
fn guest(cx: &Context, domid: &str, values: &[Option<String>]) -> Option<User> {
    let [number, mode, dev, name, vm] = values else { return None };
    let (major, minor) = parse_number(number.as_deref()?)?;
    if is_dead(cx, domid) {
        return None;
    }
    let mode = mode.as_deref().unwrap_or_default();
    let writes = mode.contains('w');
    let how = if writes { "read-write" } else { "read-only" };
    let (name, dev) = (name.as_deref().unwrap_or("?"), dev.as_deref().unwrap_or("?"));
    Some(User {
        identities: identities(&cx.paths, major, minor),
        writes,
        shares: mode.contains('!'),
        text: format!("guest {name} (domain {domid}) has it {how} as {dev}"),
        vm: vm.clone(),
    })
}

/// Whether a guest has ended and is kept for inspection only: its disks may be used by its successor. One
/// that is suspended goes on.
fn is_dead(cx: &Context, domid: &str) -> bool {
    let Some(domid) = domid.parse().ok() else { return false };
    let info = cx.xen.domain_info(domid).ok().flatten();
    info.and_then(|info| info.shutdown).is_some_and(|why| why != sys::ShutdownReason::SUSPEND)
}

fn identities(paths: &Paths, major: u32, minor: u32) -> Vec<Identity> {
    let mut all = vec![Identity::Device(makedev(major, minor))];
    if major == 7 {
        all.extend(behind(paths, minor).map(|image| image.identity));
    }
    let own = paths.sys.join(format!("dev/block/{major}:{minor}"));
    let parts = parts(&own);
    let mut numbers: Vec<u64> = parts.iter().filter_map(|part| device_of(part)).collect();
    // What volumes are made of, and the volumes on it: not the neighbours of a volume.
    let from: Vec<PathBuf> = std::iter::once(own.clone()).chain(parts).collect();
    for below in stack(&[own], "slaves") {
        numbers.extend(whole(&below).and_then(|disk| device_of(&disk)));
        numbers.extend(device_of(&below));
    }
    numbers.extend(stack(&from, "holders").iter().filter_map(|above| device_of(above)));
    all.extend(numbers.into_iter().map(Identity::Device));
    all
}

/// Folders of the whole disk and of the partitions: who writes one, writes the others.
fn parts(own: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(own).into_iter().flatten().flatten().map(|entry| entry.path());
    let below = below.filter(|path| path.join("partition").exists());
    whole(own).into_iter().chain(below).collect()
}

/// The folder of the disk that a partition is on.
fn whole(own: &Path) -> Option<PathBuf> {
    let path = own.join("partition").exists().then(|| fs::canonicalize(own).ok()).flatten()?;
    path.parent().map(Path::to_owned)
}

/// Folders of the devices that some are made of (`slaves`), or that are made of them (`holders`), through
/// all layers.
fn stack(from: &[PathBuf], way: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut next = from.to_vec();
    while let Some(folder) = next.pop().filter(|_| found.len() < LAYERS) {
        for entry in fs::read_dir(folder.join(way)).into_iter().flatten().flatten() {
            // The kernel's links lead to the device's own folder.
            let Ok(path) = fs::canonicalize(entry.path()) else { continue };
            if !found.contains(&path) {
                found.push(path.clone());
                next.push(path);
            }
        }
    }
    found
}

/// The number in a device's folder below `/sys`.
fn device_of(folder: &Path) -> Option<u64> {
    let text = fs::read_to_string(folder.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// File systems mounted in domain 0.
fn mounts(paths: &Paths) -> Vec<User> {
    let text = fs::read_to_string(paths.proc.join("self/mountinfo")).unwrap_or_default();
    let mut users: Vec<User> = text.lines().filter_map(|line| mount(paths, line)).collect();
    let swaps = fs::read_to_string(paths.proc.join("swaps")).unwrap_or_default();
    for path in swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
        if let Ok(image) = super::images::look("", Path::new(path), false) {
            users.push(User {
                identities: vec![image.identity],
                writes: true,
                shares: false,
                text: "domain 0 swaps to it".to_owned(),
                vm: None,
            });
        }
    }
    users
}

/// A line of `mountinfo`: number, parent, device, root, mount point, options, ... - type, source, options.
fn mount(paths: &Paths, line: &str) -> Option<User> {
    let (left, right) = line.split_once(" - ")?;
    let mut fields = left.split(' ').skip(2);
    let (major, minor) = fields.next()?.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    // File systems without a device have major 0.
    if major == 0 {
        return None;
    }
    let place = fields.nth(1)?.replace("\\040", " ");
    // Whether the file system itself may write is said last.
    let options = right.split(' ').nth(2)?;
    let writes = options.split(',').any(|option| option == "rw");
    let how = if writes { "read-write" } else { "read-only" };
    Some(User {
        identities: identities(paths, major, minor),
        writes,
        shares: false,
        text: format!("domain 0 has it mounted {how} at {place}"),
        vm: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(writes: bool, shares: bool, vm: Option<&str>) -> Users {
        let vm = vm.map(str::to_owned);
        let identities = vec![Identity::File(1, 2)];
        Users(vec![User { identities, writes, shares, text: String::new(), vm }])
    }

    #[test]
    fn readers_go_together_and_a_writer_goes_with_nobody() {
        let image = Image { path: "/x".into(), identity: Identity::File(1, 2) };
        let other = Image { path: "/y".into(), identity: Identity::File(1, 3) };
        assert!(user(false, false, None).conflict(&image, false, None).is_none());
        assert!(user(true, false, None).conflict(&image, false, None).is_some());
        assert!(user(false, false, None).conflict(&image, true, None).is_some());
        assert!(user(true, true, None).conflict(&image, false, None).is_none());
        assert!(user(true, false, None).conflict(&other, true, None).is_none());
    }

    #[test]
    fn uses_within_one_guest_do_not_conflict() {
        let image = Image { path: "/x".into(), identity: Identity::File(1, 2) };
        assert!(user(true, false, Some("/vm/a")).conflict(&image, true, Some("/vm/a")).is_none());
        assert!(user(true, false, Some("/vm/a")).conflict(&image, true, Some("/vm/b")).is_some());
    }

    /// A disk 8:0 with a partition 8:1 that is a physical volume of the volumes 253:0 and 253:1.
    fn volumes(root: &Path) -> Paths {
        let paths = Paths::below(root);
        let all = paths.sys.join("devices");
        for (folder, number) in
            [("sda", "8:0"), ("sda/sda1", "8:1"), ("dm-0", "253:0"), ("dm-1", "253:1")]
        {
            let folder = all.join(folder);
            fs::create_dir_all(folder.join("slaves")).unwrap();
            fs::create_dir_all(folder.join("holders")).unwrap();
            fs::write(folder.join("dev"), format!("{number}\n")).unwrap();
            fs::create_dir_all(paths.sys.join("dev/block")).unwrap();
            let link = paths.sys.join("dev/block").join(number);
            std::os::unix::fs::symlink(&folder, link).unwrap();
        }
        fs::write(all.join("sda/sda1/partition"), "1\n").unwrap();
        for volume in ["dm-0", "dm-1"] {
            let (volume, disk) = (all.join(volume), all.join("sda/sda1"));
            std::os::unix::fs::symlink(&disk, volume.join("slaves/sda1")).unwrap();
            let link = disk.join("holders").join(volume.file_name().unwrap());
            std::os::unix::fs::symlink(&volume, link).unwrap();
        }
        paths
    }

    #[test]
    fn who_has_a_volume_has_what_it_lies_on_and_not_its_neighbours() {
        let dir = tempfile::tempdir().unwrap();
        let paths = volumes(dir.path());
        let of = |major, minor| {
            let mut all: Vec<(u32, u32)> = identities(&paths, major, minor)
                .into_iter()
                .filter_map(|identity| match identity {
                    Identity::Device(number) => {
                        Some((rustix::fs::major(number), rustix::fs::minor(number)))
                    }
                    Identity::File(..) => None,
                })
                .collect();
            all.sort_unstable();
            all
        };
        assert_eq!(of(253, 0), [(8, 0), (8, 1), (253, 0)]);
        assert_eq!(of(8, 0), [(8, 0), (8, 1), (253, 0), (253, 1)]);
        assert_eq!(of(8, 1), [(8, 0), (8, 1), (253, 0), (253, 1)]);
    }

    #[test]
    fn a_mount_is_known_with_its_place_and_whether_it_writes() {
        let paths = Paths::below(Path::new("/nowhere"));
        let line =
            "36 35 253:17 / /mnt/a\\040b rw,noatime shared:1 - ext4 /dev/x ro,errors=remount-ro";
        let found = mount(&paths, line).unwrap();
        assert_eq!(found.identities, [Identity::Device(makedev(253, 17))]);
        assert_eq!(found.text, "domain 0 has it mounted read-only at /mnt/a b");
        assert!(!found.writes);
        assert_eq!(mount(&paths, "21 1 0:19 / /proc rw - proc proc rw"), None);
    }
}
