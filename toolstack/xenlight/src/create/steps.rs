//! The steps of a creation that change something, in their order.

use std::path::PathBuf;
use std::time::Duration;

use xl_config::{DomainConfig, DomidPolicy};

use super::{CreateError, Created, Options, handle, shell};
use crate::build::{Prepared, Request};
use crate::devices::{self, block, console, network};
use crate::journal::Journal;
use crate::lock::Lock;
use crate::tree::{self, DomainNodes, Node, Rings};
use crate::{Context, cpus, life, monitor, restore, userdata};

/// How long a new guest's monitor is waited for: it watches then, or something is wrong that its log says.
const WATCHED: Duration = Duration::from_secs(5);

/// What is put into the domain.
pub(super) enum Filling<'a> {
    /// A kernel.
    Kernel(Box<Prepared>),
    /// A saved guest.
    Saved(
        Request,
        &'a mut dyn FnMut(&sys::Xen, &restore::Target) -> Result<restore::Rings, restore::Error>,
    ),
}

/// What the builder is asked for.
pub(super) fn request(
    cx: &mut Context,
    config: &DomainConfig,
    options: &Options,
) -> Result<Request, CreateError> {
    let pv = config.pv().ok_or(CreateError::NoKernel)?;
    let cpupool = cpus::pool(cx, config.pool.as_deref())?;
    let grants = &config.grants;
    let host = &cx.host.grants;
    let domid = match (options.domid, cx.host.domid_policy) {
        (None, DomidPolicy::Random) => shell::random_domid(&cx.xen)?,
        (domid, _) => domid,
    };
    Ok(Request {
        kernel: PathBuf::from(pv.kernel.as_deref().unwrap_or_default()),
        kernel_cache: cx.host.kernel_cache.then(|| cx.paths.cache.join("kernels")),
        ramdisk: pv.ramdisk.as_deref().map(PathBuf::from),
        command_line: pv.cmdline.clone().unwrap_or_default(),
        memory_kib: config.memory_kib,
        max_memory_kib: config.max_memory_kib,
        max_vcpus: config.max_vcpus,
        domid,
        uuid: handle(config.uuid),
        cpupool,
        max_event_channel: config.max_event_channels.unwrap_or(1023),
        max_grant_frames: grants.max_frames.or(host.max_frames),
        max_maptrack_frames: grants.max_maptrack_frames.or(host.max_maptrack_frames),
        max_grant_version: grants.max_version.or(host.max_version).map_or(2, |v| v.number()),
        tsc_mode: config.tsc_mode.number(),
        claim: config.claim_mode,
        ..Request::default()
    })
}

/// A creation under way.
pub(super) struct Steps<'a> {
    pub cx: &'a mut Context,
    pub config: &'a DomainConfig,
    pub options: &'a Options,
    pub journal: &'a mut Journal,
    pub lock: Option<Lock>,
}

impl Steps<'_> {
    /// All of them. `domid` is set as soon as there is something to take back.
    pub fn run(
        &mut self,
        filling: Filling<'_>,
        users: &devices::Users,
        domid: &mut Option<u16>,
    ) -> Result<Created, CreateError> {
        let (number, rings) = self.domain(filling, domid)?;
        // Others may create now: memory and name are taken.
        self.settings(number)?;
        self.devices(number, users, &rings)?;
        // The images are known to be in use now.
        self.lock = None;
        self.cx.store.introduce(number, rings.store_gfn, rings.store_port)?;
        userdata::store(self.cx, number, self.config)?;
        self.start(number)
    }

    /// The domain with its memory, and its home in the store.
    fn domain(
        &mut self,
        filling: Filling<'_>,
        domid: &mut Option<u16>,
    ) -> Result<(u16, Rings), CreateError> {
        let number = match &filling {
            Filling::Kernel(prepared) => prepared.create(&self.cx.xen)?,
            Filling::Saved(request, _) => shell::empty_domain(&self.cx.xen, request)?,
        };
        *domid = Some(number);
        self.journal.numbered(number)?;
        monitor::forget(&self.cx.paths, number);
        self.home(number)?;
        match filling {
            Filling::Kernel(prepared) => {
                let built = prepared.build(&self.cx.xen, number)?;
                let rings = Rings {
                    store_gfn: built.store_gfn,
                    store_port: built.store_port,
                    console_gfn: built.console_gfn,
                    console_port: built.console_port,
                };
                Ok((number, rings))
            }
            Filling::Saved(request, read) => {
                let (store_port, console_port) = shell::configure(&self.cx.xen, number, &request)?;
                let target = restore::Target { domid: number, store_port, console_port };
                let rings = read(&self.cx.xen, &target)?;
                let (store_gfn, console_gfn) = (rings.store_gfn, rings.console_gfn);
                Ok((number, Rings { store_gfn, store_port, console_gfn, console_port }))
            }
        }
    }

    /// The domain's own nodes, in one transaction, for whoever lists domains meanwhile.
    fn home(&mut self, domid: u16) -> Result<(), CreateError> {
        let config = self.config;
        let uuid = config.uuid.unwrap_or_default().to_string();
        let pv = config.pv();
        let start_time = life::start_time();
        let nodes = tree::domain(&DomainNodes {
            domid,
            uuid: &uuid,
            name: &config.name,
            vcpus: (0..config.max_vcpus).map(|vcpu| vcpu < config.vcpus).collect(),
            static_max_kib: config.max_memory_kib,
            target_kib: config.memory_kib,
            kernel: pv.and_then(|pv| pv.kernel.as_deref()),
            ramdisk: pv.and_then(|pv| pv.ramdisk.as_deref()),
            cmdline: pv.and_then(|pv| pv.cmdline.as_deref()),
            start_time: &start_time,
            driver_domain: config.driver_domain == Some(true),
        });
        self.cx.store.transaction(|t| tree::write(t, &nodes))?;
        Ok(())
    }

    /// Affinity and the scheduler's parameters.
    fn settings(&mut self, domid: u16) -> Result<(), CreateError> {
        let (cx, config) = (&*self.cx, self.config);
        cpus::apply_affinity(cx, domid, config)?;
        cpus::apply_weight(cx, domid, config.weight, config.cap)?;
        Ok(())
    }

    /// All devices: made ready, written in one transaction, and waited for.
    fn devices(
        &mut self,
        domid: u16,
        users: &devices::Users,
        rings: &Rings,
    ) -> Result<(), CreateError> {
        let vm = super::vm_path(self.config);
        let mut disks = Vec::new();
        for disk in &self.config.disks {
            disks.push(block::prepare(self.cx, domid, disk, users, vm.as_deref())?);
        }
        let mut vifs = Vec::new();
        for vif in &self.config.vifs {
            vifs.push(network::prepare(self.cx, domid, vif)?);
        }
        let mut nodes: Vec<Node> = disks.iter().flat_map(block::Prepared::tree).collect();
        nodes.extend(console::nodes(domid));
        nodes.extend(vifs.iter().flat_map(network::Prepared::tree));
        nodes.extend(tree::console_rings(domid, rings));
        self.cx.store.transaction(|t| tree::write(t, &nodes))?;
        for disk in &mut disks {
            disk.written();
        }
        for disk in &disks {
            block::connect(self.cx, disk)?;
        }
        for vif in &vifs {
            network::connect(self.cx, vif)?;
        }
        Ok(())
    }

    /// The watcher first, so that no end goes unseen.
    fn start(&mut self, domid: u16) -> Result<Created, CreateError> {
        let launch = self.options.monitor.as_ref();
        let name = &self.config.name;
        let launched = launch
            .map(|launch| monitor::launch(&self.cx.paths, launch, domid, name))
            .transpose()?;
        self.journal.starting()?;
        if !self.options.paused {
            let started = self.cx.xen.unpause(domid);
            started.map_err(|source| CreateError::Start { domid, source })?;
        }
        let mut notes = Vec::new();
        if let Some(launched) = &launched
            && !launched.wait(WATCHED)
        {
            let (pid, limit) = (launched.pid, WATCHED.as_secs());
            notes.push(format!("process {pid} does not watch the guest yet, after {limit} s"));
        }
        Ok(Created { domid, monitor: launched.map(|launched| launched.pid), notes })
    }
}
