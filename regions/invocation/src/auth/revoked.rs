//! The keys that were revoked while this service ran, by hash (pure).
//!
//! Bounded: the oldest is forgotten when it is full, or after a month. By then the key has left its file or authority,
//! which are the truth. Asked for every call by `auth.rs`, filled by `auth/revocations.rs`.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use frontdoor_protocol::key::KeyHash;

/// Hashes that are remembered, at some 100 bytes each.
const CAPACITY: usize = 100_000;
/// How long one is.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The deny list.
#[derive(Debug)]
pub(super) struct Revoked {
    since: HashMap<KeyHash, Instant>,
    order: VecDeque<KeyHash>,
    capacity: usize,
}

// === impl Revoked ===

impl Revoked {
    pub(super) fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self {
            since: HashMap::new(),
            order: VecDeque::new(),
            capacity,
        }
    }

    /// Whether a key may not be used any more.
    pub(super) fn contains(&self, hash: &KeyHash, now: Instant) -> bool {
        !self.since.is_empty()
            && self
                .since
                .get(hash)
                .is_some_and(|since| now.saturating_duration_since(*since) < KEPT)
    }

    /// Remembers a key; says whether that is news.
    pub(super) fn insert(&mut self, hash: KeyHash, now: Instant) -> bool {
        if self.contains(&hash, now) {
            return false;
        }
        if self.since.insert(hash, now).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.since.remove(&oldest);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u8) -> KeyHash {
        KeyHash([n; 32])
    }

    #[test]
    fn remembered_for_a_month_and_the_oldest_forgotten() {
        let now = Instant::now();
        let mut revoked = Revoked::with_capacity(2);
        assert!(!revoked.contains(&hash(1), now));
        assert!(revoked.insert(hash(1), now));
        assert!(!revoked.insert(hash(1), now), "no news");
        assert!(revoked.contains(&hash(1), now + KEPT - Duration::from_secs(1)));
        assert!(!revoked.contains(&hash(1), now + KEPT));
        assert!(revoked.insert(hash(2), now) && revoked.insert(hash(3), now));
        assert!(!revoked.contains(&hash(1), now), "no room");
        assert!(revoked.contains(&hash(2), now) && revoked.contains(&hash(3), now));
        assert_eq!(revoked.since.len(), revoked.order.len());
    }
}
