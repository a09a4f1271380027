//! `uptime`.

use super::list;
use crate::cli::options::Parsed;
use crate::failure::{Failure, OrFail as _};
use crate::format::time::{self, Uptime};
use crate::format::{self, list::Columns, list::Row};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;

/// `xl uptime`.
pub fn uptime(session: &mut Session, parsed: &Parsed) -> Outcome {
    let rows = list::rows(session, &parsed.operands, Columns::default())?;
    let now = time::now();
    let times = starts(session, &rows)?;
    let mut uptimes = Vec::new();
    for (row, start) in rows.into_iter().zip(times) {
        let seconds = match row.info.domid {
            0 => host_uptime()?,
            _ => start.map_or(0, |start| now.saturating_sub(start)),
        };
        let name = row.name.unwrap_or_else(|| format::NO_NAME.to_owned());
        uptimes.push(Uptime { domid: row.info.domid, name, seconds });
    }
    let text = if parsed.json() {
        format::json::ours(&uptimes)
    } else if parsed.flag("short") {
        let zone = std::fs::read("/etc/localtime").unwrap_or_default();
        time::short(&uptimes, now.saturating_add_signed(time::offset(&zone, now)))
    } else {
        format::on_terminal(time::table(&uptimes), output::colours())
    };
    output::print(&text);
    Ok(0)
}

/// When each domain was started, by the store; in seconds since 1970.
fn starts(session: &mut Session, rows: &[Row]) -> Result<Vec<Option<u64>>, Failure> {
    let path = |row: &Row| format!("/vm/{}/start_time", format::uuid(&row.info.handle));
    let paths: Vec<_> = rows.iter().map(path).collect();
    let values = session
        .store()?
        .read_many(&paths)
        .or_fail(|| "cannot read when the domains were started".to_owned())?;
    // The time has a fraction.
    let seconds = |value: String| value.split('.').next().and_then(|whole| whole.parse().ok());
    Ok(values.into_iter().map(|value| value.and_then(seconds)).collect())
}

/// Seconds since this domain's kernel was started.
fn host_uptime() -> Result<u64, Failure> {
    let path = "/proc/uptime";
    let text = std::fs::read_to_string(path).or_fail(|| format!("cannot read {path}"))?;
    let whole = text.split('.').next().unwrap_or_default();
    whole.parse().or_fail(|| format!("cannot understand {path}"))
}
