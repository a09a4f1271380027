//! `vcpu-list`, `cpupool-list`, and sets of CPUs as text.

use super::NO_NAME;
use serde::Serialize;
use std::fmt::Write as _;
use sys::{Affinity, CpuMap, VcpuInfo};

/// A set as `xl` writes it: `all`, `none`, or runs as in `0-3,5`. `total` is how many there are.
pub fn set(map: &CpuMap, total: usize) -> String {
    let inside: Vec<usize> = map.iter().take_while(|n| *n < total).collect();
    if inside.is_empty() {
        return "none".to_owned();
    }
    if inside.len() == total {
        return "all".to_owned();
    }
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for n in inside {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => runs.push((n, n)),
        }
    }
    let text = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

/// One vCPU.
#[derive(Debug, Clone)]
pub struct Vcpu {
    /// Its domain's name.
    pub name: Option<String>,
    /// Its domain.
    pub domid: u16,
    /// What the hypervisor says of it.
    pub info: VcpuInfo,
    /// Where it must and should run.
    pub affinity: Affinity,
}

/// The table of `vcpu-list`; `cpus` is how many CPUs the host has.
pub fn vcpus(rows: &[Vcpu], cpus: usize) -> String {
    let mut text = format!(
        "{:<32} {:>5} {:>5} {:>5} {:>5} {:>9} Affinity (Hard / Soft)\n",
        "Name", "ID", "VCPU", "CPU", "State", "Time(s)"
    );
    for row in rows {
        let name = row.name.as_deref().unwrap_or(NO_NAME);
        let info = &row.info;
        let _ = write!(text, "{name:<32} {:5} {:5}", row.domid, info.vcpu);
        if info.online {
            let running = if info.running { 'r' } else { '-' };
            let blocked = if info.blocked { 'b' } else { '-' };
            let _ = write!(text, "{:5} {running:>3}{blocked}- ", info.cpu);
        } else {
            let _ = write!(text, "{:>5} {:>3}-p ", '-', '-');
        }
        let seconds = info.cpu_time_ns as f64 / 1e9;
        let hard = set(&row.affinity.hard, cpus);
        let soft = set(&row.affinity.soft, cpus);
        let _ = writeln!(text, "{seconds:9.1}  {hard} / {soft}");
    }
    text
}

/// A vCPU as `--json` has it.
#[derive(Debug, Serialize)]
pub struct VcpuJson<'a> {
    domid: u16,
    name: Option<&'a str>,
    vcpu: u32,
    online: bool,
    running: bool,
    blocked: bool,
    cpu: Option<u32>,
    cpu_seconds: f64,
    hard_affinity: String,
    soft_affinity: String,
}

/// The vCPUs as `--json` has them.
pub fn vcpus_json(rows: &[Vcpu], cpus: usize) -> Vec<VcpuJson<'_>> {
    let one = |row| {
        let Vcpu { name, domid, info, affinity }: &Vcpu = row;
        VcpuJson {
            domid: *domid,
            name: name.as_deref(),
            vcpu: info.vcpu,
            online: info.online,
            running: info.running,
            blocked: info.blocked,
            cpu: info.online.then_some(info.cpu),
            cpu_seconds: info.cpu_time_ns as f64 / 1e9,
            hard_affinity: set(&affinity.hard, cpus),
            soft_affinity: set(&affinity.soft, cpus),
        }
    };
    rows.iter().map(one).collect()
}

/// One pool of CPUs.
#[derive(Debug, Clone, Serialize)]
pub struct Pool {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its scheduler.
    pub scheduler: &'static str,
    /// How many domains are in it.
    pub domains: u32,
    /// Its CPUs.
    pub cpus: Vec<usize>,
}

/// The table of `cpupool-list`, or with `-c` of the CPUs.
pub fn pools(rows: &[Pool], cpus: bool) -> String {
    let mut text = format!("{:<19}", "Name");
    text.push_str(if cpus { "CPU list\n" } else { "CPUs   Sched     Active   Domain count\n" });
    for row in rows {
        let _ = write!(text, "{:<19}", row.name);
        if cpus {
            let list: Vec<_> = row.cpus.iter().map(usize::to_string).collect();
            text.push_str(&list.join(","));
        } else {
            let (count, domains) = (row.cpus.len(), row.domains);
            let _ = write!(text, "{count:3} {:>9}       y       {domains:4}", row.scheduler);
        }
        text.push('\n');
    }
    text
}

/// A scheduler's name by its number.
pub fn scheduler(id: u32) -> &'static str {
    sys::Scheduler(id).name().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(bits: usize, of: &[usize]) -> CpuMap {
        let mut map = CpuMap::new(bits);
        for n in of {
            map.set(*n, true);
        }
        map
    }

    #[test]
    fn sets_are_written_as_runs() {
        assert_eq!(set(&map(8, &[0, 1, 2, 5, 7]), 8), "0-2,5,7");
        assert_eq!(set(&map(8, &[3]), 8), "3");
        assert_eq!(set(&map(8, &[0, 1]), 2), "all");
        assert_eq!(set(&map(8, &[]), 8), "none");
        assert_eq!(set(&map(8, &[6]), 4), "none");
    }

    fn vcpu(name: &str, domid: u16, vcpu: u32, hard: &[usize]) -> Vcpu {
        let info = VcpuInfo {
            vcpu,
            online: true,
            blocked: false,
            running: true,
            cpu_time_ns: 31_600_000_000,
            cpu: 1,
        };
        let affinity = Affinity { hard: map(2, hard), soft: map(2, &[0, 1]) };
        Vcpu { name: Some(name.to_owned()), domid, info, affinity }
    }

    #[test]
    fn vcpu_list_has_debians_bytes() {
        let mut pinned = vcpu("pv1", 1, 0, &[0]);
        pinned.info = VcpuInfo { blocked: true, running: false, cpu: 0, ..pinned.info };
        assert_eq!(
            vcpus(&[vcpu("Domain-0", 0, 0, &[0, 1]), pinned], 2),
            "Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n\
             Domain-0                             0     0    1   r--      31.6  all / all\n\
             pv1                                  1     0    0   -b-      31.6  0 / all\n"
        );
    }

    #[test]
    fn a_vcpu_that_is_off_has_no_cpu() {
        let mut off = vcpu("pv1", 1, 1, &[0, 1]);
        off.info.online = false;
        let text = vcpus(&[off.clone()], 2);
        assert!(text.ends_with("     1    -   --p      31.6  all / all\n"), "{text}");
        let value = serde_json::to_value(vcpus_json(&[off], 2)).unwrap();
        assert_eq!(value[0]["cpu"], serde_json::Value::Null);
    }

    #[test]
    fn cpupool_list_has_debians_bytes() {
        let pool = |name: &str, scheduler, domains, cpus: &[usize]| Pool {
            id: 0,
            name: name.to_owned(),
            scheduler,
            domains,
            cpus: cpus.to_vec(),
        };
        let rows = [pool("Pool-0", "credit2", 2, &[0, 1]), pool("p2", "credit", 0, &[])];
        assert_eq!(
            pools(&rows, false),
            "Name               CPUs   Sched     Active   Domain count\n\
             Pool-0               2   credit2       y          2\n\
             p2                   0    credit       y          0\n"
        );
        assert_eq!(
            pools(&rows, true),
            "Name               CPU list\nPool-0             0,1\np2                 \n"
        );
    }
}
