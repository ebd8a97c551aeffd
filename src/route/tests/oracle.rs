//! The quick choice against the plainest one: on generated worlds of reports, loads, lessons and ages, both are the same.

use std::time::Instant;

use frontdoor_protocol::names::{FunctionId, RegionName};
use frontdoor_protocol::report::{FunctionReport, Report, VERSION};
use frontdoor_protocol::target::Target;
use proptest::prelude::*;

use super::*;
use crate::region::Endpoint;
use crate::route::choose::RISKY;
use crate::route::rank::{self, Tier};
use crate::table::{Event, Limits, ProbeOutcome, RISKIER, ServedOutcome, Table};

/// What a region said: nothing, that it has not the function, or slots, free and queued of it.
pub(super) type Said = Option<Option<(u32, u32, u32)>>;

/// One region.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    /// Its round-trip time in milliseconds.
    pub(super) rtt: u64,
    /// Its last checks: those above three were missed.
    pub(super) checks: u8,
    pub(super) said: Said,
    /// Calls in flight there.
    pub(super) flights: u8,
    /// What calls taught: that it is not there, that it fails, that it failed a while ago; nothing from three on.
    pub(super) taught: u8,
    pub(super) weight: f64,
    /// The share of calls that fails there.
    pub(super) risk: f64,
}

pub(super) fn function() -> FunctionId {
    "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"
        .parse()
        .expect("valid")
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let said = prop_oneof![
        1 => Just(None),
        1 => Just(Some(None)),
        4 => (0_u32..20, 0_u32..20, 0_u32..30).prop_map(|said| Some(Some(said))),
    ];
    let rtt = prop_oneof![Just(10), 1_u64..200];
    // Around the share from which on a region is nobody's home, and up to where no distance makes up for it.
    let risk = prop_oneof![
        2 => Just(0.0_f64),
        1 => 0.0_f64..0.03,
        1 => 0.0_f64..1.0,
    ];
    let numbers = (rtt, 0_u8..8, said, 0_u8..6, 0_u8..8, 0.1_f64..4.0, risk);
    numbers.prop_map(
        |(rtt, checks, said, flights, taught, weight, risk)| Sketch {
            rtt,
            checks,
            said,
            flights,
            taught,
            weight,
            risk,
        },
    )
}

fn report(region: RegionName, said: Option<(u32, u32, u32)>) -> Report {
    let one = said.map(|(slots, free, queued)| FunctionReport {
        function: function(),
        version: "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11"
            .parse()
            .expect("valid"),
        deployed: true,
        workers: slots.min(1),
        slots,
        free,
        queued,
        service_ms: 100 * (slots % 3),
        mute: false,
    });
    Report {
        v: VERSION,
        region,
        epoch: 1,
        seq: 1,
        draining: false,
        queued: 0,
        running: 0,
        full: true,
        functions: one.into_iter().collect(),
    }
}

/// The snapshot after all of it, so much later, and the calls that are on their way.
pub(super) fn build(sketches: &[Sketch], age: Duration) -> (Snapshot, Vec<crate::region::Flight>) {
    let now = Instant::now();
    let name = |n: usize| -> RegionName { format!("r{n}").parse().expect("valid") };
    let named = sketches.iter().enumerate();
    let named = named.map(|(n, sketch)| (name(n), sketch.weight));
    let mut table = Table::new(named, Limits::default());
    let address = |n: usize| SocketAddr::from(([127, 0, 0, 1], u16::try_from(n).expect("few") + 1));
    let target = Some(Target {
        function: function(),
        version: None,
    });
    for (n, sketch) in sketches.iter().enumerate() {
        let region = RegionIndex(n);
        let endpoint = Endpoint {
            region,
            address: address(n),
        };
        let addresses = vec![address(n)];
        table.apply(Event::Resolved { region, addresses }, now);
        let good = ProbeOutcome::Good(Duration::from_millis(sketch.rtt));
        let bad = (0..sketch.checks.saturating_sub(3)).map(|_| ProbeOutcome::Bad);
        for outcome in std::iter::once(good).chain(bad) {
            table.apply(Event::Probed { endpoint, outcome }, now);
        }
        if let Some(said) = sketch.said {
            table.apply(Event::Heard(report(name(n), said)), now);
        }
        let lesson = match sketch.taught {
            0 => Some(ServedOutcome::NotHere),
            1 | 2 => Some(ServedOutcome::Declined),
            _ => None,
        };
        for outcome in lesson.into_iter().cycle().take(5) {
            let event = Event::Served {
                endpoint,
                outcome,
                target,
            };
            table.apply(event, now);
        }
        if sketch.taught == 2 {
            table.apply(Event::Tick, now + Duration::from_secs(6));
        }
    }
    let snapshot = risky(table.snapshot(now + age), sketches);
    let row = snapshot.row(function(), None);
    let mut flights = Vec::new();
    for (n, sketch) in sketches.iter().enumerate() {
        let depart = |_| snapshot.depart(RegionIndex(n), address(n), row);
        flights.extend((0..sketch.flights).map(depart));
    }
    (snapshot, flights)
}

/// The same with the share of calls that fails in each region, which a table would learn by and by. Each has a second
/// address, where twice as many fail.
fn risky(world: Snapshot, sketches: &[Sketch]) -> Snapshot {
    let Snapshot {
        epoch,
        mut regions,
        catalog,
        ..
    } = world;
    for (view, sketch) in regions.iter_mut().zip(sketches) {
        view.risk = sketch.risk;
        for endpoint in &mut view.endpoints {
            endpoint.risk = sketch.risk;
        }
        let second = view.endpoints.first().map(|first| EndpointView {
            address: SocketAddr::from(([127, 0, 0, 2], first.address.port())),
            tally: Arc::default(),
            risk: (sketch.risk * 2.0).min(1.0),
            ..first.clone()
        });
        view.endpoints.extend(second);
    }
    Snapshot::new(epoch, regions, catalog)
}

/// The same choice in the plainest way, as the oracle of the quick one: everything is read, nothing is left early.
fn plainly(trace: &Trace) -> Option<(RegionIndex, Reason)> {
    let (policy, ask, draw) = (&trace.policy, &trace.ask, Draw::new(trace.seed));
    let read = |&region: &RegionIndex| {
        let Place { site, known, .. } = &trace.places[region.0];
        (region, *site, *known)
    };
    let all: Vec<_> = trace.order.iter().map(read).collect();
    let (mut rivals, mut passed) = (Vec::new(), None);
    let (mut best, mut nearest) = (f64::INFINITY, None);
    for (region, site, known) in &all {
        let well = rank::tier(site, known) == Some(Tier::Well) && !ask.tried.contains(*region);
        let parts = rank::predicted(site, known, policy);
        let total = parts.total();
        let bound = rank::peer_bound(best, policy);
        if !well || (ask.affinity.is_none() && site.rtt > bound) {
            continue;
        }
        let share = rank::share(site, known);
        let why = if !rank::presence(site, known).may_serve() {
            Reason::NearerLacks
        } else if share < 1.0 && draw.unit(region.0, 0) >= share {
            Reason::NearerRamps
        } else {
            nearest.get_or_insert(parts);
            best = best.min(total);
            rivals.push((*region, *site, *known, total));
            continue;
        };
        if rivals.is_empty() {
            passed.get_or_insert(why);
        }
    }
    // Those that are left say that they have nobody, and another one says that it has.
    let nobody = rivals
        .iter()
        .all(|(_, site, known, _)| rank::idle(site, known));
    let somebody = all.iter().any(|(region, site, known)| {
        let tier = rank::tier(site, known);
        let open = tier.is_some_and(|tier| tier < Tier::LastResort);
        open && !ask.tried.contains(*region) && rank::staffed(site, known)
    });
    if nobody && somebody {
        return None;
    }
    let home = ask.affinity.and_then(|key| {
        let idle = rivals.iter().filter(|(_, site, known, _)| {
            let parts = rank::predicted(site, known, policy);
            parts.wait + parts.cold <= 0.0 && site.risk < RISKY
        });
        let likes = |(region, site, ..): &(RegionIndex, Site, Known, f64)| {
            (affinity::score(key, site.key, site.weight), *region)
        };
        idle.map(likes).max_by(|a, b| a.0.total_cmp(&b.0))
    });
    if let Some((_, home)) = home {
        return Some((home, Reason::Affinity));
    }
    let bound = rank::peer_bound(best, policy);
    let peers: Vec<_> = rivals.iter().filter(|rival| rival.3 <= bound).collect();
    let capacity = |p: &(RegionIndex, Site, Known, f64)| rank::offer(&p.1, &p.2, policy).capacity;
    let sum: f64 = peers.iter().map(|p| capacity(p)).sum();
    let drawn = |salt| {
        let mut left = draw.unit(0, salt) * sum;
        let hit = peers.iter().find(|p| {
            left -= capacity(p);
            left < 0.0
        });
        hit.or_else(|| peers.last())
    };
    let (one, two) = (drawn(1)?, drawn(2)?);
    let chosen = if two.3 < one.3 { two } else { one };
    let reason = passed.unwrap_or_else(|| match nearest {
        Some(parts) if parts.total() - parts.risk > bound => Reason::NearerBusy,
        Some(parts) if parts.total() > bound => Reason::NearerFails,
        _ => Reason::Nearest,
    });
    Some((chosen.0, reason))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_quick_choice_is_the_plain_one(
        sketches in proptest::collection::vec(sketch(), 0..12),
        been in proptest::collection::vec(0_usize..12, 0..3),
        affinity in proptest::option::weighted(0.2, any::<u64>()),
        known in proptest::bool::weighted(0.9),
        age in prop_oneof![Just(0_u64), 0_u64..60_000],
        seed in any::<u64>(),
    ) {
        let (snapshot, _flights) = build(&sketches, Duration::from_millis(age));
        let mut ask = Ask { function: known.then(function), affinity, ..Ask::default() };
        been.into_iter().for_each(|region| ask.tried.add(RegionIndex(region)));
        let policy = Policy::default();
        for (site, view) in snapshot.sites.iter().zip(&snapshot.regions) {
            prop_assert_eq!(site, &Site::from(view));
        }
        let trace = Trace::record(&snapshot, &policy, &ask, seed);
        let made = decide(&snapshot, &policy, &ask, seed);
        if let Ok(made) = made {
            let view = &snapshot.regions[made.region.0];
            let endpoint = view.endpoints.iter().find(|e| e.address == made.address);
            prop_assert!(endpoint.is_some_and(|e| e.risk <= view.risk + RISKIER));
        }
        let quick = made.map(|made| (made.region, made.reason));
        prop_assert_eq!(quick, trace.decide(), "of a copy");
        if let Some(plain) = plainly(&trace) {
            prop_assert_eq!(quick, Ok(plain));
        } else {
            let calm =
                [Reason::NearerBusy, Reason::NearerFails, Reason::NearerLacks, Reason::NearerRamps, Reason::Affinity];
            prop_assert!(quick.is_err() || quick.is_ok_and(|made| !calm.contains(&made.1)));
        }
    }
}
