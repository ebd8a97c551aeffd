//! Which headers the container sees, and which of its own go out (pure).
//!
//! The caller's headers pass unchanged but for what belongs to one connection and what only the platform may say.
//! Names that the platform sets are dropped from the caller's set first, whether or not they are set again: a caller
//! can never speak in the platform's name.

use frontdoor_protocol::headers;
use frontdoor_protocol::names::{FunctionId, RegionName, VersionId};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::item::Item;

/// What the platform alone tells a container (NVCF's contract).
const PLATFORM: &[&str] = &[
    "nvcf-reqid",
    "nvcf-sub",
    "nvcf-ncaid",
    "nvcf-function-name",
    "nvcf-function-id",
    "nvcf-function-version-id",
    "nvcf-asset-dir",
    "nvcf-large-output-dir",
    "nvcf-max-response-size-bytes",
    "nvcf-nspectid",
    "nvcf-backend",
    "nvcf-instancetype",
    "nvcf-region",
    "nvcf-env",
    "nvcf-function-asset-ids",
];

/// What the platform says that is the same for each call of a worker.
#[derive(Debug)]
pub(crate) struct Identity {
    fixed: [(&'static str, HeaderValue); 4],
}

// === impl Identity ===

impl Identity {
    pub(crate) fn new(
        region: &RegionName,
        function: FunctionId,
        name: HeaderValue,
        version: VersionId,
    ) -> Self {
        Self {
            fixed: [
                ("nvcf-function-name", name),
                ("nvcf-function-id", text(&function.to_string())),
                ("nvcf-function-version-id", text(&version.to_string())),
                ("nvcf-region", text(region.as_str())),
            ],
        }
    }
}

/// The headers of the call to the container.
pub(crate) fn of_request(item: &Item, identity: &Identity, now_ms: u64) -> HeaderMap {
    // Copied, because removing from a header map changes the order of the rest.
    let mut out = HeaderMap::with_capacity(item.headers.len() + 8);
    for (name, value) in headers::end_to_end(&item.headers) {
        if passes(name) {
            out.append(name, value.clone());
        }
    }
    if let (Some(deadline), true) = (item.deadline_ms, out.contains_key(headers::POLL_SECONDS)) {
        let left = deadline.saturating_sub(now_ms).div_ceil(1000).max(1);
        out.insert(headers::POLL_SECONDS, HeaderValue::from(left));
    }
    out.insert(headers::REQUEST_ID, text(&item.id.to_string()));
    out.insert("nvcf-sub", item.subject.clone());
    out.insert("nvcf-ncaid", item.account.clone());
    for (name, value) in &identity.fixed {
        out.insert(*name, value.clone());
    }
    out
}

/// Makes the container's headers fit to travel on.
pub(crate) fn of_answer(answer: &mut HeaderMap) {
    headers::remove_hop_by_hop(answer);
    headers::remove_ours(answer);
}

/// Whether a header that travels on past one connection is the caller's to say.
fn passes(name: &HeaderName) -> bool {
    let name_text = name.as_str();
    // `Expect` is fulfilled: the body is on its way. The feature header speaks to the worker, which obeys it always.
    !(PLATFORM.contains(&name_text)
        || name_text.starts_with(headers::OUR_PREFIX)
        || name == header::EXPECT
        || name == headers::DISABLE_COMPATIBILITY)
}

/// A value made of an id or a region's name, which hold nothing that a header could not.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use frontdoor_protocol::envelope::{
        ConnectionConfig, Http1ProtocolConfig, StatelessConfig, StringKv,
        WorkerInvokeFunctionRequest,
    };
    use prost::Message as _;

    use super::*;

    const ID: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";

    fn item(headers: &[(&str, &str)], deadline: Option<&str>) -> Item {
        let http1_config = Some(Http1ProtocolConfig {
            target_uri: "http://a".into(),
            response_authorization_token: "t".into(),
            ..Http1ProtocolConfig::default()
        });
        let message = WorkerInvokeFunctionRequest {
            request_id: ID.into(),
            nca_id: "account".into(),
            subject: "who".into(),
            request_method: "POST".into(),
            request_path: "/".into(),
            request_headers: headers
                .iter()
                .map(|(key, value)| StringKv {
                    key: (*key).into(),
                    value: (*value).into(),
                })
                .collect(),
            stateless_config: Some(StatelessConfig {
                connection_configs: vec![ConnectionConfig { http1_config }],
            }),
            ..WorkerInvokeFunctionRequest::default()
        };
        Item::decode(&message.encode_to_vec(), true, deadline).expect("valid")
    }

    fn sent(headers: &[(&str, &str)], deadline: Option<&str>) -> Vec<(String, String)> {
        let identity = Identity::new(
            &"us-east".parse().expect("region"),
            ID.parse().expect("id"),
            HeaderValue::from_static("echo"),
            ID.parse().expect("id"),
        );
        of_request(&item(headers, deadline), &identity, 10_000)
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
            .collect()
    }

    fn platform() -> Vec<(String, String)> {
        [
            ("nvcf-reqid", ID),
            ("nvcf-sub", "who"),
            ("nvcf-ncaid", "account"),
            ("nvcf-function-name", "echo"),
            ("nvcf-function-id", ID),
            ("nvcf-function-version-id", ID),
            ("nvcf-region", "us-east"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    #[track_caller]
    fn check(caller: &[(&str, &str)], deadline: Option<&str>, expected: &[(&str, &str)]) {
        let expected = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .chain(platform());
        let expected: Vec<_> = expected.collect();
        assert_eq!(sent(caller, deadline), expected);
    }

    #[test]
    fn the_callers_headers_pass_in_order() {
        let plain = [
            ("host", "f.invocation.localhost"),
            ("x-b", "1"),
            ("x-a", "2"),
            ("content-length", "5"),
            ("nvcf-invocation-region", "us-east"),
        ];
        check(&plain, None, &plain);
    }

    #[test]
    fn nobody_speaks_in_the_platforms_name() {
        let caller = [
            ("NVCF-REQID", "forged"),
            ("nvcf-sub", "forged"),
            ("nvcf-backend", "forged"),
            ("frontdoor-execution", "not-started"),
            ("nvcf-feature-disable-worker-compatibility", "true"),
            ("expect", "100-continue"),
            ("te", "trailers"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("x-end", "1"),
        ];
        check(&caller, None, &[("x-end", "1")]);
    }

    #[test]
    fn the_container_is_told_the_seconds_left() {
        let asked = [("nvcf-poll-seconds", "60")];
        check(&asked, Some("14200"), &[("nvcf-poll-seconds", "5")]);
        check(&asked, Some("9000"), &[("nvcf-poll-seconds", "1")]);
        check(&asked, None, &[("nvcf-poll-seconds", "60")]);
        check(&[], Some("14200"), &[]);
    }

    #[test]
    fn a_container_does_not_speak_in_our_name_either() {
        let mut answer = HeaderMap::new();
        for (name, value) in [
            ("frontdoor-execution", "not-started"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("x-end", "1"),
        ] {
            answer.insert(name, HeaderValue::from_static(value));
        }
        of_answer(&mut answer);
        assert_eq!(answer.len(), 1);
    }
}
