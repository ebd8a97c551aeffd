//! Accept or doubt a message that somebody sent over chatter.
//!
//! Pure. Anything may arrive here: a report or verdict is believed only if it is well formed and speaks for the region or
//! edge under whose subject it was sent, which the NATS servers' permissions tie to a sender.

use frontdoor_protocol::report::{Report, ReportError};
use frontdoor_protocol::subject;
use frontdoor_protocol::verdict::{Verdict, VerdictError};

/// Why a message is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Doubt {
    /// It is no report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// It is no verdict.
    #[error(transparent)]
    Verdict(#[from] VerdictError),
    /// It speaks for somebody else than its subject says.
    #[error("a message of {claimed} on another's subject")]
    Impostor {
        /// Whom it claims to speak for.
        claimed: String,
    },
}

// === impl Doubt ===

impl Doubt {
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Report(ReportError::TooLarge) | Self::Verdict(VerdictError::TooLarge) => {
                "too-large"
            }
            Self::Report(ReportError::Version(_)) | Self::Verdict(VerdictError::Version(_)) => {
                "version"
            }
            Self::Report(_) | Self::Verdict(_) => "malformed",
            Self::Impostor { .. } => "impostor",
        }
    }
}

/// Reads a region's report.
pub(super) fn report(subject: &str, payload: &[u8]) -> Result<Report, Doubt> {
    let report = Report::decode(payload)?;
    own(subject, &subject::report(&report.region), &report.region)?;
    Ok(report)
}

/// Reads another edge's verdict.
pub(super) fn verdict(subject: &str, payload: &[u8]) -> Result<Verdict, Doubt> {
    let verdict = Verdict::decode(payload)?;
    own(subject, &subject::verdict(verdict.edge), &verdict.edge)?;
    Ok(verdict)
}

fn own(subject: &str, right: &str, claimed: &impl ToString) -> Result<(), Doubt> {
    if subject == right {
        Ok(())
    } else {
        let claimed = claimed.to_string();
        Err(Doubt::Impostor { claimed })
    }
}

#[cfg(test)]
mod tests {
    use frontdoor_protocol::{report as reports, verdict as verdicts};

    use super::*;

    #[test]
    fn only_a_regions_own_word_counts() {
        let said = Report {
            v: reports::VERSION,
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
            report("fd.report.us-east", &said.encode()),
            Ok(said.clone())
        );
        let check = |subject: &str, bytes: &[u8]| report(subject, bytes).map_err(|d| d.as_str());
        assert_eq!(check("fd.report.eu-west", &said.encode()), Err("impostor"));
        assert_eq!(check("fd.report.us-east", b"{"), Err("malformed"));
        let newer = Report { v: 9, ..said };
        assert_eq!(check("fd.report.us-east", &newer.encode()), Err("version"));
        let large = vec![0; reports::SIZE_LIMIT + 1];
        assert_eq!(check("fd.report.us-east", &large), Err("too-large"));
    }

    #[test]
    fn only_an_edges_own_word_counts() {
        let said = Verdict {
            v: verdicts::VERSION,
            edge: 10,
            seq: 1,
            regions: vec![],
        };
        let right = "fd.edge.000000000000000a.verdict";
        assert_eq!(verdict(right, &said.encode()), Ok(said.clone()));
        let check = |subject: &str, bytes: &[u8]| verdict(subject, bytes).map_err(|d| d.as_str());
        let other = "fd.edge.000000000000000b.verdict";
        assert_eq!(check(other, &said.encode()), Err("impostor"));
        assert_eq!(check(right, b"\xff"), Err("malformed"));
        let large = vec![0; verdicts::SIZE_LIMIT + 1];
        assert_eq!(check(right, &large), Err("too-large"));
    }
}
