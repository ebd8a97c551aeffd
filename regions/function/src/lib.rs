//! The sample function: a container that behaves as asked, so that everything in front of it can be proved.
//!
//! It keeps the contract of NVIDIA's sample function (`/health`, `/echo`, `/ping-pong`) and adds paths that show what
//! arrived (`/inspect`, and any unknown path), answer with a given status, size, delay or number of headers, stream
//! events with the time they were written, or break off in the middle. A journal proves which calls were executed.
//!
//! It speaks HTTP/1.1 and h2c on one port and knows nothing of the platform but the header `nvcf-reqid`. The command
//! line and the tests run it; never use it for real work.

// In dependency order, each may use those before it. The blank lines keep rustfmt from sorting them.

mod body;

mod journal;

mod echo;

mod inspect;

mod probe;

mod routes;

mod server;

pub use server::{Options, Server, run};
