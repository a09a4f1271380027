//! The table of the keys of `xl.cfg`: name, type, default, guests, status, help.
//!
//! Validation, `xl help`, the manual page and the tests are made from this one table.

mod host;
mod known_mistakes;
mod table;

pub use host::HOST_KEYS;
pub(crate) use known_mistakes::meant;
pub use table::KEYS;

/// One key of `xl.cfg`.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub form: Form,
    /// What holds without it, in words; empty: nothing.
    pub default: &'static str,
    /// Which guests have it.
    pub guests: Guests,
    /// What becomes of it here.
    pub status: Status,
    /// What it is, in one line.
    pub help: &'static str,
}

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Quoted text.
    Text,
    /// Quoted text: a path in dom0.
    Path,
    /// 0 or 1.
    Flag,
    /// A number from the first to the second.
    Number(u64, u64),
    /// The same in MiB.
    Mib(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One of these words, or its place in the list as a number.
    ChoiceOrNumber(&'static [&'static str]),
    /// 0 or 1, or one of these words.
    FlagOrChoice(&'static [&'static str]),
    /// CPUs: text, number, or a list of such, one for each vCPU.
    Cpus,
    /// A list.
    List,
    /// A list of texts, or one text.
    Texts,
    /// Anything.
    Any,
}

impl Form {
    /// In words, for messages and the manual page.
    pub fn words(self) -> String {
        match self {
            Self::Text => "quoted text".to_owned(),
            Self::Path => "a path in quotes".to_owned(),
            Self::Flag => "0 or 1".to_owned(),
            Self::Number(from, to) => format!("a number from {from} to {to}"),
            Self::Mib(from, to) => format!("a number of MiB from {from} to {to}"),
            Self::Choice(words) | Self::ChoiceOrNumber(words) => {
                format!("one of \"{}\"", words.join("\", \""))
            }
            Self::FlagOrChoice(words) => format!("0, 1 or one of \"{}\"", words.join("\", \"")),
            Self::Cpus => "CPUs (\"0-3,5\") or a list of such".to_owned(),
            Self::List => "a list: [ ... ]".to_owned(),
            Self::Texts => "a list of quoted texts".to_owned(),
            Self::Any => "any value".to_owned(),
        }
    }
}

/// Which guests have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// All.
    All,
    /// PV only.
    Pv,
    /// PV and PVH.
    PvPvh,
    /// HVM only.
    Hvm,
    /// HVM and PVH.
    HvmPvh,
    /// PVH only.
    Pvh,
    /// Guests on Arm only.
    Arm,
}

impl Guests {
    /// PV guests have it.
    pub fn pv(self) -> bool {
        matches!(self, Self::All | Self::Pv | Self::PvPvh)
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Pv => "PV",
            Self::PvPvh => "PV and PVH",
            Self::Hvm => "HVM",
            Self::HvmPvh => "HVM and PVH",
            Self::Pvh => "PVH",
            Self::Arm => "Arm",
        }
    }
}

/// What becomes of a key here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has its effect.
    Done,
    /// It has no effect, which a warning says with these words.
    Ignored(&'static str),
    /// It is refused by name unless its value asks for nothing.
    Refused,
}

/// The key of a name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
