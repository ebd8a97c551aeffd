//! What goes wrong, and when.

use crate::random::Random;
use crate::region::Life;
use crate::world::{Size, World};

/// A kind of weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    Calm,
    /// A day in the run: where it is afternoon there is more work than slots.
    Diurnal,
    /// The busiest region refuses connections for a third of the run.
    Loss,
    /// One call in twenty fails there.
    Grey,
    /// No report reaches anybody for a third of the run.
    Partition,
    /// The busiest region goes and comes every two seconds.
    Flap,
    /// Many functions have a worker in one of their regions only.
    Cold,
    /// As diurnal, and the busiest region says that it is idle.
    Lies,
    /// Anything, from the seed.
    Storm,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    Life(usize, Life),
    Grey(usize, f64),
    Bus(bool),
    Lies(usize, bool),
    Drain(usize, bool),
    /// A function leaves a region, or comes to it.
    Deploy(usize, usize, bool),
}

/// How reports travel: shares of lost and doubled ones, and how late they may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bus {
    pub(crate) lost: f64,
    pub(crate) doubled: f64,
    pub(crate) late_ms: f64,
}

// === impl Scenario ===

impl Scenario {
    pub(crate) const ALL: [Self; 8] = [
        Self::Calm,
        Self::Diurnal,
        Self::Loss,
        Self::Grey,
        Self::Partition,
        Self::Flap,
        Self::Cold,
        Self::Lies,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Diurnal => "diurnal",
            Self::Loss => "region loss",
            Self::Grey => "grey 5 %",
            Self::Partition => "bus cut",
            Self::Flap => "flapping",
            Self::Cold => "cold",
            Self::Lies => "lies",
            Self::Storm => "storm",
        }
    }

    pub(crate) fn size(self, size: Size) -> Size {
        Size {
            cold: if self == Self::Cold { 0.3 } else { size.cold },
            swing: if matches!(self, Self::Diurnal | Self::Lies) {
                0.9
            } else {
                size.swing
            },
            ..size
        }
    }

    pub(crate) const fn bus(self) -> Bus {
        if matches!(self, Self::Storm) {
            Bus {
                lost: 0.1,
                doubled: 0.1,
                late_ms: 800.0,
            }
        } else {
            Bus {
                lost: 0.001,
                doubled: 0.001,
                late_ms: 20.0,
            }
        }
    }

    /// When it is bad, in seconds.
    pub(crate) const fn window(self, size: &Size) -> (u64, u64) {
        (size.seconds / 3, size.seconds * 2 / 3)
    }

    /// What happens, in order, at microseconds.
    pub(crate) fn changes(self, world: &World, seed: u64) -> Vec<(u64, Change)> {
        let (from, until) = self.window(&world.size);
        let (from, until) = (from * 1_000_000, until * 1_000_000);
        let target = world.busiest();
        match self {
            Self::Calm | Self::Diurnal | Self::Cold => Vec::new(),
            Self::Loss => vec![
                (from, Change::Life(target, Life::Killed)),
                (until, Change::Life(target, Life::Up)),
            ],
            Self::Grey => vec![
                (from, Change::Grey(target, 0.05)),
                (until, Change::Grey(target, 0.0)),
            ],
            Self::Partition => vec![(from, Change::Bus(false)), (until, Change::Bus(true))],
            Self::Flap => (from / 2_000_000..until / 2_000_000)
                .map(|n| {
                    let life = if n % 2 == 0 { Life::Killed } else { Life::Up };
                    (n * 2_000_000, Change::Life(target, life))
                })
                .chain([(until, Change::Life(target, Life::Up))])
                .collect(),
            Self::Lies => vec![
                (from, Change::Lies(target, true)),
                (until, Change::Lies(target, false)),
            ],
            Self::Storm => storm(world, seed),
        }
    }
}

/// A few faults at once, at random.
fn storm(world: &World, seed: u64) -> Vec<(u64, Change)> {
    let mut random = Random::new(seed ^ 0x0005_7023);
    let length = world.size.seconds * 1_000_000;
    let mut changes = Vec::new();
    for _ in 0..2 + random.below(5) {
        let from = random.next() % length;
        let until = from + random.next() % (length / 2);
        let region = random.below(world.size.regions);
        let function = random.below(world.functions.len());
        let (bad, good) = match random.below(8) {
            0 | 1 => (
                Change::Life(region, Life::Killed),
                Change::Life(region, Life::Up),
            ),
            2 => (
                Change::Life(region, Life::Hung),
                Change::Life(region, Life::Up),
            ),
            3 => (
                Change::Grey(region, random.unit()),
                Change::Grey(region, 0.0),
            ),
            4 => (Change::Bus(false), Change::Bus(true)),
            5 => (Change::Lies(region, true), Change::Lies(region, false)),
            6 => (Change::Drain(region, true), Change::Drain(region, false)),
            _ => (
                Change::Deploy(region, function, false),
                Change::Deploy(region, function, true),
            ),
        };
        changes.extend([(from, bad), (until, good)]);
    }
    changes.sort_by_key(|change| change.0);
    changes
}
