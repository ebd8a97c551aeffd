//! The edge: a global front door for serverless inference.
//!
//! Three ways of data, and the modules that carry them, in dependency order (a module uses only modules above it):
//!
//! ```text
//! request     listen (TLS, HTTP/2) -> identity -> route (pure) -> upstream -> response -> metrics     (proxy.rs leads)
//! background  resolve, probe, chatter, proxy -> table::Event -> keeper -> Snapshot (ArcSwap) -> route, probe, admin
//! ```
//!
//! `identity`, `table` and `route` are pure: facts, time and seeds come in as arguments, decisions go out as values.

// The blank lines keep rustfmt from sorting them.

pub mod region;

pub mod identity;

pub mod table;

pub mod route;

pub mod config;

pub mod metrics;

pub mod explain;

pub mod telemetry;

pub mod upstream;

pub mod response;

pub mod listen;

pub mod proxy;

pub mod aside;

pub mod handover;

pub mod notify;

pub mod bus;

pub mod lastgood;

pub mod resolve;

pub mod probe;

pub mod chatter;

pub mod canary;

pub mod orders;

pub mod reload;

pub mod keeper;

pub mod admin;

pub mod edge;
