//! What is in a request's payload: strings that end with zero bytes.

use xenstore::{Errno, Permission};

/// The one string that the payload is.
///
/// # Errors
/// `EINVAL` if it is not exactly one.
pub fn one(payload: &[u8]) -> Result<&[u8], Errno> {
    match payload.split_last() {
        Some((0, text)) if !text.contains(&0) => Ok(text),
        _ => Err(Errno::Invalid),
    }
}

/// The first `N` strings, and what follows them.
///
/// # Errors
/// `EINVAL` if there are fewer.
pub fn first<const N: usize>(mut payload: &[u8]) -> Result<([&[u8]; N], &[u8]), Errno> {
    let mut strings: [&[u8]; N] = [b""; N];
    for place in &mut strings {
        let end = payload.iter().position(|byte| *byte == 0).ok_or(Errno::Invalid)?;
        let (text, rest) = payload.split_at_checked(end).ok_or(Errno::Invalid)?;
        *place = text;
        payload = rest.get(1..).unwrap_or_default();
    }
    Ok((strings, payload))
}

/// All strings; what follows the last zero byte is one, too, if it is not empty.
pub fn all(payload: &[u8]) -> Vec<&[u8]> {
    let whole = payload.strip_suffix(b"\0").unwrap_or(payload);
    if payload.is_empty() { Vec::new() } else { whole.split(|byte| *byte == 0).collect() }
}

/// A decimal number that fits.
///
/// # Errors
/// `EINVAL`.
pub fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T, Errno> {
    if !text.first().is_some_and(u8::is_ascii_digit) {
        return Err(Errno::Invalid);
    }
    let text = std::str::from_utf8(text).map_err(|_| Errno::Invalid)?;
    text.parse().map_err(|_| Errno::Invalid)
}

/// A list of permissions, at least one.
///
/// # Errors
/// `EINVAL`.
pub fn permissions(payload: &[u8]) -> Result<Vec<Permission>, Errno> {
    if payload.last() != Some(&0) {
        return Err(Errno::Invalid);
    }
    all(payload).into_iter().map(|text| Permission::parse(text).ok_or(Errno::Invalid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_string_is_one_that_ends() {
        assert_eq!(one(b"/a\0"), Ok(&b"/a"[..]));
        for payload in [&b""[..], b"/a", b"/a\0/b\0", b"/a\0b"] {
            assert_eq!(one(payload), Err(Errno::Invalid));
        }
    }

    #[test]
    fn the_rest_after_the_first_strings_is_kept_as_it_is() {
        assert_eq!(first::<1>(b"/a\0v\0w"), Ok(([&b"/a"[..]], &b"v\0w"[..])));
        assert_eq!(first::<2>(b"/a\0v"), Err(Errno::Invalid));
    }

    #[test]
    fn permissions_are_each_a_letter_and_a_domain() {
        assert_eq!(permissions(b"n0\0r5\0").map(|list| list.len()), Ok(2));
        for payload in [&b""[..], b"n0", b"n0\0\0", b"q0\0"] {
            assert_eq!(permissions(payload), Err(Errno::Invalid));
        }
    }
}
