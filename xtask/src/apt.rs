//! Packages of a distribution release, by a private apt configuration.
//!
//! The mirror is the one this machine already uses; the machine's own package state and
//! configuration are left as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;

/// Time for refreshing package lists.
const UPDATE_LIMIT: Duration = Duration::from_secs(600);
/// Time for one batch of downloads.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(1800);
/// Time for a question to the local package lists.
const QUERY_LIMIT: Duration = Duration::from_secs(120);

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt configuration of its own folder, knowing certain suites only.
pub struct Apt {
    folder: PathBuf,
    label: String,
}

impl Apt {
    /// Prepares a configuration in `folder` for `suites` (as `trixie`, `bookworm-backports`) and
    /// refreshes its lists when there are none yet. With `own_state`, packages are resolved as if
    /// nothing were installed; otherwise against what this machine has.
    pub fn new(folder: &Path, suites: &[&str], own_state: bool) -> Result<Self> {
        let apt = Self { folder: folder.to_path_buf(), label: suites.join(", ") };
        for sub in ["lists/partial", "cache/archives/partial"] {
            let dir = folder.join(sub);
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let mirror = mirror()?;
        let sources: String = suites
            .iter()
            .map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
            .collect();
        let known = fs::read_to_string(folder.join("sources.list")).unwrap_or_default();
        write(&folder.join("sources.list"), &sources)?;
        write(&folder.join("status"), "")?;
        write(&folder.join("apt.conf"), &apt.configuration(own_state))?;
        if known != sources || !apt.has_lists() {
            apt.update()?;
        }
        Ok(apt)
    }

    fn configuration(&self, own_state: bool) -> String {
        let dir = self.folder.display();
        let mut text = format!(
            "Dir::Etc::sourcelist \"{dir}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::State::lists \"{dir}/lists\";\n\
             Dir::Cache \"{dir}/cache\";\n\
             APT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             Acquire::http::Timeout \"60\";\n\
             Acquire::https::Timeout \"60\";\n"
        );
        if own_state {
            text += &format!(
                "Dir::State::status \"{dir}/status\";\n\
                 APT::Architecture \"amd64\";\n\
                 APT::Install-Recommends \"false\";\n\
                 Debug::NoLocking \"1\";\n"
            );
        }
        text
    }

    fn has_lists(&self) -> bool {
        fs::read_dir(self.folder.join("lists")).is_ok_and(|dir| {
            dir.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        })
    }

    /// The file to give as `APT_CONFIG`.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("apt.conf")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.config_file()).env("LC_ALL", "C.UTF-8");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Refreshes the package lists.
    pub fn update(&self) -> Result<()> {
        println!("  package lists of {} ...", self.label);
        let mut command = self.command("apt-get");
        command.args(["-q", "update"]);
        let log = self.folder.join("update.log");
        process::run_logged(
            &mut command,
            &log,
            UPDATE_LIMIT,
            &format!("apt-get update ({})", self.label),
        )
    }

    /// Downloads packages with everything they depend on; answers the folder that holds them.
    pub fn download_closure(&self, packages: &[String]) -> Result<PathBuf> {
        let mut command = self.command("apt-get");
        command.args(["-y", "-q", "--download-only", "install"]).args(packages);
        let what = format!("download of {} with dependencies", packages.join(" "));
        process::run_logged(
            &mut command,
            &self.folder.join("download.log"),
            DOWNLOAD_LIMIT,
            &what,
        )?;
        Ok(self.folder.join("cache/archives"))
    }

    /// Downloads just these packages into `dest`.
    pub fn download(&self, packages: &[String], dest: &Path) -> Result<()> {
        fs::create_dir_all(dest).with_context(|| format!("create {}", dest.display()))?;
        let mut command = self.command("apt-get");
        command.current_dir(dest).args(["-q", "download"]).args(packages);
        let what = format!("download of {}", packages.join(" "));
        process::run_logged(&mut command, &self.folder.join("download.log"), DOWNLOAD_LIMIT, &what)
    }

    /// The value of a field of a package's newest record.
    pub fn field(&self, package: &str, field: &str) -> Result<String> {
        let mut command = self.command("apt-cache");
        command.args(["--no-all-versions", "show", package]);
        let text =
            process::capture(&mut command, QUERY_LIMIT, &format!("apt-cache show {package}"))?;
        let prefix = format!("{field}: ");
        text.lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .map(str::to_owned)
            .with_context(|| format!("package {package} ({}) has no field {field}", self.label))
    }
}

/// The archive that this machine's own apt takes its distribution from.
fn mirror() -> Result<String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"]);
    let text = process::capture(&mut command, QUERY_LIMIT, "apt-get indextargets")
        .context("this needs a Debian machine with a working apt")?;
    let site = text.lines().filter_map(|line| line.split_once(' ')).find_map(|(site, _)| {
        site.trim_end_matches('/').ends_with("/debian").then(|| site.to_owned())
    });
    match site {
        Some(site) => Ok(site),
        None => bail!(
            "no Debian archive (an address ending in /debian) among this machine's apt sources; \
             add one to /etc/apt/sources.list.d"
        ),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
