//! Seeded draws: all randomness of a decision comes from its one seed.

/// A seed, from which every random choice of one decision comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw(u64);

// === impl Draw ===

impl Draw {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in (0, 1), the same for the same seed, item and salt.
    #[inline]
    pub(super) fn unit(self, item: usize, salt: u64) -> f64 {
        unit(mix(self.0
            ^ mix((item as u64)
                .wrapping_add(salt << 32)
                .wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    /// A number below `count` (0 if `count` is 0).
    pub(super) fn below(self, count: usize, salt: usize) -> usize {
        let bits = mix(self
            .0
            .wrapping_add(salt as u64)
            .wrapping_mul(0x2545_f491_4f6c_dd1d));
        usize::try_from((u128::from(bits) * count as u128) >> 64).unwrap_or_default()
    }
}

/// 64 bits as a number in (0, 1): never 0, which has no logarithm.
pub(super) fn unit(bits: u64) -> f64 {
    // 53 bits fit an f64 exactly.
    #[allow(clippy::cast_precision_loss)]
    let unit = ((bits >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
    unit
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
