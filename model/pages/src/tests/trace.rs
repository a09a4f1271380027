//! The record of a real boot: what `cargo xtask trace` makes. `benches/trace.c` says what the lines
//! mean.

use builder::codec::Codec;

/// The committed one: Debian 13's kernel as dom0 of Debian's own Xen 4.20, from its first
/// instruction until its user space was up.
const BOOT: &[u8] = include_bytes!("../../testdata/dom0-boot.trace.xz");
/// Room for it when it is unpacked.
const UNPACKED: usize = 32 << 20;

/// One line.
pub struct Line<'a> {
    pub number: usize,
    pub what: &'a str,
    /// What the hypervisor answered; 0 where it was not asked.
    pub result: i64,
    pub words: Vec<u64>,
}

/// The text. `PAGES_TRACE` in the environment names another file to be taken.
pub fn text() -> String {
    let packed = match std::env::var("PAGES_TRACE") {
        Ok(path) => std::fs::read(&path).unwrap_or_else(|e| panic!("PAGES_TRACE={path}: {e}")),
        Err(_) => BOOT.to_vec(),
    };
    let bytes = match Codec::detect(&packed) {
        Some(codec) => {
            let mut bytes = vec![0; UNPACKED];
            let len = codec.decompress(&packed, &mut bytes).unwrap();
            bytes.truncate(len);
            bytes
        }
        None => packed,
    };
    String::from_utf8(bytes).unwrap()
}

/// Its lines.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().enumerate().map(|(n, line)| parse(n + 1, line))
}

fn parse(number: usize, line: &str) -> Line<'_> {
    let mut fields = line.split(' ');
    let what = fields.next().unwrap();
    let answered = !matches!(what, "frames" | "lend" | "root" | "ram" | "word" | "write" | "table");
    let result = if answered { fields.next().unwrap().parse().unwrap() } else { 0 };
    let words = fields.map(|w| u64::from_str_radix(w, 16).unwrap()).collect();
    Line { number, what, result, words }
}
