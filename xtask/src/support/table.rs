//! What the hypervisor says that it can do: the `operations!` tables of its sources, beside the
//! numbers that the interface has.
//!
//! The tables are read from the sources, as the hypervisor does not run here. What is read are the
//! tokens that its dispatch is compiled from, so that the two cannot differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use syn::parse::{Parse, ParseStream};
use syn::visit::Visit;
use syn::{Ident, Token};

use crate::paths;

/// The family of hypercalls themselves.
pub const HYPERCALL: &str = "hypercall";
/// The outcome of an operation that did what it is for.
pub const OK: &str = "ok";

/// One family as the interface has it.
pub struct Family {
    /// The hypercall's name.
    pub name: &'static str,
    /// The type of its numbers.
    set: &'static str,
    /// Its operations: name, in lower case, and number.
    pub operations: Vec<(String, u64)>,
}

macro_rules! families {
    ($($name:ident: $module:ident::$set:ident,)*) => {
        vec![$(Family {
            name: stringify!($name),
            set: stringify!($set),
            operations: abi::$module::$set::ALL
                .iter()
                .map(|(name, number)| (name.to_lowercase(), number.0 as u64))
                .collect(),
        },)*]
    };
}

/// Every family whose operations are numbered.
pub fn families() -> Vec<Family> {
    families! {
        hypercall: xen::Hypercall,
        mmu_update: xen::MmuCmd,
        platform_op: platform::PlatformCmd,
        memory_op: memory::MemoryCmd,
        xen_version: version::VersionCmd,
        console_io: xen::ConsoleioCmd,
        grant_table_op: grant_table::GrantCmd,
        vm_assist: xen::VmassistCmd,
        vcpu_op: vcpu::VcpuCmd,
        mmuext_op: xen::MmuextCmd,
        nmi_op: nmi::NmiCmd,
        sched_op: sched::SchedCmd,
        callback_op: callback::CallbackCmd,
        event_channel_op: event_channel::EvtchnCmd,
        physdev_op: physdev::PhysdevCmd,
        hvm_op: hvm::HvmCmd,
        sysctl: sysctl::SysctlCmd,
        domctl: domctl::DomctlCmd,
        dm_op: hvm::DmCmd,
        mca: mca::McCmd,
    }
}

/// What one operation can answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Whether it can succeed.
    pub can_succeed: bool,
    /// The errors, as a test shows them.
    pub errors: Vec<String>,
}

/// The rows by what tests call the operation: `family.operation`, or the hypercall's name alone.
pub type Table = BTreeMap<String, Row>;

/// Reads the hypervisor's tables.
pub fn read() -> Result<Table> {
    let families = families();
    let mut found = Found::default();
    for path in sources(&paths::root().join("hypervisor/src"))? {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let file = syn::parse_file(&text).with_context(|| format!("parse {}", path.display()))?;
        found.file = path.display().to_string();
        found.visit_file(&file);
    }
    if let Some(error) = found.error {
        return Err(error);
    }
    let table = joined(&families, &found.tables)?;
    for (set, name, file) in &found.patterns {
        let Some(family) = families.iter().find(|family| family.set == *set) else { continue };
        let op = operation(family.name, &name.to_lowercase());
        ensure!(table.contains_key(&op), "{file} handles {set}::{name}, which is in no table");
    }
    Ok(table)
}

/// What tests call an operation.
pub fn operation(family: &str, name: &str) -> String {
    if family == HYPERCALL { name.to_owned() } else { format!("{family}.{name}") }
}

/// Whether the hypercall of this name divides into operations.
pub fn is_family(name: &str) -> bool {
    name != HYPERCALL && families().iter().any(|family| family.name == name)
}

fn joined(families: &[Family], tables: &[Operations]) -> Result<Table> {
    let mut all = Table::new();
    for table in tables {
        let family = families.iter().find(|family| table.family == family.name);
        let family = family.with_context(|| {
            format!("{}: {} is no family that support/table.rs knows", table.file, table.family)
        })?;
        for arm in &table.arms {
            for (set, name) in &arm.names {
                let name = name.to_string().to_lowercase();
                let known = family.operations.iter().any(|(known, _)| *known == name);
                ensure!(
                    known && set == family.set,
                    "{}: {set}::{name} is not of {}",
                    table.file,
                    table.family
                );
                let row = all.entry(operation(family.name, &name)).or_default();
                // What a hypercall's own row says, and what its operations' table says at `_`.
                let own = family.name == HYPERCALL && is_family(&name);
                ensure!(own || *row == Row::default(), "{name} stands twice in {}", family.name);
                row.can_succeed = arm.can_succeed && !own;
                row.errors.extend(arm.errors.iter().cloned());
            }
        }
        let own = all.entry(family.name.to_owned()).or_default();
        own.errors.extend(table.others.iter().cloned());
    }
    for row in all.values_mut() {
        row.errors.sort();
        row.errors.dedup();
    }
    Ok(all)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// One `operations!` table.
#[derive(Default)]
struct Operations {
    file: String,
    family: String,
    arms: Vec<Arm>,
    others: Vec<String>,
}

struct Arm {
    names: Vec<(Ident, Ident)>,
    can_succeed: bool,
    errors: Vec<String>,
}

impl Parse for Operations {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        input.parse::<Token![match]>()?;
        let mut table =
            Operations { family: input.parse::<Ident>()?.to_string(), ..Self::default() };
        let number;
        syn::parenthesized!(number in input);
        number.parse::<syn::Expr>()?;
        let rows;
        syn::braced!(rows in input);
        while !rows.peek(Token![_]) {
            table.arms.push(rows.parse()?);
        }
        rows.parse::<Token![_]>()?;
        table.others = errors(&rows)?.1;
        handler(&rows)?;
        Ok(table)
    }
}

impl Parse for Arm {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut names = Vec::new();
        loop {
            let set = input.parse()?;
            input.parse::<Token![::]>()?;
            names.push((set, input.parse()?));
            if input.parse::<Option<Token![|]>>()?.is_none() {
                break;
            }
        }
        let (can_succeed, errors) = errors(input)?;
        handler(input)?;
        Ok(Arm { names, can_succeed, errors })
    }
}

/// What stands in brackets.
fn errors(input: ParseStream) -> syn::Result<(bool, Vec<String>)> {
    let list;
    syn::bracketed!(list in input);
    let never = list.parse::<Option<Token![!]>>()?.is_some();
    if never {
        list.parse::<Ident>()?;
    }
    let mut all = Vec::new();
    let mut prefix = None;
    while !list.is_empty() {
        if list.parse::<Option<Token![;]>>()?.is_some() {
            prefix = Some("GNTST_");
        }
        let name = list.parse::<Ident>()?.to_string();
        all.push(prefix.map_or(name.clone(), |p| format!("{p}{}", name.to_lowercase())));
    }
    Ok((!never, all))
}

fn handler(input: ParseStream) -> syn::Result<()> {
    input.parse::<Token![=>]>()?;
    input.parse::<syn::Expr>()?;
    input.parse::<Option<Token![,]>>()?;
    Ok(())
}

/// What the sources were seen to have.
#[derive(Default)]
struct Found {
    file: String,
    tables: Vec<Operations>,
    /// Constants that are matched elsewhere: type, name, file.
    patterns: Vec<(String, String, String)>,
    error: Option<anyhow::Error>,
}

impl<'ast> Visit<'ast> for Found {
    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        if !mac.path.is_ident("operations") {
            return;
        }
        match mac.parse_body::<Operations>() {
            Ok(table) => self.tables.push(Operations { file: self.file.clone(), ..table }),
            Err(error) => {
                let line = error.span().start().line;
                self.error = Some(anyhow::anyhow!("{}:{line}: {error}", self.file));
            }
        }
    }

    fn visit_pat(&mut self, pat: &'ast syn::Pat) {
        if let syn::Pat::Path(path) = pat {
            let names: Vec<String> =
                path.path.segments.iter().map(|part| part.ident.to_string()).collect();
            if let [.., set, name] = names.as_slice() {
                self.patterns.push((set.clone(), name.clone(), self.file.clone()));
            }
        }
        syn::visit::visit_pat(self, pat);
    }
}

/// Refuses what the table does not say.
pub fn check(table: &Table, op: &str, outcome: &str) -> Result<()> {
    let Some(row) = table.get(op) else {
        bail!("{op} is no operation that the hypervisor handles");
    };
    let known =
        if outcome == OK { row.can_succeed } else { row.errors.iter().any(|e| e == outcome) };
    ensure!(known, "{op} does not answer {outcome}, says its table in the hypervisor");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Operations {
        syn::parse_str(text).unwrap()
    }

    #[test]
    fn a_table_gives_a_row_for_each_name_and_the_familys_own_errors() {
        let table = parse(
            "match sched_op(command) {
                SchedCmd::YIELD | SchedCmd::BLOCK [] => wait(),
                SchedCmd::SHUTDOWN [EFAULT EINVAL] => { stop()? },
                SchedCmd::WATCHDOG [!ok ENOSYS] => return Err(Errno::ENOSYS.into()),
                _ [ENOSYS] => {}
            }",
        );
        let rows = joined(&families(), &[table]).unwrap();
        assert_eq!(rows["sched_op"].errors, ["ENOSYS"]);
        assert_eq!(rows["sched_op.block"], Row { can_succeed: true, errors: vec![] });
        assert_eq!(rows["sched_op.shutdown"].errors, ["EFAULT", "EINVAL"]);
        assert!(!rows["sched_op.watchdog"].can_succeed);
        assert!(check(&rows, "sched_op.shutdown", "EINVAL").is_ok());
        assert!(check(&rows, "sched_op.shutdown", "EPERM").is_err());
        assert!(check(&rows, "sched_op.watchdog", OK).is_err());
        assert!(check(&rows, "sched_op.poll", OK).is_err());
    }

    #[test]
    fn statuses_of_grants_stand_behind_a_semicolon() {
        let table =
            parse("match grant_table_op(c) { GrantCmd::COPY [EFAULT; BAD_PAGE] => x, _ [] => y }");
        let rows = joined(&families(), &[table]).unwrap();
        assert_eq!(rows["grant_table_op.copy"].errors, ["EFAULT", "GNTST_bad_page"]);
    }

    #[test]
    fn an_operation_of_another_family_or_twice_is_refused() {
        let refused = |text| joined(&families(), &[parse(text)]).is_err();
        assert!(refused("match sched_op(c) { VcpuCmd::UP [] => x, _ [] => y }"));
        assert!(refused("match sched_op(c) { SchedCmd::UP [] => x, _ [] => y }"));
        assert!(refused("match nothing(c) { SchedCmd::YIELD [] => x, _ [] => y }"));
        assert!(refused(
            "match sched_op(c) { SchedCmd::BLOCK [EINVAL] => x, SchedCmd::BLOCK [] => x, _ [] => y }"
        ));
    }

    #[test]
    fn the_hypervisors_tables_can_be_read_and_miss_nothing_that_it_handles() {
        let table = read().unwrap();
        assert!(table["domctl.createdomain"].can_succeed);
        assert!(table["iret"].can_succeed && table["hypercall"].errors == ["ENOSYS"]);
    }
}
