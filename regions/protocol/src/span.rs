//! Lengths of time as people write them in configuration: `"250ms"`, `"2m"`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nothing is meant to take longer, and what can be written beyond it is more than can be added to a clock.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// A [`Duration`] that is written as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span = humantime::parse_duration(&text).map_err(|_| {
            serde::de::Error::custom(format!(
                "`{text}` is not a length of time: write 250ms, 10s or 2m"
            ))
        })?;
        if span > LONGEST {
            let rule = format!("`{text}` is longer than ten years: write less");
            return Err(serde::de::Error::custom(rule));
        }
        Ok(Self(span))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_people_do() {
        for (text, ms) in [("250ms", 250), ("2m", 120_000), ("1s 500ms", 1_500)] {
            let span: Span = serde_json::from_str(&format!("{text:?}")).expect(text);
            assert_eq!(span.0, Duration::from_millis(ms));
            let again: Span = serde_json::from_str(&serde_json::to_string(&span).expect("text"))
                .expect("round trip");
            assert_eq!(again, span);
        }
        assert!(
            serde_json::from_str::<Span>("\"10\"").is_err(),
            "a number without a unit"
        );
    }

    #[test]
    fn every_span_can_be_added_to_the_clock() {
        let longest = serde_json::from_str::<Span>("\"3650days\"").expect("ten years");
        let now = std::time::Instant::now();
        assert!(now.checked_add(longest.0 * 1000).is_some());
        for text in ["11years", "584542046090years", "18446744073709551615s"] {
            assert!(serde_json::from_str::<Span>(&format!("{text:?}")).is_err());
        }
    }
}
