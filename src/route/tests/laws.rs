//! What holds of every decision, whatever the regions are like: tried on generated worlds.

use proptest::prelude::*;

use super::*;
use crate::region::Health;
use crate::route::rank;
use crate::route::world::{Known, Site};
use crate::table::RISKIER;

/// One region in a few numbers: health and risk of each endpoint, round-trip time, draining, weight.
type Sketch = (Vec<(u8, f64)>, Option<u32>, bool, f64);

fn sketch() -> impl Strategy<Value = Sketch> {
    let risk = prop_oneof![
        2 => Just(0.0_f64),
        1 => 0.0_f64..0.03,
        1 => 0.0_f64..1.0,
    ];
    (
        proptest::collection::vec((0_u8..4, risk), 0..4),
        proptest::option::of(0_u32..2_000_000),
        proptest::bool::weighted(0.2),
        0.001..100.0,
    )
}

/// Builds views as the table does: a region is as well as the best of its endpoints, and fails as rarely as the best of those.
fn build(sketches: Vec<Sketch>) -> Snapshot {
    let regions = sketches.into_iter().enumerate();
    world(
        regions
            .map(|(n, (endpoints, rtt, draining, weight))| {
                let name = format!("r{n}");
                let mut view = region(&name, Health::Down, 0);
                view.endpoints = (1..)
                    .zip(endpoints)
                    .map(|(port, (health, risk))| EndpointView {
                        address: SocketAddr::from(([127, 0, 0, 1], port)),
                        health: Health::ALL[usize::from(health)],
                        rtt: None,
                        tally: Arc::default(),
                        dropped: false,
                        risk,
                        grey: false,
                    })
                    .collect();
                let best = view.endpoints.iter().map(|e| e.health).max();
                view.health = best.unwrap_or(Health::Down);
                let usable = view.endpoints.iter().filter(|e| e.health == view.health);
                let risk = usable.map(|e| e.risk).min_by(f64::total_cmp);
                view.risk = risk.unwrap_or_default();
                view.rtt = rtt.map(|micros| Duration::from_micros(u64::from(micros)));
                (view.draining, view.weight) = (draining, weight);
                view
            })
            .collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_decision_is_open_best_and_made_whenever_there_is_one(
        sketches in proptest::collection::vec(sketch(), 0..8),
        been in proptest::collection::vec(0_usize..8, 0..4),
        seed in any::<u64>(),
    ) {
        let snapshot = build(sketches);
        let mut ask = Ask::default();
        been.into_iter().for_each(|region| ask.tried.add(RegionIndex(region)));
        let open = || {
            snapshot.regions.iter().enumerate().filter(|(index, view)| {
                !view.draining && !view.endpoints.is_empty() && !ask.tried.contains(RegionIndex(*index))
            })
        };
        let policy = Policy::default();
        let decision = decide(&snapshot, &policy, &ask, seed);
        prop_assert_eq!(decision.is_ok(), open().next().is_some());
        prop_assert_eq!(decision, decide(&snapshot, &policy, &ask, seed), "the seed decides");
        if let Ok(decision) = decision {
            let (_, view) = open()
                .find(|(index, _)| *index == decision.region.0)
                .expect("neither draining, nor tried, nor without an address");
            let endpoint = view.endpoints.iter().find(|e| e.address == decision.address);
            prop_assert_eq!(endpoint.map(|e| e.health), Some(view.health));
            let sure = endpoint.is_some_and(|e| e.risk <= view.risk + RISKIER);
            prop_assert!(sure, "nothing riskier while there is better: {:?}", view.endpoints);
            let best = open().filter_map(|(_, view)| rank::tier(&Site::from(view), &Known::Nothing)).min();
            prop_assert_eq!(rank::tier(&Site::from(view), &Known::Nothing), best, "nothing worse while there is better");
        }
    }
}
