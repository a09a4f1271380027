//! The hypervisor's command line: one table of options, their parsers, and what comes out.
//!
//! Rules (as Xen's): options are separated by blanks; a boolean is `opt`, `opt=yes` or `no-opt`; a
//! size has a suffix B, K, M, G or T, and a bare number means KiB; the last of duplicates wins.
//! What is unknown or malformed is reported and ignored, never fatal.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

pub mod log;
mod memory;
mod serial;
mod spec_ctrl;
mod table;
#[cfg(test)]
mod tests;
mod values;

pub use log::{Level, Levels, Stamp};
pub use memory::{Amount, Dom0Memory};
pub use serial::{Com, Console};
pub use spec_ctrl::SpecCtrl;
pub use values::VcpuRange;

/// What the command line said, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `console`: where messages go.
    pub console: Console,
    /// `com1`: how the port is set up.
    pub com1: Com,
    /// `dom0_mem`.
    pub dom0_mem: Dom0Memory,
    /// `dom0_max_vcpus`, if given.
    pub dom0_max_vcpus: Option<VcpuRange>,
    /// `loglvl`: which of the hypervisor's messages are printed.
    pub loglvl: Levels,
    /// `guest_loglvl`: which of the messages about guests' doings are printed.
    pub guest_loglvl: Levels,
    /// `console_timestamps`: what each line begins with.
    pub timestamps: Stamp,
    /// `console_to_ring`: dom0's console output is kept in the ring too.
    pub console_to_ring: bool,
    /// `conring_size`: bytes of the ring, if given.
    pub conring_size: Option<u64>,
    /// `spec-ctrl`: mitigations asked for or forbidden.
    pub spec_ctrl: SpecCtrl,
    /// `sync_console`. Output is synchronous whatever it says.
    pub sync_console: bool,
    /// `noreboot`: stay after a panic or dom0's end.
    pub noreboot: bool,
    /// `maxcpus`: how many CPUs are used, 0 for all. `nosmp` is 1.
    pub maxcpus: u32,
    /// `conswitch`: the letter that, with Ctrl and three times, switches serial input; 0 for none.
    pub conswitch: u8,
    /// `conswitch` without `x`: serial input goes to dom0 from its start on.
    pub input_to_dom0: bool,
    /// `x2apic`: use it if there.
    pub x2apic: bool,
}

impl Options {
    /// Without a command line.
    pub const DEFAULT: Options = Options {
        console: Console { com1: true },
        com1: Com::COM1,
        dom0_mem: Dom0Memory { size: None, min: None, max: None },
        dom0_max_vcpus: None,
        loglvl: Levels::OWN,
        guest_loglvl: Levels::GUEST,
        timestamps: Stamp::None,
        console_to_ring: false,
        conring_size: None,
        spec_ctrl: SpecCtrl::DEFAULT,
        sync_console: false,
        noreboot: false,
        maxcpus: 0,
        conswitch: b'a',
        input_to_dom0: true,
        x2apic: true,
    };

    /// The serial port to print to, if any.
    pub fn console_port(&self) -> Option<u16> {
        self.console.com1.then_some(self.com1.port)
    }
}

/// What was wrong with a word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such option.
    Unknown,
    /// The value does not fit; the option keeps the value that it had.
    Malformed,
    /// Known to Xen, but without effect here.
    NoEffect,
}

/// Parses the command line; `report` hears of each word, or part of one, that had a problem.
pub fn parse(line: &[u8], mut report: impl FnMut(&[u8], Problem)) -> Options {
    let mut o = Options::DEFAULT;
    for word in line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()) {
        if let Err(problem) = table::apply_word(&mut o, word, &mut report) {
            report(word, problem);
        }
    }
    o
}
