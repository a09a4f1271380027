//! Whether the hypervisor's code keeps the promise of `docs/design/0002`: returns and indirect
//! branches go through the thunks.

use anyhow::{Context, Result, bail};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic};
use object::{Object, ObjectSection};

use crate::symbols::{self, Symbol};

/// Code that may branch for itself, by its name or the end of it: the thunks; what runs before or
/// outside of guests; the routines of the ways in and out, which come before or after predictions
/// matter.
const ALLOWED: [&str; 13] = [
    "__x86_indirect_thunk_r11",
    "__x86_return_thunk",
    "start64_low",
    "ap_long",
    "ap_start64",
    "machine::boot::run",
    "machine::bringup::arrive",
    "machine::mitigate::entry_ibrs",
    "machine::mitigate::entry_ibpb",
    "machine::mitigate::entry_both",
    "machine::mitigate::exit_ibrs",
    "machine::mitigate::exit_both",
    "machine::mitigate::exit_verw",
];

/// What was looked at.
pub struct Count {
    /// Instructions.
    pub instructions: usize,
    /// Returns and indirect branches in places that may have them.
    pub allowed: usize,
}

/// Looks at every instruction of the hypervisor's code.
///
/// # Errors
/// A return or an indirect branch that is nobody's: its address and where that is.
pub fn check(elf: &[u8]) -> Result<Count> {
    let table = symbols::table(elf)?;
    let file = object::File::parse(elf).context("parse the hypervisor's ELF")?;
    let text = file.section_by_name(".text").context("no .text in the hypervisor")?;
    let bytes = text.data().context("read .text")?;
    let mut count = Count { instructions: 0, allowed: 0 };
    let mut found = Vec::new();
    // From symbol to symbol, so that what lies between two routines cannot put the decoder out of
    // step for long.
    let start = text.address();
    let end = start + bytes.len() as u64;
    let inside: Vec<&Symbol> = table.iter().filter(|s| (start..end).contains(&s.address)).collect();
    for (i, symbol) in inside.iter().enumerate() {
        let to = inside.get(i + 1).map_or(end, |next| next.address);
        let code = &bytes[(symbol.address - start) as usize..(to - start) as usize];
        let name = plain(&symbol.name);
        let mut decoder = Decoder::with_ip(64, code, symbol.address, DecoderOptions::NONE);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            count.instructions += 1;
            let own = match instruction.flow_control() {
                FlowControl::IndirectBranch | FlowControl::IndirectCall => true,
                // SYSRET and IRET leave for a guest, or go back to where an interrupt came.
                FlowControl::Return => matches!(instruction.mnemonic(), Mnemonic::Ret),
                _ => false,
            };
            if own && ALLOWED.contains(&name) {
                count.allowed += 1;
            } else if own {
                found.push(format!("{:#x} in {}", instruction.ip(), symbol.name));
            }
        }
    }
    if !found.is_empty() {
        bail!("returns or indirect branches beside the thunks: {}", found.join(", "));
    }
    Ok(count)
}

/// A name without its generic arguments.
fn plain(name: &str) -> &str {
    name.split("::<").next().unwrap_or(name)
}
