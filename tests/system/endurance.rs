//! Endurance: large bodies, a crowd of waiting calls, part after part killed, calls that say nothing for long.
//!
//! Each has a short form, which runs with all other tests, and with `FRONTDOOR_ENDURE=full` a full one (`make endure`).
//! Both hold the same bounds, and print a line of a table.

mod bodies;
mod crowd;
mod idle;
mod kills;
mod memory;
mod smoke;

use std::time::Duration;

/// Whether the full forms are wanted, which take minutes and should have a machine for themselves.
fn full() -> bool {
    std::env::var("FRONTDOOR_ENDURE").is_ok_and(|form| form == "full")
}

/// One region without delay.
const ALONE: &[&str] = &["--regions", "us-east", "--wan", "us-east=0ms"];

/// A length of time in a table.
fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
