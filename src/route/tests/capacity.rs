//! A call waits only where that is the sooner way: tried on generated worlds of regions that are well, of which some have
//! free slots and some let calls wait.
//!
//! What follows from it over time, with queues that grow and shrink, is shown by `tests/simulation/capacity.rs`.

use proptest::prelude::*;

use super::oracle::{Sketch, build, function};
use super::*;
use crate::route::rank::{self, Tier};

/// A region that is well, takes its whole share, has the function or says nothing, and is about as full as not.
fn sketch() -> impl Strategy<Value = Sketch> {
    let queued = prop_oneof![Just(0_u32), 0_u32..20];
    let said = prop_oneof![
        1 => Just(None),
        9 => (0_u32..20, 0_u32..10, queued).prop_map(|said| Some(Some(said))),
    ];
    let risk = prop_oneof![
        3 => Just(0.0_f64),
        1 => 0.0_f64..0.02,
    ];
    let numbers = (1_u64..200, said, 0_u8..8, 0.1_f64..4.0, risk);
    numbers.prop_map(|(rtt, said, flights, weight, risk)| Sketch {
        rtt,
        checks: 0,
        said,
        flights,
        taught: 3,
        weight,
        risk,
    })
}

/// Whether calls may go there in calm weather, all of its share.
fn is_open(place: &Place) -> bool {
    let Place { site, known, .. } = place;
    rank::tier(site, known) == Some(Tier::Well)
        && rank::presence(site, known).may_serve()
        && rank::share(site, known) >= 1.0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_call_waits_longer_than_the_way_to_a_free_slot_takes(
        sketches in proptest::collection::vec(sketch(), 2..12),
        age in prop_oneof![Just(0_u64), 0_u64..60_000],
        seed in any::<u64>(),
    ) {
        let (snapshot, _flights) = build(&sketches, Duration::from_millis(age));
        let (policy, ask) = (Policy::default(), Ask { function: Some(function()), ..Ask::default() });
        let made = decide(&snapshot, &policy, &ask, seed).expect("all are well");
        let trace = Trace::record(&snapshot, &policy, &ask, seed);
        prop_assert!(trace.places.iter().all(is_open), "the sketch is of such");
        let predicted = |place: &Place| rank::predicted(&place.site, &place.known, &policy);
        let chosen = predicted(&trace.places[made.region.0]);
        for place in &trace.places {
            let other = predicted(place);
            if other.wait + other.cold <= 0.0 {
                let (total, bound) = (chosen.total(), rank::peer_bound(other.total(), &policy));
                prop_assert!(total <= bound, "{chosen:?}, and {} is free: {total} ms, at most {bound}", place.name);
            }
        }
    }
}
