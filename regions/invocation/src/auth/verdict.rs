//! The judgement on one caller and one function, how a bearer token is written, and how long a verdict holds (pure).
//!
//! Sees a key's record, never decides from the key itself; `auth.rs` finds the record, `cache.rs` keeps entries.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use frontdoor_protocol::names::{FunctionId, VersionId};

use crate::config::{Key, Scope};

/// The longest time an authority's answer holds, whatever it says itself.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// After a question that got no answer, the same one is not put again for this long: a dead authority costs one wait a
/// second and key, not one a call.
const HOLD_OFF: Duration = Duration::from_secs(1);

/// The caller, or why the call is refused.
pub(crate) type Verdict = Result<Caller, Denied>;

/// Somebody who may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Who calls, as the container is told; never a credential.
    pub(crate) subject: Arc<str>,
    /// The account they belong to; the subject again where nobody knows accounts.
    pub(crate) account: Arc<str>,
    /// The versions they may call; all if `None`.
    pub(crate) versions: Option<Arc<[VersionId]>>,
}

/// Why a caller may not call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No `Authorization` header.
    Missing,
    /// Not `Bearer <token>`.
    Malformed,
    /// No such key.
    Unknown,
    /// The key's time is over.
    Expired,
    /// The key was revoked.
    Revoked,
    /// The key does not open this function.
    Forbidden,
    /// The authority: the caller's account has no credits left.
    Unpaid,
    /// The authority: no such function for this caller.
    NoFunction,
    /// The authority: the function is in no state to be called.
    NotReady,
    /// Nobody could say: the authority did not answer, and no earlier verdict may be used.
    Unsure,
}

/// How long verdicts hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// A yes.
    pub(super) ttl: Duration,
    /// A no.
    pub(super) negative_ttl: Duration,
    /// Past its time, while the authority is down.
    pub(super) stale: Duration,
}

/// What an authority said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    /// How long it holds, if the authority says so.
    pub(super) ttl: Option<Duration>,
}

/// A verdict and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) verdict: Verdict,
    /// Until then it is used without asking.
    until: Instant,
    /// Until then it is used if asking fails.
    stale_until: Instant,
}

// === impl Caller ===

impl Caller {
    /// A caller of whom only a name is known.
    pub(crate) fn named(name: &Arc<str>) -> Self {
        Self {
            subject: Arc::clone(name),
            account: Arc::clone(name),
            versions: None,
        }
    }
}

// === impl Entry ===

impl Entry {
    /// From an answer that came `now`.
    pub(super) fn answered(answer: Answer, now: Instant, policy: &Policy) -> Self {
        let usual = match answer.verdict {
            Ok(_) => policy.ttl,
            Err(_) => policy.negative_ttl,
        };
        let until = now + answer.ttl.unwrap_or(usual).min(TTL_MAX);
        // Who wants to be asked each time does not want to be guessed at either.
        let wants_asking = answer.ttl == Some(Duration::ZERO);
        let stale = if wants_asking {
            Duration::ZERO
        } else {
            policy.stale
        };
        Self {
            verdict: answer.verdict,
            until,
            stale_until: until + stale,
        }
    }

    /// From a question that failed `now`: the verdict from before for as long as it may be used, or none.
    pub(super) fn unanswered(before: Option<&Self>, now: Instant) -> Self {
        let again = now + HOLD_OFF;
        match before {
            Some(before) if before.verdict != Err(Denied::Unsure) && now < before.stale_until => {
                Self {
                    verdict: before.verdict.clone(),
                    until: again.min(before.stale_until),
                    stale_until: before.stale_until,
                }
            }
            _ => Self {
                verdict: Err(Denied::Unsure),
                until: again,
                stale_until: now,
            },
        }
    }

    /// Whether a call that came at `at` may use it. An answer that is newer than the call always will do.
    pub(super) fn holds(&self, at: Instant) -> bool {
        at <= self.until
    }

    /// How long an entry can matter at all.
    pub(super) fn longest(policy: &Policy) -> Duration {
        TTL_MAX + policy.stale
    }
}

/// What a key's record says about a function.
pub(super) fn judge(key: &Key, function: FunctionId, now: SystemTime) -> Verdict {
    if key.expires.is_some_and(|expires| expires <= now) {
        return Err(Denied::Expired);
    }
    match &key.scope {
        Scope::All => Ok(Caller::named(&key.name)),
        Scope::Only(functions) if functions.contains(&function) => Ok(Caller::named(&key.name)),
        Scope::Only(_) => Err(Denied::Forbidden),
    }
}

/// The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110 §11.1). An empty token is none.
pub(crate) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// Whether a name that an authority gave may travel as a header to the container.
pub(super) fn is_name(text: &str) -> bool {
    let visible = |b: u8| b.is_ascii_graphic() || b == b' ';
    (1..=256).contains(&text.len()) && text.bytes().all(visible)
}

#[cfg(test)]
mod tests;
