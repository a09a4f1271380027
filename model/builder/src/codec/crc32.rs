//! CRC-32 (ISO 3309, reflected, 0xedb88320), the checksum of gzip and xz.

#[expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "runs in the compiler alone, where a mistake is a build failure"
)]
const fn tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 != 0 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
            k += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut i = 0;
        while i < 256 {
            let c = t[n - 1][i];
            t[n][i] = t[0][(c & 0xff) as usize] ^ (c >> 8);
            i += 1;
        }
        n += 1;
    }
    t
}

/// One table for each byte of an eight-byte step.
static TABLES: [[u32; 256]; 8] = tables();

/// The CRC of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
    let at = |t: &[u32; 256], b: u8| t.get(usize::from(b)).copied().unwrap_or(0);
    let (words, tail) = bytes.as_chunks::<8>();
    let mut crc = !0u32;
    for [a, b, c, d, e, f, g, h] in words {
        let [p, q, r, s] = (crc ^ u32::from_le_bytes([*a, *b, *c, *d])).to_le_bytes();
        let low = at(t7, p) ^ at(t6, q) ^ at(t5, r) ^ at(t4, s);
        crc = low ^ at(t3, *e) ^ at(t2, *f) ^ at(t1, *g) ^ at(t0, *h);
    }
    for byte in tail {
        let [low, ..] = crc.to_le_bytes();
        crc = at(t0, low ^ byte) ^ (crc >> 8);
    }
    !crc
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_comes_out() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(super::crc32(b""), 0);
    }
}
