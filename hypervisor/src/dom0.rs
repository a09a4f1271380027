//! The first domain: memory, kernel, page tables, vCPU.

use crate::domain::{Config, Domain};
use crate::frames::{self, pages};
use crate::options::options;
use crate::util::index;
use abi::{DomId, Errno, Mfn, Pfn, VcpuId};
use alloc::sync::Arc;
use alloc::vec::Vec;
use builder::elf::Elf;
use builder::image::Payload;
use builder::kernel::{Kernel, Sink};
use builder::layout::{Layout, P2mMapping, Request};
use builder::start_info::{Contents, Registers, Role, fill};
use builder::tables::{TableMemory, build, write_p2m};
use core::sync::atomic::Ordering::Release;
use machine::memory::{self, Scratch};
use pages::{Budget, Kind, Level};

/// Why there is no dom0.
#[derive(Debug)]
pub enum Failure {
    /// The boot loader passed no kernel.
    NoKernel,
    /// Not enough memory, for what.
    Memory(&'static str),
    /// The kernel image is of no use.
    Image(builder::image::ImageError),
    /// The kernel's ELF file is of no use.
    Elf(builder::elf::ElfError),
    /// The kernel cannot be a PV dom0.
    Kernel(builder::kernel::KernelError),
    /// It does not fit.
    Layout(builder::layout::LayoutError),
    /// Its command line does not fit.
    StartInfo(builder::start_info::StartInfoError),
    /// Its page tables could not be made.
    Tables,
    /// The page rules refused its page tables.
    Pin(pages::Stop),
    /// The domain could not be made.
    Domain(Errno),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Failure::NoKernel => write!(f, "no module was passed: the first must be dom0's kernel"),
            Failure::Memory(what) => write!(f, "not enough memory for {what}"),
            Failure::Image(e) => write!(f, "dom0's kernel: {e}"),
            Failure::Elf(e) => write!(f, "dom0's kernel: {e}"),
            Failure::Kernel(e) => write!(f, "dom0's kernel: {e}"),
            Failure::Layout(e) => write!(f, "dom0's memory: {e}"),
            Failure::StartInfo(e) => write!(f, "dom0's start_info: {e}"),
            Failure::Tables => write!(f, "dom0's page tables could not be written"),
            Failure::Pin(e) => write!(f, "dom0's page tables were refused: {e:?}"),
            Failure::Domain(e) => write!(f, "dom0 could not be made: {}", e.name()),
        }
    }
}

/// Takes room for the decompressed kernel, before the free memory goes to the heap.
#[inline(never)]
pub fn reserve_scratch() -> Option<Scratch> {
    let module = machine::boot::info()?.modules().first()?;
    let size = Payload::find(memory::module_bytes(module)).ok()?.buffer_size();
    if size == 0 { None } else { memory::scratch(size) }
}

/// dom0's pages: PFN to MFN, in runs.
struct Pages {
    runs: Vec<(Pfn, Mfn, u64)>,
    count: u64,
}

impl Pages {
    fn mfn(&self, pfn: Pfn) -> Option<Mfn> {
        let at = self.runs.partition_point(|r| r.0 <= pfn).checked_sub(1)?;
        let (first, mfn, len) = self.runs.get(at)?;
        let k = pfn.0.wrapping_sub(first.0);
        (k < *len).then_some(Mfn(mfn.0.wrapping_add(k)))
    }

    fn add(&mut self, mfn: Mfn, len: u64) {
        if let Some((_, first, n)) = self.runs.last_mut()
            && first.0.wrapping_add(*n) == mfn.0
        {
            *n = n.wrapping_add(len);
            self.count = self.count.wrapping_add(len);
            return;
        }
        self.runs.push((Pfn(self.count), mfn, len));
        self.count = self.count.wrapping_add(len);
    }
}

impl Sink for Pages {
    type Error = Failure;

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Failure> {
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at & 0xfff) as usize;
            let n = rest.len().min(4096usize.wrapping_sub(offset));
            let (part, more) = rest.split_at_checked(n).unwrap_or((rest, &[]));
            let mfn = self.mfn(Pfn(at >> 12)).ok_or(Failure::Memory("the kernel"))?;
            if !memory::write_page(mfn, offset, part) {
                return Err(Failure::Memory("the kernel"));
            }
            at = at.wrapping_add(n as u64);
            rest = more;
        }
        Ok(())
    }

    fn zero(&mut self, address: u64, size: u64) -> Result<(), Failure> {
        const ZEROES: [u8; 4096] = [0; 4096];
        let mut at = address;
        let end = address.saturating_add(size);
        while at < end {
            let n = 4096u64.wrapping_sub(at & 0xfff).min(end.wrapping_sub(at));
            self.write(at, ZEROES.get(..index(n)).unwrap_or(&[]))?;
            at = at.wrapping_add(n);
        }
        Ok(())
    }
}

impl TableMemory for Pages {
    type Error = Failure;

    fn mfn(&self, pfn: Pfn) -> Option<Mfn> {
        Pages::mfn(self, pfn)
    }

    fn clear(&mut self, table: Pfn) -> Result<(), Failure> {
        let mfn = self.mfn(table).ok_or(Failure::Tables)?;
        if memory::clear_page(mfn) { Ok(()) } else { Err(Failure::Tables) }
    }

    fn write_pte(&mut self, table: Pfn, index: u16, value: u64) -> Result<(), Failure> {
        let mfn = self.mfn(table).ok_or(Failure::Tables)?;
        let page = memory::page(mfn).ok_or(Failure::Tables)?;
        let slot = page.get(usize::from(index)).ok_or(Failure::Tables)?;
        slot.store(value, core::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

/// Builds dom0 and makes its first vCPU ready to run. Returns the scratch memory's range, if any.
#[inline(never)]
pub fn build_dom0(scratch: Option<Scratch>) -> Result<Arc<Domain>, Failure> {
    let info = machine::boot::info().ok_or(Failure::NoKernel)?;
    let module = info.modules().first().ok_or(Failure::NoKernel)?;
    let payload = Payload::find(memory::module_bytes(module)).map_err(Failure::Image)?;
    let mut scratch = scratch;
    let buffer = scratch.as_mut().map_or(&mut [][..], Scratch::bytes);
    let file = payload.unpack(buffer).map_err(Failure::Image)?;
    let elf = Elf::parse(file).map_err(Failure::Elf)?;
    let kernel = Kernel::read(&elf).map_err(Failure::Kernel)?;
    let initrd = info.modules().get(1);
    let domain = make_domain()?;
    let mut memory_of = populate(&domain)?;
    let want = Request {
        nr_pages: memory_of.count,
        initrd: initrd.map_or(0, |m| m.end().saturating_sub(m.start())),
        rings: false,
        p2m: P2mMapping::Small,
    };
    let layout = Layout::plan(&kernel, &want).map_err(Failure::Layout)?;
    report(&layout);
    kernel.load(&elf, &mut memory_of)?;
    if let (Some(area), Some(m)) = (layout.initrd, initrd) {
        memory_of.write(area.pfn.0 << 12, memory::module_bytes(m))?;
    }
    finish(&domain, &layout, &mut memory_of)?;
    // From here on the modules and the scratch memory are ordinary free memory.
    for m in info.modules() {
        give_back(m.start().next_multiple_of(4096), m.end() & !0xfff);
    }
    if let Some(s) = scratch {
        let (start, end) = s.release();
        give_back(start, end);
    }
    Ok(domain)
}

fn give_back(start: u64, end: u64) {
    if start < end && frames::heap().add_range(Mfn(start >> 12), Mfn(end >> 12)).is_err() {
        crate::warning!("memory from {start:#x} to {end:#x} is lost");
    }
}

#[inline(never)]
fn make_domain() -> Result<Arc<Domain>, Failure> {
    let online = crate::cpus::online().len().max(1);
    let vcpus = options().dom0_max_vcpus.map_or(online, |range| range.choose(online));
    let vcpus = vcpus.min(crate::domain::MAX_VCPUS);
    Domain::create(&Config {
        id: DomId(0),
        privileged: true,
        handle: [0; 16],
        max_vcpus: vcpus,
        max_event_port: (1 << 17) - 1,
        max_grant_frames: 64,
        max_maptrack_frames: 1024,
        max_grant_version: 2,
        settings: crate::control::Settings::default(),
    })
    .map_err(Failure::Domain)
}

/// Gives dom0 its memory.
#[inline(never)]
fn populate(d: &Arc<Domain>) -> Result<Pages, Failure> {
    let o = options();
    let free = frames::heap().free_pages();
    let count = o.dom0_mem.pages(free);
    d.memory.lock().max = o.dom0_mem.limit(free).min(u64::MAX >> 12).max(count);
    let mut all = Pages { runs: Vec::new(), count: 0 };
    let mut order = 11u32;
    while all.count < count {
        let left = count.wrapping_sub(all.count);
        while order > 0 && 1u64.wrapping_shl(order) > left {
            order = order.wrapping_sub(1);
        }
        let block = frames::heap().alloc(order, None);
        let Some(mfn) = block else {
            order = order.checked_sub(1).ok_or(Failure::Memory("dom0"))?;
            continue;
        };
        let len = 1u64.wrapping_shl(order);
        for k in 0..len {
            let page = Mfn(mfn.0.wrapping_add(k));
            machine::paging::set_m2p(page, all.count.wrapping_add(k));
            d.page_added(page).map_err(Failure::Domain)?;
        }
        all.add(mfn, len);
    }
    Ok(all)
}

fn report(l: &Layout) {
    crate::info!("*** Building a PV Dom0 ***");
    crate::info!(" Loaded kernel: {:x}->{:x}", l.kernel.va, l.kernel.end());
    crate::info!(" Phys-Mach map: {:x}->{:x}", l.p2m.va, l.p2m.end());
    crate::info!(" Start info:    {:x}->{:x}", l.start_info.va, l.start_info.end());
    crate::info!(" Page tables:   {:x}->{:x}", l.tables.va, l.tables.end());
    crate::info!(" Boot stack:    {:x}->{:x}", l.stack.va, l.stack.end());
    crate::info!(" TOTAL:         {:x}->{:x}", l.region.va, l.region.end());
    crate::info!(" ENTRY ADDRESS: {:x}", l.entry);
}

#[inline(never)]
fn finish(d: &Arc<Domain>, layout: &Layout, mem: &mut Pages) -> Result<(), Failure> {
    build(layout, mem).map_err(|_| Failure::Tables)?;
    let runs = Pages { runs: mem.runs.clone(), count: mem.count };
    write_p2m(layout, mem, |pfn| runs.mfn(pfn))?;
    let info = machine::boot::info().ok_or(Failure::NoKernel)?;
    // The module's own name, if the loader put it first, is not an argument.
    let line = info.module_string(0);
    let line = match line.iter().position(|&b| b == b' ') {
        Some(i) if line.starts_with(b"/") || !line.get(..i).unwrap_or(b"").contains(&b'=') => {
            line.get(i.saturating_add(1)..).unwrap_or(b"")
        }
        _ => line,
    };
    let contents = Contents {
        role: Role::Dom0,
        shared_info: d.shared_info.0 << 12,
        flags: 0,
        command_line: line,
    };
    let bytes = fill(layout, &contents).map_err(Failure::StartInfo)?;
    mem.zero(layout.start_info.pfn.0 << 12, 4096)?;
    mem.write(layout.start_info.pfn.0 << 12, &bytes)?;
    start_vcpu(d, layout, mem)
}

#[inline(never)]
fn start_vcpu(d: &Arc<Domain>, layout: &Layout, mem: &Pages) -> Result<(), Failure> {
    for id in (0..d.max_vcpus()).map(VcpuId) {
        d.add_vcpu(id).map_err(Failure::Domain)?;
    }
    let v = d.vcpu(VcpuId(0)).ok_or(Failure::Domain(Errno::ENOENT))?;
    let r = Registers::new(layout);
    let l4 = mem.mfn(r.cr3).ok_or(Failure::Tables)?;
    let kind = Kind::table(Level::L4);
    let mut budget = Budget::unlimited();
    pages().pin(l4, d.id, kind, &mut budget).map_err(Failure::Pin)?;
    let held = pages().get_typed(l4, d.id, kind, &mut budget).map_err(Failure::Pin)?;
    v.base.lock().kernel = Some(held);
    v.hot.set_cr3_kernel(l4.0 << 12);
    {
        let mut s = v.saved.lock();
        s.regs.rip = r.rip;
        s.regs.rsp = r.rsp;
        s.regs.rsi = r.rsi;
        s.regs.rflags = r.rflags;
        s.regs.cs = u64::from(r.cs);
        s.regs.ss = u64::from(r.ss);
    }
    v.mask_events(true);
    crate::time::set_clock(&v);
    v.initialised.store(true, Release);
    v.online.store(true, Release);
    Ok(())
}
