//! Looks after the work queues in which calls have been waiting for a while: a sample of each, four times a second.
//!
//! Calls that are claimed soon cost nothing here; a queue in which nobody waits long is not looked at. What a sample means
//! is for `pulse.rs` to say, and for each waiting call to act upon (`keep.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::stream::Info;
use frontdoor_protocol::names::VersionId;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Dispatch;
use super::catalog::Version;
use super::pulse::{History, Missing, Pulse, Sample, Spot};

/// How often queues are looked at.
const PERIOD: Duration = Duration::from_millis(250);
/// A call is looked after from this age on; nearly all calls are claimed before.
const PATIENT: Duration = Duration::from_millis(250);
/// Queues looked at at once: enough to hide a round trip to NATS, too few to press it.
const AT_ONCE: usize = 16;

/// What the calls of one queue and the one who looks after it share.
#[derive(Default)]
pub(super) struct Watched {
    /// Calls that wait to be told.
    waiting: AtomicUsize,
    /// Samples begun.
    rounds: AtomicU64,
    /// When the stream was made, as far as it is known.
    created: AtomicU64,
    pulse: watch::Sender<Pulse>,
}

/// Counts a call among those that wait to be told.
struct Waiting<'a>(&'a Watched);

// === impl Watched ===

impl Watched {
    /// The spot of a message that was just put there.
    pub(super) fn spot(&self, sequence: u64) -> Spot {
        Spot {
            round: self.rounds.load(Ordering::Acquire),
            created: self.created.load(Ordering::Relaxed),
            epoch: self.pulse.borrow().epoch,
            sequence,
        }
    }

    /// Waits until what was put at `spot` is not there any more, or was delivered in vain.
    pub(super) async fn missing(&self, spot: Spot) -> Missing {
        tokio::time::sleep(PATIENT).await;
        let _waiting = Waiting::new(self);
        let mut pulses = self.pulse.subscribe();
        let seen = pulses.wait_for(|pulse| pulse.missing(spot).is_some()).await;
        // The sender lives as long as we do, so there is always an answer.
        seen.ok()
            .and_then(|pulse| pulse.missing(spot))
            .unwrap_or(Missing::Unclaimed)
    }

    /// Remembers when the stream was made.
    pub(super) fn made(&self, stream: &Info) {
        self.created.store(created(stream), Ordering::Relaxed);
    }

    fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

// === impl Waiting ===

impl<'a> Waiting<'a> {
    fn new(watched: &'a Watched) -> Self {
        watched.waiting.fetch_add(1, Ordering::Relaxed);
        Self(watched)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks after all queues until `stop`.
pub(crate) async fn watch_queues(dispatch: Arc<Dispatch>, stop: CancellationToken) {
    let mut histories: HashMap<VersionId, History> = HashMap::new();
    let look = async {
        loop {
            tokio::time::sleep(PERIOD).await;
            if !dispatch.link.is_up() {
                continue;
            }
            let awaited = dispatch.catalog.versions();
            let awaited = awaited.filter(|version| version.watched.is_awaited());
            let awaited: Vec<_> = awaited.map(Arc::clone).collect();
            let samples = futures_util::stream::iter(awaited).map(|version| {
                let dispatch = &dispatch;
                async move {
                    let round = version.watched.rounds.fetch_add(1, Ordering::AcqRel) + 1;
                    let sample = sample(dispatch, &version).await;
                    (version, round, sample)
                }
            });
            let mut samples = samples.buffer_unordered(AT_ONCE);
            while let Some((version, round, sample)) = samples.next().await {
                if let Some(sample) = sample {
                    version
                        .watched
                        .created
                        .store(sample.created, Ordering::Relaxed);
                    let history = histories.entry(version.id).or_default();
                    let pulse = history.add(Instant::now(), round, sample);
                    version.watched.pulse.send_replace(pulse);
                }
            }
        }
    };
    let never: Option<std::convert::Infallible> = stop.run_until_cancelled(look).await;
    debug_assert!(never.is_none());
}

/// `None` if NATS does not say; then the next round may.
async fn sample(dispatch: &Dispatch, version: &Version) -> Option<Sample> {
    let stream = dispatch.link.jetstream.get_stream(&version.stream).await;
    let stream = stream.ok()?;
    // Before the consumer: what it has delivered is then never behind what the stream had.
    let info = stream.cached_info();
    let (first, last) = (info.state.first_sequence, info.state.last_sequence);
    let consumer: Consumer<pull::Config> = stream.get_consumer(&version.consumer).await.ok()?;
    Some(Sample {
        created: created(info),
        first,
        last,
        delivered: consumer.cached_info().delivered.stream_sequence,
    })
}

/// When a stream was made, in nanoseconds since 1970; only ever compared.
fn created(stream: &Info) -> u64 {
    u64::try_from(stream.created.unix_timestamp_nanos()).unwrap_or(0)
}
