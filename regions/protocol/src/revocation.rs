//! The word that an API key is revoked, on `fd.revoked` for every region at once.
//!
//! Carries the key's hash, never the key. Nothing repeats it: a region that was cut off when it was said has not heard
//! it, so a revoked key must leave the keys file (or the authority) as well. Who hears it with a reply subject answers
//! with its region's name.

use serde::{Deserialize, Serialize};

use crate::key::KeyHash;

/// The message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose time is over.
    pub sha256: KeyHash,
}

/// A message above this many bytes is not read.
pub const SIZE_LIMIT: usize = 1024;

// === impl Revocation ===

impl Revocation {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a message from the network; `None` if it is none. Fields that are not known are ignored.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= SIZE_LIMIT)
            .then(|| serde_json::from_slice(bytes).ok())
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_rubbish() {
        let revocation = Revocation {
            sha256: KeyHash([7; 32]),
        };
        assert_eq!(Revocation::decode(&revocation.encode()), Some(revocation));
        let later = format!(r#"{{"sha256":"{}","why":"leaked"}}"#, revocation.sha256);
        assert_eq!(Revocation::decode(later.as_bytes()), Some(revocation));
        let long = format!("{later}{}", " ".repeat(SIZE_LIMIT));
        for wrong in ["", "{", "{\"sha256\":\"fdk_1\"}", &long] {
            assert_eq!(Revocation::decode(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
