//! How every program of ours gets into NATS: the keys of a `[nats]` table, what they mean, the options they make, and
//! what a log is told of a NATS that is away.
//!
//! Servers know a program by an nkey (its seed in a file of its own), a credentials file, or user and password; a program
//! knows its servers by TLS. What a program does on its connection, and how it reconnects, is its own affair.

mod absence;
mod access;
mod table;
mod told;

pub use access::{Access, AccessError, Login, Trust};
pub use table::{NatsTable, TlsTable};
pub use told::Told;
