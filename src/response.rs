//! What goes back to the caller.
//!
//! `failure.rs` is the only place where an error becomes HTTP; `headers.rs` says which headers travel; `record.rs` ends a call
//! in the books.

mod failure;
mod headers;
mod record;

pub use self::failure::{Answer, Limit, Problematic};
pub use self::headers::{Passing, from_region, hides_the_call, to_region};
pub use self::record::{Record, span, write};
