//! Settings of what is kept of calls to explain them.

use frontdoor_protocol::config::RuleError;

use super::file::ExplainFile;
use super::settings::require;

/// What is kept of calls to explain them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExplainSettings {
    /// Of calls that neither moved nor failed, this share; of those that did, all.
    pub share: f64,
    /// The last so many of each of the two kinds.
    pub kept: usize,
}

/// With fifty regions a call that moved takes about 20 kB.
const MOST_KEPT: usize = 100_000;

// === impl ExplainSettings ===

impl Default for ExplainSettings {
    fn default() -> Self {
        Self {
            share: 0.01,
            kept: 500,
        }
    }
}

pub(super) fn explain(file: &ExplainFile) -> Result<ExplainSettings, RuleError> {
    let base = ExplainSettings::default();
    let explain = ExplainSettings {
        share: file.share.unwrap_or(base.share),
        kept: file.kept.unwrap_or(base.kept),
    };
    require(
        (0.0..=1.0).contains(&explain.share),
        "explain.share",
        "must be from 0 to 1",
    )?;
    require(
        explain.kept <= MOST_KEPT,
        "explain.kept",
        "must be at most 100000: each takes some kilobytes",
    )?;
    Ok(explain)
}
