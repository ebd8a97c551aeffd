//! The edge alone, in this process, in front of regions that do as they are told: TLS, protocols, identity, failover,
//! streams, admin pages, stop.

mod abuse;
mod chatter;
mod crowd;
mod doors;
mod explain;
mod failover;
mod harness;
mod identity;
mod idle;
mod lifecycle;
mod limits;
mod names;
mod orders;
mod polls;
mod processes;
mod protocols;
mod reload;
mod secure;
mod steering;
mod streams;
mod upgrade;
