//! The drills: what each breaks, how long it lets that last, and where traffic should be meanwhile. (pure)

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drill {
    /// Every process of a region dies at once.
    RegionKill,
    /// Every process of a region stands still.
    RegionHang,
    /// The way to a region becomes slow.
    RegionSlow,
    /// The NATS hub dies.
    NatsHubLoss,
    /// A region's own NATS dies.
    RegionNatsLoss,
    /// A region's link to the hub goes silent.
    LeafCut,
    /// DNS answers an address where nobody is.
    DnsStale,
    /// DNS answers nothing at all.
    DnsDead,
    /// A region's worker dies.
    WorkerCrash,
    /// A region's invocation service dies.
    InvocationCrash,
    /// A region's invocation service dies and returns, again and again.
    Flap,
    /// A share of what is sent to a region ends in a reset.
    Gray,
    /// An operator takes a region out and puts it back.
    Drain,
    /// The edge's certificate is replaced.
    CertRotate,
    /// The edge's configuration is replaced, also by one that is wrong.
    ConfigReload,
    /// The edge's program is replaced.
    EdgeUpgrade,
}

/// Where traffic should be while the fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Away from the region.
    Leaves,
    /// Where it was.
    Stays,
    /// Either is right.
    Either,
}

/// How long each part of a drill takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// Load before the fault.
    pub(super) warm_up: Duration,
    /// From fault to heal.
    pub(super) fault: Duration,
    /// After this much of the fault everybody must have understood it.
    pub(super) settled: Duration,
    /// How long to wait for traffic to return.
    pub(super) patience: Duration,
    /// Load after the return.
    pub(super) after: Duration,
}

/// A name that is no drill's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no drill: `frontdoor drill list` shows them all")]
pub struct UnknownDrill(String);

// === impl Drill ===

impl Drill {
    /// All of them, in the order they are run.
    pub const ALL: [Self; 16] = [
        Self::RegionKill,
        Self::RegionHang,
        Self::RegionSlow,
        Self::NatsHubLoss,
        Self::RegionNatsLoss,
        Self::LeafCut,
        Self::DnsStale,
        Self::DnsDead,
        Self::WorkerCrash,
        Self::InvocationCrash,
        Self::Flap,
        Self::Gray,
        Self::Drain,
        Self::CertRotate,
        Self::ConfigReload,
        Self::EdgeUpgrade,
    ];

    /// Its name on the command line and in the SLO.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RegionKill => "region-kill",
            Self::RegionHang => "region-hang",
            Self::RegionSlow => "region-slow",
            Self::NatsHubLoss => "nats-hub-loss",
            Self::RegionNatsLoss => "region-nats-loss",
            Self::LeafCut => "leaf-cut",
            Self::DnsStale => "dns-stale",
            Self::DnsDead => "dns-dead",
            Self::WorkerCrash => "worker-crash",
            Self::InvocationCrash => "invocation-crash",
            Self::Flap => "flap",
            Self::Gray => "gray-5pct",
            Self::Drain => "drain",
            Self::CertRotate => "cert-rotate",
            Self::ConfigReload => "config-reload",
            Self::EdgeUpgrade => "edge-upgrade",
        }
    }

    /// What it does to the local stack, in one line.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::RegionKill => "SIGKILL to every process of the region, at once",
            Self::RegionHang => {
                "SIGSTOP to every process of the region: it accepts, and answers nothing"
            }
            Self::RegionSlow => "the one-way delay to the region becomes 400 ms",
            Self::NatsHubLoss => "SIGKILL to the NATS hub: no news from anybody",
            Self::RegionNatsLoss => "SIGKILL to the region's NATS: it can queue nothing",
            Self::LeafCut => "the region's link to the hub goes silent, and looks connected",
            Self::DnsStale => "DNS answers an address where nobody is, for the region",
            Self::DnsDead => "SIGKILL to the DNS server",
            Self::WorkerCrash => "SIGKILL to the region's worker",
            Self::InvocationCrash => "SIGKILL to the region's invocation service",
            Self::Flap => "SIGKILL to the region's invocation service and start again, every 2 s",
            Self::Gray => "5 % of what is sent to the region ends in a reset of its connection",
            Self::Drain => "the edge is told to drain the region, and to take it back",
            Self::CertRotate => "the edge's certificate files are replaced, and SIGHUP",
            Self::ConfigReload => {
                "the edge's configuration is replaced, then by a wrong one, then as it was; SIGHUP each"
            }
            Self::EdgeUpgrade => {
                "three times a new edge process takes over the ports, while event streams are open"
            }
        }
    }

    pub(super) const fn traffic(self) -> Traffic {
        match self {
            Self::RegionKill
            | Self::RegionHang
            | Self::RegionSlow
            | Self::RegionNatsLoss
            | Self::WorkerCrash
            | Self::InvocationCrash
            | Self::Drain => Traffic::Leaves,
            Self::NatsHubLoss
            | Self::LeafCut
            | Self::DnsStale
            | Self::DnsDead
            | Self::CertRotate
            | Self::ConfigReload
            | Self::EdgeUpgrade => Traffic::Stays,
            // A region that mostly works may be used or not, as long as calls do not meet the fault.
            Self::Flap | Self::Gray => Traffic::Either,
        }
    }

    /// Whether traffic has to find its way back after the heal.
    pub(super) fn returns(self) -> bool {
        self.traffic() == Traffic::Leaves || self == Self::Flap
    }

    /// Whether the fault shows as a name in what the edge says of its regions.
    pub(super) fn is_named(self) -> bool {
        !matches!(
            self,
            Self::DnsStale
                | Self::DnsDead
                | Self::CertRotate
                | Self::ConfigReload
                | Self::EdgeUpgrade
        )
    }

    /// Event streams that are held open meanwhile; none of them may be cut.
    pub(super) const fn streams(self, short: bool) -> usize {
        match (self, short) {
            (Self::EdgeUpgrade, false) => 200,
            (Self::EdgeUpgrade, true) => 40,
            _ => 0,
        }
    }

    /// Slots of each worker of a stack of its own: as ever, and as many as it holds streams.
    pub(super) const fn slots(self) -> u16 {
        match self {
            Self::EdgeUpgrade => 320,
            _ => 64,
        }
    }

    pub(super) const fn times(self, short: bool) -> Times {
        let s = Duration::from_secs;
        let (warm_up, settled, after) = if short {
            (s(2), s(2), s(1))
        } else {
            (s(4), s(5), s(2))
        };
        let fault = match (self, short) {
            (Self::Flap, false) => s(60),
            (Self::Flap, true) => s(12),
            // Longer than the answers before it live.
            (Self::DnsStale | Self::DnsDead, true) => s(8),
            // Long enough for a chance in twenty to be a share.
            (Self::Gray | Self::DnsStale | Self::DnsDead, false) => s(15),
            // What is judged is what is so after five seconds: three more of them.
            (_, false) => s(8),
            (_, true) => s(4),
        };
        // A region that returns waits out its hold-down and twenty good probes.
        let patience = s(45);
        Times {
            warm_up,
            fault,
            settled,
            patience,
            after,
        }
    }
}

impl fmt::Display for Drill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Drill {
    type Err = UnknownDrill;

    fn from_str(text: &str) -> Result<Self, UnknownDrill> {
        let found = Self::ALL.into_iter().find(|drill| drill.as_str() == text);
        found.ok_or_else(|| UnknownDrill(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drill_has_a_name_of_its_own() {
        for drill in Drill::ALL {
            assert_eq!(drill.as_str().parse(), Ok(drill));
            assert!(drill.times(true).settled < drill.times(true).fault);
            assert!(drill.times(false).settled < drill.times(false).fault);
        }
        assert!("region-kil".parse::<Drill>().is_err());
    }
}
