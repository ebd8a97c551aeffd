//! What browsers are told on NVCF's API hosts: any page may call, with its credentials, and read the answer.
//!
//! A preflight carries no credential, so it is answered before anybody asks for one, by the first of ours that gets it: edge
//! or region. On function hosts every request is the function's, `OPTIONS` too. Pure.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// For how long a browser need not ask again: a day (NVCF's).
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The answer's headers if this is a preflight (Fetch standard §3.2.2): it mirrors what is asked for.
#[must_use]
pub fn preflight(method: &Method, asked: &HeaderMap) -> Option<HeaderMap> {
    let origin = asked.get(ORIGIN).filter(|_| method == Method::OPTIONS)?;
    let wanted = asked.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    let mut headers = HeaderMap::new();
    share(origin, &mut headers);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, wanted.clone());
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    for name in [
        ACCESS_CONTROL_REQUEST_METHOD,
        ACCESS_CONTROL_REQUEST_HEADERS,
    ] {
        headers.append(VARY, name.into());
    }
    Some(headers)
}

/// Lets a page of `origin` read an answer, unless the answer says itself who may.
pub fn share(origin: &HeaderValue, answer: &mut HeaderMap) {
    if !answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        answer.append(VARY, ORIGIN.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn a_preflight_is_mirrored() {
        let page = [
            ("origin", "https://page.example"),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type",
            ),
        ];
        let told = preflight(&Method::OPTIONS, &asked(&page)).expect("a preflight");
        for (name, value) in [
            ("access-control-allow-origin", "https://page.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", "authorization,content-type"),
            ("access-control-max-age", "86400"),
        ] {
            assert_eq!(told[name], value);
        }
        assert_eq!(told.get_all(VARY).iter().count(), 3);
        assert!(preflight(&Method::POST, &asked(&page)).is_none());
        assert!(preflight(&Method::OPTIONS, &asked(&page[..1])).is_none());
        assert!(preflight(&Method::OPTIONS, &asked(&page[1..])).is_none());
    }

    #[test]
    fn who_says_it_itself_is_believed() {
        let mut answer = asked(&[("access-control-allow-origin", "https://other.example")]);
        share(
            &HeaderValue::from_static("https://page.example"),
            &mut answer,
        );
        assert_eq!(answer.len(), 1);
        assert_eq!(
            answer["access-control-allow-origin"],
            "https://other.example"
        );
    }
}
