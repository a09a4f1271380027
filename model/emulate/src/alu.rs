//! Arithmetic on 8 to 64 bits with the flags it leaves (Intel SDM vol. 1, 3.4.3; vol. 2 for each
//! instruction). Where the manual leaves a flag undefined, what processors in fact do is given:
//! AF is cleared by the logical operations.

use crate::machine::Size;

/// Carry.
pub const CF: u64 = 1 << 0;
/// Even parity of the low byte.
pub const PF: u64 = 1 << 2;
/// Carry out of bit 3.
pub const AF: u64 = 1 << 4;
/// Zero.
pub const ZF: u64 = 1 << 6;
/// Sign.
pub const SF: u64 = 1 << 7;
/// Direction of string instructions: downwards.
pub const DF: u64 = 1 << 10;
/// Signed overflow.
pub const OF: u64 = 1 << 11;
/// Resume: no instruction breakpoint on the next instruction.
pub const RF: u64 = 1 << 16;
/// The flags that arithmetic sets.
pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;

/// Which flags an instruction sets, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// The flags it sets.
    pub mask: u64,
    /// Their values, within `mask`.
    pub value: u64,
}

impl Flags {
    /// For an instruction that leaves the flags alone.
    pub const NONE: Self = Self { mask: 0, value: 0 };

    const fn status(value: u64) -> Self {
        Self { mask: STATUS, value }
    }
}

/// What comparing equal values leaves.
pub const EQUAL: Flags = Flags::status(ZF | PF);

/// The eight operations that share opcodes 00 to 3f and 80 to 83.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alu {
    /// ADD.
    Add,
    /// OR.
    Or,
    /// ADD with carry.
    Adc,
    /// SUB with borrow.
    Sbb,
    /// AND.
    And,
    /// SUB.
    Sub,
    /// XOR.
    Xor,
    /// SUB without a result.
    Cmp,
}

impl Alu {
    /// The operation numbered by the low three bits.
    #[inline]
    pub const fn from_low_bits(n: u8) -> Self {
        match n & 7 {
            0 => Self::Add,
            1 => Self::Or,
            2 => Self::Adc,
            3 => Self::Sbb,
            4 => Self::And,
            5 => Self::Sub,
            6 => Self::Xor,
            _ => Self::Cmp,
        }
    }

    /// `a op b` and its flags; `rflags` gives the carry in. `Cmp` returns the difference.
    #[inline]
    pub const fn apply(self, a: u64, b: u64, rflags: u64, size: Size) -> (u64, Flags) {
        match self {
            Self::Add => add(a, b, 0, size),
            Self::Adc => add(a, b, rflags & CF, size),
            Self::Sub | Self::Cmp => sub(a, b, 0, size),
            Self::Sbb => sub(a, b, rflags & CF, size),
            Self::Or => logic(a | b, size),
            Self::And => logic(a & b, size),
            Self::Xor => logic(a ^ b, size),
        }
    }
}

/// ZF, SF and PF of a result.
#[inline]
const fn result_flags(result: u64, size: Size) -> u64 {
    let mut flags = 0;
    if result == 0 {
        flags |= ZF;
    }
    if result & size.sign_bit() != 0 {
        flags |= SF;
    }
    if (result & 0xff).count_ones() & 1 == 0 {
        flags |= PF;
    }
    flags
}

/// CF, AF and OF from the carries out of each bit.
#[inline]
const fn carry_flags(carries: u64, size: Size) -> u64 {
    let mut flags = 0;
    if carries & size.sign_bit() != 0 {
        flags |= CF;
    }
    if carries & 8 != 0 {
        flags |= AF;
    }
    // Overflow: the carries into and out of the sign bit differ.
    if (carries ^ (carries << 1)) & size.sign_bit() != 0 {
        flags |= OF;
    }
    flags
}

/// `a + b + carry` for `carry` 0 or 1.
#[inline]
pub const fn add(a: u64, b: u64, carry: u64, size: Size) -> (u64, Flags) {
    let (a, b) = (a & size.mask(), b & size.mask());
    let result = a.wrapping_add(b).wrapping_add(carry) & size.mask();
    let carries = (a & b) | ((a | b) & !result);
    (result, Flags::status(result_flags(result, size) | carry_flags(carries, size)))
}

/// `a - b - borrow` for `borrow` 0 or 1.
#[inline]
pub const fn sub(a: u64, b: u64, borrow: u64, size: Size) -> (u64, Flags) {
    let (a, b) = (a & size.mask(), b & size.mask());
    let result = a.wrapping_sub(b).wrapping_sub(borrow) & size.mask();
    let borrows = (!a & b) | ((!a | b) & result);
    (result, Flags::status(result_flags(result, size) | carry_flags(borrows, size)))
}

/// The flags of a logical operation with this result.
#[inline]
pub const fn logic(result: u64, size: Size) -> (u64, Flags) {
    let result = result & size.mask();
    (result, Flags::status(result_flags(result, size)))
}

/// INC and DEC leave CF alone.
#[inline]
pub const fn without_carry((result, flags): (u64, Flags)) -> (u64, Flags) {
    (result, Flags { mask: flags.mask & !CF, value: flags.value & !CF })
}

/// What BT, BTS, BTR and BTC do to the bit (their numbers in group 8, less 4).
#[inline]
pub const fn bit_operation(operation: u8, value: u64, bit: u64) -> (u64, Flags) {
    let result = match operation & 3 {
        0 => value,
        1 => value | bit,
        2 => value & !bit,
        _ => value ^ bit,
    };
    // OF, SF, AF and PF are undefined by the manual; processors keep them.
    (result, Flags { mask: CF, value: if value & bit != 0 { CF } else { 0 } })
}

/// Does the condition in the low four bits of a SETcc, CMOVcc or Jcc opcode hold?
#[inline]
pub const fn condition(code: u8, rflags: u64) -> bool {
    let less = any_set(rflags, SF) != any_set(rflags, OF);
    let holds = match (code >> 1) & 7 {
        0 => any_set(rflags, OF),
        1 => any_set(rflags, CF),
        2 => any_set(rflags, ZF),
        3 => any_set(rflags, CF | ZF),
        4 => any_set(rflags, SF),
        5 => any_set(rflags, PF),
        6 => less,
        _ => less || any_set(rflags, ZF),
    };
    holds != (code & 1 != 0)
}

/// Is any of these flags set?
const fn any_set(rflags: u64, flags: u64) -> bool {
    rflags & flags != 0
}
