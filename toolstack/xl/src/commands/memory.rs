//! `mem-set`, `mem-max`.

use super::wrong;
use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::session::Session;
use crate::table::Outcome;
use xenlight::memory;

/// A size in KiB: a number in MiB, or with one of the letters b, k, m, g, t.
///
/// # Errors
/// "invalid memory size", as Xen's `xl` says it.
pub fn kib(text: &str) -> Result<u64, Failure> {
    let invalid = || {
        wrong(format!("invalid memory size: {text}"))
            .help("give a number of MiB, or one with a letter: 512m, 2g, 1048576k")
    };
    let (digits, letter) = match text.chars().last() {
        Some(letter) if letter.is_ascii_alphabetic() => {
            (text.get(..text.len().saturating_sub(1)).unwrap_or_default(), letter)
        }
        _ => (text, 'm'),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    let kib = match letter.to_ascii_lowercase() {
        'b' => Some(number / 1024),
        'k' => Some(number),
        'm' => number.checked_mul(1 << 10),
        'g' => number.checked_mul(1 << 20),
        't' => number.checked_mul(1 << 30),
        _ => None,
    };
    kib.ok_or_else(invalid)
}

/// `xl mem-max`.
pub fn mem_max(session: &mut Session, parsed: &Parsed) -> Outcome {
    let text = parsed.operand(1);
    let size = kib(text)?;
    let domid = domains::find(session, parsed.operand(0))?;
    memory::set_max(session.context()?, domid, size)
        .or_fail(|| format!("cannot set domid {domid} static max memory to : {text}"))?;
    Ok(0)
}

/// `xl mem-set`.
pub fn mem_set(session: &mut Session, parsed: &Parsed) -> Outcome {
    let text = parsed.operand(1);
    let size = kib(text)?;
    let domid = domains::find(session, parsed.operand(0))?;
    memory::set_target(session.context()?, domid, size)
        .or_fail(|| format!("cannot set domid {domid} dynamic max memory to : {text}"))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_mib_unless_a_letter_says_otherwise() {
        for (text, expected) in [
            ("160", 163_840),
            ("160m", 163_840),
            ("160M", 163_840),
            ("2g", 2 << 20),
            ("1t", 1 << 30),
            ("512k", 512),
            ("4096b", 4),
        ] {
            assert_eq!(kib(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_as_xens_xl_refuses_it() {
        for text in
            ["abc", "", "m", "12x", "-5", "1.5g", "99999999999999999999", "18446744073709551615t"]
        {
            let failure = kib(text).unwrap_err();
            assert_eq!(failure.what, format!("invalid memory size: {text}"));
            assert_eq!(failure.code, 1);
        }
    }
}
