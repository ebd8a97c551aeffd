//! How many calls may come in: all together, of one key at once, and of one key in a time.
//!
//! A key is known here as a keyed hash and as nothing else. The table of keys has a fixed size and needs no lock: a slot that
//! nobody used long enough is as good as a new one and is taken over. When a flood of keys leaves no free slot within reach, a
//! newcomer shares one: stricter than it must be, never larger.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::config::CallLimits;
use crate::response::Limit;

/// Counts what comes in.
pub struct Admission {
    limits: CallLimits,
    calls: AtomicUsize,
    keys: Box<[Slot]>,
    hasher: RandomState,
    started: Instant,
}

/// One key's account.
#[derive(Default)]
struct Slot {
    key: AtomicU64,
    calls: AtomicU32,
    /// When the bucket would be full again, in nanoseconds since the start (generic cell rate algorithm).
    full_at: AtomicU64,
}

/// A call that was let in; leaving is dropping it.
pub(super) struct Admitted {
    admission: Arc<Admission>,
    slot: usize,
}

/// Accounts; at 24 bytes each, 1.5 MiB.
const SLOTS: usize = 1 << 16;
/// Slots that a key may be in.
const REACH: usize = 8;

// === impl Admission ===

impl Admission {
    /// Nobody is in yet.
    #[must_use]
    pub fn new(limits: CallLimits) -> Self {
        Self {
            limits,
            calls: AtomicUsize::new(0),
            keys: (0..SLOTS).map(|_| Slot::default()).collect(),
            hasher: RandomState::new(),
            started: Instant::now(),
        }
    }

    /// The bounds.
    pub(super) const fn limits(&self) -> &CallLimits {
        &self.limits
    }

    /// Lets a call in, or says why not.
    pub(super) fn admit(self: &Arc<Self>, key: &[u8], now: Instant) -> Result<Admitted, Limit> {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        let now = nanos(now.saturating_duration_since(self.started));
        let index = self.slot(self.hasher.hash_one(key).max(1), now);
        let slot = &self.keys[index];
        let own = slot.calls.fetch_add(1, Ordering::Relaxed);
        // Dropped on each way out that is not the last.
        let admitted = Admitted {
            admission: Arc::clone(self),
            slot: index,
        };
        if before >= self.limits.calls {
            return Err(Limit::Calls);
        }
        if own >= self.limits.calls_per_key {
            return Err(Limit::KeyCalls);
        }
        if let Some(rate) = self.limits.rate_per_key {
            slot.withdraw(now, rate, self.limits.burst_per_key)
                .map_err(|retry_after| Limit::KeyRate { retry_after })?;
        }
        Ok(admitted)
    }

    /// The key's slot: its own, or a free one, or the first of those it may be in.
    fn slot(&self, hash: u64, now: u64) -> usize {
        let first = usize::try_from(hash % SLOTS as u64).unwrap_or_default();
        let reach = || (0..REACH).map(move |step| (first + step) % SLOTS);
        let own = reach().find(|&i| self.keys[i].key.load(Ordering::Relaxed) == hash);
        own.or_else(|| reach().find(|&i| self.keys[i].take_over(hash, now)))
            .unwrap_or(first)
    }
}

// === impl Slot ===

impl Slot {
    /// Makes a slot that nobody needs the key's own.
    fn take_over(&self, hash: u64, now: u64) -> bool {
        let key = self.key.load(Ordering::Relaxed);
        let idle =
            self.calls.load(Ordering::Relaxed) == 0 && self.full_at.load(Ordering::Relaxed) <= now;
        idle && self
            .key
            .compare_exchange(key, hash, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes one call out of the bucket, or says when there will be one.
    fn withdraw(&self, now: u64, rate: u32, burst: u32) -> Result<(), Duration> {
        let each = 1_000_000_000 / u64::from(rate.max(1));
        let depth = each.saturating_mul(u64::from(burst.max(1)));
        let next = |full_at: u64| full_at.max(now).saturating_add(each);
        self.full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(next(full_at)).filter(|next| *next <= now.saturating_add(depth))
            })
            .map(|_| ())
            .map_err(|full_at| {
                Duration::from_nanos(next(full_at).saturating_sub(now.saturating_add(depth)))
            })
    }
}

// === impl Admitted ===

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.calls.fetch_sub(1, Ordering::Relaxed);
        self.admission.keys[self.slot]
            .calls
            .fetch_sub(1, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limits: CallLimits) -> Arc<Admission> {
        Arc::new(Admission::new(limits))
    }

    #[test]
    fn calls_are_counted_in_and_out() {
        let admission = admission(CallLimits {
            calls: 3,
            calls_per_key: 2,
            ..CallLimits::default()
        });
        let now = Instant::now();
        let first = admission.admit(b"a", now).ok();
        let second = admission.admit(b"a", now).ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(admission.admit(b"a", now).err(), Some(Limit::KeyCalls));
        let other = admission.admit(b"b", now).ok();
        assert!(other.is_some());
        assert_eq!(admission.admit(b"c", now).err(), Some(Limit::Calls));
        drop((first, other));
        assert!(admission.admit(b"a", now).is_ok());
        drop(second);
        assert_eq!(admission.calls.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_rate_allows_its_burst_and_then_its_pace() {
        let admission = admission(CallLimits {
            rate_per_key: Some(10),
            burst_per_key: 5,
            ..CallLimits::default()
        });
        let now = Instant::now();
        let allowed = |key: &[u8], now| {
            (0..100)
                .filter(|_| admission.admit(key, now).is_ok())
                .count()
        };
        assert_eq!(allowed(b"a", now), 5);
        let Some(Limit::KeyRate { retry_after }) = admission.admit(b"a", now).err() else {
            panic!("the burst is used up");
        };
        assert!(retry_after <= Duration::from_millis(100), "{retry_after:?}");
        assert_eq!(allowed(b"b", now), 5, "another key has its own");
        assert_eq!(allowed(b"a", now + Duration::from_secs(1)), 5);
        assert_eq!(allowed(b"a", now + Duration::from_millis(1200)), 2);
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_room() {
        let admission = admission(CallLimits {
            rate_per_key: Some(1),
            burst_per_key: 1,
            ..CallLimits::default()
        });
        let now = Instant::now();
        for n in 0..200_000_u32 {
            let _ = admission.admit(&n.to_le_bytes(), now);
        }
        assert_eq!(admission.keys.len(), SLOTS);
        let later = now + Duration::from_secs(10);
        assert!(admission.admit(b"somebody", later).is_ok());
    }
}
