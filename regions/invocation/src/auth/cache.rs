//! Verdicts of the authority, by question: bounded, timed, and asked for once however many callers wait.
//!
//! Yes and no are kept alike. When asking fails the verdict from before is used for a bounded time. Holds no lock while
//! it waits; how long what holds is `verdict.rs`'s. A revoked key never gets here: `auth.rs` looks at that first, so a
//! verdict that was under way when the key was revoked does no harm either.

use std::sync::Arc;
use std::time::Instant;

use frontdoor_protocol::key::KeyHash;
use frontdoor_protocol::names::{FunctionId, VersionId};
use moka::ops::compute::Op;
use tokio::sync::OnceCell;

use super::verdict::{Answer, Denied, Entry, Policy, Verdict};

/// What a verdict is about. Two calls with the same question get the same verdict.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) hash: KeyHash,
    pub(super) function: FunctionId,
    pub(super) version: Option<VersionId>,
    /// What else the authority is told, if it is.
    pub(super) call: Option<Arc<CallFacts>>,
}

/// The call itself, as an HTTP authority sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CallFacts {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: Option<String>,
}

/// One question's place: asked by the first who comes, filled for all who wait.
#[derive(Debug, Default)]
struct Slot {
    /// What was known when it was made.
    before: Option<Entry>,
    entry: OnceCell<Entry>,
}

/// The verdicts.
pub(super) struct Cache {
    slots: moka::sync::Cache<Question, Arc<Slot>>,
    policy: Policy,
}

// === impl Cache ===

impl Cache {
    /// Holds up to `capacity` verdicts.
    pub(super) fn new(capacity: u64, policy: Policy) -> Self {
        Self {
            slots: moka::sync::Cache::builder()
                .max_capacity(capacity)
                .time_to_live(Entry::longest(&policy))
                .build(),
            policy,
        }
    }

    /// The verdict, if it is known.
    pub(super) fn known(&self, question: &Question, now: Instant) -> Option<Verdict> {
        let slot = self.slots.get(question)?;
        let entry = slot.entry.get().filter(|entry| entry.holds(now))?;
        Some(entry.verdict.clone())
    }

    /// The verdict, for a call that came at `at`: what is known, or what `ask` finds out, which says when that was;
    /// `None` from it means that there is no answer. Whoever asks may be dropped; the next who waits asks again.
    pub(super) async fn verdict<F>(
        &self,
        question: &Question,
        at: Instant,
        ask: impl Fn() -> F,
    ) -> (Verdict, Used)
    where
        F: Future<Output = (Option<Answer>, Instant)>,
    {
        loop {
            let slot = self.slots.get_with_by_ref(question, Arc::default);
            let mut used = Used::Kept;
            let entry = slot
                .entry
                .get_or_init(|| async {
                    let (answer, now) = ask().await;
                    used = Used::Asked;
                    match answer {
                        Some(answer) => Entry::answered(answer, now, &self.policy),
                        None => {
                            let entry = Entry::unanswered(slot.before.as_ref(), now);
                            if entry.verdict != Err(Denied::Unsure) {
                                used = Used::Stale;
                            }
                            entry
                        }
                    }
                })
                .await;
            if entry.holds(at) {
                return (entry.verdict.clone(), used);
            }
            self.replace(question, &slot, entry);
        }
    }

    /// Makes room for a new answer, unless somebody else has.
    fn replace(&self, question: &Question, old: &Arc<Slot>, before: &Entry) {
        self.slots.entry_by_ref(question).and_compute_with(|found| {
            let replaced = found.is_some_and(|found| !Arc::ptr_eq(found.value(), old));
            if replaced {
                return Op::Nop;
            }
            Op::Put(Arc::new(Slot {
                before: Some(before.clone()),
                entry: OnceCell::new(),
            }))
        });
    }
}

/// Where a verdict came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Used {
    /// It was there, or somebody else asked.
    Kept,
    /// This call asked.
    Asked,
    /// This call asked in vain, and took the verdict from before.
    Stale,
}

#[cfg(test)]
mod tests;
