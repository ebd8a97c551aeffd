//! What this edge says of its regions, and when.
//!
//! Pure: a snapshot and the time in, a verdict out: once a second, and at once when a region looks different.

use std::time::Instant;

use frontdoor_protocol::verdict::{EVERY, RegionVerdict, VERSION, Verdict};

use crate::table::{Snapshot, sight};

/// What was said last.
#[derive(Debug)]
pub(super) struct Voice {
    edge: u64,
    seq: u64,
    said: Vec<RegionVerdict>,
    at: Option<Instant>,
}

// === impl Voice ===

impl Voice {
    pub(super) const fn new(edge: u64) -> Self {
        Self {
            edge,
            seq: 0,
            said: Vec::new(),
            at: None,
        }
    }

    /// The next verdict, if it is time for one.
    pub(super) fn next(&mut self, snapshot: &Snapshot, now: Instant) -> Option<Verdict> {
        let regions = snapshot.regions.iter().filter_map(|view| {
            Some(RegionVerdict {
                region: view.name.clone(),
                sight: sight(view)?,
                canary: view.condition.canary,
            })
        });
        let regions: Vec<_> = regions.collect();
        let due = self
            .at
            .is_none_or(|at| now.saturating_duration_since(at) >= EVERY);
        if !due && regions == self.said {
            return None;
        }
        self.seq += 1;
        self.at = Some(now);
        self.said.clone_from(&regions);
        Some(Verdict {
            v: VERSION,
            edge: self.edge,
            seq: self.seq,
            regions,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use frontdoor_protocol::verdict::Sight;

    use super::*;
    use crate::region::{Endpoint, RegionIndex};
    use crate::table::{Event, Limits, ProbeOutcome, Table};

    #[test]
    fn once_a_second_and_after_a_change() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let names = ["us-east", "eu-west"].map(|n| (n.parse().expect("valid"), 1.0));
        let mut table = Table::new(names, Limits::default());
        let (region, address) = (RegionIndex(0), ([127, 0, 0, 1], 80).into());
        let addresses = vec![address];
        table.apply(Event::Resolved { region, addresses }, now);
        let mut voice = Voice::new(7);
        let first = voice.next(&table.snapshot(now), now).expect("due");
        let sights = |v: &Verdict| v.regions.iter().map(|r| r.sight).collect::<Vec<_>>();
        assert_eq!((first.edge, first.seq), (7, 1));
        assert_eq!(sights(&first), [Sight::Doubted], "nothing of the other");
        assert_eq!(voice.next(&table.snapshot(now), at(900)), None);
        let endpoint = Endpoint { region, address };
        let outcome = ProbeOutcome::Good(Duration::ZERO);
        table.apply(Event::Probed { endpoint, outcome }, now);
        let changed = voice.next(&table.snapshot(now), at(910)).expect("news");
        assert_eq!(sights(&changed), [Sight::Well]);
        assert_eq!(voice.next(&table.snapshot(now), at(1900)), None);
        assert_eq!(
            voice.next(&table.snapshot(now), at(1910)).expect("due").seq,
            3
        );
    }
}
