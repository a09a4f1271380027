//! A PV domain from a kernel file: made, filled and ready to run.
//!
//! 1. [`Prepared::new`] reads and unpacks the kernel and lays the domain out. Nothing is touched yet, so
//!    all that can be wrong with files and sizes is said before there is anything to clean up.
//! 2. [`Prepared::create`] makes an empty, paused domain.
//! 3. [`Prepared::build`] gives it memory and all that it finds at its start. If that fails, the domain
//!    is destroyed.
//!
//! What a domain finds at its start: `builder::layout`. The order of calls and the values that are not of
//! that follow what Xen's own tools do.

mod cache;
mod error;
mod files;
mod load;
mod policy;
mod ram;
mod start;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use abi::arch_x86::TSC_MODE_DEFAULT;
use abi::memory::{E820_RAM, E820Entry};
use builder::kernel::Kernel;
use builder::layout::{self, Layout, P2mMapping};
use sys::{CreateDomain, TscInfo, Xen};

pub use error::BuildError;

/// What a domain may have above its memory, in KiB: room for what Xen itself counts as the domain's.
const SLACK_KIB: u64 = 1024;
const KIB_PER_PAGE: u64 = 4;

/// What to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The kernel: an ELF file, a bzImage, or either compressed by gzip.
    pub kernel: PathBuf,
    /// Where unpacked kernels are kept, for the next creation; `None`: nowhere.
    pub kernel_cache: Option<PathBuf>,
    /// The initial ramdisk, given to the kernel as it is.
    pub ramdisk: Option<PathBuf>,
    /// The kernel's command line, at most 1023 bytes.
    pub command_line: String,
    /// Memory at the start in KiB; whole MiB of it are used.
    pub memory_kib: u64,
    /// Memory that the domain may grow to in KiB: the end of its memory map.
    pub max_memory_kib: u64,
    /// vCPUs at most, at least 1. The first runs; the kernel starts the others.
    pub max_vcpus: u32,
    /// The domain's number; `None` lets the hypervisor choose.
    pub domid: Option<u16>,
    /// Its 16-byte name for users.
    pub uuid: [u8; 16],
    /// Its CPU pool.
    pub cpupool: u32,
    /// Greatest event channel port.
    pub max_event_channel: u32,
    /// Frames of its grant table at most.
    pub max_grant_frames: Option<u32>,
    /// Frames of its maptrack table at most.
    pub max_maptrack_frames: Option<u32>,
    /// Greatest version of grant entries: 1 or 2.
    pub max_grant_version: u32,
    /// `TSC_MODE_*` of [`abi::arch_x86`].
    pub tsc_mode: u32,
    /// Offset of its wall clock in seconds.
    pub time_offset: Option<i64>,
    /// The domain where xenstored runs.
    pub store_domid: u16,
    /// The domain where xenconsoled runs.
    pub console_domid: u16,
    /// Set its memory aside before it is given, so that a lack of it is noticed at once.
    pub claim: bool,
}

impl Default for Request {
    /// One vCPU and 128 MiB, of a kernel that is still to be named.
    fn default() -> Self {
        Self {
            kernel: PathBuf::new(),
            kernel_cache: None,
            ramdisk: None,
            command_line: String::new(),
            memory_kib: 128 << 10,
            max_memory_kib: 128 << 10,
            max_vcpus: 1,
            domid: None,
            uuid: [0; 16],
            cpupool: 0,
            max_event_channel: 1023,
            max_grant_frames: None,
            max_maptrack_frames: None,
            max_grant_version: 2,
            tsc_mode: TSC_MODE_DEFAULT,
            time_offset: None,
            store_domid: 0,
            console_domid: 0,
            claim: true,
        }
    }
}

/// A domain that is ready to be unpaused, once the store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its number.
    pub domid: u16,
    /// Guest frame of its xenstore ring.
    pub store_gfn: u64,
    /// Its port for xenstore, to be bound by xenstored.
    pub store_port: u32,
    /// Guest frame of its console ring.
    pub console_gfn: u64,
    /// Its port for the console, to be bound by xenconsoled.
    pub console_port: u32,
    /// Pages that it has.
    pub pages: u64,
}

/// All that can be known before there is a domain.
#[derive(Debug)]
pub struct Prepared {
    request: Request,
    image: files::KernelImage,
    kernel: Kernel,
    ramdisk: Option<files::Ramdisk>,
    layout: Layout,
    notes: Vec<String>,
}

impl Prepared {
    /// Reads the files and lays the domain out.
    ///
    /// # Errors
    /// [`BuildError::Read`], `Kernel`, `Elf`, `NotXen`, `Layout`, `CommandLine`, `Memory`.
    pub fn new(request: Request) -> Result<Self, BuildError> {
        let pages = (request.memory_kib >> 10) << 8;
        if pages == 0 {
            return Err(BuildError::Memory { kib: request.memory_kib });
        }
        start::check_command_line(&request.command_line)?;
        let ramdisk = request.ramdisk.as_deref().map(files::Ramdisk::open).transpose()?;
        let mut notes = Vec::new();
        let folder = request.kernel_cache.as_deref();
        let image = files::KernelImage::load(&request.kernel, folder, &mut notes)?;
        let kernel = image.kernel()?;
        let want = layout::Request {
            nr_pages: pages,
            initrd: ramdisk.as_ref().map_or(0, files::Ramdisk::size),
            rings: true,
            p2m: P2mMapping::Small,
        };
        let layout = Layout::plan(&kernel, &want).map_err(|source| BuildError::Layout {
            kernel: request.kernel.clone(),
            memory_mib: pages >> 8,
            source,
        })?;
        Ok(Self { request, image, kernel, ramdisk, layout, notes })
    }

    /// What was done for speed, or could not be; nothing that anybody must know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is to be built.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Pages that the domain will have.
    pub fn pages(&self) -> u64 {
        self.layout.nr_pages
    }

    /// Makes the domain, paused and empty, with its vCPUs and limits, and says its number.
    ///
    /// # Errors
    /// [`BuildError::Create`], [`BuildError::Call`]; the domain is then gone.
    pub fn create(&self, xen: &Xen) -> Result<u16, BuildError> {
        let r = &self.request;
        let want = CreateDomain {
            domid: r.domid,
            handle: r.uuid,
            max_vcpus: r.max_vcpus,
            max_evtchn_port: r.max_event_channel,
            max_grant_frames: r.max_grant_frames,
            max_maptrack_frames: r.max_maptrack_frames,
            max_grant_version: r.max_grant_version,
            cpupool: r.cpupool,
            ..CreateDomain::default()
        };
        let domid = xen.create_domain(&want).map_err(BuildError::Create)?;
        or_destroy(xen, domid, || self.configure(xen, domid))?;
        Ok(domid)
    }

    fn configure(&self, xen: &Xen, domid: u16) -> Result<(), BuildError> {
        let r = &self.request;
        let step = |what| move |source| BuildError::Call { domid, what, source };
        xen.max_vcpus(domid, r.max_vcpus).map_err(step("setting the number of vCPUs"))?;
        let limit = self.layout.nr_pages.saturating_mul(KIB_PER_PAGE).saturating_add(SLACK_KIB);
        xen.max_mem(domid, limit).map_err(step("setting its memory limit"))?;
        let map = [ram_from_zero(r.max_memory_kib.max(r.memory_kib))];
        xen.set_memory_map(domid, &map).map_err(step("setting its memory map"))?;
        let tsc = TscInfo { mode: r.tsc_mode, khz: 0, incarnation: 0, elapsed_ns: 0 };
        xen.set_tsc_info(domid, &tsc).map_err(step("setting its TSC mode"))?;
        if let Some(seconds) = r.time_offset {
            xen.set_time_offset(domid, seconds).map_err(step("setting its clock"))?;
        }
        policy::apply(xen, domid).map_err(step("setting its CPU policy"))
    }

    /// Fills a domain that [`create`](Self::create) made. It stays paused; the store does not know it.
    ///
    /// # Errors
    /// Any [`BuildError`]; the domain is then gone.
    pub fn build(&self, xen: &Xen, domid: u16) -> Result<Built, BuildError> {
        or_destroy(xen, domid, || self.fill(xen, domid))
    }

    fn fill(&self, xen: &Xen, domid: u16) -> Result<Built, BuildError> {
        let r = &self.request;
        let step = |what| move |source| BuildError::Call { domid, what, source };
        let port = |remote, what| xen.alloc_unbound(domid, remote).map_err(step(what));
        let store_port = port(r.store_domid, "making its xenstore port")?;
        let console_port = port(r.console_domid, "making its console port")?;
        xen.set_address_size(domid, 64).map_err(step("making it a 64-bit domain"))?;
        let frames = ram::give(xen, domid, self.layout.nr_pages, r.claim)?;
        let info = xen.domain_info(domid).map_err(step("asking for its shared page"))?;
        let shared_info = info.ok_or(BuildError::Vanished { domid })?.shared_info_frame;
        let place = start::Place::new(domid, &self.layout, &frames, store_port, console_port)?;
        load::load(self, xen, domid, &frames, &place, shared_info)?;
        start::run_ready(xen, domid, self, &frames, shared_info)?;
        start::seed_grants(xen, domid, &place, r)?;
        Ok(Built {
            domid,
            store_gfn: place.store.0,
            store_port,
            console_gfn: place.console.0,
            console_port,
            pages: self.layout.nr_pages,
        })
    }
}

/// Creates and builds in one.
///
/// # Errors
/// Any [`BuildError`]; there is then no domain.
pub fn build(xen: &Xen, request: Request) -> Result<Built, BuildError> {
    let prepared = Prepared::new(request)?;
    let domid = prepared.create(xen)?;
    prepared.build(xen, domid)
}

/// Does `work`; if that fails, ends the domain.
fn or_destroy<T>(
    xen: &Xen,
    domid: u16,
    work: impl FnOnce() -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    work().map_err(|error| match xen.destroy_domain(domid) {
        Ok(()) => error,
        Err(why) if why.no_such_domain() => error,
        Err(source) => BuildError::Left { domid, why: Box::new(error), source },
    })
}

fn ram_from_zero(kib: u64) -> E820Entry {
    let bytes = kib.saturating_mul(1024);
    let low = |n: u64| (n & 0xffff_ffff) as u32;
    E820Entry {
        addr_low: 0,
        addr_high: 0,
        size_low: low(bytes),
        size_high: low(bytes >> 32),
        kind: E820_RAM,
    }
}
