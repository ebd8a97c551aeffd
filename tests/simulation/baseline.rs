//! How others choose, in as few words as possible. All of them know where each function is deployed and move a call
//! after a failure by the same rules as we do; what differs is the choice.

use frontdoor::region::RegionIndex;
use frontdoor::route::Tried;

use crate::random::Random;
use crate::region::Region;
use crate::world::World;

/// Who chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chooser {
    /// The code of this product.
    Ours,
    /// The nearest region that passes checks.
    Nearest,
    /// Rings of distance as Envoy's priorities: overprovisioning 1.4, panic below 50 %, least requests of two within a
    /// ring, ejection for 30 s after 5 failures in a row.
    Envoy,
    /// Two at random, the one with the lower Peak-EWMA by calls on their way (Finagle, Linkerd).
    TwoChoices,
    /// The region with the largest share of free slots by the last report, a second old at most.
    LeastLoaded,
    /// The nearest region that passes slow checks, looked up once in 30 s.
    Dns,
    /// Sees all queues as they are, and all calls on their way to them, and takes the least time to first byte.
    Oracle,
}

/// What a baseline's edge knows.
#[derive(Debug)]
pub(crate) struct Plain {
    regions: Vec<Seen>,
    /// By function: until when a looked-up answer is used, and the answer.
    answers: Vec<(u64, usize)>,
}

/// What a choice is about.
pub(crate) struct Question<'a> {
    /// Regions that have the function, nearest first.
    pub(crate) near: &'a [u8],
    pub(crate) rtt: &'a [f64],
    pub(crate) function: usize,
    pub(crate) tried: &'a Tried,
    pub(crate) now: u64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    up: bool,
    misses: u32,
    good: u32,
    failures: u32,
    ejected_until: u64,
    in_flight: u32,
    ewma: f64,
    at: u64,
}

/// How long an answer of DNS is used, in microseconds.
const TTL: u64 = 30_000_000;
/// How far a ring of priorities reaches, in milliseconds beyond the nearest region.
const RINGS: [f64; 3] = [30.0, 100.0, f64::INFINITY];
const EJECTED: u64 = 30_000_000;

// === impl Chooser ===

impl Chooser {
    pub(crate) const ALL: [Self; 7] = [
        Self::Oracle,
        Self::Ours,
        Self::Nearest,
        Self::Envoy,
        Self::TwoChoices,
        Self::LeastLoaded,
        Self::Dns,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Nearest => "nearest",
            Self::Envoy => "envoy",
            Self::TwoChoices => "p2c-ewma",
            Self::LeastLoaded => "least-loaded",
            Self::Dns => "dns-30s",
            Self::Oracle => "oracle",
        }
    }
}

// === impl Plain ===

impl Plain {
    pub(crate) fn new(world: &World, edge: usize) -> Self {
        let seen = |rtt: &f64| Seen {
            up: true,
            misses: 0,
            good: 0,
            failures: 0,
            ejected_until: 0,
            in_flight: 0,
            ewma: *rtt,
            at: 0,
        };
        Self {
            regions: world.rtt[edge].iter().map(seen).collect(),
            answers: vec![(0, 0); world.functions.len()],
        }
    }

    /// A check each second: three bad ones in a row are down, two good ones up. DNS checks each ten seconds.
    pub(crate) fn checked(&mut self, region: usize, good: bool) {
        let seen = &mut self.regions[region];
        if good {
            seen.misses = 0;
            seen.good += 1;
            seen.up |= seen.good >= 2;
        } else {
            seen.good = 0;
            seen.misses += 1;
            seen.up &= seen.misses < 3;
        }
    }

    pub(crate) fn sent(&mut self, region: usize) {
        self.regions[region].in_flight += 1;
    }

    pub(crate) fn ended(&mut self, region: usize) {
        self.regions[region].in_flight -= 1;
    }

    pub(crate) fn answered(&mut self, region: usize, ms: f64, now: u64) {
        let seen = &mut self.regions[region];
        seen.failures = 0;
        let keep = (-((now - seen.at) as f64) / 10e6).exp();
        seen.ewma = if ms > seen.ewma {
            ms
        } else {
            seen.ewma * keep + ms * (1.0 - keep)
        };
        seen.at = now;
    }

    pub(crate) fn failed(&mut self, region: usize, now: u64) {
        let seen = &mut self.regions[region];
        seen.failures += 1;
        if seen.failures >= 5 {
            seen.failures = 0;
            seen.ejected_until = now + EJECTED;
        }
    }

    pub(crate) fn choose(
        &mut self,
        chooser: Chooser,
        question: &Question<'_>,
        loads: &[Vec<f32>],
        random: &mut Random,
    ) -> Option<usize> {
        let Question {
            near,
            function,
            tried,
            now,
            ..
        } = *question;
        let open = |region: &usize| !tried.contains(RegionIndex(*region));
        let all = || near.iter().map(|r| usize::from(*r)).filter(open);
        let up = |region: &usize| self.regions[*region].up;
        match chooser {
            Chooser::Nearest => all().find(up).or_else(|| all().next()),
            Chooser::Dns => {
                let (until, answer) = self.answers[function];
                if until > now {
                    return Some(answer).filter(open);
                }
                let answer = near.iter().map(|r| usize::from(*r)).find(up);
                let answer = answer.unwrap_or_else(|| usize::from(near[0]));
                // The first answer was looked up some time ago.
                let age = if until == 0 { random.next() % TTL } else { 0 };
                self.answers[function] = (now + TTL - age, answer);
                Some(answer).filter(open)
            }
            Chooser::TwoChoices => {
                let mut up: Vec<usize> = all().filter(up).collect();
                if up.is_empty() {
                    up = all().collect();
                }
                let cost = |region: usize| {
                    let seen = &self.regions[region];
                    seen.ewma * (1.0 + f64::from(seen.in_flight))
                };
                two(&up, random, cost)
            }
            Chooser::LeastLoaded => {
                let load = |region: &usize| loads[*region][function];
                let best = |all: &mut dyn Iterator<Item = usize>| {
                    all.min_by(|a, b| load(a).total_cmp(&load(b)))
                };
                best(&mut all().filter(up)).or_else(|| best(&mut all()))
            }
            Chooser::Envoy => self.envoy(question, random),
            Chooser::Ours | Chooser::Oracle => None,
        }
    }

    fn envoy(&self, question: &Question<'_>, random: &mut Random) -> Option<usize> {
        let Question {
            near,
            rtt,
            tried,
            now,
            ..
        } = *question;
        let well = |region: &usize| {
            let seen = &self.regions[*region];
            seen.up && seen.ejected_until <= now
        };
        let first = rtt[usize::from(near[0])];
        let ring = |region: usize| RINGS.iter().position(|r| rtt[region] - first <= *r);
        let all: Vec<usize> = near.iter().map(|r| usize::from(*r)).collect();
        let healthy = all.iter().filter(|r| well(r)).count();
        let panic = healthy * 2 < all.len();
        let mut left = 1.0;
        let mut draw = random.unit();
        let mut candidates: Vec<usize> = Vec::new();
        for level in 0..RINGS.len() {
            let members: Vec<usize> = all
                .iter()
                .copied()
                .filter(|r| ring(*r) == Some(level))
                .collect();
            if members.is_empty() {
                continue;
            }
            let well: Vec<usize> = members
                .iter()
                .copied()
                .filter(|r| panic || well(r))
                .collect();
            let share = (1.4 * well.len() as f64 / members.len() as f64).min(left);
            if !well.is_empty() {
                candidates = well;
            }
            if draw < share {
                break;
            }
            draw -= share;
            left -= share;
        }
        candidates.retain(|region| !tried.contains(RegionIndex(*region)));
        if candidates.is_empty() {
            candidates = all;
            candidates.retain(|region| !tried.contains(RegionIndex(*region)));
        }
        two(&candidates, random, |region| {
            f64::from(self.regions[region].in_flight)
        })
    }
}

/// The cheaper of two different ones at random.
fn two(all: &[usize], random: &mut Random, cost: impl Fn(usize) -> f64) -> Option<usize> {
    match all {
        [] => None,
        [only] => Some(*only),
        _ => {
            let one = random.below(all.len());
            let two = (one + 1 + random.below(all.len() - 1)) % all.len();
            let (one, two) = (all[one], all[two]);
            Some(if cost(two) < cost(one) { two } else { one })
        }
    }
}

/// The region that gives the first byte first.
pub(crate) fn oracle(question: &Question<'_>, regions: &[Region], cold: u64) -> Option<usize> {
    let Question {
        near,
        rtt,
        function,
        tried,
        now,
    } = *question;
    let open = near.iter().map(|r| usize::from(*r));
    let open = open.filter(|region| !tried.contains(RegionIndex(*region)));
    let timed = open.filter_map(|region| {
        let way = (rtt[region] * 500.0) as u64;
        let wait = regions[region].wait(function, now + way, cold)?;
        Some((2 * way + wait, region))
    });
    timed.min().map(|(_, region)| region)
}
