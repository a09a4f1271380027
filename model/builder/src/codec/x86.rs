//! Undoing the x86 filter of .xz: before compression, the targets of CALL and JMP (0xe8, 0xe9) were made
//! absolute, because equal targets compress better than equal distances.

use crate::num::u32_at;

/// Whether a target's high byte is one that the filter takes for near: within 16 MiB either way.
fn near(byte: u8) -> bool {
    byte == 0 || byte == 0xff
}

/// Undoes the filter in a whole block, whose first byte is at address 0.
pub fn unfilter(block: &mut [u8]) {
    // Opcodes among the last three bytes that were not converted: bit 0 is the byte before. They
    // may be part of an operand, and the filter is careful near them.
    let mut seen = 0usize;
    let mut at = 0usize;
    while let Some([opcode, _, _, _, high]) = block.get(at..).and_then(|b| b.first_chunk::<5>()) {
        let next = at.wrapping_add(1);
        if opcode & 0xfe != 0xe8 {
            seen = seen << 1 & 7;
            at = next;
            continue;
        }
        let convert = near(*high) && careful(block, next, seen);
        if !convert {
            seen = (seen << 1 | 1) & 7;
            at = next;
            continue;
        }
        let end = at.wrapping_add(5);
        let value = u32_at(block, next).unwrap_or(0);
        let relative = relative(value, end, seen);
        if let Some(operand) = block.get_mut(next..end) {
            operand.copy_from_slice(&relative.to_le_bytes());
        }
        seen = 0;
        at = end;
    }
}

/// Of the operand's bytes, the one (counted from the high one) in doubt after these opcodes.
fn doubtful(seen: usize) -> usize {
    match seen {
        0 => 0,
        1 => 1,
        2 | 3 => 2,
        _ => 3,
    }
}

/// Whether an operand at `operand` was converted although there were opcodes before.
fn careful(block: &[u8], operand: usize, seen: usize) -> bool {
    if seen == 0 {
        return true;
    }
    let byte = operand.wrapping_add(3).wrapping_sub(doubtful(seen));
    matches!(seen, 1 | 2 | 4) && !block.get(byte).copied().is_some_and(near)
}

/// The distance that an absolute target was made from.
fn relative(value: u32, end: usize, seen: usize) -> u32 {
    let [a, b, c, d, ..] = (end as u64).to_le_bytes();
    let end = u32::from_le_bytes([a, b, c, d]);
    let mut distance = value.wrapping_sub(end);
    if seen != 0 {
        let which = doubtful(seen);
        let [b0, b1, b2, b3] = distance.to_le_bytes();
        let byte = match which {
            1 => b2,
            2 => b1,
            3 => b0,
            _ => b3,
        };
        if near(byte) {
            let keep = 32u32.wrapping_sub(u32::try_from(which).unwrap_or(0).wrapping_mul(8));
            let flipped = distance ^ 1u32.wrapping_shl(keep).wrapping_sub(1);
            distance = flipped.wrapping_sub(end);
        }
    }
    // The high byte is a copy of bit 24.
    if distance & 1 << 24 != 0 { distance | 0xff00_0000 } else { distance & 0x00ff_ffff }
}
