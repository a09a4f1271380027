//! `info`.

use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use sys::{CpuTopology, NumaInfo, PhysInfo, VersionInfo};

/// What the kernel says of the host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Node name.
    pub name: String,
    /// Kernel release.
    pub release: String,
    /// Kernel version.
    pub version: String,
    /// Machine.
    pub machine: String,
}

/// With `-n`: where CPUs and memory are.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Each CPU; `None` if it is off.
    pub cpus: Vec<Option<CpuTopology>>,
    /// Nodes of memory.
    pub numa: NumaInfo,
}

/// Everything that `info` prints.
#[derive(Debug, Clone)]
pub struct Info {
    /// The host.
    pub host: Host,
    /// Its CPUs and memory.
    pub physical: PhysInfo,
    /// Pages saved by sharing, and pages shared.
    pub sharing: (u64, u64),
    /// CPUs in no pool.
    pub free_cpus: usize,
    /// Where it all is.
    pub topology: Option<Topology>,
    /// The hypervisor.
    pub xen: VersionInfo,
    /// Its scheduler.
    pub scheduler: &'static str,
}

/// Bytes in a MiB; bytes in a page.
const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;

fn mebibytes(pages: u64) -> u64 {
    pages.saturating_mul(PAGE) / MIB
}

/// The names of `virt_caps` (public/sysctl.h), in the order in which they are printed.
fn virt_caps(physical: &PhysInfo) -> Vec<&'static str> {
    use abi::sysctl as s;
    let direct = physical.can(s::PHYSCAP_DIRECTIO);
    let of = |capability| physical.can(capability);
    [
        ("pv", of(s::PHYSCAP_PV)),
        ("hvm", of(s::PHYSCAP_HVM)),
        ("hvm_directio", direct && of(s::PHYSCAP_HVM)),
        ("pv_directio", direct && of(s::PHYSCAP_PV)),
        ("hap", of(s::PHYSCAP_HAP)),
        ("shadow", of(s::PHYSCAP_SHADOW)),
        ("iommu_hap_pt_share", of(s::PHYSCAP_IOMMU_HAP_PT_SHARE)),
        ("vmtrace", of(s::PHYSCAP_VMTRACE)),
        ("vpmu", of(s::PHYSCAP_VPMU)),
        ("gnttab-v1", of(s::PHYSCAP_GNTTAB_V1)),
        ("gnttab-v2", of(s::PHYSCAP_GNTTAB_V2)),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect()
}

/// The keys with their values, in the order in which they are printed.
fn before_topology(info: &Info) -> Vec<(&'static str, String)> {
    let Host { name, release, version, machine } = &info.host;
    let physical = &info.physical;
    let words: Vec<_> = physical.hw_caps.iter().map(|word| format!("{word:08x}")).collect();
    let free = physical.free_pages.saturating_sub(physical.outstanding_pages);
    vec![
        ("host", name.clone()),
        ("release", release.clone()),
        ("version", version.clone()),
        ("machine", machine.clone()),
        ("nr_cpus", physical.online_cpus.to_string()),
        ("max_cpu_id", physical.max_cpu_id.to_string()),
        ("nr_nodes", physical.nodes.to_string()),
        ("cores_per_socket", physical.cores_per_socket.to_string()),
        ("threads_per_core", physical.threads_per_core.to_string()),
        ("cpu_mhz", format!("{}.{:03}", physical.cpu_khz / 1000, physical.cpu_khz % 1000)),
        ("hw_caps", words.join(":")),
        ("virt_caps", virt_caps(physical).join(" ")),
        ("total_memory", mebibytes(physical.total_pages).to_string()),
        ("free_memory", mebibytes(free).to_string()),
        ("sharing_freed_memory", mebibytes(info.sharing.0).to_string()),
        ("sharing_used_memory", mebibytes(info.sharing.1).to_string()),
        ("outstanding_claims", mebibytes(physical.outstanding_pages).to_string()),
        ("free_cpus", info.free_cpus.to_string()),
    ]
}

fn after_topology(info: &Info) -> Vec<(&'static str, String)> {
    let xen = &info.xen;
    vec![
        ("xen_major", xen.major.to_string()),
        ("xen_minor", xen.minor.to_string()),
        ("xen_extra", xen.extra.clone()),
        ("xen_version", format!("{}.{}{}", xen.major, xen.minor, xen.extra)),
        ("xen_caps", xen.capabilities.clone()),
        ("xen_scheduler", info.scheduler.to_owned()),
        ("xen_pagesize", xen.page_size.to_string()),
        ("platform_params", format!("virt_start=0x{:x}", xen.virt_start)),
        ("xen_changeset", xen.changeset.clone()),
        ("xen_commandline", xen.command_line.clone()),
        ("cc_compiler", xen.compile.compiler.clone()),
        ("cc_compile_by", xen.compile.user.clone()),
        ("cc_compile_domain", xen.compile.domain.clone()),
        ("cc_compile_date", xen.compile.date.clone()),
        ("build_id", xen.build_id.clone()),
        ("xend_config_format", "4".to_owned()),
    ]
}

/// The text of `info`.
pub fn text(info: &Info) -> String {
    let mut text = String::new();
    lines(&mut text, &before_topology(info));
    if let Some(topology) = &info.topology {
        topology_text(&mut text, topology);
    }
    lines(&mut text, &after_topology(info));
    text
}

fn lines(text: &mut String, pairs: &[(&'static str, String)]) {
    for (key, value) in pairs {
        let _ = writeln!(text, "{key:<22} : {value}");
    }
}

fn topology_text(text: &mut String, topology: &Topology) {
    text.push_str("cpu_topology           :\ncpu:    core    socket     node\n");
    for (cpu, place) in topology.cpus.iter().enumerate() {
        if let Some(CpuTopology { core, socket, node }) = place {
            let _ = writeln!(text, "{cpu:3}:    {core:4}     {socket:4}     {node:4}");
        }
    }
    text.push_str("device topology        :\ndevice           node\n");
    text.push_str("No device topology data available\n");
    text.push_str("numa_info              :\nnode:    memsize    memfree    distances\n");
    for (node, memory) in topology.numa.nodes.iter().enumerate() {
        let Some(memory) = memory else { continue };
        let row = topology.numa.distances.get(node).map(Vec::as_slice).unwrap_or_default();
        let distances: Vec<_> =
            row.iter().map(|distance| distance.unwrap_or_default().to_string()).collect();
        let _ = writeln!(
            text,
            "{node:4}:    {:6}     {:6}      {}",
            memory.bytes / MIB,
            memory.free / MIB,
            distances.join(",")
        );
    }
}

/// The same keys as JSON; numbers where they are numbers.
pub fn json(info: &Info) -> Value {
    let mut map = Map::new();
    let numbers = ["xen_major", "xen_minor", "xen_pagesize", "xend_config_format"];
    for (key, value) in before_topology(info) {
        let value = match key {
            "virt_caps" => Value::from(virt_caps(&info.physical)),
            "cpu_mhz" => Value::from(f64::from(info.physical.cpu_khz) / 1000.0),
            "host" | "release" | "version" | "machine" | "hw_caps" => Value::from(value),
            _ => number(value),
        };
        map.insert(key.to_owned(), value);
    }
    if let Some(topology) = &info.topology {
        map.insert("cpu_topology".to_owned(), cpus_json(topology));
        map.insert("numa_info".to_owned(), nodes_json(topology));
    }
    for (key, value) in after_topology(info) {
        let value = if numbers.contains(&key) { number(value) } else { Value::from(value) };
        map.insert(key.to_owned(), value);
    }
    Value::Object(map)
}

fn number(text: String) -> Value {
    text.parse::<u64>().map_or(Value::from(text), Value::from)
}

fn cpus_json(topology: &Topology) -> Value {
    #[derive(Serialize)]
    struct Cpu {
        cpu: usize,
        core: u32,
        socket: u32,
        node: u32,
    }
    let all = topology.cpus.iter().enumerate();
    let there = all.filter_map(|(cpu, place)| {
        place.map(|CpuTopology { core, socket, node }| Cpu { cpu, core, socket, node })
    });
    serde_json::to_value(there.collect::<Vec<_>>()).unwrap_or_default()
}

fn nodes_json(topology: &Topology) -> Value {
    #[derive(Serialize)]
    struct Node<'a> {
        node: usize,
        memory_mib: u64,
        free_mib: u64,
        distances: &'a [Option<u32>],
    }
    let all = topology.numa.nodes.iter().enumerate();
    let there = all.filter_map(|(node, memory)| {
        let memory = memory.as_ref()?;
        let distances = topology.numa.distances.get(node).map(Vec::as_slice).unwrap_or_default();
        let (memory_mib, free_mib) = (memory.bytes / MIB, memory.free / MIB);
        Some(Node { node, memory_mib, free_mib, distances })
    });
    serde_json::to_value(there.collect::<Vec<_>>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::{CompileInfo, NumaNode};

    /// What Debian's Xen 4.20 says in the machine where the oracle's outputs were recorded.
    fn recorded() -> Info {
        Info {
            host: Host {
                name: "(none)".to_owned(),
                release: "6.12.117+deb13-amd64".to_owned(),
                version: "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-12)".to_owned(),
                machine: "x86_64".to_owned(),
            },
            physical: PhysInfo {
                threads_per_core: 1,
                cores_per_socket: 2,
                online_cpus: 2,
                max_cpu_id: 1,
                nodes: 1,
                max_node_id: 0,
                cpu_khz: 2_596_140,
                capabilities: 0b11_0000_1011,
                arch_capabilities: 0,
                total_pages: 524_186,
                free_pages: 272_384,
                scrub_pages: 0,
                outstanding_pages: 0,
                max_mfn: 0,
                hw_caps: [
                    0x1fcb_f3fd,
                    0xf6f8_320b,
                    0xec50_0800,
                    0x177,
                    5,
                    0x219c_41a9,
                    0x8041_020c,
                    0,
                ],
            },
            sharing: (0, 0),
            free_cpus: 0,
            topology: None,
            xen: VersionInfo {
                major: 4,
                minor: 20,
                extra: ".5-pre".to_owned(),
                compile: CompileInfo {
                    compiler: "x86_64-linux-gnu-gcc (Debian 14.2.0-19) 14.2.0".to_owned(),
                    user: "pkg-xen-devel".to_owned(),
                    domain: "lists.alioth.debian.org".to_owned(),
                    date: "Tue Nov  3 20:11:50 UTC 2026".to_owned(),
                },
                capabilities: "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 "
                    .to_owned(),
                changeset: String::new(),
                virt_start: 0xffff_8000_0000_0000,
                page_size: 4096,
                command_line: "console=com1 dom0_mem=768M,max:768M".to_owned(),
                build_id: "576c0736b3e38388c5afe9aaccc43a18d514e88e".to_owned(),
            },
            scheduler: "credit2",
        }
    }

    #[test]
    fn info_has_debians_bytes() {
        assert_eq!(
            text(&recorded()),
            "host                   : (none)\n\
             release                : 6.12.117+deb13-amd64\n\
             version                : #1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-12)\n\
             machine                : x86_64\n\
             nr_cpus                : 2\n\
             max_cpu_id             : 1\n\
             nr_nodes               : 1\n\
             cores_per_socket       : 2\n\
             threads_per_core       : 1\n\
             cpu_mhz                : 2596.140\n\
             hw_caps                : 1fcbf3fd:f6f8320b:ec500800:00000177:00000005:219c41a9:8041020c:00000000\n\
             virt_caps              : pv hvm hap gnttab-v1 gnttab-v2\n\
             total_memory           : 2047\n\
             free_memory            : 1064\n\
             sharing_freed_memory   : 0\n\
             sharing_used_memory    : 0\n\
             outstanding_claims     : 0\n\
             free_cpus              : 0\n\
             xen_major              : 4\n\
             xen_minor              : 20\n\
             xen_extra              : .5-pre\n\
             xen_version            : 4.20.5-pre\n\
             xen_caps               : xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 \n\
             xen_scheduler          : credit2\n\
             xen_pagesize           : 4096\n\
             platform_params        : virt_start=0xffff800000000000\n\
             xen_changeset          : \n\
             xen_commandline        : console=com1 dom0_mem=768M,max:768M\n\
             cc_compiler            : x86_64-linux-gnu-gcc (Debian 14.2.0-19) 14.2.0\n\
             cc_compile_by          : pkg-xen-devel\n\
             cc_compile_domain      : lists.alioth.debian.org\n\
             cc_compile_date        : Tue Nov  3 20:11:50 UTC 2026\n\
             build_id               : 576c0736b3e38388c5afe9aaccc43a18d514e88e\n\
             xend_config_format     : 4\n"
        );
    }

    #[test]
    fn info_with_topology_has_debians_bytes() {
        let mut info = recorded();
        let cpu = |core| Some(CpuTopology { core, socket: 0, node: 0 });
        let node = NumaNode { bytes: 2047 << 20, free: 1064 << 20 };
        let numa = NumaInfo { nodes: vec![Some(node)], distances: vec![vec![Some(10)]] };
        info.topology = Some(Topology { cpus: vec![cpu(0), cpu(1)], numa });
        let text = text(&info);
        let from = text.find("cpu_topology").unwrap();
        let to = text.find("xen_major").unwrap();
        assert_eq!(
            &text[from..to],
            "cpu_topology           :\n\
             cpu:    core    socket     node\n  \
               0:       0        0        0\n  \
               1:       1        0        0\n\
             device topology        :\n\
             device           node\n\
             No device topology data available\n\
             numa_info              :\n\
             node:    memsize    memfree    distances\n   \
                0:      2047       1064      10\n"
        );
    }

    #[test]
    fn json_has_numbers_where_they_are_numbers() {
        let value = json(&recorded());
        assert_eq!(value["nr_cpus"], 2);
        assert_eq!(value["free_memory"], 1064);
        assert_eq!(value["cpu_mhz"], 2596.14);
        assert_eq!(value["virt_caps"][1], "hvm");
        assert_eq!(value["xen_version"], "4.20.5-pre");
        assert_eq!(value["release"], "6.12.117+deb13-amd64");
    }
}
