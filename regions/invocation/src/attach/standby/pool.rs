//! The standing streams of one version, and which of them gets a call (pure).
//!
//! Of two workers drawn at random the one with more streams, thus with more free slots, gets it: close to the least
//! loaded one, without looking at all. Of its streams the newest, whose connection was alive last. Bounded.

use uuid::Uuid;

/// Streams of one worker.
const PER_WORKER: usize = 1024;
/// Workers of one version.
const WORKERS: usize = 4096;

/// Streams, each with a number by which it is found again.
#[derive(Debug)]
pub(super) struct Pool<T> {
    workers: Vec<(Uuid, Vec<(u64, T)>)>,
}

// === impl Pool ===

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            workers: Vec::new(),
        }
    }
}

impl<T> Pool<T> {
    /// Takes a stream in; gives it back if there are too many.
    pub(super) fn put(&mut self, worker: Uuid, number: u64, stream: T) -> Result<(), T> {
        let workers = self.workers.len();
        match self.workers.iter_mut().find(|(id, _)| *id == worker) {
            Some((_, streams)) if streams.len() < PER_WORKER => streams.push((number, stream)),
            None if workers < WORKERS => {
                self.workers.push((worker, vec![(number, stream)]));
            }
            _ => return Err(stream),
        }
        Ok(())
    }

    /// Takes a stream out for a call, of a worker that `may` have it.
    pub(super) fn take(&mut self, seed: u64, may: impl Fn(Uuid) -> bool) -> Option<T> {
        let count = u64::try_from(self.workers.len()).ok().filter(|n| *n > 0)?;
        let drawn = |seed: u64| usize::try_from(seed % count).unwrap_or_default();
        let (one, other) = (drawn(seed >> 32), drawn(seed & 0xffff_ffff));
        let streams = |index: usize| self.workers.get(index).map_or(0, |(_, s)| s.len());
        let better = if streams(other) > streams(one) {
            other
        } else {
            one
        };
        let all = 0..self.workers.len();
        let index = std::iter::once(better)
            .chain(all)
            .find(|index| self.workers.get(*index).is_some_and(|(id, _)| may(*id)))?;
        let (_, streams) = self.workers.get_mut(index)?;
        let taken = streams.pop();
        if streams.is_empty() {
            self.workers.swap_remove(index);
        }
        taken.map(|(_, stream)| stream)
    }

    /// Takes out a stream that ended.
    pub(super) fn remove(&mut self, worker: Uuid, number: u64) -> Option<T> {
        let index = self.workers.iter().position(|(id, _)| *id == worker)?;
        let (_, streams) = self.workers.get_mut(index)?;
        let at = streams.iter().position(|(n, _)| *n == number)?;
        let (_, stream) = streams.swap_remove(at);
        if streams.is_empty() {
            self.workers.swap_remove(index);
        }
        Some(stream)
    }

    /// Whether a worker has any here.
    pub(super) fn holds(&self, worker: Uuid) -> bool {
        self.workers.iter().any(|(id, _)| *id == worker)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.workers.iter().map(|(_, streams)| streams.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn the_worker_with_more_free_slots_is_preferred_and_nothing_is_lost() {
        let mut pool = Pool::default();
        for number in 0..8 {
            pool.put(worker(1), number, "one").expect("room");
        }
        pool.put(worker(2), 8, "two").expect("room");
        // Both are drawn, in either order.
        assert_eq!(pool.take(1 << 32, |_| true), Some("one"));
        assert_eq!(pool.take(1, |_| true), Some("one"));
        assert_eq!(pool.len(), 7);
        // Only the second is drawn.
        assert_eq!(pool.take(1 << 32 | 1, |_| true), Some("two"));
        let rest = std::iter::from_fn(|| pool.take(u64::MAX, |_| true)).count();
        assert_eq!((rest, pool.len(), pool.take(0, |_| true)), (6, 0, None));
    }

    #[test]
    fn who_may_not_have_a_call_gets_none() {
        let mut pool = Pool::default();
        pool.put(worker(1), 1, "one").expect("room");
        pool.put(worker(2), 2, "two").expect("room");
        for seed in [0, 1, 1 << 32, 1 << 32 | 1] {
            let taken = pool.take(seed, |id| id == worker(2));
            assert_eq!(taken, Some("two"), "{seed}");
            assert_eq!(pool.take(seed, |id| id == worker(2)), None);
            pool.put(worker(2), 2, "two").expect("room");
        }
    }

    #[test]
    fn what_ended_is_not_handed_out() {
        let mut pool = Pool::default();
        pool.put(worker(1), 1, 'a').expect("room");
        pool.put(worker(1), 2, 'b').expect("room");
        assert_eq!(pool.remove(worker(1), 1), Some('a'));
        assert!(pool.holds(worker(1)) && !pool.holds(worker(2)));
        assert_eq!(pool.remove(worker(1), 1), None);
        assert_eq!(pool.remove(worker(2), 2), None);
        assert_eq!(pool.take(0, |_| true), Some('b'));
        assert!(pool.len() == 0 && !pool.holds(worker(1)));
    }

    #[test]
    fn streams_are_bounded() {
        let mut pool = Pool::default();
        for number in 0..PER_WORKER {
            assert_eq!(pool.put(worker(1), number as u64, ()), Ok(()));
        }
        assert_eq!(pool.put(worker(1), u64::MAX, ()), Err(()));
        for n in 2..=WORKERS {
            assert_eq!(pool.put(worker(n as u128), 0, ()), Ok(()));
        }
        assert_eq!(pool.put(worker(u128::MAX), 0, ()), Err(()));
    }
}
