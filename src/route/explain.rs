//! The words for a decision, as they stand in logs, metrics and `/regions`.

use super::Reason;

// === impl Reason ===

impl Reason {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::NearerRamps => "nearer-ramps",
            Self::OnlySuspects => "only-suspects",
            Self::FailOpen => "fail-open",
            Self::Holder => "holder",
        }
    }
}
