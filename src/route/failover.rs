//! May a call be tried in another region? The only place that says so.
//!
//! Pure. What counts is whether the work can have begun, never the status code alone: running a call twice is worse than
//! failing it. Asked by `proxy.rs` after each failed attempt.

use std::time::Duration;

use super::Reason;

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection: the region never saw the call.
    Unreachable,
    /// No place in good time on the connections that the edge has, or may open, to the region: it never saw the call.
    Full,
    /// The edge has no file descriptor or port left for a connection: the region never saw the call.
    Ours,
    /// The region's HTTP/2 layer says that it did not process the stream: `REFUSED_STREAM`, or `GOAWAY` with a lower
    /// last stream (RFC 9113 §8.7, §6.8).
    Refused,
    /// The region's platform says that the work did not begin and will not (`frontdoor-execution: not-started`).
    NotStarted,
    /// The connection was lost after the call was sent and before an answer: it may have run.
    Lost,
}

/// What else matters at that moment.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// How often the call has moved already.
    pub moves: u8,
    /// The most it may.
    pub moves_allowed: u8,
    /// The caller allows a second execution (safe method or `Idempotency-Key`).
    pub repeatable: bool,
    /// Everything that was read of the body can be sent again.
    pub body_at_hand: bool,
    /// The caller already has the first byte of an answer.
    pub answer_begun: bool,
    /// What is left of the caller's time.
    pub time_left: Duration,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try another region.
    Elsewhere,
    /// Give the caller what there is.
    Stop(Why),
}

/// Why a call is not tried elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It may have run, and the caller did not allow running it twice.
    MayHaveRun,
    /// The caller already reads an answer.
    AnswerBegun,
    /// More of the body is gone than can be sent again.
    BodyGone,
    /// The caller's time is up.
    NoTime,
    /// It moved as often as it may.
    MovesUsed,
    /// Too large a share of all traffic is retries already.
    BudgetUsed,
    /// No other region is left.
    NoRegion,
}

/// Less than this is not worth another attempt: a connection alone takes as long.
const WORTHWHILE: Duration = Duration::from_millis(20);

/// Decides after a failed attempt. `budget` is asked last, and only if everything else allows a move.
pub fn after(failure: Failure, facts: &Circumstances, budget: impl FnOnce() -> bool) -> Next {
    match bound(failure, facts) {
        Some(why) => Next::Stop(why),
        None => match budget() {
            true => Next::Elsewhere,
            false => Next::Stop(Why::BudgetUsed),
        },
    }
}

/// Why a call stays that failed and has no other region to go to. No retry is spent on it, so there is no budget to ask.
#[must_use]
pub fn stranded(failure: Failure, facts: &Circumstances) -> Why {
    bound(failure, facts).unwrap_or(Why::NoRegion)
}

/// What keeps a call from moving, whatever regions and budget are left.
fn bound(failure: Failure, facts: &Circumstances) -> Option<Why> {
    if facts.answer_begun {
        Some(Why::AnswerBegun)
    } else if failure == Failure::Lost && !facts.repeatable {
        Some(Why::MayHaveRun)
    } else if !facts.body_at_hand {
        Some(Why::BodyGone)
    } else if facts.time_left < WORTHWHILE {
        Some(Why::NoTime)
    } else if facts.moves >= facts.moves_allowed {
        Some(Why::MovesUsed)
    } else {
        None
    }
}

/// Whether a not-started answer of this status is about the region, so that another one may do better. What is the
/// caller's own fault (400, 401, 403, …) is the same everywhere.
#[must_use]
pub fn declined(status: u16) -> bool {
    matches!(status, 404 | 429 | 502 | 503 | 504)
}

// === impl Next ===

impl Next {
    /// The same, when the region to go to was chosen for this reason. That the budget is used is what stops a call only if a
    /// region is left that is well; otherwise it is that there is none, and who is told of repeated calls would look for
    /// the wrong thing.
    #[must_use]
    pub const fn towards(self, reason: Reason) -> Self {
        match (self, reason) {
            (Self::Stop(Why::BudgetUsed), Reason::OnlySuspects | Reason::FailOpen) => {
                Self::Stop(Why::NoRegion)
            }
            (next, _) => next,
        }
    }
}

// === impl Failure ===

impl Failure {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::Full,
        Self::Ours,
        Self::Refused,
        Self::NotStarted,
        Self::Lost,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Full => "full",
            Self::Ours => "ours",
            Self::Refused => "refused",
            Self::NotStarted => "not-started",
            Self::Lost => "lost",
        }
    }
}

// === impl Why ===

impl Why {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::MayHaveRun,
        Self::AnswerBegun,
        Self::BodyGone,
        Self::NoTime,
        Self::MovesUsed,
        Self::BudgetUsed,
        Self::NoRegion,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MayHaveRun => "may-have-run",
            Self::AnswerBegun => "answer-begun",
            Self::BodyGone => "body-gone",
            Self::NoTime => "no-time",
            Self::MovesUsed => "moves-used",
            Self::BudgetUsed => "budget-used",
            Self::NoRegion => "no-region",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Circumstances {
        Circumstances {
            moves: 0,
            moves_allowed: 2,
            repeatable: false,
            body_at_hand: true,
            answer_begun: false,
            time_left: Duration::from_secs(10),
        }
    }

    /// A budget that has a retry left.
    fn granted() -> bool {
        true
    }

    /// A budget that has none.
    fn exhausted() -> bool {
        false
    }

    #[test]
    fn what_did_not_begin_moves_and_what_may_have_does_not() {
        for failure in Failure::ALL.into_iter().filter(|f| *f != Failure::Lost) {
            assert_eq!(
                after(failure, &calm(), granted),
                Next::Elsewhere,
                "{failure:?}"
            );
        }
        assert_eq!(
            after(Failure::Lost, &calm(), granted),
            Next::Stop(Why::MayHaveRun)
        );
        assert_eq!(
            after(
                Failure::Lost,
                &Circumstances {
                    repeatable: true,
                    ..calm()
                },
                granted
            ),
            Next::Elsewhere
        );
    }

    #[test]
    fn every_bound_holds_for_every_failure() {
        let bounds = [
            (
                Circumstances {
                    answer_begun: true,
                    ..calm()
                },
                Why::AnswerBegun,
            ),
            (
                Circumstances {
                    body_at_hand: false,
                    ..calm()
                },
                Why::BodyGone,
            ),
            (
                Circumstances {
                    time_left: Duration::from_millis(19),
                    ..calm()
                },
                Why::NoTime,
            ),
            (Circumstances { moves: 2, ..calm() }, Why::MovesUsed),
        ];
        for (facts, why) in bounds {
            let facts = Circumstances {
                repeatable: true,
                ..facts
            };
            for failure in Failure::ALL {
                assert_eq!(
                    after(failure, &facts, || panic!("budget spent in vain")),
                    Next::Stop(why)
                );
                assert_eq!(stranded(failure, &facts), why, "also with nowhere to go");
            }
        }
        assert_eq!(
            after(Failure::Unreachable, &calm(), exhausted),
            Next::Stop(Why::BudgetUsed)
        );
        assert_eq!(stranded(Failure::Unreachable, &calm()), Why::NoRegion);
    }

    #[test]
    fn the_budget_is_to_blame_only_where_a_well_region_is_left() {
        let refused = after(Failure::NotStarted, &calm(), exhausted);
        for reason in [Reason::OnlySuspects, Reason::FailOpen] {
            assert_eq!(refused.towards(reason), Next::Stop(Why::NoRegion));
            // While there is budget, what is not well is tried all the same: the call did not begin.
            let tried = after(Failure::NotStarted, &calm(), granted).towards(reason);
            assert_eq!(tried, Next::Elsewhere);
            let held = after(Failure::Lost, &calm(), exhausted).towards(reason);
            assert_eq!(held, Next::Stop(Why::MayHaveRun));
        }
        for reason in [Reason::Nearest, Reason::NearerBusy, Reason::Affinity] {
            assert_eq!(refused.towards(reason), Next::Stop(Why::BudgetUsed));
        }
    }

    #[test]
    fn the_callers_faults_do_not_move() {
        for status in [404, 429, 502, 503, 504] {
            assert!(declined(status), "{status}");
        }
        for status in [200, 202, 302, 400, 401, 403, 408, 413, 422, 500] {
            assert!(!declined(status), "{status}");
        }
    }
}
