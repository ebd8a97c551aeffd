//! Accept or doubt a message that somebody sent over chatter.
//!
//! Pure. Anything may arrive here: a report is believed only if it is well formed and speaks for the region under whose
//! subject it was sent, which the NATS servers' permissions tie to a sender.

use frontdoor_protocol::report::{Report, ReportError};
use frontdoor_protocol::subject;

/// Why a message is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Doubt {
    /// It is no report.
    #[error(transparent)]
    Malformed(#[from] ReportError),
    /// It speaks for another region than its subject says.
    #[error("a report of {claimed} on another region's subject")]
    Impostor {
        /// Whom it claims to speak for.
        claimed: String,
    },
}

// === impl Doubt ===

impl Doubt {
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Impostor { .. } => "impostor",
        }
    }
}

/// Reads a message.
pub(super) fn read(subject: &str, payload: &[u8]) -> Result<Report, Doubt> {
    let report = Report::decode(payload)?;
    if subject::report(&report.region) == subject {
        Ok(report)
    } else {
        Err(Doubt::Impostor {
            claimed: report.region.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use frontdoor_protocol::report::VERSION;

    use super::*;

    #[test]
    fn only_a_regions_own_word_counts() {
        let report = Report {
            v: VERSION,
            region: "us-east".parse().expect("valid"),
            epoch: 1,
            seq: 1,
            draining: true,
            queued: 0,
            running: 0,
            full: true,
            functions: vec![],
        };
        assert_eq!(
            read("fd.report.us-east", &report.encode()),
            Ok(report.clone())
        );
        assert!(matches!(
            read("fd.report.eu-west", &report.encode()),
            Err(Doubt::Impostor { .. })
        ));
        assert!(matches!(
            read("fd.report.us-east", b"{"),
            Err(Doubt::Malformed(_))
        ));
    }
}
