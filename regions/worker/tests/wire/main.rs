//! The worker on its real wires: nats-server, attach streams, a container. The invocation service is a stand-in.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test may fail it, as the tests themselves"
)]

mod answers;
mod endings;
mod interop;
mod invocation;
mod nats;
mod presence;
mod world;
