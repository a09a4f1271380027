//! XXH64 with seed 0, the checksum of zstd frames (RFC 8878, 3.1.1).

use crate::num::{u32_at, u64_at};

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;

#[inline(always)]
fn round(acc: u64, lane: u64) -> u64 {
    acc.wrapping_add(lane.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

#[inline(always)]
fn stir(v: &mut [u64; 4], stripe: &[u8; 32]) {
    for (acc, lane) in v.iter_mut().zip(stripe.as_chunks::<8>().0) {
        *acc = round(*acc, u64::from_le_bytes(*lane));
    }
}

fn merge(hash: u64, acc: u64) -> u64 {
    (hash ^ round(0, acc)).wrapping_mul(P1).wrapping_add(P4)
}

/// The hash of `bytes`.
pub fn xxh64(bytes: &[u8]) -> u64 {
    let (stripes, mut tail) = bytes.as_chunks::<32>();
    let mut hash = if stripes.is_empty() {
        P5
    } else {
        let mut v = [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()];
        // Four at a time, so that what goes round does so less often.
        let (fours, rest) = stripes.as_chunks::<4>();
        for [a, b, c, d] in fours {
            stir(&mut v, a);
            stir(&mut v, b);
            stir(&mut v, c);
            stir(&mut v, d);
        }
        for stripe in rest {
            stir(&mut v, stripe);
        }
        let [a, b, c, d] = v;
        let sum = a.rotate_left(1).wrapping_add(b.rotate_left(7));
        let sum = sum.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
        v.into_iter().fold(sum, merge)
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    while let Some(lane) = u64_at(tail, 0) {
        hash = (hash ^ round(0, lane)).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        tail = tail.get(8..).unwrap_or_default();
    }
    if let Some(word) = u32_at(tail, 0) {
        hash ^= u64::from(word).wrapping_mul(P1);
        hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        tail = tail.get(4..).unwrap_or_default();
    }
    for byte in tail {
        hash ^= u64::from(*byte).wrapping_mul(P5);
        hash = hash.rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(P2);
    hash = (hash ^ hash >> 29).wrapping_mul(P3);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes_come_out() {
        assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"abc"), 0x44bc_2cf5_ad77_0999);
    }

    /// Stripe by stripe, as the format has it, for lengths that are whole stripes.
    fn plainly(bytes: &[u8]) -> u64 {
        let mut v = [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()];
        for (n, lane) in bytes.as_chunks::<8>().0.iter().enumerate() {
            v[n % 4] = round(v[n % 4], u64::from_le_bytes(*lane));
        }
        let [a, b, c, d] = v;
        let sum = a.rotate_left(1).wrapping_add(b.rotate_left(7));
        let sum = sum.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
        let hash = v.into_iter().fold(sum, merge).wrapping_add(bytes.len() as u64);
        let hash = (hash ^ hash >> 33).wrapping_mul(P2);
        let hash = (hash ^ hash >> 29).wrapping_mul(P3);
        hash ^ hash >> 32
    }

    #[test]
    fn how_many_stripes_are_taken_at_a_time_makes_no_difference() {
        let bytes: Vec<u8> = (0..32 * 13).map(|n| (n * 7 % 251) as u8).collect();
        for stripes in 1..=13 {
            let part = &bytes[..stripes * 32];
            assert_eq!(xxh64(part), plainly(part), "{stripes} stripes");
        }
    }
}
