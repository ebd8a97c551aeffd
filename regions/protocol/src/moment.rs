//! Points in time as people write them in configuration: RFC 3339 in UTC, `"2027-01-31T12:00:00Z"`.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// A [`SystemTime`] that is written as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(pub SystemTime);

/// Why a text is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: write RFC 3339 in UTC, such as 2027-01-31T12:00:00Z")]
pub struct MomentError(String);

// === impl Moment ===

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        humantime::parse_rfc3339(text)
            .map(Self)
            .map_err(|_| MomentError(text.to_owned()))
    }
}

impl TryFrom<String> for Moment {
    type Error = MomentError;
    fn try_from(text: String) -> Result<Self, MomentError> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_rfc_3339_in_utc() {
        let moment: Moment = "2027-01-31T12:00:00Z".parse().expect("valid");
        assert_eq!(moment.to_string(), "2027-01-31T12:00:00Z");
        assert!(moment > Moment(SystemTime::UNIX_EPOCH));
        for wrong in [
            "2027-01-31",
            "2027-01-31T12:00:00+01:00",
            "tomorrow",
            "2027-13-31T12:00:00Z",
        ] {
            let error = wrong.parse::<Moment>().expect_err(wrong).to_string();
            assert!(error.contains("RFC 3339"), "{error}");
        }
    }
}
