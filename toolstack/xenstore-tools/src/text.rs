//! Values as the tools show and take them: escapes as Xen's tools have them.

/// A value with every byte that is not printable ASCII, and the backslash, escaped.
#[must_use]
pub fn escape(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value {
        match byte {
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            0..=7 => text.push_str(&format!("\\{byte:03o}")),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// The value that an escaped text means. What is no escape stands for itself; a backslash at the
/// end is a zero byte.
#[must_use]
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            value.push(*first);
            continue;
        }
        let Some((letter, after)) = rest.split_first() else {
            value.push(0);
            break;
        };
        match letter {
            b't' => value.push(b'\t'),
            b'n' => value.push(b'\n'),
            b'r' => value.push(b'\r'),
            b'x' if after.first().is_some_and(u8::is_ascii_hexdigit) => {
                let (number, left) = digits(after, 16, 2);
                value.push(number);
                rest = left;
                continue;
            }
            b'0'..=b'7' => {
                let (number, left) = digits(rest, 8, 3);
                value.push(number);
                rest = left;
                continue;
            }
            other => value.push(*other),
        }
        rest = after;
    }
    value
}

/// The number that up to so many digits are, cut to a byte, and what follows them.
fn digits(text: &[u8], radix: u32, most: usize) -> (u8, &[u8]) {
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let count = text.iter().take(most).take_while(is_digit).count();
    let (number, rest) = text.split_at(count);
    let value = number
        .iter()
        .fold(0u32, |sum, byte| sum * radix + char::from(*byte).to_digit(radix).unwrap_or(0));
    // The octal escapes reach beyond a byte; Xen's tools take what fits.
    let byte = if value > 255 && radix == 8 { (value & 0xff) as u8 } else { value as u8 };
    (byte, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_by_xens_tools() {
        assert_eq!(
            escape(b"a\x01b\tc\n\"\xff\\ \x08\r\x7f~"),
            "a\\001b\\tc\\n\"\\xff\\\\ \\x08\\r\\x7f~"
        );
        assert_eq!(escape(b""), "");
    }

    #[test]
    fn escapes_mean_what_they_mean_to_xens_tools() {
        assert_eq!(unescape(br#"\x41\102\t\n\r\\\"q\e"#), b"AB\t\n\r\\\"qe");
        assert_eq!(unescape(br"\x4"), b"\x04");
        assert_eq!(unescape(br"\8\xz"), b"8xz");
        assert_eq!(unescape(br"\777"), b"\xff");
        assert_eq!(unescape(br"abc\"), b"abc\0");
        assert_eq!(unescape(br"\0011"), b"\x011");
    }

    #[test]
    fn what_was_escaped_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(escape(&all).as_bytes()), all);
    }
}
