//! Why a domain could not be built.

use std::path::PathBuf;

use builder::elf::ElfError;
use builder::image::ImageError;
use builder::kernel::KernelError;
use builder::layout::LayoutError;
use builder::start_info::StartInfoError;

/// Why a domain could not be built. Those about files and sizes come before anything was touched.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file could not be read.
    #[error("cannot read {what} {}", path.display())]
    Read {
        /// "kernel" or "ramdisk".
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is no file, or of a size that cannot be right.
    #[error("{what} {}: {why}", path.display())]
    File {
        /// "kernel" or "ramdisk".
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The kernel file is of no known format, or damaged.
    #[error("kernel {} cannot be used", path.display())]
    Image {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ImageError,
    },
    /// The kernel's ELF file is damaged or for another machine.
    #[error("kernel {} cannot be used", path.display())]
    Elf {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ElfError,
    },
    /// The kernel cannot run as a PV guest.
    #[error("kernel {} is not a Xen PV kernel", path.display())]
    NotXen {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: KernelError,
    },
    /// Kernel and ramdisk do not fit the memory.
    #[error("kernel {} does not fit a domain of {memory_mib} MiB", kernel.display())]
    Layout {
        /// The kernel.
        kernel: PathBuf,
        /// The domain's memory.
        memory_mib: u64,
        /// Why.
        #[source]
        source: LayoutError,
    },
    /// The command line is too long, or has a zero in it.
    #[error("the kernel's command line cannot be used")]
    CommandLine(#[source] StartInfoError),
    /// No memory at all.
    #[error("a domain needs at least 1 MiB of memory, not {kib} KiB")]
    Memory {
        /// What was asked for.
        kib: u64,
    },
    /// The hypervisor did not make the domain.
    #[error("the hypervisor does not create the domain")]
    Create(#[source] sys::Error),
    /// There is not so much memory.
    #[error("not enough memory for domain {domid}: {wanted_mib} MiB are wanted{}", free(*free_mib))]
    NoMemory {
        /// Which domain.
        domid: u16,
        /// What it should have.
        wanted_mib: u64,
        /// What is free, if the hypervisor says so.
        free_mib: Option<u64>,
        /// What it said.
        #[source]
        source: Option<sys::Error>,
    },
    /// A step was refused.
    #[error("domain {domid}: {what} failed")]
    Call {
        /// Which domain.
        domid: u16,
        /// Which step.
        what: &'static str,
        /// Why.
        #[source]
        source: sys::Error,
    },
    /// The domain is no longer there.
    #[error("domain {domid} was destroyed while it was built")]
    Vanished {
        /// Which.
        domid: u16,
    },
    /// The layout and the domain's memory do not agree: a defect of these tools.
    #[error("domain {domid}: {what} at PFN {pfn:#x} is not in its memory")]
    Inconsistent {
        /// Which domain.
        domid: u16,
        /// What.
        what: &'static str,
        /// Where.
        pfn: u64,
    },
    /// It failed, and the domain could not be destroyed either.
    #[error("domain {domid} could not be built ({}) and is left over", chain(why))]
    Left {
        /// Which.
        domid: u16,
        /// What failed first.
        why: Box<BuildError>,
        /// Why it is left over.
        #[source]
        source: sys::Error,
    },
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

fn free(mib: Option<u64>) -> String {
    mib.map(|n| format!(", {n} MiB are free")).unwrap_or_default()
}
