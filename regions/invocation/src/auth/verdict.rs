//! The judgement on one caller and one function, and how a bearer token is written (pure).
//!
//! Sees a key's record, never decides from the key itself; `auth.rs` finds the record.

use std::sync::Arc;

use frontdoor_protocol::names::FunctionId;

use crate::config::{Key, Scope};

/// The caller's name, or why the call is refused.
pub(crate) type Verdict = Result<Arc<str>, Denied>;

/// Why a caller may not call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No `Authorization` header.
    Missing,
    /// Not `Bearer <token>`.
    Malformed,
    /// No such key.
    Unknown,
    /// The key does not open this function.
    Forbidden,
}

/// What a key's record says about a function.
pub(super) fn judge(key: Option<&Key>, function: FunctionId) -> Verdict {
    let key = key.ok_or(Denied::Unknown)?;
    match &key.scope {
        Scope::All => Ok(Arc::clone(&key.name)),
        Scope::Only(functions) if functions.contains(&function) => Ok(Arc::clone(&key.name)),
        Scope::Only(_) => Err(Denied::Forbidden),
    }
}

/// The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110 §11.1). An empty token is none.
pub(crate) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
    const OTHER: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";

    #[test]
    fn scopes_decide() {
        let key = |scope| Key {
            name: "local".into(),
            sha256: [0; 32],
            scope,
        };
        let echo: FunctionId = ECHO.parse().expect("valid");
        let other: FunctionId = OTHER.parse().expect("valid");
        let one = key(Scope::Only([echo].into()));
        assert!(judge(Some(&key(Scope::All)), other).is_ok());
        assert!(judge(Some(&one), echo).is_ok());
        assert_eq!(judge(Some(&one), other), Err(Denied::Forbidden));
        assert_eq!(judge(None, echo), Err(Denied::Unknown));
    }

    #[test]
    fn bearer_tokens() {
        for (text, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc ", Some("abc")),
            ("BEARER  a b", Some("a b")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic abc", None),
            ("Bearerabc", None),
            ("", None),
        ] {
            assert_eq!(
                bearer(text.as_bytes()),
                token.map(str::as_bytes),
                "{text:?}"
            );
        }
    }
}
