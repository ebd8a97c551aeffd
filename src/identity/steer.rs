//! What a caller says of where its calls should go: a key whose calls stay together, or a region by name.
//!
//! Pure. A key only prefers a region, so anybody may send one. To name a region is for callers whose API keys the
//! configuration lists: who can choose a region can fill it. For all others that header is as if it were not there.

use frontdoor_protocol::headers;
use frontdoor_protocol::key::KeyHash;
use http::{HeaderMap, HeaderName, header};
use subtle::{Choice, ConstantTimeEq as _};

/// What is listened to; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steering {
    /// The header whose value is a call's affinity key …
    pub affinity_header: Option<HeaderName>,
    /// … or else the cookie.
    pub affinity_cookie: Option<String>,
    /// Whose calls may name a region.
    pub override_keys: Vec<KeyHash>,
}

// === impl Steering ===

impl Steering {
    /// The call's affinity key, if it has one.
    #[must_use]
    pub fn affinity<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let header = self.affinity_header.as_ref();
        let told = header.and_then(|name| headers.get(name));
        let told = told.map(|value| value.as_bytes().trim_ascii());
        told.filter(|value| !value.is_empty())
            .or_else(|| cookie(headers, self.affinity_cookie.as_deref()?))
    }

    /// The region that the caller names, if it may; `digest` is asked only if it matters.
    #[must_use]
    pub fn region<'a>(
        &self,
        headers: &'a HeaderMap,
        digest: impl FnOnce(&[u8]) -> KeyHash,
    ) -> Option<&'a str> {
        if self.override_keys.is_empty() {
            return None;
        }
        let mut named = headers.get_all(headers::REGION).iter();
        let (named, another) = (named.next()?, named.next());
        let credential = headers.get(header::AUTHORIZATION)?.as_bytes();
        // Its shape was checked: `Bearer `, in any case, and the key.
        let key = credential.get(7..)?;
        let digest = digest(key);
        let keys = self.override_keys.iter();
        // All are compared, and all of each: time tells nothing of them.
        let may = keys.fold(Choice::from(0), |may, key| may | key.0.ct_eq(&digest.0));
        // Two names, or one that is no text, are still said, and name no region.
        let name = named.to_str().ok().filter(|_| another.is_none());
        bool::from(may).then_some(name.unwrap_or_default())
    }
}

/// The value of a cookie (RFC 6265 §5.4), without the quotes that it may stand in.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|b| *b == b';'));
    let mut values = pairs.filter_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        let value = value.strip_prefix(b"=")?;
        let bare = value
            .strip_prefix(b"\"")
            .and_then(|v| v.strip_suffix(b"\""));
        Some(bare.unwrap_or(value))
    });
    values.find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let name = |name: &str| name.parse::<HeaderName>().expect("valid");
        let lines = lines.iter();
        lines
            .map(|(n, value)| (name(n), value.parse().expect("valid")))
            .collect()
    }

    #[test]
    fn a_header_goes_before_a_cookie() {
        let steering = Steering {
            affinity_header: Some(HeaderName::from_static("x-session")),
            affinity_cookie: Some("sid".to_owned()),
            ..Steering::default()
        };
        for (lines, key) in [
            (&[("x-session", "a"), ("cookie", "sid=b")][..], Some("a")),
            (&[("cookie", "x=1; sid=b; y=2")], Some("b")),
            (&[("cookie", "x=1"), ("cookie", "sid=\"c\"")], Some("c")),
            (&[("x-session", ""), ("cookie", "sid=b")], Some("b")),
            (&[("cookie", "ssid=b; sid=")], None),
            (&[("x-other", "a")], None),
        ] {
            let headers = headers(lines);
            let found = steering.affinity(&headers);
            assert_eq!(found, key.map(str::as_bytes), "{lines:?}");
            assert_eq!(Steering::default().affinity(&headers), None);
        }
    }

    #[test]
    fn only_listed_keys_may_name_a_region() {
        let hash = |key: &[u8]| KeyHash([key.first().copied().unwrap_or_default(); 32]);
        let steering = Steering {
            override_keys: vec![hash(b"x"), hash(b"a"), hash(b"y")],
            ..Steering::default()
        };
        for (lines, region) in [
            (
                &[("authorization", "Bearer a"), ("frontdoor-region", "x")][..],
                Some("x"),
            ),
            (
                &[("authorization", "bearer a"), ("frontdoor-region", "x")],
                Some("x"),
            ),
            (
                &[("authorization", "Bearer b"), ("frontdoor-region", "x")],
                None,
            ),
            (
                &[
                    ("authorization", "Bearer a"),
                    ("frontdoor-region", "x"),
                    ("frontdoor-region", "x"),
                ],
                Some(""),
            ),
            (&[("frontdoor-region", "x")], None),
            (&[("authorization", "Bearer a")], None),
        ] {
            assert_eq!(steering.region(&headers(lines), hash), region, "{lines:?}");
        }
    }
}
