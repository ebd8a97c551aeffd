//! The bars that drills are held to. They stand in `ops/slo.md`, in the block that this file reads: text for people and
//! numbers for programs in one place. (pure)

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

use super::figures::Figures;
use super::kind::Drill;

/// The document.
const TEXT: &str = include_str!("../../slo.md");

/// Every bar of every drill.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slo {
    #[expect(dead_code, reason = "held against the alert rules by a test")]
    service: toml::Table,
    drill: BTreeMap<String, Bars>,
}

/// The bars of one drill; what is absent is not judged.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bars {
    detect_ms: Option<f64>,
    /// Beyond the normal time.
    reroute_ms: Option<f64>,
    failed_not_started: Option<usize>,
    twice: Option<usize>,
    /// Calls lost with the region: so many seconds' worth of traffic, beyond what is under way all the time.
    lost_s: Option<f64>,
    misrouted_share: Option<f64>,
    return_ms: Option<f64>,
}

// === impl Slo ===

impl Slo {
    pub(super) fn shipped() -> anyhow::Result<Self> {
        let block = TEXT
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        toml::from_str(block.context("ops/slo.md has no toml block")?)
            .context("the block of ops/slo.md is not right")
    }

    /// The bars of a drill: its own, and the default's where it has none.
    pub(super) fn bars(&self, drill: Drill) -> Bars {
        let of = |name: &str| self.drill.get(name).cloned().unwrap_or_default();
        let (own, default) = (of(drill.as_str()), of("default"));
        Bars {
            detect_ms: own.detect_ms.or(default.detect_ms),
            reroute_ms: own.reroute_ms.or(default.reroute_ms),
            failed_not_started: own.failed_not_started.or(default.failed_not_started),
            twice: own.twice.or(default.twice),
            lost_s: own.lost_s.or(default.lost_s),
            misrouted_share: own.misrouted_share.or(default.misrouted_share),
            return_ms: own.return_ms.or(default.return_ms),
        }
    }
}

// === impl Bars ===

impl Bars {
    /// What is worse than promised, in words; nothing if all is well.
    pub(super) fn broken(&self, drill: Drill, rate: u32, found: &Figures) -> Vec<String> {
        let mut broken = Vec::new();
        let mut ms = |what: &str, found: Option<f64>, bar: Option<f64>| {
            if let (Some(found), Some(bar)) = (found, bar)
                && found > bar
            {
                broken.push(format!("{what} {found:.0} ms > {bar:.0} ms"));
            }
        };
        ms("detect", found.detect_ms, self.detect_ms);
        ms(
            "reroute beyond the normal time",
            found.reroute_p99_ms.map(|p99| p99 - found.calm_p99_ms),
            self.reroute_ms,
        );
        ms("return", found.return_ms, self.return_ms);
        if drill.returns() && found.return_ms.is_none() {
            broken.push("traffic did not return".to_owned());
        }
        if drill.returns() && found.detect_ms.is_none() {
            broken.push("the fault was not noticed".to_owned());
        }
        let mut count = |what: &str, found: usize, bar: Option<usize>| {
            if bar.is_some_and(|bar| found > bar) {
                broken.push(format!("{what} {found} > {}", bar.unwrap_or_default()));
            }
        };
        count(
            "failed though not started",
            found.failed_not_started,
            self.failed_not_started,
        );
        count("ran twice", found.twice.unwrap_or_default(), self.twice);
        let lost = found.failed_in_doubt + found.failed_started;
        if let Some(seconds) = self.lost_s {
            // What is under way in calm weather is with a region as well when it is lost; where nothing may be lost,
            // that makes no difference.
            let under_way = if seconds > 0.0 {
                found.calm_p99_ms / 1000.0
            } else {
                0.0
            };
            // Rounding down a small positive number is what is meant.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let bar = (f64::from(rate) * (seconds + under_way)) as usize;
            count("lost with the region", lost, Some(bar));
        }
        if let (Some(share), Some(bar)) = (found.misrouted_share, self.misrouted_share)
            && share > bar
        {
            broken.push(format!(
                "misrouted {:.2} % > {:.2} %",
                share * 100.0,
                bar * 100.0
            ));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Figures {
        Figures {
            calls: 1000,
            detect_ms: Some(100.0),
            last_to_broken_ms: Some(100.0),
            rerouted: 10,
            reroute_p99_ms: Some(200.0),
            calm_p99_ms: 20.0,
            failed_not_started: 0,
            failed_in_doubt: 0,
            failed_started: 0,
            replayed: Some(10.0),
            twice: Some(0),
            misrouted_share: Some(0.0),
            return_ms: Some(7000.0),
        }
    }

    #[test]
    fn the_document_has_bars_for_every_drill_and_for_nothing_else() {
        let slo = Slo::shipped().expect("right");
        for name in slo.drill.keys().filter(|name| *name != "default") {
            assert!(name.parse::<Drill>().is_ok(), "{name} is no drill");
        }
        for drill in Drill::ALL {
            let bars = slo.bars(drill);
            assert_eq!(
                (bars.failed_not_started, bars.twice),
                (Some(0), Some(0)),
                "{drill}"
            );
            assert!(bars.lost_s.is_some(), "{drill}");
        }
    }

    #[test]
    fn each_bar_can_be_broken() {
        let bars = Slo::shipped().expect("right").bars(Drill::RegionKill);
        assert_eq!(
            bars.broken(Drill::RegionKill, 300, &good()),
            Vec::<String>::new()
        );
        for bad in [
            Figures {
                detect_ms: Some(1001.0),
                ..good()
            },
            Figures {
                detect_ms: None,
                ..good()
            },
            Figures {
                reroute_p99_ms: Some(1500.0),
                ..good()
            },
            Figures {
                failed_not_started: 1,
                ..good()
            },
            Figures {
                failed_in_doubt: 200,
                ..good()
            },
            Figures {
                failed_started: 200,
                ..good()
            },
            Figures {
                twice: Some(1),
                ..good()
            },
            Figures {
                misrouted_share: Some(0.5),
                ..good()
            },
            Figures {
                return_ms: None,
                ..good()
            },
        ] {
            assert_eq!(
                bars.broken(Drill::RegionKill, 300, &bad).len(),
                1,
                "{bad:?}"
            );
        }
    }
}
