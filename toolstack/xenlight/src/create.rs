//! A guest from its configuration: whole, or not at all.
//!
//! Everything that can be wrong with names, files, disks, bridges and memory is asked before anything
//! is touched. What is begun is written down in a journal, so that a tool that is killed is cleaned up
//! after by the next one; what fails is taken back.

mod error;
mod free;
mod shell;
mod steps;

use std::path::Path;
use std::time::Duration;

use xl_config::{DomainConfig, Kind, Uuid};

pub use error::CreateError;
pub use free::{Autoballoon, free_kib, needed_kib};

use crate::devices::{self, block, network};
use crate::journal::Journal;
use crate::lock::{self, Lock};
use crate::monitor;
use crate::{Context, build, cleanup, life, restore};

/// How a guest is to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// It stays paused.
    pub paused: bool,
    /// The program that watches it (`xl`); `None`: nobody does.
    pub monitor: Option<monitor::Launch>,
    /// How long other creations are waited for.
    pub lock_limit: Duration,
    /// The guest's number; `None` lets the hypervisor choose.
    pub domid: Option<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Self { paused: false, monitor: None, lock_limit: lock::LIMIT, domid: None }
    }
}

/// Where a guest's memory comes from.
pub enum Contents<'a> {
    /// From its kernel.
    Kernel,
    /// From a saved guest: called with the empty, paused domain.
    Saved(&'a mut dyn FnMut(&sys::Xen, &restore::Target) -> Result<restore::Rings, restore::Error>),
}

/// A guest that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its number.
    pub domid: u16,
    /// Process that watches it.
    pub monitor: Option<u32>,
    /// What was done for speed, or could not be: for whoever asks to be told more.
    pub notes: Vec<String>,
}

/// Creates a guest, and lets it run unless it shall stay paused.
///
/// # Errors
/// [`CreateError`]; nothing is left of the guest then.
pub fn create(
    cx: &mut Context,
    config: &DomainConfig,
    options: &Options,
) -> Result<Created, CreateError> {
    create_from(cx, config, options, Contents::Kernel)
}

/// The same with a choice of where the guest's memory comes from.
///
/// # Errors
/// [`CreateError`]; nothing is left of the guest then.
pub fn create_from(
    cx: &mut Context,
    config: &DomainConfig,
    options: &Options,
    contents: Contents<'_>,
) -> Result<Created, CreateError> {
    supported(config)?;
    let config = complete(cx, config)?;
    let request = steps::request(cx, &config, options)?;
    refuse_soon(cx, &config, request.memory_kib, options)?;
    // The kernel is read and unpacked before others are made to wait.
    let mut notes = Vec::new();
    let filling = match contents {
        Contents::Kernel => {
            let prepared = build::Prepared::new(request.clone())?;
            notes.extend_from_slice(prepared.notes());
            steps::Filling::Kernel(Box::new(prepared))
        }
        Contents::Saved(read) => steps::Filling::Saved(request.clone(), read),
    };
    let lock = Lock::take(Path::new(&cx.host.lockfile), options.lock_limit)?;
    cleanup::run(cx);
    let (users, images) = ask(cx, &config, request.memory_kib)?;
    free::make_room(cx, &config, request.memory_kib)?;
    let uuid = config.uuid.unwrap_or_default().to_string();
    let mut journal = Journal::begin(&cx.paths.run, &uuid, &config.name)?;
    if !images.is_empty() {
        let before = devices::attached(&cx.paths).into_iter().map(|found| found.device).collect();
        journal.attaching(images.into_iter().map(|image| image.path).collect(), before)?;
    }
    let mut steps =
        steps::Steps { cx, config: &config, options, journal: &mut journal, lock: Some(lock) };
    let mut domid = None;
    match steps.run(filling, &users, &mut domid) {
        Ok(mut created) => {
            created.notes.splice(..0, notes);
            Ok(created)
        }
        Err(error) => Err(take_back(cx, domid, error)),
    }
}

/// Everything that the host may say no to, without changing anything: the name, the disks, the
/// bridges, the memory. Answers who uses which disk, and the images that this guest will.
fn ask(
    cx: &mut Context,
    config: &DomainConfig,
    memory_kib: u64,
) -> Result<(devices::Users, Vec<devices::Image>), CreateError> {
    unique(cx, config)?;
    let users = devices::Users::find(cx)?;
    let mut images = Vec::new();
    for disk in &config.disks {
        images.extend(block::check(disk, &users, vm_path(config).as_deref())?);
    }
    for (devid, vif) in config.vifs.iter().enumerate() {
        network::check(cx, vif, u32::try_from(devid).unwrap_or(u32::MAX))?;
    }
    free::check(cx, config, memory_kib)?;
    Ok((users, images))
}

/// Says no before the kernel is unpacked, which takes seconds. All is asked again when nobody else
/// creates.
fn refuse_soon(
    cx: &mut Context,
    config: &DomainConfig,
    memory_kib: u64,
    options: &Options,
) -> Result<(), CreateError> {
    if ask(cx, config, memory_kib).is_ok() {
        return Ok(());
    }
    // What a killed tool left behind may be in the way.
    let _lock = Lock::take(Path::new(&cx.host.lockfile), options.lock_limit)?;
    cleanup::run(cx);
    ask(cx, config, memory_kib).map(drop)
}

/// Removes what there is of a guest that could not be created.
fn take_back(cx: &mut Context, domid: Option<u16>, error: CreateError) -> CreateError {
    let Some(domid) = domid else { return error };
    match life::destroy(cx, domid) {
        Ok(remains) if remains.problems.is_empty() && !remains.zombie => error,
        Ok(remains) => {
            let mut left: Vec<String> =
                remains.problems.iter().map(|problem| life::chain(problem)).collect();
            if remains.zombie {
                left.push(format!("domain {domid} is dead, but somebody holds pages of it"));
            }
            CreateError::Left { domid, why: Box::new(error), left: left.join("; ") }
        }
        // It was gone already: the builder ends what it began.
        Err(life::LifeError::NoDomain { .. }) => error,
        Err(why) => {
            let left = life::chain(&why);
            CreateError::Left { domid, why: Box::new(error), left }
        }
    }
}

/// Refuses by name what is not implemented.
fn supported(config: &DomainConfig) -> Result<(), CreateError> {
    let not = |what: &str| Err(CreateError::NotImplemented { what: what.to_owned() });
    let pv = match &config.kind {
        Kind::Pv(pv) => pv,
        Kind::Pvh(_) => return not("type=\"pvh\""),
        Kind::Hvm(_) => return not("type=\"hvm\""),
    };
    if let Some(program) = &pv.bootloader {
        return not(&format!("bootloader=\"{program}\" (name the kernel with kernel= instead)"));
    }
    if pv.kernel.is_none() {
        return Err(CreateError::NoKernel);
    }
    if !config.vfbs.is_empty() {
        return not("vfb (a frame buffer needs QEMU in domain 0)");
    }
    if config.e820_host == Some(true) {
        return not("e820_host=1");
    }
    Ok(())
}

/// The configuration with what was left to the tools: UUID, and addresses, numbers, bridges of interfaces.
fn complete(cx: &Context, config: &DomainConfig) -> Result<DomainConfig, CreateError> {
    life::check_name(&config.name)?;
    let mut config = config.clone();
    let uuid = match config.uuid {
        Some(uuid) => uuid,
        None => shell::random_uuid()?,
    };
    config.uuid = Some(uuid);
    for (index, vif) in config.vifs.iter_mut().enumerate() {
        let devid = u32::try_from(index).unwrap_or(u32::MAX);
        *vif = network::complete(cx, vif, &uuid.0, devid);
    }
    Ok(config)
}

fn vm_path(config: &DomainConfig) -> Option<String> {
    config.uuid.map(|uuid| format!("/vm/{uuid}"))
}

/// Neither name nor UUID may be of another guest.
fn unique(cx: &mut Context, config: &DomainConfig) -> Result<(), CreateError> {
    life::name_in_use(cx, &config.name)?;
    let uuid = config.uuid.unwrap_or_default();
    let all = cx.xen.domains().map_err(CreateError::Xen)?;
    match all.into_iter().find(|info| info.handle == uuid.0 && !info.dying) {
        Some(info) => Err(CreateError::UuidInUse { uuid, domid: info.domid }),
        None => Ok(()),
    }
}

/// The form in which [`Uuid`] is in hypercalls.
pub(crate) fn handle(uuid: Option<Uuid>) -> [u8; 16] {
    uuid.unwrap_or_default().0
}
