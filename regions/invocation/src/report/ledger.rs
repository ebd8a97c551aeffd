//! What was told of each version, and so what is worth telling now.
//!
//! An edge that has just come to chatter asks for everything, and gets it at once; many who do get it together.
//!
//! Pure: what is true now and the time come in, a full list or what changed goes out. What matters for where a call goes
//! is told at once; the rest (one slot more or less of many) waits for the heartbeat, so that a busy region with
//! thousands of versions does not talk all the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use frontdoor_protocol::names::VersionId;
use frontdoor_protocol::report::{FULL_EVERY, FunctionReport, HEARTBEAT};

/// The news of one report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) full: bool,
    pub(super) functions: Vec<FunctionReport>,
}

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    told: HashMap<VersionId, FunctionReport>,
    last: Option<Instant>,
    last_small: Option<Instant>,
    last_full: Option<Instant>,
    /// Somebody listens who has not heard everything.
    asked: bool,
}

/// How often small changes are told; where a region has thousands of functions, some of them change all the time.
const SMALL_EVERY: Duration = Duration::from_secs(1);
/// Between two full reports that are asked for.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// A number that changed by this share of its scale (an eighth) is told at once.
const SHARE: u32 = 8;

// === impl Ledger ===

impl Ledger {
    /// Forgets what was told: who listens now may have heard nothing of it.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Somebody asks for everything.
    pub(super) const fn ask(&mut self) {
        self.asked = true;
    }

    /// Whether a report is due even if nothing changed.
    pub(super) fn due(&self, now: Instant) -> bool {
        over(self.last, HEARTBEAT, now) || self.full_is_due(now)
    }

    fn full_is_due(&self, now: Instant) -> bool {
        let every = if self.asked { ASKED_EVERY } else { FULL_EVERY };
        over(self.last_full, every, now)
    }

    /// What to tell now, if anything; `urgent` is news beside the versions, such as draining.
    pub(super) fn next(
        &mut self,
        current: Vec<FunctionReport>,
        urgent: bool,
        now: Instant,
    ) -> Option<News> {
        if self.full_is_due(now) {
            self.asked = false;
            self.told = current.iter().map(|f| (f.version, *f)).collect();
            (self.last, self.last_full) = (Some(now), Some(now));
            self.last_small = Some(now);
            return Some(News {
                full: true,
                functions: current,
            });
        }
        let small = urgent || over(self.last_small, SMALL_EVERY, now);
        let beat = small || over(self.last, HEARTBEAT, now);
        let removed = self.removed(&current);
        let worth = |f: &FunctionReport| match self.told.get(&f.version) {
            None => true,
            Some(told) if small => told != f,
            Some(told) => matters(told, f),
        };
        let mut functions: Vec<_> = current.into_iter().filter(worth).collect();
        functions.extend(removed);
        if functions.is_empty() && !beat {
            return None;
        }
        for function in &functions {
            if function.deployed {
                self.told.insert(function.version, *function);
            } else {
                self.told.remove(&function.version);
            }
        }
        self.last = Some(now);
        if small {
            self.last_small = Some(now);
        }
        Some(News {
            full: false,
            functions,
        })
    }

    fn removed(&self, current: &[FunctionReport]) -> Vec<FunctionReport> {
        // New ones make up for removed ones in number only once in a blue moon; then the next full report tells.
        if current.len() >= self.told.len() {
            return Vec::new();
        }
        let here: std::collections::HashSet<_> = current.iter().map(|f| f.version).collect();
        let gone = self.told.values().filter(|f| !here.contains(&f.version));
        gone.map(|f| FunctionReport {
            deployed: false,
            ..FunctionReport::deployed(f.function, f.version)
        })
        .collect()
    }
}

fn over(since: Option<Instant>, time: Duration, now: Instant) -> bool {
    since.is_none_or(|since| now.saturating_duration_since(since) >= time)
}

/// Whether a change may send calls elsewhere.
fn matters(told: &FunctionReport, now: &FunctionReport) -> bool {
    let edge = |a: u32, b: u32| (a == 0) != (b == 0);
    told.workers != now.workers
        || told.slots != now.slots
        || edge(told.free, now.free)
        || told.free.abs_diff(now.free) > now.slots / SHARE
        || edge(told.queued, now.queued)
        || told.queued.abs_diff(now.queued) > told.queued.max(now.slots) / SHARE
        || told.service_ms.abs_diff(now.service_ms) > told.service_ms / SHARE + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(n: u64) -> FunctionReport {
        let id = |high: u64| format!("{:08x}-0000-0000-0000-{n:012x}", high);
        FunctionReport {
            workers: 2,
            slots: 64,
            free: 64,
            service_ms: 100,
            ..FunctionReport::deployed(id(1).parse().expect("valid"), id(2).parse().expect("valid"))
        }
    }

    fn all(count: u64) -> Vec<FunctionReport> {
        (0..count).map(function).collect()
    }

    #[test]
    fn full_then_deltas_then_a_heartbeat_then_full() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut now = all(3);
        let first = ledger.next(now.clone(), false, start).expect("news");
        assert_eq!((first.full, first.functions.len()), (true, 3));
        assert_eq!(ledger.next(now.clone(), false, at(100)), None);
        now[1].free = 0;
        let delta = ledger.next(now.clone(), false, at(200)).expect("news");
        assert_eq!((delta.full, &delta.functions[..]), (false, &now[1..2]));
        now[2].free -= 1;
        assert_eq!(ledger.next(now.clone(), false, at(300)), None, "of 64");
        assert!(!ledger.due(at(400)) && ledger.due(at(450)));
        let beat = ledger.next(now.clone(), false, at(450)).expect("a beat");
        assert_eq!((beat.full, beat.functions.len()), (false, 0));
        let small = ledger.next(now.clone(), false, at(1000)).expect("news");
        assert_eq!((small.full, &small.functions[..]), (false, &now[2..]));
        let urgent = ledger.next(now.clone(), true, at(1300)).expect("news");
        assert_eq!((urgent.full, urgent.functions.len()), (false, 0));
        assert!(
            ledger
                .next(now.clone(), false, at(5000))
                .expect("news")
                .full
        );
        ledger.reset();
        assert!(ledger.next(now, false, at(5100)).expect("news").full);
    }

    #[test]
    fn who_asks_is_told_everything_but_not_for_each_who_does() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let now = all(3);
        assert!(ledger.next(now.clone(), false, start).expect("news").full);
        ledger.ask();
        let beat = ledger.next(now.clone(), false, at(900)).expect("a beat");
        assert!(!beat.full);
        ledger.ask();
        assert!(ledger.due(at(1000)));
        assert!(
            ledger
                .next(now.clone(), false, at(1000))
                .expect("news")
                .full
        );
        assert!(
            !ledger
                .next(now.clone(), false, at(2000))
                .expect("news")
                .full
        );
        ledger.ask();
        assert!(ledger.next(now, false, at(2100)).expect("news").full);
    }

    #[test]
    fn what_is_removed_is_told() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        ledger.next(all(3), false, start);
        let news = ledger.next(all(2), false, start).expect("news");
        assert_eq!(news.functions.len(), 1);
        assert!(!news.functions[0].deployed);
        assert_eq!(news.functions[0].version, function(2).version);
        assert_eq!(ledger.next(all(2), false, start), None, "told once");
    }

    #[test]
    fn what_may_move_calls_matters() {
        let check = |change: fn(&mut FunctionReport)| {
            let (mut told, mut now) = (function(0), function(0));
            (told.queued, told.free) = (10, 32);
            (now.queued, now.free) = (10, 32);
            change(&mut now);
            matters(&told, &now)
        };
        assert!(!check(|_| {}));
        assert!(!check(|f| f.free = 30));
        assert!(!check(|f| f.queued = 12));
        assert!(!check(|f| f.service_ms = 110));
        assert!(check(|f| f.free = 0));
        assert!(check(|f| f.free = 20));
        assert!(check(|f| f.queued = 0));
        assert!(check(|f| f.queued = 100));
        assert!(check(|f| f.workers = 1));
        assert!(check(|f| f.slots = 128));
        assert!(check(|f| f.service_ms = 200));
    }
}
