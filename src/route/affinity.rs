//! Affinity: calls of one key prefer one region, at every edge the same, without anybody keeping a list.
//!
//! Pure. Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights as `-w / ln u`): a region that goes
//! moves only its own keys. The weight is the operator's, never live load, which would move keys all the time.

use super::draw::{mix, unit};

/// The number of an affinity key, from whatever bytes name it.
#[must_use]
pub fn key(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// How much a key likes a region; the highest wins.
pub(super) fn score(key: u64, region: u64, weight: f64) -> f64 {
    -weight / unit(mix(mix(key) ^ region)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(weights: &[f64]) -> Vec<usize> {
        let home = |key: u64| {
            let scores = (1..).zip(weights).map(|(n, &w)| score(key, mix(n), w));
            let ranked = scores.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            ranked.map_or(0, |(index, _)| index)
        };
        (0..10_000_u64)
            .map(|n| home(key(&n.to_le_bytes())))
            .collect()
    }

    #[test]
    fn keys_spread_by_weight_and_only_the_lost_ones_move() {
        let (all, two) = (homes(&[1.0, 1.0, 2.0]), homes(&[1.0, 1.0]));
        let third = all.iter().filter(|home| **home == 2).count();
        assert!((4_800..5_200).contains(&third), "{third}");
        assert!(all.iter().zip(&two).all(|(a, b)| *a == 2 || a == b));
    }
}
