//! What tools that were killed left behind: half-created guests, nodes of guests that are gone, loop
//! devices that nobody uses.

use std::path::PathBuf;

use xenstore::Access;
use xl_config::Uuid;

use crate::devices::{Attached, attached};
use crate::journal::{self, Stage};
use crate::{Context, life, save};

/// Something that was left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// A guest whose creator was killed in the middle.
    HalfCreated {
        /// Its number, if it came so far.
        domid: Option<u16>,
        /// Its name.
        name: String,
        /// Who created it.
        creator: u32,
        /// The journal's file.
        file: PathBuf,
        /// Loop devices that it attached and nobody uses.
        loops: Vec<Attached>,
    },
    /// A guest whose saver was killed: it may be suspended.
    HalfSaved(save::Abandoned),
    /// Nodes of a domain that the hypervisor does not know.
    Nodes {
        /// The number.
        domid: u16,
    },
    /// A `/vm` entry that no domain refers to.
    Vm {
        /// Its path.
        path: String,
    },
    /// A loop device that neither a guest nor a mount uses. It may be of use to somebody all the same.
    Loop(Attached),
    /// A stored configuration of a domain that is gone.
    Userdata {
        /// The file.
        file: PathBuf,
        /// The domain's number.
        domid: u16,
    },
    /// A domain that is dead, but still holds its number: somebody has pages of it. Nothing can be done.
    Zombie {
        /// Its number.
        domid: u16,
    },
}

impl Leftover {
    /// What it is, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::HalfCreated { domid: Some(domid), name, creator, .. } => format!(
                "domain {domid} ({name}) is incomplete: process {creator}, which created it, was killed"
            ),
            Self::HalfCreated { domid: None, name, creator, .. } => {
                format!("process {creator} was killed while it began to create {name}")
            }
            Self::HalfSaved(found) => format!(
                "domain {} was not saved to the end, and may be suspended: process {}, which saved \
                 it, was killed",
                found.domid(),
                found.saver()
            ),
            Self::Nodes { domid } => {
                format!("the store has nodes of domain {domid}, which is gone")
            }
            Self::Vm { path } => format!("the store has {path}, which no domain uses"),
            Self::Loop(found) => {
                let (device, file) = (found.device.display(), found.file.display());
                format!("{device} has {file}, and no guest and no mount uses it")
            }
            Self::Userdata { file, .. } => {
                format!("{} is of a domain that is gone", file.display())
            }
            Self::Zombie { domid } => {
                format!("domain {domid} is dead, but somebody still holds pages of it")
            }
        }
    }

    /// Whether [`remove`] can do something about it.
    pub fn can_be_removed(&self) -> bool {
        !matches!(self, Self::Zombie { .. } | Self::Loop(_))
    }
}

/// Cleans up after creations and saves whose tool was killed. Called at the beginning of each creation, under its
/// lock; what cannot be removed stays for `xl doctor` to tell.
pub fn run(cx: &mut Context) -> Vec<Leftover> {
    let mut removed = Vec::new();
    let saves = half_saved(cx);
    for leftover in half_created(cx).into_iter().chain(saves) {
        if remove(cx, &leftover).is_ok() {
            removed.push(leftover);
        }
    }
    removed
}

/// Everything that was left behind.
///
/// # Errors
/// The store's and the hypervisor's.
pub fn find(cx: &mut Context) -> Result<Vec<Leftover>, life::LifeError> {
    let mut found = half_created(cx);
    found.extend(half_saved(cx));
    let domains = life::names(cx)?;
    let alive = |domid: u16| domains.iter().any(|domain| domain.domid == domid);
    let mut numbers = Vec::new();
    for base in ["/local/domain", "/libxl"] {
        numbers.extend(cx.store.try_list(base)?.unwrap_or_default());
    }
    for kind in cx.store.try_list("/local/domain/0/backend")?.unwrap_or_default() {
        let dir = format!("/local/domain/0/backend/{kind}");
        numbers.extend(cx.store.try_list(&dir)?.unwrap_or_default());
    }
    let mut numbers: Vec<u16> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    found.extend(
        numbers.into_iter().filter(|domid| !alive(*domid)).map(|domid| Leftover::Nodes { domid }),
    );
    found.extend(unused_vms(cx)?);
    found.extend(unused_loops(cx)?.into_iter().map(Leftover::Loop));
    found.extend(
        userdata(cx).into_iter().filter_map(|(domid, file)| {
            (!alive(domid)).then_some(Leftover::Userdata { file, domid })
        }),
    );
    let all = cx.xen.domains().unwrap_or_default();
    found.extend(
        all.iter().filter(|info| info.dying).map(|info| Leftover::Zombie { domid: info.domid }),
    );
    Ok(found)
}

/// Removes a leftover.
///
/// # Errors
/// [`life::LifeError`] says what could not be removed.
pub fn remove(cx: &mut Context, leftover: &Leftover) -> Result<(), life::LifeError> {
    match leftover {
        Leftover::HalfCreated { domid, file, loops, .. } => {
            if let Some(domid) = domid {
                destroy(cx, *domid)?;
            }
            for found in loops {
                detach(found)?;
            }
            remove_file(file)
        }
        Leftover::HalfSaved(found) => match save::rescue(cx, found) {
            Ok(_) => Ok(()),
            Err(source) => {
                let domid = found.domid();
                Err(life::LifeError::Rescue { domid, source: Box::new(source) })
            }
        },
        Leftover::Nodes { domid } => destroy(cx, *domid),
        Leftover::Vm { path } => Ok(cx.store.rm(path)?),
        Leftover::Userdata { file, .. } => remove_file(file),
        Leftover::Loop(_) | Leftover::Zombie { .. } => Ok(()),
    }
}

fn detach(found: &Attached) -> Result<(), life::LifeError> {
    match sys::loopdev::detach(&found.device) {
        Err(source) if source.errno() != Some(sys::Errno::NXIO) => Err(life::LifeError::File {
            path: found.device.display().to_string(),
            source: std::io::Error::other(source),
        }),
        _ => Ok(()),
    }
}

fn destroy(cx: &mut Context, domid: u16) -> Result<(), life::LifeError> {
    match life::destroy(cx, domid) {
        Ok(remains) if remains.problems.is_empty() => Ok(()),
        Ok(remains) => Err(life::LifeError::Left { domid, problems: remains.problems }),
        Err(life::LifeError::NoDomain { .. }) => {
            // Only backends are left: their frontends' domain has no home any more.
            let problems = crate::devices::destroy_all(cx, domid);
            if problems.is_empty() {
                Ok(())
            } else {
                Err(life::LifeError::Left { domid, problems })
            }
        }
        Err(error) => Err(error),
    }
}

fn remove_file(file: &std::path::Path) -> Result<(), life::LifeError> {
    match std::fs::remove_file(file) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(life::LifeError::File { path: file.display().to_string(), source })
        }
        _ => Ok(()),
    }
}

/// Guests whose saver died.
fn half_saved(cx: &Context) -> Vec<Leftover> {
    save::abandoned(&cx.paths.run).into_iter().map(Leftover::HalfSaved).collect()
}

/// Guests whose creator died. One that was complete and had been let run is whole: only its journal is
/// removed here.
fn half_created(cx: &mut Context) -> Vec<Leftover> {
    let mut found = Vec::new();
    let entries = journal::abandoned(&cx.paths.run);
    if entries.is_empty() {
        return found;
    }
    let domains = cx.xen.domains().unwrap_or_default();
    for (file, entry) in entries {
        let uuid = entry.uuid.parse::<Uuid>().unwrap_or_default();
        // The number is known later than the domain is there; the UUID is known before. A restart uses
        // the UUID of a guest that may still be dying.
        let own = domains.iter().find(|info| match entry.domid {
            _ if entry.stage == Stage::Attaching => false,
            Some(domid) => info.domid == domid && info.handle == uuid.0,
            None => info.handle == uuid.0 && !info.dying && info.paused && info.cpu_time_ns == 0,
        });
        if entry.stage == Stage::Starting && own.is_some_and(|info| !info.paused) {
            let _ = std::fs::remove_file(&file);
            continue;
        }
        let domid = own.map(|info| info.domid).or(entry.domid);
        let creator = entry.creator.pid;
        let mut loops =
            if entry.images.is_empty() { Vec::new() } else { unused_loops(cx).unwrap_or_default() };
        loops.retain(|found| {
            entry.images.contains(&found.file) && !entry.loops_before.contains(&found.device)
        });
        found.push(Leftover::HalfCreated { domid, name: entry.name, creator, file, loops });
    }
    found
}

/// `/vm` entries that no domain's home refers to, and that nobody is creating.
fn unused_vms(cx: &mut Context) -> Result<Vec<Leftover>, life::LifeError> {
    let mut used = journal::under_way(&cx.paths.run);
    for domain in cx.store.try_list("/local/domain")?.unwrap_or_default() {
        let vm = cx.store.try_read(&format!("/local/domain/{domain}/vm"))?;
        used.extend(vm.and_then(|vm| vm.strip_prefix("/vm/").map(str::to_owned)));
    }
    let all = cx.store.try_list("/vm")?.unwrap_or_default().into_iter();
    let unused = all.filter(|uuid| !used.contains(uuid));
    Ok(unused.map(|uuid| Leftover::Vm { path: format!("/vm/{uuid}") }).collect())
}

/// Loop devices that no backend uses, and nothing is mounted from.
fn unused_loops(cx: &mut Context) -> Result<Vec<Attached>, life::LifeError> {
    let all = attached(&cx.paths);
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let mut used = Vec::new();
    let base = "/local/domain/0/backend/vbd";
    for domid in cx.store.try_list(base)?.unwrap_or_default() {
        for devid in cx.store.try_list(&format!("{base}/{domid}"))?.unwrap_or_default() {
            used.extend(
                cx.store.try_read(&format!("{base}/{domid}/{devid}/physical-device-path"))?,
            );
            used.extend(cx.store.try_read(&format!("{base}/{domid}/{devid}/node"))?);
        }
    }
    let mounts = std::fs::read_to_string(cx.paths.proc.join("mounts")).unwrap_or_default();
    let mounted = |device: &str| mounts.lines().any(|line| line.split(' ').next() == Some(device));
    let unused = all.into_iter().filter(|found| {
        let device = found.device.display().to_string();
        !used.contains(&device) && !mounted(&device)
    });
    Ok(unused.collect())
}

/// Stored configurations with the number of their domain.
fn userdata(cx: &Context) -> Vec<(u16, PathBuf)> {
    let Ok(files) = std::fs::read_dir(&cx.paths.lib) else { return Vec::new() };
    let files = files.flatten().filter_map(|file| {
        let name = file.file_name();
        let rest = name.to_str()?.strip_prefix("userdata-d.")?.to_owned();
        let domid = rest.split('.').next()?.parse().ok()?;
        Some((domid, file.path()))
    });
    files.collect()
}
