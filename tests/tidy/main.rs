//! House rules as tests. Each failure names the file, the line and what to do about it; each rule also has a test that
//! feeds it a violation, so that no rule can rot into one that never fails.
//!
//! * `order`: modules use only modules that their `lib.rs` lists before them. The crate `frontdoor-ops` has one module,
//!   `local`, so there the list in `local.rs` counts.
//! * `crates`: which crate may depend on which.
//! * `purity`: decisions name no runtime, socket, clock, log, metric or source of randomness.
//! * `text`: length and headers of files, no skipped tests, nothing of one machine.
//! * `configs`: every shipped configuration loads, and has every key there is.
//! * `operations`: metrics, alerts, runbooks and dashboards agree.
//! * `commands`: what the documents tell people to type exists.
//! * `proofs`: the tests that the documents name exist, and each promise has one.
//!
//! `unwrap()`, missing documentation and the like are left to clippy and rustc, which know better.

mod code;
mod commands;
mod configs;
mod crates;
mod operations;
mod order;
mod proofs;
mod purity;
mod text;
mod tree;
