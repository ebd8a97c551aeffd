//! What operators want of each region, and which of two orders holds (pure).
//!
//! A wish says everything about its region, so the last one is enough. Which is the last is decided by the time of the
//! edge that took it, and by its author's name if two are of one millisecond: every edge comes to the same result in
//! whatever order it hears of them.

use std::collections::BTreeMap;

use frontdoor_protocol::names::RegionName;
use serde::{Deserialize, Serialize};

use super::Change;

/// What operators want of one region.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// No new calls.
    pub drain: bool,
    /// Its share; none is what the configuration says.
    pub weight: Option<f64>,
    /// When it was ordered: Unix time in milliseconds, by the clock of the edge that took the order.
    pub at_ms: u64,
    /// Who ordered it.
    pub by: String,
}

/// The wishes of all regions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Book(BTreeMap<RegionName, Wish>);

/// A wish above this many bytes is not read.
const LIMIT: usize = 4096;
/// More regions than this are an attack on the bucket.
const REGIONS: usize = 1024;
/// A weight above this is a typing error.
pub const MAX_WEIGHT: f64 = 1000.0;

// === impl Wish ===

impl Wish {
    /// The wish that follows from a change.
    #[must_use]
    pub fn changed(&self, change: Change, at_ms: u64, by: String) -> Self {
        let (drain, weight) = match change {
            Change::Drain => (true, self.weight),
            Change::Undrain => (false, self.weight),
            Change::Weight(weight) => (self.drain, Some(weight)),
        };
        Self {
            drain,
            weight,
            // Its own clock may be behind the one that took the last order; the new order is the later one all the same.
            at_ms: at_ms.max(self.at_ms.saturating_add(1)),
            by,
        }
    }

    /// Reads one from the bucket; nothing if it makes no sense.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let wish: Self = (bytes.len() <= LIMIT)
            .then(|| serde_json::from_slice(bytes).ok())
            .flatten()?;
        let sensible = |weight: f64| weight.is_finite() && (0.0..=MAX_WEIGHT).contains(&weight);
        wish.weight.is_none_or(sensible).then_some(wish)
    }

    /// As it is written to the bucket.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn rank(&self) -> (u64, &str) {
        (self.at_ms, &self.by)
    }
}

// === impl Book ===

impl Book {
    /// What is wanted of a region.
    #[must_use]
    pub fn wish(&self, region: &RegionName) -> Wish {
        self.0.get(region).cloned().unwrap_or_default()
    }

    /// Takes a wish, unless a newer one is here; whether it was taken.
    pub fn take(&mut self, region: &RegionName, wish: &Wish) -> bool {
        let newer = match self.0.get(region) {
            Some(held) => held.rank() < wish.rank(),
            None => self.0.len() < REGIONS,
        };
        if newer {
            self.0.insert(region.clone(), wish.clone());
        }
        newer
    }

    /// All wishes.
    pub fn iter(&self) -> impl Iterator<Item = (&RegionName, &Wish)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> RegionName {
        text.parse().expect("valid")
    }

    #[test]
    fn a_change_keeps_what_it_does_not_speak_of() {
        let wish = Wish::default()
            .changed(Change::Weight(0.5), 10, "ann".into())
            .changed(Change::Drain, 5, "bob".into());
        assert_eq!(
            (wish.drain, wish.weight, wish.at_ms),
            (true, Some(0.5), 11),
            "a slow clock does not lose an order"
        );
        assert_eq!(Wish::decode(&wish.encode()), Some(wish));
    }

    #[test]
    fn nonsense_is_not_read() {
        for text in [
            "",
            "{}x",
            r#"{"drain":true,"weight":-1,"at_ms":1,"by":""}"#,
            r#"{"drain":true,"weight":1e9,"at_ms":1,"by":""}"#,
        ] {
            assert_eq!(Wish::decode(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Wish::decode(&vec![b' '; LIMIT + 1]), None);
    }

    proptest! {
        #[test]
        fn all_edges_agree_whatever_they_hear_first(
            wishes in proptest::collection::vec((0..3_u64, any::<bool>(), "[ab]"), 1..6),
            turns in 0..6_usize,
        ) {
            let wishes: Vec<Wish> = wishes
                .into_iter()
                .map(|(at_ms, drain, by)| Wish { drain, weight: None, at_ms, by })
                // One author orders one thing in one millisecond.
                .fold(Vec::new(), |mut kept: Vec<Wish>, wish| {
                    if kept.iter().all(|k| k.rank() != wish.rank()) {
                        kept.push(wish);
                    }
                    kept
                });
            let told = |order: &[Wish]| {
                let mut book = Book::default();
                for wish in order {
                    book.take(&name("us-east"), wish);
                }
                book.wish(&name("us-east"))
            };
            let mut other = wishes.clone();
            other.rotate_left(turns % wishes.len());
            let mut backwards = wishes.clone();
            backwards.reverse();
            prop_assert_eq!(told(&wishes), told(&other));
            prop_assert_eq!(told(&wishes), told(&backwards));
        }
    }
}
