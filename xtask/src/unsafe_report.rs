//! `unsafe-report`: how much code the compiler's checks do not cover, crate by crate.
//!
//! Counted after macro expansion, so that a macro that expands to `unsafe` counts where it is
//! used. Assembly is counted in lines of the source. Fails when a crate outside
//! `machine/` and `toolstack/sys/` has any.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{compile, paths, process};

mod count;

use count::Counts;

const EXPAND_LIMIT: Duration = Duration::from_secs(900);

/// The one folder of the hypervisor whose packages may say `unsafe`.
const MACHINE: &str = "machine";
/// The userland's packages, and the one of them that may.
const USERLAND: &str = "toolstack";
const USERLAND_UNSAFE: &str = "toolstack/sys";
/// The most that folder may have of the hypervisor's lines, in percent.
const MACHINE_LIMIT: f64 = 100.0 / 3.0;
/// The marks in README.md between which the figures stand.
const BEGIN: &str = "<!-- unsafe-report -->";
const END: &str = "<!-- end of unsafe-report -->";
/// Packages that do not run in the hypervisor.
const HOST_ONLY: &[&str] = &["xtask"];
/// Packages that are expanded as compiled for the bare machine.
const BARE: &[&str] = &["hypervisor", "image", MACHINE];

/// Arguments of `unsafe-report`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Put the figures into README.md.
    #[arg(long)]
    readme: bool,
}

/// One package.
#[derive(Serialize)]
pub struct Row {
    package: String,
    /// May have unsafe code.
    privileged: bool,
    /// Runs in dom0, not in the hypervisor.
    userland: bool,
    #[serde(flatten)]
    counts: Counts,
    /// Places where the source itself claims to be a derive's work, which would hide unsafe code.
    disguises: usize,
    /// Lines of assembly, in `.S` files and in the strings of the assembly macros.
    assembly_lines: usize,
    /// Lines that are neither blank nor comment, tests among them left out.
    code_lines: usize,
}

/// The whole.
#[derive(Serialize)]
pub struct Report {
    crates: Vec<Row>,
    /// `machine`'s part of the hypervisor's lines, in percent.
    machine_share: f64,
}

/// Runs `unsafe-report`.
pub fn main(args: &Args) -> Result<()> {
    let report = collect()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).context("write JSON")?);
    } else {
        print(&report);
    }
    if args.readme {
        update_readme(&report)?;
    }
    judge(&report)
}

/// Counts and judges, for `test`.
pub fn check() -> Result<Report> {
    let report = collect()?;
    print(&report);
    judge(&report)?;
    Ok(report)
}

fn judge(report: &Report) -> Result<()> {
    let outside: Vec<String> = report
        .crates
        .iter()
        .filter(|row| !row.privileged && (row.counts.written() > 0 || row.assembly_lines > 0))
        .map(|row| {
            format!(
                "{} ({} unsafe, {} lines of assembly)",
                row.package,
                row.counts.written(),
                row.assembly_lines
            )
        })
        .collect();
    if let Some(row) = report.crates.iter().find(|row| row.disguises > 0) {
        bail!("the source of {} says {}, which only derives may", row.package, count::DERIVED);
    }
    if !outside.is_empty() {
        bail!("unsafe code outside {MACHINE}/ and {USERLAND_UNSAFE}/: {}", outside.join(", "));
    }
    if report.machine_share >= MACHINE_LIMIT {
        bail!("{MACHINE}/ has {:.1} % of the lines, a third or more", report.machine_share);
    }
    Ok(())
}

/// Puts the figures between the two marks of README.md.
fn update_readme(report: &Report) -> Result<()> {
    let path = paths::root().join("README.md");
    let text = fs::read_to_string(&path).context("read README.md")?;
    let new = with_figures(&text, report).context("README.md lacks the marks")?;
    fs::write(&path, new).context("write README.md")
}

fn with_figures(text: &str, report: &Report) -> Option<String> {
    let (head, rest) = text.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    let mut table = String::from(
        "\n| crate | `unsafe` blocks | functions | implementations | externs | assembly lines | code lines |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    let unsafe_ones = report.crates.iter().filter(|row| row.privileged);
    for row in unsafe_ones {
        let counts = &row.counts;
        table += &format!(
            "| `{}` | {} | {} | {} | {} | {} | {} |\n",
            row.package,
            counts.blocks,
            counts.functions,
            counts.impls,
            counts.externs,
            row.assembly_lines,
            row.code_lines
        );
    }
    let others: Vec<&Row> = report.crates.iter().filter(|row| !row.privileged).collect();
    let written: usize = others.iter().map(|row| row.counts.written()).sum();
    let lines: usize = others.iter().map(|row| row.code_lines).sum();
    table += &format!("| the other {} | {written} | | | | 0 | {lines} |\n\n", others.len());
    table +=
        &format!("`{MACHINE}/` has {:.1} % of the hypervisor's lines.\n", report.machine_share);
    Some(format!("{head}{BEGIN}{table}{END}{tail}"))
}

fn collect() -> Result<Report> {
    let mut crates = Vec::new();
    for package in packages()? {
        let context = || format!("package {}", package.name);
        let mut counts = Counts::default();
        for target in &package.targets {
            let expanded = expand(&package, target).with_context(context)?;
            counts.add(&count::expanded(&expanded).with_context(context)?);
        }
        let lines = sources(&package.folder.join("src")).with_context(context)?;
        crates.push(Row {
            privileged: [MACHINE, USERLAND_UNSAFE]
                .iter()
                .any(|folder| package.folder.starts_with(paths::root().join(folder))),
            userland: package.folder.starts_with(paths::root().join(USERLAND)),
            package: package.name,
            counts,
            disguises: lines.disguises,
            assembly_lines: lines.assembly,
            code_lines: lines.code,
        });
    }
    let size = |row: &Row| row.code_lines + row.assembly_lines;
    let hypervisor: Vec<&Row> = crates.iter().filter(|row| !row.userland).collect();
    let all: usize = hypervisor.iter().copied().map(size).sum();
    let machine: usize = hypervisor.iter().copied().filter(|row| row.privileged).map(size).sum();
    let machine_share = if all == 0 { 0.0 } else { 100.0 * machine as f64 / all as f64 };
    Ok(Report { crates, machine_share })
}

struct Package {
    name: String,
    folder: PathBuf,
    /// What cargo is told to name one of its targets: `--lib`, or `--bin` and a name.
    targets: Vec<Vec<String>>,
}

/// The workspace's own packages.
fn packages() -> Result<Vec<Package>> {
    let mut command = Command::new("cargo");
    command.current_dir(paths::root()).args(["metadata", "--no-deps", "--format-version", "1"]);
    let text = process::capture(&mut command, EXPAND_LIMIT, "cargo metadata")?;
    let data: serde_json::Value = serde_json::from_str(&text).context("read cargo's metadata")?;
    let list = data["packages"].as_array().context("cargo's metadata without packages")?;
    let mut packages = Vec::new();
    for item in list {
        let name = item["name"].as_str().context("a package without a name")?.to_owned();
        let manifest =
            Path::new(item["manifest_path"].as_str().context("a package without a manifest")?);
        let folder = manifest.parent().context("a manifest without a folder")?.to_path_buf();
        if HOST_ONLY.contains(&name.as_str()) {
            continue;
        }
        let targets = item["targets"].as_array().context("a package without targets")?;
        let words = |target: &serde_json::Value| {
            let name = target["name"].as_str()?;
            match target["kind"][0].as_str()? {
                "lib" => Some(vec!["--lib".to_owned()]),
                "bin" => Some(vec!["--bin".to_owned(), name.to_owned()]),
                _ => None,
            }
        };
        let targets: Vec<Vec<String>> = targets.iter().filter_map(words).collect();
        if targets.is_empty() {
            bail!("{name} is a package with neither library nor program");
        }
        packages.push(Package { name, folder, targets });
    }
    packages.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(packages)
}

/// The package's source after macro expansion. The flag needs the compiler's unstable options,
/// which `RUSTC_BOOTSTRAP` opens in the ordinary one.
fn expand(package: &Package, target: &[String]) -> Result<String> {
    let bare = BARE.contains(&package.name.as_str());
    let mut command =
        if bare { compile::cargo_for(&package.name, "rustc") } else { host_cargo(package) };
    // A folder of its own: build scripts look at the variable below and would run again each time.
    command.env("CARGO_TARGET_DIR", paths::cargo_target().join("expand"));
    command.args(["--quiet", "--profile", "check"]);
    command.args(target).args(["--", "-Zunpretty=expanded"]).env("RUSTC_BOOTSTRAP", "1");
    process::capture(&mut command, EXPAND_LIMIT, "macro expansion")
}

fn host_cargo(package: &Package) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(paths::root()).args(["rustc", "--package", &package.name]);
    command
}

/// What the files below a source folder hold.
#[derive(Default)]
struct Sources {
    code: usize,
    assembly: usize,
    disguises: usize,
}

fn sources(folder: &Path) -> Result<Sources> {
    let mut all = Sources::default();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            let below = sources(&path)?;
            all.code += below.code;
            all.assembly += below.assembly;
            all.disguises += below.disguises;
            continue;
        }
        let read = || fs::read_to_string(&path).with_context(|| format!("read {}", path.display()));
        match path.extension().and_then(|ext| ext.to_str()) {
            Some("rs") => {
                let text = read()?;
                let lines = count::source(&text).with_context(|| path.display().to_string())?;
                all.code += lines.code.saturating_sub(lines.assembly);
                all.assembly += lines.assembly;
                all.disguises += text.matches(count::DERIVED).count();
            }
            Some("S" | "s") => all.assembly += count::assembly_file(&read()?),
            _ => {}
        }
    }
    Ok(all)
}

fn print(report: &Report) {
    println!(
        "{:<14} {:>7} {:>6} {:>6} {:>7} {:>8} {:>8} {:>7}",
        "crate", "blocks", "fns", "impls", "externs", "derived", "assembly", "code"
    );
    for row in &report.crates {
        let counts = &row.counts;
        println!(
            "{:<14} {:>7} {:>6} {:>6} {:>7} {:>8} {:>8} {:>7}",
            row.package,
            counts.blocks,
            counts.functions,
            counts.impls,
            counts.externs,
            counts.derived,
            row.assembly_lines,
            row.code_lines
        );
    }
    println!("{MACHINE}/ has {:.1} % of the hypervisor's lines", report.machine_share);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_take_the_place_of_older_ones() {
        let report = Report { crates: Vec::new(), machine_share: 12.5 };
        let text = with_figures(&format!("a{BEGIN}old{END}b"), &report).unwrap();
        assert!(text.starts_with(&format!("a{BEGIN}")) && text.ends_with(&format!("{END}b")));
        assert!(text.contains("12.5 %") && !text.contains("old"));
    }

    #[test]
    fn too_large_a_part_with_unsafe_code_is_refused() {
        assert!(judge(&Report { crates: Vec::new(), machine_share: 33.0 }).is_ok());
        assert!(judge(&Report { crates: Vec::new(), machine_share: 34.0 }).is_err());
    }
}
