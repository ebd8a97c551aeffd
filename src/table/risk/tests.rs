//! What evidence leads to which estimate.

use std::time::Duration;

use super::*;

/// A path over time: so many calls a second, of which every n-th fails, and checks, of which every m-th does.
struct Path {
    risk: Risk,
    now: Instant,
    answered: u64,
    things: u64,
    checks: u64,
}

const STEP: Duration = Duration::from_millis(100);

impl Path {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            risk: Risk::new(now),
            now,
            answered: 0,
            things: 0,
            checks: 0,
        }
    }

    /// Ten times a second: `calls` calls and one check. `bad`: every so many of each fail; 0 for none.
    fn pass(mut self, seconds: f64, calls: u64, (bad_calls, bad_checks): (u64, u64)) -> Self {
        let hits = |n: u64, every: u64| every > 0 && n.is_multiple_of(every);
        let until = self.now + Duration::from_secs_f64(seconds);
        while self.now < until {
            self.now += STEP;
            for _ in 0..calls {
                self.things += 1;
                if hits(self.things, bad_calls) {
                    self.risk.failed(self.answered, self.now);
                } else {
                    self.answered += 1;
                    self.risk.answered(1, self.now);
                }
            }
            self.checks += 1;
            if hits(self.checks, bad_checks) {
                self.risk.failed(self.answered, self.now);
            } else {
                self.risk.checked(self.now);
            }
            self.risk.tick(self.now);
        }
        self
    }

    fn percent(&self) -> f64 {
        self.risk.chance(self.now) * 100.0
    }
}

const WELL: (u64, u64) = (0, 0);
const ONE_IN_20: (u64, u64) = (20, 20);

#[test]
fn calm_weather_and_bad_luck_are_no_risk() {
    assert_eq!(Path::new().percent(), 0.0);
    assert_eq!(Path::new().pass(60.0, 30, WELL).percent(), 0.0);
    // Two failures, and nothing else at all.
    let mut path = Path::new().pass(0.1, 0, WELL);
    path.risk.failed(0, path.now);
    path.risk.checked(path.now);
    path.risk.failed(0, path.now);
    assert_eq!(path.percent(), 0.0);
    // One in ten thousand, for ever.
    let path = Path::new().pass(120.0, 30, (10_000, 0));
    assert!(path.percent() < 0.02, "{}", path.percent());
    assert!(!path.risk.is_grey());
}

#[test]
fn one_in_twenty_shows_within_a_second_after_a_long_calm() {
    let path = Path::new().pass(120.0, 30, WELL);
    let path = path.pass(0.5, 30, ONE_IN_20);
    assert!(path.percent() > 1.4, "{}", path.percent());
    let path = path.pass(0.5, 30, ONE_IN_20);
    assert!((2.0..8.0).contains(&path.percent()), "{}", path.percent());
    assert!(path.risk.is_grey());
    let path = path.pass(10.0, 30, ONE_IN_20);
    assert!((4.0..7.0).contains(&path.percent()), "{}", path.percent());
}

#[test]
fn little_traffic_shows_it_later_and_no_traffic_by_checks() {
    // Ten things a second, as many of them checks as there are.
    let path = Path::new().pass(120.0, 0, WELL).pass(20.0, 0, ONE_IN_20);
    assert!((2.0..15.0).contains(&path.percent()), "{}", path.percent());
    let path = Path::new().pass(120.0, 1, WELL).pass(30.0, 1, ONE_IN_20);
    assert!((2.0..12.0).contains(&path.percent()), "{}", path.percent());
}

#[test]
fn it_is_remembered_while_checks_show_it_and_forgotten_over_a_minute() {
    let grey = || Path::new().pass(60.0, 30, WELL).pass(2.0, 30, ONE_IN_20);
    let shown = grey().pass(120.0, 0, ONE_IN_20);
    assert!(
        (4.0..15.0).contains(&shown.percent()),
        "{}",
        shown.percent()
    );
    let quiet = grey().pass(15.0, 0, WELL);
    assert!((1.0..6.0).contains(&quiet.percent()), "{}", quiet.percent());
    let quiet = quiet.pass(105.0, 0, WELL);
    assert!(quiet.percent() < 0.2, "{}", quiet.percent());
    assert!(!quiet.risk.is_grey());
}

#[test]
fn what_has_one_cause_counts_once() {
    let mut path = Path::new().pass(10.0, 30, WELL);
    for _ in 0..100 {
        path.risk.failed(path.answered, path.now);
    }
    assert_eq!(path.percent(), 0.0);
    // With an answer in between they are several.
    for _ in 0..10 {
        path.answered += 1;
        path.risk.failed(path.answered, path.now);
    }
    assert!(path.percent() > 1.0, "{}", path.percent());
    path.risk.forget();
    assert_eq!(path.percent(), 0.0);
}

#[test]
fn it_is_always_a_share_and_never_rises_by_good_news() {
    let mut path = Path::new();
    for n in 0..10_000_u64 {
        let before = path.percent();
        path = if n % 7 < 3 {
            path.pass(0.1, n % 5, (1 + n % 13, 1 + n % 4))
        } else {
            let path = path.pass(0.1, n % 50, WELL);
            assert!(
                path.percent() <= before,
                "{n}: {} after {before}",
                path.percent()
            );
            path
        };
        assert!((0.0..=100.0).contains(&path.percent()));
    }
}
