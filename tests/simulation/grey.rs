//! A region that fails one call in twenty, at the rate of the drill `gray-5pct`: three edges of 300 calls a second, and room
//! for all of it everywhere.

use crate::baseline::Chooser;
use crate::engine::Run;
use crate::scenario::Scenario;
use crate::world::{Size, World};

const SIZE: Size = Size {
    regions: 3,
    edges: 3,
    functions: 1,
    rate: 900.0,
    seconds: 45,
    load: 0.25,
    cold: 0.0,
    swing: 0.0,
};

#[test]
fn a_region_that_fails_one_in_twenty_is_left_within_two_seconds() {
    for seed in 1..=3 {
        let world = World::new(SIZE, seed);
        let (from, until) = Scenario::Grey.window(&SIZE);
        let run = |chooser| Run::new(&world, Scenario::Grey, chooser, seed).run();
        let (ours, nearest) = (run(Chooser::Ours), run(Chooser::Nearest));
        assert!(ours.broken.is_empty(), "{:#?}", ours.broken);
        let came = |from: u64, until: u64| {
            let seconds = &ours.came[world.busiest()][from as usize..until as usize];
            f64::from(seconds.iter().sum::<u32>()) / seconds.len() as f64
        };
        let (calm, later) = (came(5, from), came(from + 2, until));
        println!(
            "seed {seed}: {calm:.0} calls a second before, {later:.1} later; failed {} of {}, going to the nearest {}",
            ours.failed, ours.calls, nearest.failed
        );
        assert!(
            calm > 250.0 && later < calm * 0.02,
            "seed {seed}: {calm} a second before, {later} later"
        );
        assert!(
            ours.failed * 5 < nearest.failed,
            "seed {seed}: {} failed, {} with nearest",
            ours.failed,
            nearest.failed
        );
    }
}
