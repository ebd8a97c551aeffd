//! What is kept of calls so that they can be explained: each decision, what it was made from, and how the call ended.
//!
//! Every call that moved or failed is kept, and of the others a share. To keep one is a counter and a swap: no call waits
//! for a reader or for another call, and the oldest go first. The request path writes here, the admin port reads.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use frontdoor_protocol::names::{FunctionId, RequestId, VersionId};
use serde::{Deserialize, Serialize};

use crate::config::ExplainSettings;
use crate::metrics::Outcome;
use crate::route::{Decision, Failure, NoRegion, Reason, Trace};
use crate::table::Snapshot;

/// The last calls that are worth a look.
#[derive(Debug)]
pub struct Diary {
    settings: ExplainSettings,
    /// Apart, so that many good calls do not push out the few that went wrong, nor the other way round.
    troubled: Ring,
    sampled: Ring,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its id, as the caller knows it.
    pub id: RequestId,
    /// When it arrived, in Unix milliseconds.
    pub at_ms: u64,
    /// What was called.
    pub function: Option<FunctionId>,
    /// Its version, if the caller insisted on one.
    pub version: Option<VersionId>,
    /// Why it is kept.
    pub kept: Kept,
    /// How it ended.
    pub outcome: Cow<'static, str>,
    /// The status that the caller saw; 0 if none.
    pub status: u16,
    /// Attempts begun.
    pub attempts: u8,
    /// Why there was no further attempt after a failure.
    pub stop: Option<Cow<'static, str>>,
    /// From its head to the first byte of the answer.
    pub first_byte_ms: Option<f64>,
    /// From its head to the end.
    pub total_ms: f64,
    /// Where it was to go, in this order.
    pub decisions: Vec<Choice>,
}

/// Why a call is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// It could not be served.
    Failed,
    /// It was sent to more than one region.
    Moved,
    /// It is one of the share that is kept of all.
    Sampled,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// How long after the call's head it was made.
    pub after_ms: f64,
    /// What had become of the attempt before.
    pub because: Option<Cow<'static, str>>,
    /// The region's name; none if none was left.
    pub region: Option<String>,
    /// What was decided; none if no region was left.
    pub decision: Option<Decision>,
    /// The call really went there.
    pub taken: bool,
    /// What it was made from. Of a call that was not chosen beforehand, the first decision's inputs are gone; and to ask
    /// who holds an earlier answer is no choice.
    pub inputs: Option<Trace>,
}

/// The decisions of a call under way.
#[derive(Debug, Default)]
pub struct Story(Vec<Choice>);

/// The newest of a stream.
#[derive(Debug)]
struct Ring {
    places: Box<[ArcSwapOption<Call>]>,
    next: AtomicUsize,
}

// === impl Diary ===

impl Diary {
    /// An empty one.
    #[must_use]
    pub fn new(settings: ExplainSettings) -> Self {
        Self {
            settings,
            troubled: Ring::new(settings.kept),
            sampled: Ring::new(settings.kept),
        }
    }

    /// By what rule calls are kept.
    #[must_use]
    pub const fn settings(&self) -> ExplainSettings {
        self.settings
    }

    /// Whether a call is kept however it goes. The same for all attempts: the tag in the id does not count.
    #[must_use]
    pub fn samples(&self, id: RequestId) -> bool {
        // 62 random bits; what is below the 53rd highest does not matter to a share.
        let (_, low) = id.as_uuid().as_u64_pair();
        #[expect(clippy::cast_precision_loss, reason = "a share needs no 64 bits")]
        let place = (low << 2) as f64 / u64::MAX as f64;
        place < self.settings.share
    }

    /// Why a call is to be kept that ended so, if it is.
    #[must_use]
    pub fn keeps(
        &self,
        id: RequestId,
        attempts: u8,
        outcome: Outcome,
        status: u16,
    ) -> Option<Kept> {
        // That a region says no to a wrong key is not trouble.
        let failed = match outcome {
            Outcome::Failed | Outcome::Broken => true,
            Outcome::Declined => status >= 500 || status == 429,
            Outcome::Answered | Outcome::Refused | Outcome::Gone => false,
        };
        if failed {
            Some(Kept::Failed)
        } else if attempts > 1 {
            Some(Kept::Moved)
        } else {
            (attempts > 0 && self.samples(id)).then_some(Kept::Sampled)
        }
    }

    /// Keeps a call.
    pub fn keep(&self, call: Call) {
        match call.kept {
            Kept::Failed | Kept::Moved => self.troubled.push(call),
            Kept::Sampled => self.sampled.push(call),
        }
    }

    /// A call by its id, whatever region's tag is in it.
    #[must_use]
    pub fn find(&self, id: RequestId) -> Option<Arc<Call>> {
        self.all().find(|call| same(call.id, id))
    }

    /// The newest calls, newest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<Arc<Call>> {
        let mut calls: Vec<Arc<Call>> = self.all().collect();
        calls.sort_by_key(|call| std::cmp::Reverse(call.at_ms));
        calls.truncate(count);
        calls
    }

    fn all(&self) -> impl Iterator<Item = Arc<Call>> {
        let places = self.troubled.places.iter().chain(&self.sampled.places);
        places.filter_map(ArcSwapOption::load_full)
    }
}

fn same(one: RequestId, other: RequestId) -> bool {
    match (one.tag(), other.tag()) {
        (Some(tag), Some(_)) => other.with_tag(tag) == one,
        _ => one == other,
    }
}

// === impl Ring ===

impl Ring {
    fn new(size: usize) -> Self {
        Self {
            places: (0..size).map(|_| ArcSwapOption::empty()).collect(),
            next: AtomicUsize::new(0),
        }
    }

    fn push(&self, call: Call) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = turn
            .checked_rem(self.places.len())
            .and_then(|place| self.places.get(place))
        {
            place.store(Some(Arc::new(call)));
        }
    }
}

// === impl Story ===

impl Story {
    /// Notes a decision, and with what it was made if that was kept.
    pub fn note(
        &mut self,
        after: Duration,
        because: Option<Failure>,
        snapshot: &Snapshot,
        decided: &Result<Decision, NoRegion>,
        inputs: Option<Trace>,
    ) {
        let decision = decided.ok();
        let view = decision.and_then(|d| snapshot.regions.get(d.region.0));
        self.0.push(Choice {
            after_ms: after.as_secs_f64() * 1000.0,
            because: because.map(|failure| failure.as_str().into()),
            region: view.map(|view| view.name.to_string()),
            decision,
            taken: false,
            inputs,
        });
    }

    /// The first decision, made before anybody thought of keeping it.
    pub fn first(&mut self, decision: Decision, region: String) {
        self.0.push(Choice {
            after_ms: 0.0,
            because: None,
            region: Some(region),
            decision: Some(decision),
            taken: true,
            inputs: None,
        });
    }

    /// The call goes where the last decision said.
    pub fn taken(&mut self) {
        if let Some(choice) = self.0.last_mut() {
            choice.taken = true;
        }
    }

    /// All of it.
    #[must_use]
    pub fn into_choices(self) -> Vec<Choice> {
        self.0
    }
}

// === impl Choice ===

impl Choice {
    /// Whether the same inputs give the same decision; nothing if they were not kept.
    #[must_use]
    pub fn agrees(&self) -> Option<bool> {
        let again = self.inputs.as_ref()?.decide();
        let then = self.decision.map(|d| (d.region, d.reason));
        Some(again.ok() == then)
    }

    /// The reason in a word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.decision
            .map_or("no-region", |decision| Reason::as_str(decision.reason))
    }
}

#[cfg(test)]
mod tests;
