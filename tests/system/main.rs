//! The whole system as a person starts it: hub, two regions with NATS, invocation service, worker and function, one edge,
//! every part a process of its own; and what happens to calls when parts are killed, hang, return, or move away.

mod behaviour;
mod calls;
mod drills;
mod endurance;
mod loss;
mod page;
mod placement;
mod replicas;
mod routing;
mod secrets;
mod stack;
mod statuses;
mod stop;
mod streams;
mod tracing;
mod watching;

use std::sync::Arc;

use test_support::world::World;

/// A stack of two regions without delay, plus these arguments.
fn world(args: &[&str]) -> Arc<World> {
    Arc::new(World::start(&binary(), args).expect("the stack starts"))
}

/// The program under test: the one built with these tests, or `FRONTDOOR_BINARY`, say a release build to be measured.
fn binary() -> String {
    std::env::var("FRONTDOOR_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_frontdoor").to_owned())
}

/// No delay between edge and regions.
const NEAR: &[&str] = &["--wan", "us-east=0ms,eu-west=0ms"];
/// One region near, one far.
const NEAR_AND_FAR: &[&str] = &["--wan", "us-east=2ms,eu-west=40ms"];
