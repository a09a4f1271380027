//! `list`, `claims`, `sharing`.

use crate::cli::options::Parsed;
use crate::commands::cpupools;
use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::format::list::{Columns, Row};
use crate::format::{self, cpus};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use sys::DomainInfo;

/// `xl list`.
pub fn list(session: &mut Session, parsed: &Parsed) -> Outcome {
    let columns = Columns {
        verbose: parsed.flag("verbose"),
        context: parsed.flag("context"),
        claims: false,
        pool: parsed.flag("cpupool"),
        nodes: parsed.flag("numa"),
    };
    if parsed.flag("long") {
        return super::long::list_long(session, &parsed.operands);
    }
    let rows = rows(session, &parsed.operands, columns)?;
    print(&rows, parsed, |rows| format::list::table(rows, columns))
}

/// `xl claims`.
pub fn claims(session: &mut Session, parsed: &Parsed) -> Outcome {
    let columns = Columns { claims: true, ..Columns::default() };
    let rows = rows(session, &[], columns)?;
    print(&rows, parsed, |rows| format::list::table(rows, columns))
}

/// `xl sharing`.
pub fn sharing(session: &mut Session, parsed: &Parsed) -> Outcome {
    let rows = rows(session, &parsed.operands, Columns::default())?;
    print(&rows, parsed, format::list::sharing)
}

fn print(rows: &[Row], parsed: &Parsed, table: impl FnOnce(&[Row]) -> String) -> Outcome {
    let text = if parsed.json() {
        format::json::ours(&format::list::json(rows))
    } else {
        format::on_terminal(table(rows), output::colours())
    };
    output::print(&text);
    Ok(0)
}

/// The domains that the words mean, all if there are none, with what the columns need.
pub fn rows(
    session: &mut Session,
    words: &[String],
    columns: Columns,
) -> Result<Vec<Row>, Failure> {
    let infos = chosen(session, words)?;
    let domids: Vec<_> = infos.iter().map(|info| info.domid).collect();
    let names = domains::names(session.store()?, &domids)?;
    let mut rows: Vec<Row> = infos
        .into_iter()
        .zip(names)
        .map(|(info, name)| Row { info, name, pool: None, nodes: None })
        .collect();
    if columns.pool {
        pools(session, &mut rows)?;
    }
    if columns.nodes {
        nodes(session, &mut rows)?;
    }
    Ok(rows)
}

/// What the hypervisor says of the domains that the words mean.
pub fn chosen(session: &mut Session, words: &[String]) -> Result<Vec<DomainInfo>, Failure> {
    if words.is_empty() {
        return domains::list(session);
    }
    let mut infos = Vec::new();
    for word in words {
        let domid = domains::find(session, word)?;
        infos.push(domains::info(session, domid)?);
    }
    Ok(infos)
}

fn pools(session: &mut Session, rows: &mut [Row]) -> Result<(), Failure> {
    let mut ids: Vec<_> = rows.iter().map(|row| row.info.cpupool).collect();
    ids.sort_unstable();
    ids.dedup();
    let names = cpupools::names(session.store()?, &ids)?;
    for row in rows {
        let at = ids.iter().position(|id| *id == row.info.cpupool);
        row.pool = at.and_then(|at| names.get(at)).cloned();
    }
    Ok(())
}

fn nodes(session: &mut Session, rows: &mut [Row]) -> Result<(), Failure> {
    let xen = session.xen()?;
    let physical = xen.physinfo().or_fail(|| "cannot look at the host's nodes".to_owned())?;
    let count = physical.max_node_id.saturating_add(1);
    for row in rows {
        let domid = row.info.domid;
        let map = xen
            .node_affinity(domid, count)
            .or_fail(|| format!("cannot look at the nodes of domain {domid}"))?;
        // Numbers go further than the nodes that there are.
        row.nodes = Some(cpus::set(&map, usize::try_from(physical.nodes).unwrap_or(0)));
    }
    Ok(())
}
