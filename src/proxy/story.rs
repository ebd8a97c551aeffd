//! Decisions as they are made and remembered: `route::decide` with a diary.
//!
//! A call that is not one of the share that is kept costs nothing here until something goes wrong with it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::EdgeProxy;
use super::context::Context;
use crate::explain::{Call, Story};
use crate::metrics::Outcome;
use crate::response::Record;
use crate::route::{self, Decision, Failure, NoRegion, Why};
use crate::table::Snapshot;

// === impl EdgeProxy ===

impl EdgeProxy {
    /// Decides where the next attempt goes; `because` is what became of the one before.
    pub(super) fn decide(
        &self,
        snapshot: &Snapshot,
        ctx: &mut Context,
        because: Option<Failure>,
    ) -> Result<Decision, NoRegion> {
        let kept = because.is_some() || self.diary.samples(ctx.id);
        if !kept || ctx.polled().is_some() {
            let decided = self.preview(snapshot, ctx);
            if decided.is_ok() && !kept {
                return decided;
            }
            if ctx.polled().is_some() {
                tell(ctx, snapshot, because, &decided, None);
                return decided;
            }
        }
        let (policy, ask) = (self.policy.load(), ctx.ask());
        let (trace, decided) = route::traced(snapshot, &policy, &ask, ctx.next_seed());
        tell(ctx, snapshot, because, &decided, Some(trace));
        decided
    }

    /// What would be decided next; nothing is noted.
    pub(super) fn preview(&self, snapshot: &Snapshot, ctx: &Context) -> Result<Decision, NoRegion> {
        if let Some(polled) = ctx.polled() {
            return route::holder(snapshot, polled.tag(), &ctx.tried, ctx.next_seed());
        }
        route::decide(snapshot, &self.policy.load(), &ctx.ask(), ctx.next_seed())
    }

    /// Keeps the call for whoever asks about it, if it is to be kept.
    pub(super) fn keep(&self, ctx: &mut Context, record: &Record<'_>) {
        let Record {
            id,
            attempts,
            outcome,
            status,
            ..
        } = *record;
        let Some(kept) = self.diary.keeps(id, attempts, outcome, status) else {
            return;
        };
        let millis = |d: std::time::Duration| d.as_secs_f64() * 1000.0;
        let arrived = SystemTime::now() - record.total;
        let unix = arrived.duration_since(UNIX_EPOCH).unwrap_or_default();
        let story = match ctx.story.take() {
            Some(story) => *story,
            None => alone(ctx, record),
        };
        self.diary.keep(Call {
            id,
            at_ms: u64::try_from(unix.as_millis()).unwrap_or_default(),
            function: record.target.map(|target| target.function),
            version: record.target.and_then(|target| target.version),
            kept,
            outcome: Outcome::as_str(outcome).into(),
            status,
            attempts,
            stop: record.stop.map(|why| Why::as_str(why).into()),
            first_byte_ms: record.first_byte.map(millis),
            total_ms: millis(record.total),
            decisions: story.into_choices(),
        });
    }
}

/// The story of a call that went wrong without a second decision: what is known of the only one.
fn alone(ctx: &Context, record: &Record<'_>) -> Story {
    let mut story = Story::default();
    if let (Some(attempt), Some((_, region))) = (&ctx.attempt, record.region) {
        story.first(attempt.decision, region.to_owned());
    }
    story
}

fn tell(
    ctx: &mut Context,
    snapshot: &Snapshot,
    because: Option<Failure>,
    decided: &Result<Decision, NoRegion>,
    inputs: Option<route::Trace>,
) {
    let after = ctx.started.elapsed();
    let first = ctx.attempt.as_ref().map(|attempt| attempt.decision);
    let story = ctx.story.get_or_insert_with(|| {
        let mut story = Story::default();
        // The first attempt was none to remember, until it failed.
        if let Some((first, view)) =
            first.and_then(|first| Some((first, snapshot.regions.get(first.region.0)?)))
        {
            story.first(first, view.name.to_string());
        }
        Box::new(story)
    });
    story.note(after, because, snapshot, decided, inputs);
}
