//! The command line: one table of options, their parsers and what they do.
//!
//! Rules (as Xen's): options are separated by blanks; a boolean is `opt`, `opt=yes` or `no-opt`; a
//! size has a suffix B, K, M, G or T, and a bare number means KiB; the last of duplicates wins.
//! What is unknown or malformed is reported and ignored, never fatal.

use crate::console::Level;
use machine::once::Once;

/// What the command line said, defaults filled in.
#[derive(Clone, Debug)]
pub struct Options {
    /// `console`: whether `com1` is among the devices.
    pub console_com1: bool,
    /// `com1`: baud rate.
    pub com1_baud: u32,
    /// `com1`: I/O port.
    pub com1_port: u16,
    /// `dom0_mem`: bytes, if given.
    pub dom0_mem: Option<u64>,
    /// `dom0_mem=max:`: bytes, if given.
    pub dom0_max_mem: Option<u64>,
    /// `dom0_mem=min:`: bytes, if given.
    pub dom0_min_mem: Option<u64>,
    /// `dom0_max_vcpus`: how many, if given.
    pub dom0_max_vcpus: Option<u32>,
    /// `loglvl`: what is printed.
    pub loglvl: Level,
    /// `guest_loglvl`: what is printed of guests' doings.
    pub guest_loglvl: Level,
    /// `noreboot`: stay after a panic or dom0's end.
    pub noreboot: bool,
    /// `maxcpus`: how many CPUs are used, 0 for all.
    pub maxcpus: u32,
    /// `conswitch`: the letter that, with Ctrl and three times, switches serial input; 0 for none.
    pub conswitch: u8,
    /// `x2apic`: use it if there.
    pub x2apic: bool,
}

impl Options {
    const DEFAULT: Options = Options {
        console_com1: true,
        com1_baud: 115_200,
        com1_port: 0x3f8,
        dom0_mem: None,
        dom0_max_mem: None,
        dom0_min_mem: None,
        dom0_max_vcpus: None,
        loglvl: Level::Info,
        guest_loglvl: Level::Warning,
        noreboot: false,
        maxcpus: 0,
        conswitch: b'a',
        x2apic: true,
    };

    /// The serial port to print to, if any.
    pub fn console_port(&self) -> Option<u16> {
        self.console_com1.then_some(self.com1_port)
    }
}

/// How an option is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// `opt`, `opt=yes`, `no-opt`.
    Boolean,
    /// `opt=value`.
    Value,
    /// Known to Xen, without effect here.
    Ignored,
}

/// One option: name, how it is written, what it does with its value (`false`: malformed).
struct Entry {
    name: &'static str,
    form: Form,
    apply: Setter,
}

/// Which option; matched in [`apply`]. Data rather than a function pointer.
#[derive(Clone, Copy)]
enum Setter {
    Console,
    Com1,
    Dom0Mem,
    Dom0MaxVcpus,
    LogLevel,
    GuestLogLevel,
    NoReboot,
    MaxCpus,
    ConSwitch,
    X2Apic,
    Nothing,
}

const fn entry(name: &'static str, form: Form, apply: Setter) -> Entry {
    Entry { name, form, apply }
}

/// Every option.
const TABLE: &[Entry] = &[
    entry("console", Form::Value, Setter::Console),
    entry("com1", Form::Value, Setter::Com1),
    entry("dom0_mem", Form::Value, Setter::Dom0Mem),
    entry("dom0_max_vcpus", Form::Value, Setter::Dom0MaxVcpus),
    entry("loglvl", Form::Value, Setter::LogLevel),
    entry("guest_loglvl", Form::Value, Setter::GuestLogLevel),
    entry("noreboot", Form::Boolean, Setter::NoReboot),
    entry("maxcpus", Form::Value, Setter::MaxCpus),
    entry("conswitch", Form::Value, Setter::ConSwitch),
    entry("x2apic", Form::Boolean, Setter::X2Apic),
    // The ring has a fixed size, and serial output is always synchronous.
    entry("conring_size", Form::Ignored, Setter::Nothing),
    entry("sync_console", Form::Ignored, Setter::Nothing),
    entry("console_timestamps", Form::Ignored, Setter::Nothing),
    entry("console_to_ring", Form::Ignored, Setter::Nothing),
    entry("com2", Form::Ignored, Setter::Nothing),
    entry("vga", Form::Ignored, Setter::Nothing),
    entry("ucode", Form::Ignored, Setter::Nothing),
    entry("iommu", Form::Ignored, Setter::Nothing),
    entry("sched", Form::Ignored, Setter::Nothing),
    entry("watchdog", Form::Ignored, Setter::Nothing),
    entry("reboot", Form::Ignored, Setter::Nothing),
    entry("dom0_vcpus_pin", Form::Ignored, Setter::Nothing),
];

static OPTIONS: Once<Options> = Once::new();
static DEFAULTS: Options = Options::DEFAULT;

/// The options in force.
pub fn options() -> &'static Options {
    OPTIONS.get().unwrap_or(&DEFAULTS)
}

/// What was wrong with a word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such option.
    Unknown,
    /// The value does not fit.
    Malformed,
    /// Known, but without effect.
    NoEffect,
}

/// Parses the command line; `report` hears of each word that had a problem. Returns the options
/// for [`set`].
pub fn parse(line: &[u8], mut report: impl FnMut(&[u8], Problem)) -> Options {
    let mut o = Options::DEFAULT;
    for word in line.split(|b| b.is_ascii_whitespace()).filter(|w| !w.is_empty()) {
        if let Err(problem) = parse_word(&mut o, word) {
            report(word, problem);
        }
    }
    o
}

/// Puts the options in force, once.
pub fn set(o: Options) {
    OPTIONS.set(o);
}

fn parse_word(o: &mut Options, word: &[u8]) -> Result<(), Problem> {
    let (name, value) = match word.iter().position(|&b| b == b'=') {
        Some(i) => (word.get(..i).unwrap_or(b""), word.get(i.saturating_add(1)..)),
        None => (word, None),
    };
    let find = |n: &[u8]| TABLE.iter().find(|e| e.name.as_bytes() == n);
    let (entry, negated) = match (find(name), name.strip_prefix(b"no-")) {
        (Some(e), _) => (e, false),
        (None, Some(rest)) => {
            let e = find(rest).filter(|e| e.form == Form::Boolean).ok_or(Problem::Unknown)?;
            (e, true)
        }
        (None, None) => return Err(Problem::Unknown),
    };
    match entry.form {
        Form::Ignored => Err(Problem::NoEffect),
        Form::Boolean => {
            let on = boolean(value).ok_or(Problem::Malformed)?;
            apply(o, entry.apply, b"", on != negated).ok_or(Problem::Malformed)
        }
        Form::Value => apply(o, entry.apply, value.unwrap_or(b""), true).ok_or(Problem::Malformed),
    }
}

fn apply(o: &mut Options, setter: Setter, value: &[u8], on: bool) -> Option<()> {
    match setter {
        Setter::Console => {
            o.console_com1 = value.split(|&b| b == b',').any(|d| d.starts_with(b"com1"));
        }
        Setter::Com1 => return com1(o, value),
        Setter::Dom0Mem => return dom0_mem(o, value),
        Setter::Dom0MaxVcpus => {
            let max = value.rsplit(|&b| b == b'-').next()?;
            o.dom0_max_vcpus = Some(u32::try_from(number(max)?).ok().filter(|&n| n > 0)?);
        }
        Setter::LogLevel => o.loglvl = level(value)?,
        Setter::GuestLogLevel => o.guest_loglvl = level(value)?,
        Setter::NoReboot => o.noreboot = on,
        Setter::MaxCpus => o.maxcpus = u32::try_from(number(value)?).ok()?,
        Setter::ConSwitch => {
            let c = value.first()?.to_ascii_lowercase();
            o.conswitch = if c.is_ascii_lowercase() { c } else { 0 };
        }
        Setter::X2Apic => o.x2apic = on,
        Setter::Nothing => {}
    }
    Some(())
}

fn boolean(value: Option<&[u8]>) -> Option<bool> {
    match value {
        None | Some(b"1" | b"yes" | b"on" | b"true" | b"enable") => Some(true),
        Some(b"0" | b"no" | b"off" | b"false" | b"disable") => Some(false),
        Some(_) => None,
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix(b"0x") {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    u64::from_str_radix(core::str::from_utf8(digits).ok()?, radix).ok()
}

/// A size in bytes; a bare number is KiB.
fn size(text: &[u8]) -> Option<u64> {
    let (last, head) = text.split_last()?;
    let shift = match last.to_ascii_uppercase() {
        b'B' => 0,
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        _ => return number(text)?.checked_mul(1 << 10),
    };
    number(head)?.checked_mul(1 << shift)
}

fn com1(o: &mut Options, value: &[u8]) -> Option<()> {
    let mut parts = value.split(|&b| b == b',');
    let baud = parts.next()?;
    let baud = baud.split(|&b| b == b'/').next()?;
    if baud != b"auto" && !baud.is_empty() {
        let rate = u32::try_from(number(baud)?).ok()?;
        o.com1_baud = (50..=115_200).contains(&rate).then_some(rate)?;
    }
    let _format = parts.next();
    if let Some(port) = parts.next().filter(|p| !p.is_empty()) {
        o.com1_port = u16::try_from(number(port)?).ok()?;
    }
    Some(())
}

fn dom0_mem(o: &mut Options, value: &[u8]) -> Option<()> {
    for part in value.split(|&b| b == b',') {
        let (slot, text) = match (part.strip_prefix(b"max:"), part.strip_prefix(b"min:")) {
            (Some(t), _) => (&mut o.dom0_max_mem, t),
            (_, Some(t)) => (&mut o.dom0_min_mem, t),
            _ => (&mut o.dom0_mem, part),
        };
        *slot = Some(size(text)?);
    }
    Some(())
}

/// The upper of `lower/upper`, or the one level named: what is printed at all.
fn level(value: &[u8]) -> Option<Level> {
    let text = value.rsplit(|&b| b == b'/').next()?;
    Some(match text {
        b"none" | b"error" => Level::Error,
        b"warning" => Level::Warning,
        b"info" => Level::Info,
        b"debug" | b"all" => Level::Debug,
        _ => return None,
    })
}
