//! The distribution releases whose kernels and tools are used.

use std::fmt;

/// A Debian release that serves as dom0 and guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// Debian 13: kernel 6.12, Xen 4.20.
    Trixie,
    /// Debian 12: kernel 6.1, Xen 4.17.
    Bookworm,
}

impl Suite {
    /// Both, newest first.
    pub const ALL: [Self; 2] = [Self::Trixie, Self::Bookworm];

    /// The release's code name, as package archives spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
            Self::Bookworm => "bookworm",
        }
    }

    /// Version of the reference hypervisor in that release, as in its package names.
    pub fn xen_version(self) -> &'static str {
        match self {
            Self::Trixie => "4.20",
            Self::Bookworm => "4.17",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
