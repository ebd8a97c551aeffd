//! API keys as far as anything but their owner may know them: a prefix to recognise one by, and the SHA-256 it is
//! stored, cached and revoked under. Hashing is the caller's: nothing here ever holds a key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Every key that `frontdoor keys new` makes starts so: scanners for leaked secrets find it, people recognise it.
pub const PREFIX: &str = "fdk_";

/// The SHA-256 of an API key; 64 hexadecimal digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash(pub [u8; 32]);

/// Why a text is no hash of a key. Does not repeat the text: it may be the key itself, by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 hexadecimal digits: the SHA-256 of the key, never the key itself")]
pub struct KeyHashError;

// === impl KeyHash ===

impl KeyHash {
    /// Its first digits: enough to tell keys apart in logs.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, KeyHashError> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map_err(|_| KeyHashError)?;
        Ok(Self(hash))
    }
}

impl TryFrom<String> for KeyHash {
    type Error = KeyHashError;
    fn try_from(text: String) -> Result<Self, KeyHashError> {
        text.parse()
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back_and_never_the_key_in_an_error() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let hash: KeyHash = text.parse().expect("valid");
        assert_eq!(hash.to_string(), text);
        assert_eq!(hash.short(), "e3b0c442");
        let secret = "fdk_0123456789012345678901234567890123456789012345678901234567";
        for wrong in ["", "e3", secret] {
            let error = wrong.parse::<KeyHash>().expect_err(wrong).to_string();
            assert!(!error.contains("fdk_"), "{error}");
        }
    }
}
