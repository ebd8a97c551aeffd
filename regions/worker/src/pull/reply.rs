//! The server's replies to requests for messages, and how long to pause after a refused one.
//!
//! The size of a request is part of its reply address, so that a reply can be counted even if it does not say how
//! many messages are missing.

use std::time::{Duration, Instant};

use async_nats::Message;

/// The header in which the server says how many messages of a request are missing.
const MISSING: &str = "Nats-Pending-Messages";
/// How the server names its limit for one request.
const MOST: &str = "Exceeded MaxRequestBatch of ";
/// The first pause after a refusal, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a reply means for what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// Its time is over, as it should be when there is no work.
    Expired { missing: usize },
    /// Not served: no such consumer, too many waiting, the server goes away. It may name its limit for one request.
    Refused { missing: usize, most: Option<usize> },
    /// Nothing to count.
    Other,
}

/// The pause before the next request, after refused ones.
#[derive(Debug, Default)]
pub(super) struct Pause {
    last: Option<Duration>,
    until: Option<Instant>,
}

/// The reply address of a request.
pub(super) fn subject(prefix: &str, number: u64, batch: usize) -> String {
    format!("{prefix}.{number}.{batch}")
}

/// Reads a status message.
pub(super) fn read(message: &Message) -> Reply {
    let status = message.status.map_or(0, |status| status.as_u16());
    let headers = message.headers.as_ref();
    let said = headers.and_then(|headers| headers.get(MISSING));
    interpret(
        status,
        message.description.as_deref().unwrap_or_default(),
        said.map(async_nats::HeaderValue::as_str),
        &message.subject,
    )
}

fn interpret(status: u16, description: &str, said: Option<&str>, subject: &str) -> Reply {
    let batch = || subject.rsplit('.').next()?.parse().ok();
    let missing = said.and_then(|said| said.parse().ok()).or_else(batch);
    let missing = missing.unwrap_or(0);
    match status {
        // A heartbeat or flow control message; we ask for neither.
        100 => Reply::Other,
        404 | 408 => Reply::Expired { missing },
        _ => Reply::Refused {
            missing,
            most: description
                .strip_prefix(MOST)
                .and_then(|most| most.parse().ok())
                .filter(|most| *most > 0),
        },
    }
}

// === impl Pause ===

impl Pause {
    /// A refusal: pauses twice as long as before. Refusals during a pause are part of the same failure.
    pub(super) fn after_failure(&mut self, now: Instant) -> Duration {
        if self.is_over(now) {
            let next = self.last.map_or(FIRST_PAUSE, |last| last * 2);
            let next = next.min(LONGEST_PAUSE);
            self.last = Some(next);
            self.until = Some(now + next);
        }
        self.left(now)
    }

    /// The server serves.
    pub(super) fn after_success(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// How long to wait at most for the pause to be over; long if there is none.
    pub(super) fn left(&self, now: Instant) -> Duration {
        match self.until {
            Some(until) if until > now => until - now,
            _ => Duration::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_whatever_they_say() {
        let expired = |missing| Reply::Expired { missing };
        let refused = |missing, most| Reply::Refused { missing, most };
        for (status, description, said, subject, expected) in [
            (
                408,
                "Request Timeout",
                Some("7"),
                "_INBOX.a.1.64",
                expired(7),
            ),
            (408, "Request Timeout", None, "_INBOX.a.1.64", expired(64)),
            (404, "No Messages", None, "_INBOX.a.1.3", expired(3)),
            (503, "", None, "_INBOX.a.1.64", refused(64, None)),
            (
                409,
                "Exceeded MaxWaiting",
                None,
                "_INBOX.a.2.1",
                refused(1, None),
            ),
            (
                409,
                "Consumer Deleted",
                Some("5"),
                "_INBOX.a.2.8",
                refused(5, None),
            ),
            (
                409,
                "Exceeded MaxRequestBatch of 10",
                None,
                "_INBOX.a.2.64",
                refused(64, Some(10)),
            ),
            (
                409,
                "Exceeded MaxRequestBatch of 0",
                None,
                "_INBOX.a.2.64",
                refused(64, None),
            ),
            (408, "", Some("x"), "_INBOX.a.x", expired(0)),
            (100, "Idle Heartbeat", None, "_INBOX.a.2.64", Reply::Other),
        ] {
            let got = interpret(status, description, said, subject);
            assert_eq!(got, expected, "{status} {description}");
        }
        assert_eq!(subject("_INBOX.a", 3, 64), "_INBOX.a.3.64");
    }

    #[test]
    fn pauses_grow_and_end_with_success() {
        let mut now = Instant::now();
        let mut pause = Pause::default();
        assert!(pause.is_over(now));
        for expected in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            let again = pause.after_failure(now);
            assert_eq!(again, Duration::from_millis(expected));
            assert_eq!(pause.after_failure(now), again, "the same failure");
            assert!(!pause.is_over(now));
            now += again;
            assert!(pause.is_over(now));
        }
        pause.after_success();
        assert_eq!(pause.after_failure(now), FIRST_PAUSE);
    }
}
