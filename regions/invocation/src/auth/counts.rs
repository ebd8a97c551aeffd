//! What authorisation counts: questions to the authority, files read again, revocations heard. Labels are enums.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Seconds to an authority's answer: from a neighbour on this machine to the default time limit.
const ASK_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0];

/// What a question to the authority came to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// No answer, or none that can be read.
    Failed,
}

/// What a changed keys file came to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reread {
    /// Its keys are in use.
    Taken,
    /// It is wrong; the keys from before stay.
    Refused,
}

/// What a message on the subject of revocations came to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heard {
    /// A key is refused from now on.
    Taken,
    /// It was already.
    Known,
    /// It is no revocation.
    Malformed,
}

/// All families of this module.
pub(super) struct Counts {
    asks: [IntCounter; 3],
    rereads: [IntCounter; 2],
    revocations: [IntCounter; 3],
    /// `frontdoor_invocation_auth_ask_seconds`: question put to answer read.
    pub(super) ask: Histogram,
    /// `frontdoor_invocation_auth_stale_total`: verdicts used past their time, one for each question that failed.
    pub(super) stale: IntCounter,
    /// `frontdoor_invocation_auth_keys`: keys known without asking.
    pub(super) keys: IntGauge,
}

// === impl Counts ===

impl Counts {
    /// Registers all families.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = HistogramOpts::new(full("ask_seconds"), "Question put to answer read");
        let ask = Histogram::with_opts(opts.buckets(ASK_BUCKETS.to_vec()))?;
        let help = "Verdicts of the authority used past their time";
        let stale = IntCounter::new(full("stale_total"), help)?;
        let keys = IntGauge::new(full("keys"), "Keys known without asking an authority")?;
        registry.register(Box::new(ask.clone()))?;
        registry.register(Box::new(stale.clone()))?;
        registry.register(Box::new(keys.clone()))?;
        Ok(Self {
            asks: counters(
                registry,
                "asks_total",
                "Questions to the authority by what they came to",
                ["allowed", "denied", "failed"],
            )?,
            rereads: counters(
                registry,
                "keys_reloads_total",
                "Changed keys files by what they came to",
                ["taken", "refused"],
            )?,
            revocations: counters(
                registry,
                "revocations_total",
                "Revocations heard by what they came to",
                ["taken", "known", "malformed"],
            )?,
            ask,
            stale,
            keys,
        })
    }

    pub(super) fn asked(&self, what: Asked) {
        self.asks[what as usize].inc();
    }

    pub(super) fn reread(&self, what: Reread) {
        self.rereads[what as usize].inc();
    }

    pub(super) fn heard(&self, what: Heard) {
        self.revocations[what as usize].inc();
    }
}

fn full(name: &str) -> String {
    format!("frontdoor_invocation_auth_{name}")
}

fn counters<const N: usize>(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: [&'static str; N],
) -> Result<[IntCounter; N], prometheus::Error> {
    let family = IntCounterVec::new(Opts::new(full(name), help), &["outcome"])?;
    registry.register(Box::new(family.clone()))?;
    Ok(labels.map(|label| family.with_label_values(&[label])))
}
