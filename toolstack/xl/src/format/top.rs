//! `top`: the table of xentop, and of which domain it says what.

use super::NO_NAME;
use serde::Serialize;
use std::fmt::Write as _;
use sys::DomainInfo;

/// KiB in a page.
const PAGE_KIB: u64 = 4;

/// One direction of a network interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets with errors.
    pub errors: u64,
    /// Packets dropped.
    pub drops: u64,
}

/// Counters of one network interface, as domain 0's kernel has them for its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Net {
    /// Its number.
    pub devid: u32,
    /// Received.
    pub rx: Traffic,
    /// Sent.
    pub tx: Traffic,
}

/// Counters of one disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Vbd {
    /// Its virtual device number.
    pub vdev: u32,
    /// Requests that found no free room.
    pub out_of_requests: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Sectors read.
    pub sectors_read: u64,
    /// Sectors written.
    pub sectors_written: u64,
}

/// What one domain uses.
#[derive(Debug, Clone)]
pub struct Usage {
    /// What the hypervisor says of it.
    pub info: DomainInfo,
    /// Its name.
    pub name: Option<String>,
    /// CPU time of each vCPU that is on line, in ns, by its number.
    pub vcpus: Vec<(u32, u64)>,
    /// Its network interfaces.
    pub nets: Vec<Net>,
    /// Its disks.
    pub vbds: Vec<Vbd>,
    /// Percent of one CPU since the last look.
    pub cpu_percent: f64,
}

/// All domains at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The domains.
    pub domains: Vec<Usage>,
    /// Memory of the host, in pages: all, and free.
    pub pages: (u64, u64),
    /// CPUs, and their speed in kHz.
    pub cpus: (u32, u32),
    /// The hypervisor's version.
    pub version: String,
    /// When, in ns of a clock that only goes forward.
    pub at_ns: u64,
}

/// What is shown beside the table's lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    /// A line for each network interface.
    pub nets: bool,
    /// A line for each disk.
    pub vbds: bool,
    /// The CPU time of each vCPU.
    pub vcpus: bool,
    /// The header before each domain.
    pub repeat: bool,
    /// Names in full.
    pub full: bool,
    /// Domain 0 first.
    pub dom0_first: bool,
}

/// The names of the columns.
pub const HEADER: &str = "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) \
     VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID\n";

/// By what the table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The name, as C's xentop begins.
    #[default]
    Name,
    /// The domain's number.
    Domid,
    /// CPU time of late, most first.
    Cpu,
    /// Memory, most first.
    Memory,
}

impl Order {
    /// The next one, for the key that changes it.
    pub fn next(self) -> Self {
        match self {
            Self::Name => Self::Cpu,
            Self::Cpu => Self::Memory,
            Self::Memory => Self::Domid,
            Self::Domid => Self::Name,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Domid => "ID",
            Self::Name => "NAME",
            Self::Cpu => "CPU(%)",
            Self::Memory => "MEM(k)",
        }
    }
}

/// Sorts the domains.
pub fn sort(sample: &mut Sample, order: Order, dom0_first: bool) {
    let of = |usage: &Usage| usage.info.domid;
    match order {
        Order::Domid => sample.domains.sort_by_key(of),
        Order::Name => {
            let lower = |usage: &Usage| usage.name.as_ref().map(|name| name.to_lowercase());
            sample.domains.sort_by_key(|usage| (lower(usage), of(usage)));
        }
        Order::Cpu => sample.domains.sort_by(|a, b| b.cpu_percent.total_cmp(&a.cpu_percent)),
        Order::Memory => sample.domains.sort_by_key(|usage| std::cmp::Reverse(usage.info.pages)),
    }
    if dom0_first {
        sample.domains.sort_by_key(|usage| of(usage) != 0);
    }
}

/// Fills in how much CPU each domain used since an earlier look.
pub fn compare(sample: &mut Sample, before: &Sample) {
    let elapsed = sample.at_ns.saturating_sub(before.at_ns);
    if elapsed == 0 {
        return;
    }
    for usage in &mut sample.domains {
        let same = |old: &&Usage| {
            old.info.domid == usage.info.domid && old.info.handle == usage.info.handle
        };
        if let Some(old) = before.domains.iter().find(same) {
            let used = usage.info.cpu_time_ns.saturating_sub(old.info.cpu_time_ns);
            usage.cpu_percent = used as f64 * 100.0 / elapsed as f64;
        }
    }
}

/// The table, its header first.
pub fn table(sample: &Sample, shown: Shown) -> String {
    let mut text = String::new();
    for (index, usage) in sample.domains.iter().enumerate() {
        if index == 0 || shown.repeat {
            text.push_str(HEADER);
        }
        line(&mut text, usage, sample.pages.0, shown);
        if shown.vcpus {
            vcpus(&mut text, usage);
        }
        if shown.nets {
            usage.nets.iter().enumerate().for_each(|(index, net)| net_line(&mut text, index, net));
        }
        if shown.vbds {
            usage.vbds.iter().for_each(|vbd| vbd_line(&mut text, vbd));
        }
    }
    text
}

/// The letters dying, shut down, blocked, crashed, paused, running.
fn state(info: &DomainInfo) -> String {
    let letter = |set, letter| if set { letter } else { '-' };
    [
        letter(info.dying, 'd'),
        letter(info.shutdown.is_some() && !info.crashed(), 's'),
        letter(info.blocked, 'b'),
        letter(info.crashed(), 'c'),
        letter(info.paused, 'p'),
        letter(info.running, 'r'),
    ]
    .iter()
    .collect()
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

fn line(text: &mut String, usage: &Usage, host_pages: u64, shown: Shown) {
    let info = &usage.info;
    let name = usage.name.as_deref().unwrap_or(NO_NAME);
    let name: String = if shown.full { name.to_owned() } else { name.chars().take(10).collect() };
    let _ = write!(
        text,
        "{name:>10} {} {:10} {:6.1} {:10} {:6.1}",
        state(info),
        info.cpu_time_ns / 1_000_000_000,
        usage.cpu_percent,
        info.pages.saturating_mul(PAGE_KIB),
        percent(info.pages, host_pages),
    );
    let _ = match limit(info) {
        Some(pages) => {
            let kib = pages.saturating_mul(PAGE_KIB);
            write!(text, " {kib:10} {:9.1}", percent(pages, host_pages))
        }
        None => write!(text, " {:>10} {:>9}", "no limit", "n/a"),
    };
    let sum = |of: fn(&Net) -> u64| usage.nets.iter().map(of).fold(0, u64::saturating_add);
    let vbd = |of: fn(&Vbd) -> u64| usage.vbds.iter().map(of).fold(0, u64::saturating_add);
    let _ = writeln!(
        text,
        " {:5} {:4} {:8} {:8} {:4} {:8} {:8} {:8} {:10} {:10} {:4}",
        info.online_vcpus,
        usage.nets.len(),
        sum(|net| net.tx.bytes) / 1024,
        sum(|net| net.rx.bytes) / 1024,
        usage.vbds.len(),
        vbd(|vbd| vbd.out_of_requests),
        vbd(|vbd| vbd.reads),
        vbd(|vbd| vbd.writes),
        vbd(|vbd| vbd.sectors_read),
        vbd(|vbd| vbd.sectors_written),
        info.ssidref,
    );
}

/// The most memory that a domain may have, in pages. Xen says all ones where there is no limit.
fn limit(info: &DomainInfo) -> Option<u64> {
    (info.max_pages < 1 << 52 && info.max_pages != u64::from(u32::MAX)).then_some(info.max_pages)
}

fn vcpus(text: &mut String, usage: &Usage) {
    text.push_str("VCPUs(sec): ");
    for (index, (vcpu, ns)) in usage.vcpus.iter().enumerate() {
        if index != 0 && index % 5 == 0 {
            text.push_str("\n        ");
        }
        let _ = write!(text, " {vcpu:2}: {:10}s", ns / 1_000_000_000);
    }
    text.push('\n');
}

fn net_line(text: &mut String, index: usize, net: &Net) {
    let Traffic { bytes, packets, errors, drops } = net.rx;
    let _ =
        write!(text, "Net{index} RX: {bytes:8}bytes {packets:8}pkts {errors:8}err {drops:8}drop  ");
    let Traffic { bytes, packets, errors, drops } = net.tx;
    let _ = writeln!(text, "TX: {bytes:8}bytes {packets:8}pkts {errors:8}err {drops:8}drop");
}

fn vbd_line(text: &mut String, vbd: &Vbd) {
    // Linux's numbers for the xvd and sd disks keep the major number in the upper byte.
    let (major, minor) = (vbd.vdev >> 8 & 0xff, vbd.vdev & 0xff);
    let _ = writeln!(
        text,
        "VBD BlkBack {:4} [{major:2x}:{minor:2x}]  OO: {:8}   RD: {:8}   WR: {:8}   \
         RSECT: {:10}   WSECT: {:10}",
        vbd.vdev, vbd.out_of_requests, vbd.reads, vbd.writes, vbd.sectors_read, vbd.sectors_written
    );
}

/// What the live view has above the table; `clock` is the time of day.
pub fn summary(sample: &Sample, clock: &str) -> String {
    let count = |of: fn(&DomainInfo) -> bool| sample.domains.iter().filter(|u| of(&u.info)).count();
    let (all, free) = sample.pages;
    let used = all.saturating_sub(free);
    let (cpus, khz) = sample.cpus;
    format!(
        "xentop - {clock}   Xen {}\n{} domains: {} running, {} blocked, {} paused, {} crashed, \
         {} dying, {} shutdown \nMem: {}k total, {}k used, {}k free    CPUs: {cpus} @ {}MHz\n",
        sample.version,
        sample.domains.len(),
        count(|info| info.running),
        count(|info| info.blocked),
        count(|info| info.paused),
        count(DomainInfo::crashed),
        count(|info| info.dying),
        count(|info| info.shutdown.is_some() && !info.crashed()),
        all.saturating_mul(PAGE_KIB),
        used.saturating_mul(PAGE_KIB),
        free.saturating_mul(PAGE_KIB),
        khz / 1000,
    )
}

/// A domain as `--json` has it.
#[derive(Debug, Serialize)]
pub struct Json<'a> {
    domid: u16,
    name: Option<&'a str>,
    state: String,
    cpu_seconds: f64,
    cpu_percent: f64,
    memory_kib: u64,
    max_memory_kib: Option<u64>,
    vcpus_online: u32,
    nets: &'a [Net],
    vbds: &'a [Vbd],
}

/// One look as `--json` has it.
pub fn json(sample: &Sample) -> Vec<Json<'_>> {
    let one = |usage| {
        let Usage { info, name, nets, vbds, cpu_percent, .. }: &Usage = usage;
        Json {
            domid: info.domid,
            name: name.as_deref(),
            state: state(info),
            cpu_seconds: info.cpu_time_ns as f64 / 1e9,
            cpu_percent: *cpu_percent,
            memory_kib: info.pages.saturating_mul(PAGE_KIB),
            max_memory_kib: limit(info).map(|pages| pages.saturating_mul(PAGE_KIB)),
            vcpus_online: info.online_vcpus,
            nets,
            vbds,
        }
    };
    sample.domains.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::list::tests::domain;

    fn traffic(bytes: u64, packets: u64) -> Traffic {
        Traffic { bytes, packets, ..Traffic::default() }
    }

    /// What ran while the oracle's outputs were recorded on Debian's Xen 4.20.
    fn recorded() -> Sample {
        let mut dom0 = domain(0, 196_608, 57_000_000_000);
        dom0.running = true;
        let mut guest = domain(1, 49_152, 15_000_000_000);
        guest.blocked = true;
        guest.max_pages = 49_408;
        let usage = |info: DomainInfo, name: &str| Usage {
            vcpus: vec![(0, info.cpu_time_ns)],
            info,
            name: Some(name.to_owned()),
            nets: Vec::new(),
            vbds: Vec::new(),
            cpu_percent: 0.0,
        };
        let mut guest = usage(guest, "tiny");
        guest.nets = vec![Net { devid: 0, rx: traffic(544, 8), tx: traffic(876, 10) }];
        guest.vbds = vec![Vbd { vdev: 51712, reads: 3, sectors_read: 24, ..Vbd::default() }];
        Sample {
            domains: vec![usage(dom0, "Domain-0"), guest],
            pages: (524_186, 272_384),
            cpus: (1, 2_596_140),
            version: "4.20.5-pre".to_owned(),
            at_ns: 0,
        }
    }

    #[test]
    fn the_table_has_debians_bytes() {
        assert_eq!(
            table(&recorded(), Shown::default()),
            "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID\n  \
               Domain-0 -----r         57    0.0     786432   37.5     786432      37.5     1    0        0        0    0        0        0        0          0          0    0\n      \
                   tiny --b---         15    0.0     196608    9.4     197632       9.4     1    1        0        0    1        0        3        0         24          0    0\n"
        );
    }

    #[test]
    fn lines_of_vcpus_interfaces_and_disks_have_debians_bytes() {
        let mut sample = recorded();
        sample.domains.remove(0);
        let shown = Shown { nets: true, vbds: true, vcpus: true, ..Shown::default() };
        let text = table(&sample, shown);
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "VCPUs(sec):   0:         15s",
                "Net0 RX:      544bytes        8pkts        0err        0drop  TX:      876bytes       10pkts        0err        0drop",
                "VBD BlkBack 51712 [ca: 0]  OO:        0   RD:        3   WR:        0   RSECT:         24   WSECT:          0",
            ]
        );
    }

    #[test]
    fn the_header_is_repeated_before_each_domain_when_asked_for() {
        let text = table(&recorded(), Shown { repeat: true, ..Shown::default() });
        assert_eq!(text.matches("NAME  STATE").count(), 2);
    }

    #[test]
    fn a_domain_that_ended_and_one_that_crashed_differ_in_their_letter() {
        let mut info = domain(1, 0, 0);
        info.shutdown = Some(sys::ShutdownReason::POWEROFF);
        info.paused = true;
        assert_eq!(state(&info), "-s--p-");
        info.shutdown = Some(sys::ShutdownReason::CRASH);
        assert_eq!(state(&info), "---cp-");
    }

    #[test]
    fn percents_are_of_the_time_between_two_looks_of_the_same_domain() {
        let before = recorded();
        let mut after = recorded();
        after.at_ns = 2_000_000_000;
        after.domains[0].info.cpu_time_ns += 1_000_000_000;
        after.domains[1].info.cpu_time_ns += 1_000_000_000;
        after.domains[1].info.handle = [9; 16];
        compare(&mut after, &before);
        assert_eq!(after.domains[0].cpu_percent, 50.0);
        assert_eq!(after.domains[1].cpu_percent, 0.0, "another domain got its number");
    }

    #[test]
    fn a_domain_without_limit_says_so() {
        let mut sample = recorded();
        sample.domains[0].info.max_pages = u64::MAX / 4;
        let text = table(&sample, Shown::default());
        assert!(text.contains("  no limit       n/a     1"), "{text}");
    }

    #[test]
    fn sorting_by_memory_puts_the_largest_first_and_dom0_first_wins() {
        let mut sample = recorded();
        sample.domains[1].info.pages = 1 << 20;
        sort(&mut sample, Order::Memory, false);
        assert_eq!(sample.domains[0].info.domid, 1);
        sort(&mut sample, Order::Memory, true);
        assert_eq!(sample.domains[0].info.domid, 0);
    }
}
