//! Whether a region may be drained without harm (pure): the others must be well, enough of them must be left, and
//! they must have room for what moves.
//!
//! It is a check at the moment of the order, by what this edge knows. An operator who knows better says `force`.

use std::fmt;

use frontdoor_protocol::names::RegionName;

/// One region, as far as a drain cares.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Its name.
    pub name: RegionName,
    /// It answers, and takes calls.
    pub serves: bool,
    /// Calls that run there, as far as it told.
    pub running: u64,
    /// Calls that it could take at once; none if it did not tell.
    pub free: Option<u64>,
    /// Functions that have live workers there and in no other region that serves.
    pub alone: usize,
}

/// Why a drain is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The edge has no such region.
    Unknown,
    /// No other region would be left that serves.
    Last,
    /// Less than half of the regions would be left.
    TooFew {
        /// Regions that would serve.
        left: usize,
        /// Regions in all.
        of: usize,
    },
    /// Nobody else has workers for some functions.
    Alone {
        /// How many functions.
        functions: usize,
    },
    /// The others have not enough room.
    NoRoom {
        /// Calls that would move.
        moving: u64,
        /// Calls that the others can take at once.
        free: u64,
    },
}

/// What moves needs a little more than itself: it arrives unevenly.
const MARGIN: f64 = 1.2;

/// Whether `region` may be drained.
///
/// # Errors
/// If it should not be.
pub fn may_drain(regions: &[Standing], region: &RegionName) -> Result<(), Refusal> {
    let leaving = regions
        .iter()
        .find(|r| r.name == *region)
        .ok_or(Refusal::Unknown)?;
    let others = || regions.iter().filter(|r| r.name != *region && r.serves);
    let left = others().count();
    if left == 0 {
        return Err(Refusal::Last);
    }
    if left * 2 < regions.len() {
        let of = regions.len();
        return Err(Refusal::TooFew { left, of });
    }
    if leaving.alone > 0 {
        let functions = leaving.alone;
        return Err(Refusal::Alone { functions });
    }
    // A region that tells nothing of its room says neither yes nor no.
    let told: Option<Vec<u64>> = others().map(|r| r.free).collect();
    let Some(free) = told.map(|free| free.iter().fold(0_u64, |sum, f| sum.saturating_add(*f)))
    else {
        return Ok(());
    };
    #[expect(clippy::cast_precision_loss, reason = "calls are counted in thousands")]
    let enough = free as f64 >= leaving.running as f64 * MARGIN;
    if enough {
        Ok(())
    } else {
        let moving = leaving.running;
        Err(Refusal::NoRoom { moving, free })
    }
}

// === impl Refusal ===

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("this edge has no such region"),
            Self::Last => f.write_str("no other region would be left that serves"),
            Self::TooFew { left, of } => {
                write!(
                    f,
                    "only {left} of {of} regions would be left, and at least half must be"
                )
            }
            Self::Alone { functions } => write!(
                f,
                "{functions} function(s) have workers there and in no other region that serves"
            ),
            Self::NoRoom { moving, free } => write!(
                f,
                "{moving} calls would move, and the other regions have room for {free} (a fifth more than moves is wanted)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(text: &[(&str, bool, u64, Option<u64>)]) -> Vec<Standing> {
        text.iter()
            .map(|&(name, serves, running, free)| Standing {
                name: name.parse().expect("valid"),
                serves,
                running,
                free,
                alone: 0,
            })
            .collect()
    }

    #[test]
    fn a_drain_needs_somewhere_to_go() {
        let a = "a".parse().expect("valid");
        let cases = [
            (
                vec![("a", true, 10, Some(0)), ("b", true, 0, Some(12))],
                Ok(()),
            ),
            (
                vec![("a", true, 10, Some(0)), ("b", true, 0, Some(11))],
                Err(Refusal::NoRoom {
                    moving: 10,
                    free: 11,
                }),
            ),
            (vec![("a", true, 10, Some(0)), ("b", true, 0, None)], Ok(())),
            (
                vec![("a", true, 10, Some(0)), ("b", false, 0, Some(99))],
                Err(Refusal::Last),
            ),
            (vec![("a", true, 0, None)], Err(Refusal::Last)),
            (
                vec![
                    ("a", true, 0, None),
                    ("b", true, 0, None),
                    ("c", false, 0, None),
                ],
                Err(Refusal::TooFew { left: 1, of: 3 }),
            ),
            (vec![("b", true, 0, None)], Err(Refusal::Unknown)),
        ];
        for (regions, verdict) in cases {
            assert_eq!(may_drain(&world(&regions), &a), verdict, "{regions:?}");
        }
        let mut regions = world(&[("a", true, 0, None), ("b", true, 0, None)]);
        regions[0].alone = 2;
        assert_eq!(
            may_drain(&regions, &a),
            Err(Refusal::Alone { functions: 2 })
        );
    }
}
