//! May this caller call this function? Finds out from the `Authorization` header and the configured keys.
//!
//! A key is looked up by its SHA-256, so the key itself is never stored and never compared; it is not logged and goes
//! no further than this file. Called once per call by `front/invoke.rs`. The judgement itself is `verdict.rs`.

mod verdict;

use std::collections::HashMap;

use frontdoor_protocol::names::FunctionId;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

use crate::config::Key;

pub(crate) use verdict::{Denied, Verdict, bearer};

/// The keys this region knows.
pub(crate) struct Keys(HashMap<[u8; 32], Key>);

// === impl Keys ===

impl Keys {
    /// From the configuration.
    pub(crate) fn new(keys: Vec<Key>) -> Self {
        Self(keys.into_iter().map(|key| (key.sha256, key)).collect())
    }

    /// Judges one call: who calls, or why not.
    pub(crate) fn judge(
        &self,
        authorization: Option<&HeaderValue>,
        function: FunctionId,
    ) -> Verdict {
        let token = match authorization.map(|value| bearer(value.as_bytes())) {
            None => return Err(Denied::Missing),
            Some(None) => return Err(Denied::Malformed),
            Some(Some(token)) => token,
        };
        let hash: [u8; 32] = Sha256::digest(token).into();
        verdict::judge(self.0.get(&hash), function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scope;

    const FUNCTION: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";

    #[test]
    fn a_key_is_found_by_its_hash() {
        let keys = Keys::new(vec![Key {
            name: "local".into(),
            sha256: Sha256::digest(b"open sesame").into(),
            scope: Scope::All,
        }]);
        let function = FUNCTION.parse().expect("valid");
        let check = |text: &str| {
            let value = HeaderValue::from_str(text).expect("valid");
            keys.judge(Some(&value), function)
        };
        assert_eq!(
            check("Bearer open sesame").expect("allowed").as_ref(),
            "local"
        );
        assert_eq!(check("Bearer open sesam"), Err(Denied::Unknown));
        assert_eq!(check("Basic b3Blbg=="), Err(Denied::Malformed));
        assert_eq!(keys.judge(None, function), Err(Denied::Missing));
    }
}
