//! From data to text. Everything here is pure: the columns are Xen 4.20's `xl`'s, byte for byte.

pub mod cpus;
pub mod devices;
pub mod info;
pub mod json;
pub mod list;
pub mod sched;
pub mod time;
pub mod top;

/// What C's printf makes of a name that there is not.
pub const NO_NAME: &str = "(null)";

/// A UUID as everybody writes it.
pub fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// A table as a terminal shows it: the first line, its header, in bold.
pub fn on_terminal(table: String, colours: bool) -> String {
    match table.split_once('\n') {
        Some((header, rows)) if colours => format!("\x1b[1m{header}\x1b[0m\n{rows}"),
        _ => table,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_with_its_dashes() {
        let bytes = [
            0x14, 0x38, 0x8e, 0xde, 0xd6, 0xe3, 0x49, 0x7c, 0xa4, 0x68, 0xf2, 0xe9, 0x5d, 0xc6,
            0x3d, 0x31,
        ];
        assert_eq!(uuid(&bytes), "14388ede-d6e3-497c-a468-f2e95dc63d31");
    }

    #[test]
    fn colours_touch_the_header_only() {
        assert_eq!(on_terminal("a\nb\n".to_owned(), true), "\x1b[1ma\x1b[0m\nb\n");
        assert_eq!(on_terminal("a\nb\n".to_owned(), false), "a\nb\n");
    }
}
