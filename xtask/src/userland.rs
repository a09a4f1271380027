//! The userland's programs: static, for dom0.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{paths, process, setup};

/// Where they lie in dom0.
pub const FOLDER: &str = "usr/lib/ferroxen/bin";
const COMPILE_LIMIT: Duration = Duration::from_secs(1800);

/// A program, the package that it is made of and its further names.
struct Program {
    name: &'static str,
    /// As cargo calls it.
    binary: &'static str,
    package: &'static str,
    links: &'static [&'static str],
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "xl",
        binary: "xl",
        package: "xl",
        links: &["xentop", "xen-init-dom0", "xendomains"],
    },
    Program { name: "xenstored", binary: "xenstored", package: "xenstored", links: &[] },
    Program {
        name: "xenstore",
        binary: "xenstore-tools",
        package: "xenstore-tools",
        links: &[
            "xenstore-chmod",
            "xenstore-control",
            "xenstore-exists",
            "xenstore-list",
            "xenstore-ls",
            "xenstore-read",
            "xenstore-rm",
            "xenstore-watch",
            "xenstore-write",
        ],
    },
    Program { name: "xenconsoled", binary: "xenconsoled", package: "xenconsoled", links: &[] },
    Program { name: "xenconsole", binary: "xenconsole", package: "xenconsoled", links: &[] },
];

/// A program as it lies in dom0.
pub struct Built {
    /// Its name.
    pub name: &'static str,
    /// Its further names.
    pub links: &'static [&'static str],
    /// The program.
    pub bytes: Vec<u8>,
}

/// Builds all of them.
pub fn build() -> Result<Vec<Built>> {
    setup::rust()?;
    let mut command = Command::new("cargo");
    command.current_dir(paths::root()).args(["build", "--quiet", "--profile", "tools"]);
    command.args(["--target", setup::MUSL_TARGET]);
    let mut packages: Vec<&str> = PROGRAMS.iter().map(|program| program.package).collect();
    packages.dedup();
    for package in packages {
        command.args(["--package", package]);
    }
    process::run(&mut command, COMPILE_LIMIT, "build of the userland")?;
    let folder = paths::cargo_target().join(setup::MUSL_TARGET).join("tools");
    PROGRAMS.iter().map(|program| read(program, &folder)).collect()
}

/// Those of them that were built before and lie in a folder.
pub fn built_in(folder: &Path) -> Result<Vec<Built>> {
    let there = |program: &&Program| folder.join(program.binary).is_file();
    PROGRAMS.iter().filter(there).map(|program| read(program, folder)).collect()
}

fn read(program: &Program, folder: &Path) -> Result<Built> {
    let path = folder.join(program.binary);
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(Built { name: program.name, links: program.links, bytes })
}
