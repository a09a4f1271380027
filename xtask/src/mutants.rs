//! `mutants`: takes checks out of the hypervisor, one at a time, and shows that the guest test
//! that is there for each notices.
//!
//! `guests/mutations.toml` lists them. The edits are made in a copy of the tree under `target/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::qemu::guests::{self, GuestTest};
use crate::qemu::tests::{Verdict, World, guest_outcome};
use crate::{compile, paths, testing};

/// A test that fails in silence has done so after this.
const PATIENCE: u64 = 30;
/// What every mutant must still run.
const HONEST: &str = "hello";

/// Arguments of `mutants`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Only those whose sentence contains this.
    filter: Option<String>,
    /// Only print what there is.
    #[arg(long)]
    list: bool,
}

/// One `[[mutation]]` of the list: a check and the text without it.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Mutation {
    name: String,
    test: String,
    file: String,
    find: String,
    replace: String,
}

impl Mutation {
    /// What is shown of it, as a sentence.
    pub fn sentence(&self) -> String {
        format!("guest {} fails where {}", self.test, self.name)
    }

    /// The file's text without the check.
    fn apply(&self, text: &str) -> Result<String> {
        let found = text.matches(&self.find).count();
        ensure!(
            found == 1,
            "the check of {:?} stands {found} times in {}, not once: renew guests/mutations.toml",
            self.name,
            self.file
        );
        Ok(text.replacen(&self.find, &self.replace, 1))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutation: Vec<Mutation>,
}

/// All that are listed, as far as their sentences contain `filter`.
pub fn list(filter: &str) -> Result<Vec<Mutation>> {
    let path = paths::root().join("guests/mutations.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let list: List = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(list.mutation.into_iter().filter(|one| one.sentence().contains(filter)).collect())
}

/// Runs `mutants`.
pub fn main(args: &Args) -> Result<()> {
    let filter = args.filter.as_deref().unwrap_or_default();
    let wanted = list(filter)?;
    if args.list {
        wanted.iter().for_each(|mutation| println!("{}", mutation.sentence()));
        return Ok(());
    }
    ensure!(!wanted.is_empty(), "nothing in guests/mutations.toml contains {filter:?}");
    let world = testing::world_of_this_tree()?;
    unchanged(&world, &wanted)?;
    let mut rows = Vec::new();
    run(&world, &wanted, &mut |verdict, seen| {
        let word = if verdict.result.is_ok() { "killed" } else { "SURVIVED" };
        println!("{word}: {} ({:.0} s)", verdict.name, verdict.time.as_secs_f64());
        rows.push((verdict, seen));
    });
    table(&wanted, &rows)
}

/// Each test passes on the hypervisor as it is.
fn unchanged(world: &World, mutations: &[Mutation]) -> Result<()> {
    let names: BTreeSet<&str> = mutations.iter().map(|m| m.test.as_str()).collect();
    for name in names {
        let test = guest_test(name)?;
        guest_outcome(world, &world.hypervisor, &test, &format!("unchanged {name}"))
            .with_context(|| format!("{name} on the unchanged hypervisor"))?;
    }
    println!("each of the tests passes on the unchanged hypervisor");
    Ok(())
}

fn table(mutations: &[Mutation], rows: &[(Verdict, String)]) -> Result<()> {
    println!("\n{:<60} {:<28} {:<9} seen", "without its check", "test", "");
    for (mutation, (verdict, seen)) in mutations.iter().zip(rows) {
        let word = if verdict.result.is_ok() { "killed" } else { "SURVIVED" };
        println!("{:<60} {:<28} {word:<9} {seen}", mutation.name, mutation.test);
    }
    let survived = rows.iter().filter(|(verdict, _)| verdict.result.is_err()).count();
    println!("{} killed, {survived} survived", rows.len() - survived);
    ensure!(survived == 0, "{survived} checks can go without a test noticing");
    Ok(())
}

/// Takes each check out and tells whether its test noticed, with what was seen.
pub fn run(world: &World, mutations: &[Mutation], tell: &mut dyn FnMut(Verdict, String)) {
    for mutation in mutations {
        let start = Instant::now();
        let outcome = judge(world, mutation);
        let (result, seen) = match outcome {
            Ok(seen) => (Ok(()), seen),
            Err(error) => {
                let text = format!("{error:#}");
                (Err(error), first_line(&text))
            }
        };
        tell(Verdict { name: mutation.sentence(), time: start.elapsed(), result }, seen);
    }
}

/// What the test said without the check; an error when it passed or nothing can be told.
fn judge(world: &World, mutation: &Mutation) -> Result<String> {
    let program = mutant(mutation)?;
    let log = |what: &str| format!("mutant {} {what}", mutation.name);
    let mut honest = guest_test(HONEST)?;
    honest.seconds = PATIENCE;
    guest_outcome(world, &program, &honest, &log("honest"))
        .with_context(|| format!("nothing can be told: {HONEST} does not run any more"))?;
    let mut test = guest_test(&mutation.test)?;
    test.seconds = test.seconds.min(PATIENCE);
    match guest_outcome(world, &program, &test, &log("tested")) {
        Ok(()) => bail!("{} does not notice", mutation.test),
        Err(error) => Ok(first_line(&format!("{error:#}"))),
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split("; the console's end").next().unwrap_or_default().to_owned()
}

fn guest_test(name: &str) -> Result<GuestTest> {
    let found = guests::list()?.into_iter().find(|test| test.name == name);
    found.with_context(|| format!("there is no test {name:?} in guests/tests.toml"))
}

/// Builds the tree without the check.
fn mutant(mutation: &Mutation) -> Result<PathBuf> {
    let copy = paths::target().join("mutants");
    mirror(&paths::root(), &copy)?;
    let file = copy.join(&mutation.file);
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    fs::write(&file, mutation.apply(&text)?)
        .with_context(|| format!("write {}", file.display()))?;
    compile::build_quickly(&copy)
}

/// Makes `copy` the same as `tree`, as far as it is source. What is the same already is left
/// alone, so that it need not be compiled again.
fn mirror(tree: &Path, copy: &Path) -> Result<()> {
    fs::create_dir_all(copy).with_context(|| format!("create {}", copy.display()))?;
    let skip = |name: &std::ffi::OsStr| name == "target" || name == ".git";
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(tree).with_context(|| format!("list {}", tree.display()))? {
        let entry = entry?;
        if skip(&entry.file_name()) {
            continue;
        }
        names.insert(entry.file_name());
        let (from, to) = (entry.path(), copy.join(entry.file_name()));
        if from.is_dir() {
            mirror(&from, &to)?;
        } else {
            let bytes = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
            if !fs::read(&to).is_ok_and(|old| old == bytes) {
                fs::write(&to, bytes).with_context(|| format!("write {}", to.display()))?;
            }
        }
    }
    for entry in fs::read_dir(copy).with_context(|| format!("list {}", copy.display()))? {
        let entry = entry?;
        if names.contains(&entry.file_name()) || skip(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_of_the_list_stands_once_in_its_file() {
        for mutation in list("").unwrap() {
            let text = fs::read_to_string(paths::root().join(&mutation.file)).unwrap();
            let changed = mutation.apply(&text).unwrap();
            assert!(changed != text, "{} changes nothing", mutation.name);
        }
    }

    #[test]
    fn each_mutation_names_a_test_that_there_is() {
        for mutation in list("").unwrap() {
            guest_test(&mutation.test).unwrap();
        }
    }

    #[test]
    fn at_least_ten_checks_are_taken_out() {
        assert!(list("").unwrap().len() >= 10);
    }

    #[test]
    fn a_check_that_is_not_there_once_is_refused() {
        let mutation = Mutation {
            name: "x".into(),
            test: "y".into(),
            file: "z".into(),
            find: "if a".into(),
            replace: "if b".into(),
        };
        assert_eq!(mutation.apply("when if a then").unwrap(), "when if b then");
        assert!(mutation.apply("if a if a").is_err() && mutation.apply("nothing").is_err());
    }
}
