//! `list`, `claims`, `sharing`, `vm-list`.

use super::{NO_NAME, uuid};
use serde::Serialize;
use std::fmt::Write as _;
use sys::DomainInfo;

/// KiB in a page.
const PAGE_KIB: u64 = 4;

/// Which columns `list` has beside the usual ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Columns {
    /// UUID, reason of the end, security label.
    pub verbose: bool,
    /// Security label.
    pub context: bool,
    /// Memory claimed.
    pub claims: bool,
    /// CPU pool.
    pub pool: bool,
    /// NUMA nodes.
    pub nodes: bool,
}

/// One domain.
#[derive(Debug, Clone)]
pub struct Row {
    /// What the hypervisor says of it.
    pub info: DomainInfo,
    /// Its name in the store, if it has one.
    pub name: Option<String>,
    /// Its CPU pool's name, where asked for.
    pub pool: Option<String>,
    /// The NUMA nodes it prefers, where asked for.
    pub nodes: Option<String>,
}

/// Memory in MiB: what it has and what is claimed for it.
fn mebibytes(info: &DomainInfo) -> u64 {
    memory_kib(info) / 1024
}

fn memory_kib(info: &DomainInfo) -> u64 {
    info.pages.saturating_add(info.outstanding_pages).saturating_mul(PAGE_KIB)
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// The six letters: running, blocked, paused, shut down, the reason's letter, dying.
fn state(info: &DomainInfo) -> String {
    let letter = |set, letter| if set { letter } else { '-' };
    let reason = match info.shutdown {
        None => '-',
        Some(reason) => "-rscwS".chars().nth(usize::from(reason.0.min(255) as u8)).unwrap_or('?'),
    };
    [
        letter(info.running, 'r'),
        letter(info.blocked, 'b'),
        letter(info.paused, 'p'),
        letter(info.shutdown.is_some(), 's'),
        reason,
        letter(info.dying, 'd'),
    ]
    .iter()
    .collect()
}

/// The table of `list` and `claims`.
pub fn table(rows: &[Row], columns: Columns) -> String {
    let mut text =
        String::from("Name                                        ID   Mem VCPUs\tState\tTime(s)");
    if columns.verbose {
        text.push_str("   UUID                            Reason-Code\tSecurity Label");
    } else if columns.context {
        text.push_str("   Security Label");
    }
    if columns.claims {
        text.push_str("  Claimed");
    }
    if columns.pool {
        text.push_str("         Cpupool");
    }
    if columns.nodes {
        text.push_str(" NODE Affinity");
    }
    text.push('\n');
    for row in rows {
        line(&mut text, row, columns);
    }
    text
}

fn line(text: &mut String, row: &Row, columns: Columns) {
    let info = &row.info;
    let _ = write!(
        text,
        "{:<40} {:5} {:5} {:5}     {}  {:8.1}",
        row.name.as_deref().unwrap_or(NO_NAME),
        info.domid,
        mebibytes(info),
        info.online_vcpus,
        state(info),
        seconds(info.cpu_time_ns),
    );
    if columns.verbose {
        let _ = write!(text, " {}", uuid(&info.handle));
        let _ = match info.shutdown {
            Some(reason) => write!(text, " {:8x}", reason.0),
            None => write!(text, " {:>8}", "-"),
        };
    }
    if columns.claims {
        let _ = write!(text, " {:5}", info.outstanding_pages.saturating_mul(PAGE_KIB) / 1024);
    }
    if columns.verbose || columns.context {
        // A label is a matter of the Flask module, which nobody has loaded here.
        let _ = write!(text, " {:>16}", "-");
    }
    if columns.pool {
        let _ = write!(text, "{:>16}", row.pool.as_deref().unwrap_or("-"));
    }
    if columns.nodes {
        let _ = write!(text, " {}", row.nodes.as_deref().unwrap_or("-"));
    }
    text.push('\n');
}

/// The table of `sharing`.
pub fn sharing(rows: &[Row]) -> String {
    let mut text = String::from("Name                                        ID   Mem Shared\n");
    for row in rows {
        let _ = writeln!(
            text,
            "{:<40} {:5} {:5}  {:5}",
            row.name.as_deref().unwrap_or(NO_NAME),
            row.info.domid,
            row.info.pages.saturating_mul(PAGE_KIB) / 1024,
            row.info.shared_pages.saturating_mul(PAGE_KIB) / 1024,
        );
    }
    text
}

/// The table of `vm-list`.
pub fn vms(rows: &[Row]) -> String {
    let mut text = String::from("UUID                                  ID    name\n");
    for row in rows {
        let _ = writeln!(
            text,
            "{}  {}    {:<30}",
            uuid(&row.info.handle),
            row.info.domid,
            row.name.as_deref().unwrap_or(NO_NAME),
        );
    }
    text
}

/// A domain as `--json` has it.
#[derive(Debug, Serialize)]
pub struct Json<'a> {
    domid: u16,
    name: Option<&'a str>,
    uuid: String,
    r#type: &'static str,
    memory_kib: u64,
    max_memory_kib: u64,
    claimed_kib: u64,
    shared_kib: u64,
    vcpus_online: u32,
    vcpus: u32,
    running: bool,
    blocked: bool,
    paused: bool,
    dying: bool,
    shutdown: Option<&'static str>,
    shutdown_code: Option<u32>,
    cpu_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpupool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<&'a str>,
}

/// The domains as `--json` has them.
pub fn json(rows: &[Row]) -> Vec<Json<'_>> {
    rows.iter().map(one_json).collect()
}

fn one_json(row: &Row) -> Json<'_> {
    let info = &row.info;
    Json {
        domid: info.domid,
        name: row.name.as_deref(),
        uuid: uuid(&info.handle),
        r#type: if !info.hvm { "pv" } else { "hvm" },
        memory_kib: info.pages.saturating_mul(PAGE_KIB),
        max_memory_kib: info.max_pages.saturating_mul(PAGE_KIB),
        claimed_kib: info.outstanding_pages.saturating_mul(PAGE_KIB),
        shared_kib: info.shared_pages.saturating_mul(PAGE_KIB),
        vcpus_online: info.online_vcpus,
        vcpus: info.vcpus(),
        running: info.running,
        blocked: info.blocked,
        paused: info.paused,
        dying: info.dying,
        shutdown: info.shutdown.map(|reason| reason_name(reason.0)),
        shutdown_code: info.shutdown.map(|reason| reason.0),
        cpu_seconds: seconds(info.cpu_time_ns),
        cpupool: row.pool.as_deref(),
        nodes: row.nodes.as_deref(),
    }
}

/// The reason of a domain's end in words (public/sched.h).
pub fn reason_name(code: u32) -> &'static str {
    match code {
        0 => "poweroff",
        1 => "reboot",
        2 => "suspend",
        3 => "crash",
        4 => "watchdog",
        5 => "soft_reset",
        _ => "unknown",
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use sys::ShutdownReason;

    /// A domain as the hypervisor describes it.
    pub fn domain(domid: u16, pages: u64, cpu_time_ns: u64) -> DomainInfo {
        DomainInfo {
            domid,
            handle: [0; 16],
            dying: false,
            hvm: false,
            hap: false,
            shutdown: None,
            paused: false,
            blocked: false,
            running: false,
            debugged: false,
            xenstore: false,
            pages,
            max_pages: pages,
            outstanding_pages: 0,
            shared_pages: 0,
            paged_pages: 0,
            shared_info_frame: 0,
            cpu_time_ns,
            online_vcpus: 1,
            max_vcpu_id: Some(0),
            ssidref: 0,
            cpupool: 0,
            gpaddr_bits: 0,
            emulation_flags: 0,
            misc_flags: 0,
        }
    }

    /// What ran while the oracle's outputs were recorded on Debian's Xen 4.20.
    fn recorded() -> Vec<Row> {
        let mut dom0 = domain(0, 196_608, 46_860_000_000);
        dom0.running = true;
        let mut pv1 = domain(1, 49_152, 15_400_000_000);
        pv1.blocked = true;
        pv1.handle = [
            0x14, 0x38, 0x8e, 0xde, 0xd6, 0xe3, 0x49, 0x7c, 0xa4, 0x68, 0xf2, 0xe9, 0x5d, 0xc6,
            0x3d, 0x31,
        ];
        let row = |info, name: &str| Row {
            info,
            name: Some(name.to_owned()),
            pool: Some("Pool-0".to_owned()),
            nodes: Some("all".to_owned()),
        };
        vec![row(dom0, "Domain-0"), row(pv1, "pv1")]
    }

    #[test]
    fn list_has_debians_bytes() {
        assert_eq!(
            table(&recorded(), Columns::default()),
            "Name                                        ID   Mem VCPUs\tState\tTime(s)\n\
             Domain-0                                     0   768     1     r-----      46.9\n\
             pv1                                          1   192     1     -b----      15.4\n"
        );
    }

    #[test]
    fn list_with_uuids_has_debians_bytes() {
        let text = table(&recorded(), Columns { verbose: true, ..Columns::default() });
        assert_eq!(
            text,
            "Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label\n\
             Domain-0                                     0   768     1     r-----      46.9 00000000-0000-0000-0000-000000000000        -                -\n\
             pv1                                          1   192     1     -b----      15.4 14388ede-d6e3-497c-a468-f2e95dc63d31        -                -\n"
        );
    }

    #[test]
    fn list_with_pool_nodes_and_label_has_debians_bytes() {
        let pool = table(&recorded(), Columns { pool: true, ..Columns::default() });
        assert_eq!(
            pool,
            "Name                                        ID   Mem VCPUs\tState\tTime(s)         Cpupool\n\
             Domain-0                                     0   768     1     r-----      46.9          Pool-0\n\
             pv1                                          1   192     1     -b----      15.4          Pool-0\n"
        );
        let nodes = table(&recorded(), Columns { nodes: true, ..Columns::default() });
        assert!(nodes.ends_with("-b----      15.4 all\n"), "{nodes}");
        assert!(nodes.contains("Time(s) NODE Affinity\n"), "{nodes}");
        let label = table(&recorded(), Columns { context: true, ..Columns::default() });
        assert!(label.ends_with("-b----      15.4                -\n"), "{label}");
        assert!(label.contains("Time(s)   Security Label\n"), "{label}");
    }

    #[test]
    fn claims_and_sharing_have_debians_bytes() {
        let text = table(&recorded(), Columns { claims: true, ..Columns::default() });
        assert!(text.contains("Time(s)  Claimed\n"), "{text}");
        assert!(text.ends_with("-b----      15.4     0\n"), "{text}");
        assert_eq!(
            sharing(&recorded()),
            "Name                                        ID   Mem Shared\n\
             Domain-0                                     0   768      0\n\
             pv1                                          1   192      0\n"
        );
    }

    #[test]
    fn vm_list_has_debians_bytes() {
        assert_eq!(
            vms(&recorded()),
            "UUID                                  ID    name\n\
             00000000-0000-0000-0000-000000000000  0    Domain-0                      \n\
             14388ede-d6e3-497c-a468-f2e95dc63d31  1    pv1                           \n"
        );
    }

    #[test]
    fn a_domain_that_ended_shows_s_and_the_letter_of_why() {
        let mut info = domain(1, 0, 0);
        for (code, letters) in
            [(0, "---s--"), (1, "---sr-"), (3, "---sc-"), (4, "---sw-"), (77, "---s?-")]
        {
            info.shutdown = Some(ShutdownReason(code));
            assert_eq!(state(&info), letters);
        }
        info.paused = true;
        info.dying = true;
        info.shutdown = Some(ShutdownReason(0));
        assert_eq!(state(&info), "--ps-d");
    }

    #[test]
    fn a_domain_without_a_name_is_null_as_in_c() {
        let row = Row { info: domain(3, 0, 0), name: None, pool: None, nodes: None };
        let text = table(&[row], Columns::default());
        assert!(text.contains("\n(null)                                       3     0"), "{text}");
    }

    #[test]
    fn json_says_why_a_domain_ended() {
        let mut rows = recorded();
        rows.remove(0);
        rows[0].info.shutdown = Some(ShutdownReason(3));
        let value = serde_json::to_value(json(&rows)).unwrap();
        assert_eq!(value[0]["shutdown"], "crash");
        assert_eq!(value[0]["memory_kib"], 196_608);
        assert_eq!(value[0]["uuid"], "14388ede-d6e3-497c-a468-f2e95dc63d31");
    }
}
