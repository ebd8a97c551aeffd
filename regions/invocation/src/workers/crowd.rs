//! Who was heard, when, and what that adds up to for a version (pure).
//!
//! Bounded: the number of workers is counted, and one too many is not taken in. `workers.rs` feeds it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use frontdoor_protocol::names::VersionId;
use frontdoor_protocol::presence::{self, EXPIRES, WorkerPresence};
use uuid::Uuid;

use super::Standing;

/// A word that comes so soon after its worker was lost was under way before.
const BELATED: Duration = Duration::from_millis(100);
/// More workers than any region has; beyond it somebody makes them up.
const WORKERS_LIMIT: usize = 20_000;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It counts.
    Taken,
    /// Too many workers are known already.
    Full,
    /// It was said before its worker was lost.
    Belated,
}

/// Everybody who was heard lately.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    versions: HashMap<VersionId, HashMap<Uuid, Entry>>,
    count: usize,
}

#[derive(Debug)]
struct Entry {
    said: WorkerPresence,
    at: Instant,
    /// Since when it is known to be gone though it did not say so; until it speaks again.
    lost: Option<Instant>,
}

// === impl Crowd ===

impl Crowd {
    /// Takes in what a worker said.
    pub(super) fn hear(&mut self, said: &WorkerPresence, now: Instant) -> Heard {
        if said.standing == presence::Standing::Leaving {
            self.forget(said.version, said.worker);
            return Heard::Taken;
        }
        let workers = self.versions.get(&said.version);
        match workers.and_then(|workers| workers.get(&said.worker)) {
            Some(Entry { lost: Some(at), .. }) if now.saturating_duration_since(*at) < BELATED => {
                return Heard::Belated;
            }
            Some(_) => {}
            None if self.count >= WORKERS_LIMIT => return Heard::Full,
            None => self.count += 1,
        }
        let entry = Entry {
            said: *said,
            at: now,
            lost: None,
        };
        let workers = self.versions.entry(said.version).or_default();
        workers.insert(said.worker, entry);
        Heard::Taken
    }

    /// One is gone, by what broke with it.
    pub(super) fn lose(&mut self, version: VersionId, worker: Uuid, now: Instant) {
        let workers = self.versions.get_mut(&version);
        if let Some(entry) = workers.and_then(|workers| workers.get_mut(&worker)) {
            entry.lost = Some(now);
        }
    }

    /// Drops the silent; says whose versions that touched.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<VersionId> {
        let mut touched = Vec::new();
        let mut dropped = 0;
        self.versions.retain(|version, workers| {
            let before = workers.len();
            workers.retain(|_, entry| now.saturating_duration_since(entry.at) < EXPIRES);
            if workers.len() < before {
                dropped += before - workers.len();
                touched.push(*version);
            }
            !workers.is_empty()
        });
        self.count -= dropped;
        touched
    }

    /// What the workers of a version amount to; `None` if nobody is known.
    pub(super) fn standing(&self, version: VersionId) -> Option<Standing> {
        let workers = self.versions.get(&version)?;
        let mut sum = Standing::default();
        let mut weighted = Duration::ZERO;
        let mut weight = 0_u32;
        for Entry { said, lost, .. } in workers.values() {
            if said.standing != presence::Standing::Ready || lost.is_some() {
                continue;
            }
            sum.workers += 1;
            sum.slots = sum.slots.saturating_add(said.slots);
            sum.free = sum.free.saturating_add(said.free);
            if !said.service.is_zero() {
                weighted = weighted.saturating_add(said.service.saturating_mul(said.slots));
                weight = weight.saturating_add(said.slots);
            }
        }
        sum.service = weighted.checked_div(weight).unwrap_or_default();
        Some(sum)
    }

    fn forget(&mut self, version: VersionId, worker: Uuid) {
        let Some(workers) = self.versions.get_mut(&version) else {
            return;
        };
        if workers.remove(&worker).is_some() {
            self.count -= 1;
        }
        if workers.is_empty() {
            self.versions.remove(&version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(worker: u128, standing: presence::Standing, free: u32, ms: u64) -> WorkerPresence {
        WorkerPresence {
            worker: Uuid::from_u128(worker),
            version: version(1),
            standing,
            slots: 10,
            free,
            service: Duration::from_millis(ms),
        }
    }

    fn version(n: u128) -> VersionId {
        VersionId::from_uuid(Uuid::from_u128(n))
    }

    #[test]
    fn workers_add_up_and_the_last_word_wins() {
        use presence::Standing::{Leaving, Ready, Resting};
        let now = Instant::now();
        let mut crowd = Crowd::default();
        assert_eq!(crowd.standing(version(1)), None, "nothing known");
        crowd.hear(&said(1, Ready, 10, 0), now);
        crowd.hear(&said(1, Ready, 4, 100), now);
        crowd.hear(&said(2, Ready, 5, 300), now);
        crowd.hear(&said(3, Resting, 10, 900), now);
        let both = Standing {
            workers: 2,
            slots: 20,
            free: 9,
            service: Duration::from_millis(200),
        };
        assert_eq!(crowd.standing(version(1)), Some(both));
        crowd.hear(&said(1, Leaving, 0, 0), now);
        crowd.hear(&said(2, Leaving, 0, 0), now);
        crowd.hear(&said(2, Leaving, 0, 0), now);
        let resting = crowd.standing(version(1));
        assert_eq!(
            resting,
            Some(Standing::default()),
            "there, and takes nothing"
        );
        crowd.hear(&said(3, Leaving, 0, 0), now);
        assert_eq!(crowd.standing(version(1)), None);
        assert_eq!(crowd.count, 0);
    }

    #[test]
    fn who_is_lost_counts_again_when_it_speaks() {
        let now = Instant::now();
        let ready = said(1, presence::Standing::Ready, 5, 0);
        let mut crowd = Crowd::default();
        crowd.lose(version(1), ready.worker, now);
        crowd.hear(&ready, now);
        crowd.lose(version(1), ready.worker, now);
        assert_eq!(crowd.standing(version(1)), Some(Standing::default()));
        let soon = now + BELATED / 2;
        assert_eq!(crowd.hear(&ready, soon), Heard::Belated);
        assert_eq!(crowd.standing(version(1)), Some(Standing::default()));
        assert_eq!(crowd.hear(&ready, now + BELATED), Heard::Taken);
        assert_eq!(crowd.standing(version(1)).map(|s| s.free), Some(5));
    }

    #[test]
    fn the_silent_are_forgotten() {
        let now = Instant::now();
        let mut crowd = Crowd::default();
        crowd.hear(&said(1, presence::Standing::Ready, 1, 0), now);
        let later = now + EXPIRES / 2;
        crowd.hear(&said(2, presence::Standing::Ready, 1, 0), later);
        assert!(crowd.expire(later).is_empty());
        assert_eq!(crowd.expire(now + EXPIRES), [version(1)]);
        assert_eq!(crowd.standing(version(1)).map(|s| s.workers), Some(1));
        assert_eq!(crowd.expire(later + EXPIRES), [version(1)]);
        assert_eq!((crowd.standing(version(1)), crowd.count), (None, 0));
    }

    #[test]
    fn made_up_workers_do_not_fill_memory() {
        let now = Instant::now();
        let mut crowd = Crowd::default();
        let hear =
            |crowd: &mut Crowd, n| crowd.hear(&said(n, presence::Standing::Ready, 1, 0), now);
        for n in 1..=WORKERS_LIMIT {
            assert_eq!(hear(&mut crowd, n as u128), Heard::Taken);
        }
        assert_eq!(hear(&mut crowd, u128::MAX), Heard::Full);
        assert_eq!(hear(&mut crowd, 1), Heard::Taken, "the known may go on");
    }
}
