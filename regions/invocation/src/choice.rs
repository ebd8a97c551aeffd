//! Which version a call gets when it names none (pure): facts about each version's workers and a seed in, one version out.
//!
//! Versions are drawn in proportion to the slots their workers have free, so that a rollout fills as it grows. A version
//! without a live worker is never drawn while another one has any. Asked by `front/invoke.rs`.

use crate::pending::Manners;
use crate::workers::Standing;

/// What is known of one version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// What its workers say, if they are of the kind that does and were heard lately.
    pub(crate) standing: Option<Standing>,
    /// How its workers attach: late ones never say how they stand, and may be there all the same.
    pub(crate) manners: Manners,
}

/// How much is known of a candidate, and how large its share of the draw is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    /// Workers are there, with so many slots.
    Live(u64),
    /// Workers may be there; they would not say.
    Silent,
    /// None were heard.
    Absent,
}

/// Draws one of the candidates by `seed`; its place among them. 0 if there is none.
pub(crate) fn choose(candidates: &[Candidate], seed: u64) -> usize {
    if candidates.len() < 2 {
        return 0;
    }
    // When nobody has a free slot, calls wait, and more workers shorten the wait.
    let any_free = candidates
        .iter()
        .any(|c| c.standing.is_some_and(|s| s.workers > 0 && s.free > 0));
    let shares: Vec<Share> = candidates.iter().map(|c| share(c, any_free)).collect();
    let live: Vec<u64> = shares.iter().filter_map(|share| share.live()).collect();
    // A silent version takes part as one that is like the others in the mean.
    let mean = match u64::try_from(live.len()) {
        Ok(count @ 1..) => (live.iter().sum::<u64>() / count).max(1),
        _ => 1,
    };
    let nobody = shares.iter().all(|share| *share == Share::Absent);
    let weight = |share: &Share| match share {
        Share::Live(slots) => *slots,
        Share::Silent => mean,
        Share::Absent => u64::from(nobody),
    };
    let total: u64 = shares.iter().map(weight).sum();
    let mut drawn = u64::try_from((u128::from(seed) * u128::from(total)) >> 64).unwrap_or(0);
    for (index, share) in shares.iter().enumerate() {
        match drawn.checked_sub(weight(share)) {
            Some(rest) => drawn = rest,
            None => return index,
        }
    }
    0
}

fn share(candidate: &Candidate, any_free: bool) -> Share {
    match (candidate.standing, candidate.manners) {
        (Some(s), _) if s.workers > 0 && any_free => Share::Live(u64::from(s.free)),
        (Some(s), _) if s.workers > 0 => Share::Live(u64::from(s.slots.max(1))),
        (_, Manners::Late) => Share::Silent,
        (_, Manners::Claiming) => Share::Absent,
    }
}

// === impl Share ===

impl Share {
    const fn live(self) -> Option<u64> {
        match self {
            Self::Live(slots) => Some(slots),
            Self::Silent | Self::Absent => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Workers, slots, free; no workers at all is `None`.
    fn heard(workers: u32, slots: u32, free: u32) -> Candidate {
        Candidate {
            standing: Some(Standing {
                workers,
                slots,
                free,
                service: Duration::ZERO,
            }),
            manners: Manners::Claiming,
        }
    }

    fn unheard(manners: Manners) -> Candidate {
        Candidate {
            standing: None,
            manners,
        }
    }

    /// Evenly spread seeds, and how many of a thousand draws each candidate got.
    fn draws(candidates: &[Candidate]) -> Vec<usize> {
        let mut got = vec![0; candidates.len()];
        for n in 0..1000_u64 {
            got[choose(candidates, n * (u64::MAX / 1000))] += 1;
        }
        got
    }

    #[test]
    fn drawn_by_free_slots() {
        let absent = || unheard(Manners::Claiming);
        for (candidates, shares) in [
            (vec![heard(1, 10, 10)], vec![1000]),
            (vec![heard(1, 8, 1), heard(1, 8, 3)], vec![250, 750]),
            (vec![heard(1, 8, 0), heard(1, 8, 3)], vec![0, 1000]),
            // Nobody is free: by size.
            (vec![heard(1, 2, 0), heard(3, 6, 0)], vec![250, 750]),
            // No live worker: never, while another has one, and be it busy.
            (vec![absent(), heard(1, 1, 0)], vec![0, 1000]),
            (
                vec![heard(0, 0, 0), heard(1, 1, 1), absent()],
                vec![0, 1000, 0],
            ),
            // Nobody was heard at all: evenly.
            (vec![absent(), heard(0, 0, 0)], vec![500, 500]),
            // Workers that do not say how they stand may be there.
            (vec![unheard(Manners::Late), absent()], vec![1000, 0]),
            (vec![unheard(Manners::Late), heard(1, 4, 4)], vec![500, 500]),
        ] {
            for (got, share) in draws(&candidates).iter().zip(&shares) {
                assert!(
                    got.abs_diff(*share) <= 2,
                    "{candidates:?}: {got} of {share}"
                );
            }
        }
    }

    #[test]
    fn no_seed_finds_a_version_without_workers() {
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 33
        };
        for _ in 0..20_000 {
            let count = 1 + usize::try_from(next() % 5).expect("small");
            let candidates: Vec<Candidate> = (0..count)
                .map(|_| match next() % 4 {
                    0 => unheard(Manners::Claiming),
                    1 => heard(0, 0, 0),
                    _ => {
                        let slots = 1 + u32::try_from(next() % 64).expect("small");
                        let free = u32::try_from(next()).expect("31 bits") % (slots + 1);
                        heard(1, slots, free)
                    }
                })
                .collect();
            let seed = next() << 33 | next();
            let chosen = choose(&candidates, seed);
            let standing = |c: &Candidate| c.standing.unwrap_or_default();
            let live = |c: &Candidate| standing(c).workers > 0;
            assert!(chosen < count);
            if candidates.iter().any(live) {
                assert!(live(&candidates[chosen]), "{candidates:?} {seed}");
            }
            if candidates.iter().any(|c| standing(c).free > 0) {
                assert!(
                    standing(&candidates[chosen]).free > 0,
                    "{candidates:?} {seed}"
                );
            }
        }
    }
}
