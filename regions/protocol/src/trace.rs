//! The call's place in a distributed trace: `traceparent` (W3C Trace Context, level 1), continued or begun.
//!
//! Pure: the header and fresh randomness in, a header out. What a caller sends wrongly is not passed on: a new trace begins.
//! Each program that takes part puts a span of its own between the one before it and the one behind it.

use std::fmt;

use http::HeaderName;

/// The header it travels in.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What others in the trace say to each other; means nothing without it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The same for everything that belongs together; never 0.
    pub id: u128,
    /// Our own part in it; never 0.
    pub span: u64,
    /// Whether it is recorded, as whoever began it decided.
    pub flags: u8,
    /// Whose part ours belongs to; the caller's, if it began the trace.
    pub parent: Option<u64>,
}

/// Of version 00; a later one may be longer.
const LENGTH: usize = 55;
/// A trace that begins here is recorded by who records.
const SAMPLED: u8 = 1;

// === impl Trace ===

impl Trace {
    /// Continues the caller's trace with a part of our own, or begins one. There must be one header at most.
    #[must_use]
    pub fn read(header: Option<&[u8]>, fresh: u128, span: u64) -> Self {
        let span = span.max(1);
        match header.and_then(parse) {
            Some((id, parent, flags)) => Self {
                id,
                span,
                flags,
                parent: Some(parent),
            },
            None => Self {
                id: fresh.max(1),
                span,
                flags: SAMPLED,
                parent: None,
            },
        }
    }

    /// Whether it came with the call.
    #[must_use]
    pub const fn is_continued(&self) -> bool {
        self.parent.is_some()
    }

    /// Whether it is to be recorded.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Records a share of the traces that begin here, of 2³²; whoever began another one has decided. All who see a trace's id
    /// decide alike.
    #[must_use]
    pub fn sampled(self, share: u64) -> Self {
        let drawn = u64::from(u32::try_from(self.id & u128::from(u32::MAX)).unwrap_or(0));
        match self.is_continued() || drawn < share {
            true => self,
            false => Self {
                flags: self.flags & !SAMPLED,
                ..self
            },
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.id, self.span, self.flags
        )
    }
}

/// The trace, the caller's part in it, and its flags; nothing if the header is not as it must be.
fn parse(header: &[u8]) -> Option<(u128, u64, u8)> {
    let text = std::str::from_utf8(header).ok()?;
    let dashes = [2, 35, 52].iter().all(|&at| header.get(at) == Some(&b'-'));
    let lower = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let part = |from, to| text.get(from..to).filter(|part| lower(part));
    let version = part(0, 2)?;
    // Version ff is forbidden; a later one than ours may go on after a dash.
    let length = match version {
        "ff" => false,
        "00" => header.len() == LENGTH,
        _ => header.len() == LENGTH || header.get(LENGTH) == Some(&b'-'),
    };
    let id = u128::from_str_radix(part(3, 35)?, 16).ok()?;
    let parent = u64::from_str_radix(part(36, 52)?, 16).ok()?;
    let flags = u8::from_str_radix(part(53, 55)?, 16).ok()?;
    (dashes && length && id != 0 && parent != 0).then_some((id, parent, flags & SAMPLED))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(header: &str) -> Trace {
        Trace::read(Some(header.as_bytes()), 7, 9)
    }

    #[test]
    fn a_callers_trace_goes_on_with_our_part() {
        let trace = read(GOOD);
        assert_eq!(trace.parent, Some(0x00f0_67aa_0ba9_02b7));
        assert!(trace.is_recorded());
        assert_eq!(
            trace.to_string(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000009-01"
        );
        let unrecorded = read(&GOOD.replace("-01", "-00"));
        assert_eq!((unrecorded.is_continued(), unrecorded.flags), (true, 0));
        let later = format!("cc{}-what-comes-later", &GOOD[2..]);
        assert!(
            read(&later).is_continued(),
            "a later version is read as ours"
        );
    }

    #[test]
    fn what_is_wrong_begins_anew() {
        let long = format!("{GOOD}-more");
        let upper = GOOD.to_uppercase();
        let forbidden = format!("ff{}", &GOOD[2..]);
        for wrong in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b-01",
            &long,
            &upper,
            &forbidden,
        ] {
            let trace = read(wrong);
            assert!(!trace.is_continued() && trace.id == 7, "{wrong}");
        }
        assert_eq!(Trace::read(None, 0, 0).id, 1, "never the forbidden zero");
    }

    #[test]
    fn a_share_of_what_begins_here_is_recorded() {
        let half = 1 << 31;
        let began = |id: u128| Trace::read(None, id, 9);
        for (id, share, recorded) in [
            (1, 0, false),
            (1, 1 << 32, true),
            (u128::from(u32::MAX), 1 << 32, true),
            (half, half.try_into().expect("small"), false),
            (half - 1, half.try_into().expect("small"), true),
        ] {
            assert_eq!(began(id).sampled(share).is_recorded(), recorded, "{id}");
        }
        assert!(read(GOOD).sampled(0).is_recorded(), "the caller decided");
    }
}
