//! The distribution's kernel, C toolstack, headers and reference hypervisor: fetched as packages
//! and unpacked under `target/anchors/SUITE`, never installed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::suite::Suite;
use crate::{paths, process};

/// Changed when the list of packages or the layout below changes, so that old folders are renewed.
const RECIPE: &str = "1";
const UNPACK_LIMIT: Duration = Duration::from_secs(300);

/// Arguments of `fetch`, and part of those of `setup`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Only this release.
    #[arg(long)]
    suite: Option<Suite>,
    /// Fetch again what is there.
    #[arg(long)]
    again: bool,
}

/// The unpacked packages of one suite.
#[derive(Clone)]
pub struct Anchors {
    /// Which release.
    pub suite: Suite,
    folder: PathBuf,
}

impl Anchors {
    /// The suite's packages; fetched when they are missing.
    pub fn get(suite: Suite) -> Result<Self> {
        let anchors = Self { suite, folder: paths::anchors().join(suite.name()) };
        if !anchors.complete() {
            anchors.fetch().with_context(|| format!("fetch the packages of {suite}"))?;
        }
        Ok(anchors)
    }

    /// User space of the C toolstack, as unpacked.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The kernel package, as unpacked.
    pub fn kernel_root(&self) -> PathBuf {
        self.folder.join("kernel")
    }

    /// The kernel image of the package.
    pub fn vmlinuz(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The reference hypervisor as an ELF file that QEMU starts.
    pub fn reference_hypervisor(&self) -> PathBuf {
        self.folder.join("xen.elf")
    }

    /// The folder `xen/` with the C headers of the public interface.
    pub fn headers(&self) -> PathBuf {
        self.folder.join("headers/usr/include/xen")
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join("complete")
    }

    fn complete(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|text| text == RECIPE)
    }

    fn fetch(&self) -> Result<()> {
        println!("fetching the packages of {} (once)", self.suite);
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("create {}", self.folder.display()))?;
        let apt = Apt::new(&self.folder.join("apt"), &[self.suite.name()], true)?;
        match self.fetch_with(&apt) {
            Ok(()) => {}
            Err(first) => {
                // Lists age: a package may have been replaced on the mirror since.
                println!("  {first:#}\n  trying again with fresh package lists");
                apt.update()?;
                self.fetch_with(&apt)?;
            }
        }
        fs::write(self.stamp(), RECIPE).context("write the stamp of completion")?;
        println!("  {} is complete", self.suite);
        Ok(())
    }

    fn fetch_with(&self, apt: &Apt) -> Result<()> {
        let xen = self.suite.xen_version();
        let tools: Vec<String> = [
            &format!("xen-utils-{xen}"),
            "xen-utils-common",
            "xenstore-utils",
            "bash",
            "busybox-static",
            "util-linux",
            "libgcc-s1",
        ]
        .map(String::from)
        .to_vec();
        println!("  tools and their libraries ...");
        let archives = apt.download_closure(&tools)?;
        unpack(&archives, &self.root())?;

        let kernel = kernel_package(apt)?;
        println!("  kernel {kernel} ...");
        self.single(apt, &kernel, "kernel")?;
        println!("  reference hypervisor and headers ...");
        self.single(apt, &format!("xen-hypervisor-{xen}-amd64"), "hypervisor")?;
        self.single(apt, "libxen-dev", "headers")?;

        let image = find_one(&self.kernel_root().join("boot"), "vmlinuz-")?;
        fs::copy(&image, self.vmlinuz()).with_context(|| format!("copy {}", image.display()))?;
        self.gunzip_reference(xen)
    }

    /// Downloads one package without dependencies and unpacks it into the folder `name`.
    fn single(&self, apt: &Apt, package: &str, name: &str) -> Result<()> {
        let debs = self.folder.join("debs").join(name);
        let _ = fs::remove_dir_all(&debs);
        apt.download(&[package.to_owned()], &debs)?;
        let dest = self.folder.join(name);
        let _ = fs::remove_dir_all(&dest);
        unpack(&debs, &dest)
    }

    fn gunzip_reference(&self, xen: &str) -> Result<()> {
        let packed = self.folder.join(format!("hypervisor/boot/xen-{xen}-amd64.gz"));
        let file = fs::File::open(&packed).with_context(|| format!("open {}", packed.display()))?;
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(file)
            .read_to_end(&mut bytes)
            .with_context(|| format!("decompress {}", packed.display()))?;
        let dest = self.reference_hypervisor();
        fs::write(&dest, bytes).with_context(|| format!("write {}", dest.display()))
    }
}

/// Runs `fetch`.
pub fn main(args: &Args) -> Result<()> {
    let suites = args.suite.map_or_else(|| Suite::ALL.to_vec(), |suite| vec![suite]);
    for suite in suites {
        if args.again {
            let stamp = paths::anchors().join(suite.name()).join("complete");
            let _ = fs::remove_file(stamp);
        }
        Anchors::get(suite)?;
    }
    Ok(())
}

/// The image package that the suite's kernel metapackage depends on.
fn kernel_package(apt: &Apt) -> Result<String> {
    let depends = apt.field("linux-image-amd64", "Depends")?;
    depends
        .split([',', ' '])
        .find(|word| word.starts_with("linux-image-"))
        .map(str::to_owned)
        .with_context(|| format!("no kernel image among the dependencies {depends:?}"))
}

fn unpack(debs: &Path, dest: &Path) -> Result<()> {
    fs::create_dir_all(dest).with_context(|| format!("create {}", dest.display()))?;
    for entry in fs::read_dir(debs).with_context(|| format!("list {}", debs.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "deb") {
            let mut command = Command::new("dpkg-deb");
            command.arg("-x").arg(&path).arg(dest);
            process::run(&mut command, UNPACK_LIMIT, &format!("unpack {}", path.display()))?;
        }
    }
    Ok(())
}

/// The one entry of `folder` whose name starts with `prefix`.
pub fn find_one(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("list {}", folder.display()))?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    match (found.pop(), found.len()) {
        (Some(path), 0) => Ok(path),
        (None, _) => bail!("nothing named {prefix}* in {}", folder.display()),
        (Some(_), more) => bail!("{} entries named {prefix}* in {}", more + 1, folder.display()),
    }
}
