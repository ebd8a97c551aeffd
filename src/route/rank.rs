//! The order of regions: tiers by health, predicted time to first byte within a tier, and seeded draws.
//!
//! Pure. Used by `decide` only.

use std::time::Duration;

use super::Policy;
use crate::region::{Health, RegionIndex};
use crate::table::RegionView;

/// Best first: a worse tier is used only when the better ones are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Well,
    Suspect,
    LastResort,
}

/// A seed, from which every random choice of one decision comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw(u64);

/// The tier of a region, or none if it must not be used: a draining region is never chosen, whatever else is down.
pub(super) fn tier(view: &RegionView) -> Option<Tier> {
    if view.draining || view.endpoints.is_empty() || view.weight <= 0.0 {
        return None;
    }
    Some(match view.health {
        // It answers, and calls do not get through it.
        Health::Up | Health::Ramp if view.condition.sick => Tier::Suspect,
        Health::Up | Health::Ramp => Tier::Well,
        Health::Suspect => Tier::Suspect,
        Health::Down => Tier::LastResort,
    })
}

/// Predicted time to first byte beyond the work itself. One round trip, so far; waiting and cold start join it when
/// reports carry them.
pub(super) fn predicted(view: &RegionView, policy: &Policy) -> Duration {
    view.rtt.unwrap_or(policy.unmeasured)
}

/// Up to this prediction a region is a peer of the best one.
pub(super) fn peer_bound(best: Duration, policy: &Policy) -> Duration {
    best + policy.peer_margin.max(best.mul_f64(policy.peer_ratio))
}

// === impl Draw ===

impl Draw {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in (0, 1), the same for the same seed, item and salt.
    pub(super) fn unit(self, item: usize, salt: u64) -> f64 {
        let bits = mix(self.0
            ^ mix((item as u64)
                .wrapping_add(salt << 32)
                .wrapping_add(0x9e37_79b9_7f4a_7c15)));
        // 53 bits fit an f64 exactly; the half keeps 0 out, which has no logarithm.
        #[allow(clippy::cast_precision_loss)]
        let unit = ((bits >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
        unit
    }

    /// A number below `count` (0 if `count` is 0).
    pub(super) fn below(self, count: usize, salt: usize) -> usize {
        let bits = mix(self
            .0
            .wrapping_add(salt as u64)
            .wrapping_mul(0x2545_f491_4f6c_dd1d));
        usize::try_from((u128::from(bits) * count as u128) >> 64).unwrap_or_default()
    }

    /// Draws two by weight and returns the one with the lower prediction.
    ///
    /// Weighted choice in one pass: the greatest `ln(u) / w` wins (Efraimidis and Spirakis, 2006).
    pub(super) fn two<'a>(
        self,
        peers: impl Iterator<Item = (RegionIndex, &'a RegionView)>,
        policy: &Policy,
    ) -> Option<(RegionIndex, &'a RegionView)> {
        let mut drawn: [Option<(f64, RegionIndex, &'a RegionView)>; 2] = [None, None];
        for (region, view) in peers {
            for (salt, slot) in (1..).zip(&mut drawn) {
                let key = self.unit(region.0, salt).ln() / view.weight;
                if slot.is_none_or(|(best, _, _)| key > best) {
                    *slot = Some((key, region, view));
                }
            }
        }
        let [Some((_, r1, v1)), Some((_, r2, v2))] = drawn else {
            return None;
        };
        Some(if predicted(v2, policy) < predicted(v1, policy) {
            (r2, v2)
        } else {
            (r1, v1)
        })
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
