//! Where calls go when functions come and go, and when a region is full: to where a worker is free, at the first try.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use test_support::eventually::eventually;
use test_support::load::{Call, Load, failures};
use test_support::world::World;

use crate::world;

/// News of a function that came or went is acted upon within this time.
const FOLLOWS: Duration = Duration::from_secs(1);
/// How long each state of affairs lasts.
const LASTS: Duration = Duration::from_secs(3);
/// Three regions, each farther than the one before.
const THREE: &[&str] = &[
    "--regions",
    "us-east,eu-west,ap-south",
    "--wan",
    "us-east=2ms,eu-west=40ms,ap-south=80ms",
];
/// Calls a second.
const RATE: u32 = 100;

/// A stack whose regions are all measured and reported, so that the nearest one is home.
async fn settled(args: &[&str]) -> Arc<World> {
    let world = world(args);
    eventually(
        "all regions are known",
        Duration::from_secs(10),
        async || {
            let all = world.admin("/regions").await.ok()?;
            let known = |r: &serde_json::Value| {
                r["health"] == "up" && r["trust"].is_number() && r["rtt_ms"].is_number()
            };
            let regions = all["regions"].as_array()?;
            regions.iter().all(known).then_some(())
        },
    )
    .await;
    world
}

/// Calls, and how often the edge tried each of them.
struct Tried<'a> {
    calls: &'a [Call],
    attempts: HashMap<String, String>,
}

impl<'a> Tried<'a> {
    /// By the edge's access log, where a call's line comes when it is over: its caller may know a little before.
    async fn read(world: &World, calls: &'a [Call]) -> Self {
        eventually("the log has all calls", FOLLOWS * 5, async || {
            let tried = Self::of(&world.log("edge"), calls);
            let known = |c: &Call| !c.answered() || tried.attempts.contains_key(&c.id);
            let all = calls.iter().all(known);
            all.then_some(tried)
        })
        .await
    }

    fn of(log: &str, calls: &'a [Call]) -> Self {
        let of = |line: &str, name: &str| {
            let rest = line.split(&format!(" {name}=")).nth(1)?;
            Some(rest.split(' ').next()?.to_owned())
        };
        let lines = log.lines();
        let attempts = lines.filter_map(|line| Some((of(line, "id")?, of(line, "attempts")?)));
        Self {
            calls,
            attempts: attempts.collect(),
        }
    }

    /// The calls sent from `from` on and before `to`, and whether `region` answered each at the first try.
    fn first(
        &self,
        region: &str,
        from: Duration,
        to: Duration,
    ) -> impl Iterator<Item = (&'a Call, bool)> {
        let sent = self.calls.iter().filter(move |c| c.at >= from && c.at < to);
        sent.map(move |c| {
            let once = self.attempts.get(&c.id).is_some_and(|n| n == "1");
            (c, once && c.region == region)
        })
    }
}

/// A stretch of time, and where calls belong in it.
struct Stretch {
    what: &'static str,
    region: &'static str,
    from: Duration,
    to: Duration,
}

impl Stretch {
    /// From now on for a while.
    async fn of(load: &Load, what: &'static str, region: &'static str) -> Self {
        let from = load.started.elapsed();
        tokio::time::sleep(LASTS).await;
        Self {
            what,
            region,
            from,
            to: load.started.elapsed(),
        }
    }

    /// From a second after its beginning, calls reach the region at the first try: all but one in a hundred, for on a busy
    /// machine a probe is lost now and then, and a call made before the next one is tried elsewhere.
    fn holds(&self, tried: &Tried<'_>) {
        let Self {
            what, region, to, ..
        } = *self;
        let all: Vec<_> = tried.first(region, self.from, to).collect();
        let wrong = all.iter().rev().find(|(_, right)| !right);
        let followed = wrong.map_or(Duration::ZERO, |(c, _)| c.at - self.from);
        let after: Vec<_> = all
            .iter()
            .filter(|(c, _)| c.at >= self.from + FOLLOWS)
            .collect();
        println!(
            "{what}: {} calls; from {followed:?} on all at the first try in {region}",
            all.len()
        );
        assert!(after.len() >= 100, "{what}: {} calls", after.len());
        let astray = after.iter().filter(|(_, right)| !right).count();
        assert!(
            astray * 100 <= after.len(),
            "{what}: {astray} of {}",
            after.len()
        );
    }
}

#[tokio::test]
async fn a_function_of_one_region_is_called_there_at_the_first_try() {
    // The nearest does not know it; the next knows it and has nobody for it.
    let mut args = THREE.to_vec();
    args.extend(["--set", "us-east/invocation:functions=[]"]);
    let world = settled(&args).await;
    world
        .local(&["kill", "eu-west/worker", "--signal", "TERM"])
        .expect("stopped");
    tokio::time::sleep(FOLLOWS).await;
    let load = Load::start(&world, RATE, &[]).await.expect("a load");
    tokio::time::sleep(LASTS).await;
    let calls = load.end().await;
    assert_eq!(failures(&calls), "");
    let tried = Tried::read(&world, &calls).await;
    let all: Vec<_> = tried
        .first("ap-south", Duration::ZERO, Duration::MAX)
        .collect();
    let good = all.iter().filter(|(_, right)| *right).count();
    println!("{good} of {} calls at the first try in ap-south", all.len());
    assert!(all.len() >= 200);
    assert_eq!(good, all.len());
}

/// Deployed is where workers are. They come before the others leave, and after, and leave without a word.
#[tokio::test]
async fn calls_follow_a_function_to_where_it_is() {
    let world = settled(THREE).await;
    let leave = |region: &str, signal: &str| {
        let part = format!("{region}/worker");
        world
            .local(&["kill", &part, "--signal", signal])
            .expect("gone");
    };
    let come = |region: &str| {
        let part = format!("{region}/worker");
        world.local(&["start", &part]).expect("started");
    };
    leave("ap-south", "TERM");
    leave("eu-west", "TERM");
    tokio::time::sleep(FOLLOWS).await;
    let load = Load::start(&world, RATE, &[]).await.expect("a load");
    let mut stretches = vec![Stretch::of(&load, "only in the nearest", "us-east").await];
    // The next comes first, then the nearest leaves.
    come("ap-south");
    leave("us-east", "TERM");
    stretches.push(Stretch::of(&load, "moved to the farthest", "ap-south").await);
    come("us-east");
    stretches.push(Stretch::of(&load, "back in the nearest", "us-east").await);
    leave("us-east", "KILL");
    stretches.push(Stretch::of(&load, "crashed in the nearest", "ap-south").await);
    come("us-east");
    stretches.push(Stretch::of(&load, "back after the crash", "us-east").await);
    leave("ap-south", "TERM");
    // Nobody has it for a while: what was called meanwhile waits, and goes where it comes.
    let gap = load.started.elapsed();
    leave("us-east", "TERM");
    tokio::time::sleep(FOLLOWS).await;
    come("eu-west");
    stretches.push(Stretch::of(&load, "moved to the middle after a gap", "eu-west").await);
    let calls = load.end().await;
    // What ran in the instant of the crash is lost with its worker, and nothing else is.
    let crash = stretches[3].from;
    let lost =
        |c: &Call| c.problem.ends_with("worker-lost") && c.at <= crash && c.at + FOLLOWS >= crash;
    let failed = calls.iter().filter(|c| !c.answered() && !lost(c));
    let failed: Vec<Call> = failed.cloned().collect();
    assert_eq!(failures(&failed), "");
    let with_it = calls.iter().filter(|c| lost(c)).count();
    assert!(with_it <= 5, "{with_it} calls were lost with a worker");
    let tried = Tried::read(&world, &calls).await;
    for stretch in &stretches {
        stretch.holds(&tried);
    }
    let came = stretches.last().map_or(gap, |last| last.from);
    let longest = calls
        .iter()
        .filter(|c| c.at >= gap)
        .map(|c| (c.at + c.took).saturating_sub(came.max(c.at)))
        .max();
    println!(
        "{} calls, {with_it} lost with the worker that crashed; of those that met the gap of {:?} the last was answered {longest:?} after it, or after \
         it was sent",
        calls.len(),
        came - gap
    );
    assert!(longest.is_some_and(|longest| longest < FOLLOWS * 2));
}

/// Calls that a region runs at once, and how long they take: not all as long, for those that began together would end
/// together, and nobody could tell what waits for a slot how long it will.
const SLOTS: usize = 32;
const TOOK: [u64; 3] = [300, 500, 700];
/// Calls a second, a third of each kind: fifty at once, for thirty-two places near and as many far.
const BUSY: u32 = 100;
/// The ways to the near region and to the far one, there and back.
const WAYS: [Duration; 2] = [Duration::from_millis(4), Duration::from_millis(80)];
/// What a call may be expected to wait near rather than go far: the way that it saves, the tenth by which regions are peers, and
/// the slot that is the next to be free, of 32 that take half a second each.
const WORTH: Duration = Duration::from_millis(76 + 8 + 16);
/// What the queue's way takes longer than the short one, which waits 10 ms for the next slot before: publish, pull and claim, in
/// a build that is not optimised.
const QUEUE: Duration = Duration::from_millis(25);

#[tokio::test]
async fn what_a_full_region_cannot_take_spills_to_the_next() {
    let slots = |region: &str| format!("{region}/worker:slots={SLOTS}");
    let (near, far) = (slots("us-east"), slots("eu-west"));
    let mut args = crate::NEAR_AND_FAR.to_vec();
    args.extend(["--set", &near, "--set", &far]);
    let world = settled(&args).await;
    let mut loads = Vec::new();
    for took in TOOK {
        let path = format!("/sleep/{took}?n=");
        let load = Load::at(&world, BUSY / 3, &[], &path).await;
        loads.push((Duration::from_millis(took), load.expect("a load")));
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (from, to) = (Duration::from_secs(2), Duration::from_secs(9));
    // What each call took beyond its own work and way, by region.
    let (mut here, mut there, mut worked) = (Vec::new(), Vec::new(), Duration::ZERO);
    for (took, load) in loads {
        let calls = load.end().await;
        assert_eq!(failures(&calls), "");
        for call in calls.iter().filter(|c| c.at >= from && c.at < to) {
            let beyond = call.took.saturating_sub(took);
            if call.region == "us-east" {
                here.push(beyond.saturating_sub(WAYS[0]));
                worked += took;
            } else {
                there.push(beyond.saturating_sub(WAYS[1]));
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let used = worked.as_secs_f64() / (SLOTS as f64 * (to - from).as_secs_f64());
    let quantiles = |all: &mut Vec<Duration>| {
        all.sort_unstable();
        let at = |percent: usize| all.get((all.len() * percent / 100).min(all.len().max(1) - 1));
        [50, 90, 99, 100].map(|percent| at(percent).copied().unwrap_or_default())
    };
    let (near, far) = (quantiles(&mut here), quantiles(&mut there));
    let count = u32::try_from(here.len()).expect("hundreds");
    // What the platform itself takes is seen where nothing waits.
    let (mean, platform) = (here.iter().sum::<Duration>() / count.max(1), far[0]);
    let waited = mean.saturating_sub(platform);
    let long = here.iter().filter(|w| **w > platform + WORTH * 2);
    let long = long.count();
    println!(
        "{count} calls near, {} far; the near places are used to {:.1} %; beyond its work and way a call took (p50, p90, \
         p99, all) near {near:?}, far {far:?}; near it waited for {waited:?} in the mean, {long} for more than twice what that \
         is worth",
        there.len(),
        used * 100.0,
    );
    assert!(used >= 0.9, "{used}");
    assert!(there.len() > 100, "it spills: {}", there.len());
    assert!(
        far[2] <= far[0] + WORTH / 2,
        "nothing waits where slots are free: {far:?}"
    );
    assert!(waited <= WORTH + QUEUE, "{waited:?}");
    assert!(long * 20 <= here.len(), "{long} of {count}");
}
