//! The service on its real wire: a real nats-server, real sockets, and a stand-in worker written from the contract.
//!
//! One binary. `world.rs` starts the parts, `client.rs` calls, `worker.rs` plays both kinds of workers; the other files
//! are the tests, by subject.

#![allow(clippy::unwrap_used)]

mod client;
mod world;

mod worker;

mod abuse;
mod answers;
mod authority;
mod claims;
mod crowd;
mod interop;
mod plain_http;
mod polls;
mod presence;
mod queue;
mod refusals;
mod replicas;
mod reports;
mod secured;
mod standby;
mod stopping;
mod streams;
