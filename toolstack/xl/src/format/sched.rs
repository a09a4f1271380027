//! `sched-credit`, `sched-credit2`.

use super::NO_NAME;
use serde::Serialize;
use std::fmt::Write as _;
use sys::{Credit2Global, CreditGlobal};

/// A domain's parameters: both schedulers have the same two.
#[derive(Debug, Clone, Serialize)]
pub struct Domain {
    /// Its number.
    pub domid: u16,
    /// Its name.
    pub name: Option<String>,
    /// Its share beside others.
    pub weight: u16,
    /// Its limit in percent of a CPU; 0 is none.
    pub cap: u16,
}

/// The header over domains.
pub const HEADER: &str = "Name                                ID Weight  Cap\n";

/// The rows of domains.
pub fn domains(rows: &[Domain]) -> String {
    let mut text = String::new();
    for row in rows {
        let name = row.name.as_deref().unwrap_or(NO_NAME);
        let _ = writeln!(text, "{name:<33} {:4} {:6} {:4}", row.domid, row.weight, row.cap);
    }
    text
}

/// The line of a pool under credit.
pub fn credit_pool(name: &str, global: Option<CreditGlobal>) -> String {
    match global {
        Some(CreditGlobal { tslice_ms, ratelimit_us, migration_delay_us }) => format!(
            "Cpupool {name}: tslice={tslice_ms}ms ratelimit={ratelimit_us}us \
             migration-delay={migration_delay_us}us\n"
        ),
        None => format!("Cpupool {name}: [sched params unavailable]\n"),
    }
}

/// The line of a pool under credit2.
pub fn credit2_pool(name: &str, global: Option<Credit2Global>) -> String {
    match global {
        Some(Credit2Global { ratelimit_us }) => {
            format!("Cpupool {name}: ratelimit={ratelimit_us}us\n")
        }
        None => format!("Cpupool {name}: [sched params unavailable]\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit2_has_debians_bytes() {
        let row = |domid, name: &str, weight, cap| Domain {
            domid,
            name: Some(name.to_owned()),
            weight,
            cap,
        };
        let text = credit2_pool("Pool-0", Some(Credit2Global { ratelimit_us: 1000 }))
            + HEADER
            + &domains(&[row(0, "Domain-0", 256, 0), row(1, "pv1", 512, 50)]);
        assert_eq!(
            text,
            "Cpupool Pool-0: ratelimit=1000us\n\
             Name                                ID Weight  Cap\n\
             Domain-0                             0    256    0\n\
             pv1                                  1    512   50\n"
        );
    }

    #[test]
    fn pools_of_credit_have_debians_bytes() {
        let global = CreditGlobal { tslice_ms: 30, ratelimit_us: 1000, migration_delay_us: 0 };
        assert_eq!(
            credit_pool("p2", Some(global)),
            "Cpupool p2: tslice=30ms ratelimit=1000us migration-delay=0us\n"
        );
        assert_eq!(credit_pool("p2", None), "Cpupool p2: [sched params unavailable]\n");
    }
}
