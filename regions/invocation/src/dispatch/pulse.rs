//! Whether a queued call is still where it was put.
//!
//! A memory stream forgets its messages when its server restarts, and a message that was written to the socket of a dying
//! worker is delivered again only after the consumer's ack wait, half a minute. Both show in the numbers of stream and
//! consumer: a stream made anew, a last message before ours, or ours delivered a while ago to somebody who never claimed
//! it. `watch.rs` takes the samples, `keep.rs` asks.
//! Pure: what NATS says and the time come in as arguments.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A message that was delivered this long ago and not claimed is in nobody's hands. A claim takes milliseconds; one
/// that comes later all the same meets a call that is claimed once and refused to the second.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// A call that nobody claims again and again is queued again with doubled pauses, up to this many doublings.
const DOUBLINGS: u32 = 5;

/// What NATS says of a work queue at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// When the stream was made, in nanoseconds since 1970.
    pub(super) created: u64,
    /// The sequence number of its first message; if it has none, of the next one.
    pub(super) first: u64,
    /// The sequence number of its last message.
    pub(super) last: u64,
    /// The highest sequence number that was delivered.
    pub(super) delivered: u64,
}

/// What is known of a work queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pulse {
    /// The how-manieth sample this is.
    pub(super) round: u64,
    /// When the stream was made.
    pub(super) created: u64,
    /// Grows when the stream lost its messages and was not made anew, as one with a single replica does.
    pub(super) epoch: u64,
    /// The sequence number of the stream's first message; if it has none, of the next one.
    pub(super) first: u64,
    /// The sequence number of the stream's last message.
    pub(super) last: u64,
    /// The highest sequence number that was delivered [`SETTLE`] ago.
    pub(super) settled: u64,
}

/// Where a call was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// Samples begun before.
    pub(super) round: u64,
    /// When the stream was made, as it was known then.
    pub(super) created: u64,
    /// The stream's epoch as it was known then.
    pub(super) epoch: u64,
    /// Its sequence number; 0 if it is not known.
    pub(super) sequence: u64,
}

/// Why a call is not where it was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The stream lost it.
    Lost,
    /// It was delivered, and nobody claimed it.
    Unclaimed,
}

/// The samples of one queue that still matter.
#[derive(Debug, Default)]
pub(super) struct History {
    pulse: Pulse,
    delivered: VecDeque<(Instant, u64)>,
}

// === impl History ===

impl History {
    /// Adds a sample that was asked for as the `round`-th.
    pub(super) fn add(&mut self, now: Instant, round: u64, sample: Sample) -> Pulse {
        let anew = sample.created != self.pulse.created;
        let emptied = !anew && sample.last < self.pulse.last;
        if anew || emptied {
            self.pulse.epoch += u64::from(emptied);
            self.pulse.settled = 0;
            self.delivered.clear();
        }
        self.delivered.push_back((now, sample.delivered));
        while let Some(&(at, delivered)) = self.delivered.front()
            && now.saturating_duration_since(at) >= SETTLE
        {
            self.pulse.settled = delivered;
            self.delivered.pop_front();
        }
        self.pulse.round = round;
        self.pulse.created = sample.created;
        self.pulse.first = sample.first;
        self.pulse.last = sample.last;
        self.pulse
    }
}

// === impl Pulse ===

impl Pulse {
    /// Whether a call that was put at `spot` has to be queued again.
    pub(super) const fn missing(self, spot: Spot) -> Option<Missing> {
        if self.round <= spot.round {
            // It was looked at before the call was put there.
            None
        } else if self.created != spot.created
            || self.epoch != spot.epoch
            || self.last < spot.sequence
            || (self.first > spot.sequence && spot.sequence > 0)
        {
            Some(Missing::Lost)
        } else if self.settled >= spot.sequence {
            Some(Missing::Unclaimed)
        } else {
            None
        }
    }
}

/// The least time between two turns of a call that nobody claims, after `times` of them.
pub(super) fn pause(times: u32) -> Duration {
    SETTLE * (1 << times.min(DOUBLINGS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sample(created: u64, last: u64, delivered: u64) -> Sample {
        Sample {
            created,
            first: 1,
            last,
            delivered,
        }
    }

    const fn spot(round: u64, created: u64, sequence: u64) -> Spot {
        Spot {
            round,
            created,
            epoch: 0,
            sequence,
        }
    }

    #[test]
    fn a_delivery_counts_once_it_has_settled() {
        let (start, mut history) = (Instant::now(), History::default());
        let ours = spot(1, 1, 7);
        for (ms, round, sample, missing) in [
            (0, 2, sample(1, 9, 6), None),
            (250, 3, sample(1, 9, 7), None),
            (1_240, 4, sample(1, 9, 9), None),
            (1_250, 5, sample(1, 9, 9), Some(Missing::Unclaimed)),
        ] {
            let now = start + Duration::from_millis(ms);
            let pulse = history.add(now, round, sample);
            assert_eq!(pulse.missing(ours), missing, "after {ms} ms");
            assert_eq!(pulse.missing(spot(1, 1, 8)), None, "it was delivered later");
            assert_eq!(pulse.missing(spot(round, 1, 3)), None, "put there since");
        }
    }

    #[test]
    fn a_stream_made_anew_or_emptied_has_lost_the_call() {
        let now = Instant::now();
        for (after, epoch) in [
            (sample(2, 7, 0), 0),
            (sample(2, 9, 9), 0),
            (sample(1, 3, 0), 1),
        ] {
            let mut history = History::default();
            let pulse = history.add(now, 1, sample(1, 7, 0));
            assert_eq!(pulse.missing(spot(0, 1, 7)), None);
            let pulse = history.add(now, 2, after);
            assert_eq!(
                pulse.missing(spot(1, 1, 3)),
                Some(Missing::Lost),
                "{after:?}"
            );
            let since = Spot {
                epoch,
                ..spot(1, after.created, after.last)
            };
            assert_eq!(pulse.missing(since), None, "{after:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_stream_is_lost() {
        let looked = Sample {
            first: 5,
            ..sample(1, 9, 0)
        };
        let pulse = History::default().add(Instant::now(), 2, looked);
        for (sequence, missing) in [
            (4, Some(Missing::Lost)),
            (5, None),
            (9, None),
            (10, Some(Missing::Lost)),
            (0, Some(Missing::Unclaimed)),
        ] {
            assert_eq!(pulse.missing(spot(1, 1, sequence)), missing, "{sequence}");
        }
    }

    #[test]
    fn what_was_delivered_before_a_loss_is_forgotten_with_it() {
        let (start, mut history) = (Instant::now(), History::default());
        history.add(start, 1, sample(1, 9, 9));
        history.add(start + SETTLE, 2, sample(1, 9, 9));
        let pulse = history.add(start + SETTLE * 2, 3, sample(2, 5, 0));
        assert_eq!(pulse.settled, 0);
        assert_eq!(pulse.missing(spot(2, 2, 5)), None);
    }

    #[test]
    fn turns_become_rarer_up_to_a_bound() {
        assert_eq!(pause(0), SETTLE);
        assert_eq!(pause(3), SETTLE * 8);
        assert_eq!(pause(u32::MAX), SETTLE * 32);
    }
}
