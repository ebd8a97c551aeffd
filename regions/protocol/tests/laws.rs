//! What holds of everything that is read off the wire, whatever arrives: nothing panics, and what was written is read
//! back the same.

use frontdoor_protocol::attach::ResponseHead;
use frontdoor_protocol::names::{RegionName, RequestId};
use frontdoor_protocol::target;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::string::string_regex;

const DOMAIN: &str = "invocation.example.com";

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Anything, and things that are nearly right.
fn authority() -> impl Strategy<Value = String> {
    let id = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
    let pattern = |text: &str| string_regex(text).expect("a pattern");
    prop_oneof![
        any::<String>(),
        pattern(&format!(
            r"({id}\.){{0,3}}[Ii]nvocation\.example\.com\.?(:[0-9]{{0,6}})?"
        )),
        pattern(&format!(r"{id}\PC?invocation\.example\.com")),
        pattern(r"\PC{0,3}\.invocation\.example\.com"),
    ]
}

/// A header's value as it can be on the wire: without white space at its ends, which is no part of it (RFC 9110 §5.5).
fn value() -> impl Strategy<Value = HeaderValue> {
    let bytes = vec(
        prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8],
        0..40,
    );
    bytes.prop_map(|bytes| HeaderValue::from_bytes(bytes.trim_ascii()).expect("visible bytes"))
}

fn head() -> impl Strategy<Value = ResponseHead> {
    let name = "[a-z0-9!#$%&'*+.^_`|~-]{1,20}"
        .prop_map(|name| HeaderName::from_bytes(name.as_bytes()).expect("a token"))
        .prop_filter("not allowed", |name| {
            name != http::header::TRANSFER_ENCODING
        });
    (200_u16..1000, vec((name, value()), 0..30)).prop_map(|(status, pairs)| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        let status = StatusCode::from_u16(status).expect("in range");
        ResponseHead { status, headers }
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_target_is_read_or_refused(
        authority in authority(),
        function in option::of(vec(any::<u8>(), 0..48)),
        version in option::of(vec(any::<u8>(), 0..48)),
    ) {
        let read = target::read(&authority, DOMAIN, function.as_deref(), version.as_deref());
        let from_host = target::from_host(&authority, DOMAIN);
        if function.is_none() && version.is_none() {
            prop_assert_eq!(read.ok(), from_host);
        } else if let (Ok(read), Some(host)) = (read, from_host) {
            prop_assert_eq!(read.function, host.function, "a header never overrules the host");
        }
    }

    #[test]
    fn a_target_is_read_as_it_was_spelled(id in any::<u128>(), version in option::of(any::<u128>()), port in option::of(any::<u16>())) {
        let spell = |id: u128| uuid::Uuid::from_u128(id).to_string();
        let version = version.map(spell);
        let prefix = version.as_ref().map(|v| format!("{v}.")).unwrap_or_default();
        let port = port.map(|p| format!(":{p}")).unwrap_or_default();
        let target = target::read(&format!("{prefix}{}.{DOMAIN}{port}", spell(id)), DOMAIN, None, None).expect("a target");
        prop_assert_eq!(target.function.to_string(), spell(id));
        prop_assert_eq!(target.version.map(|v| v.to_string()), version);
    }

    #[test]
    fn any_bytes_are_a_head_or_none(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..300),
            r"HTTP/1\.[01] [0-9]{2,4}( [a-z]*)?(\r?\n[a-zA-Z-]*:? ?\PC{0,9}){0,5}\r\n\r\n".prop_map(String::into_bytes),
        ],
    ) {
        if let Ok(Some((head, length))) = ResponseHead::decode(&bytes) {
            prop_assert!(length <= bytes.len());
            let again = head.encode();
            prop_assert_eq!(ResponseHead::decode(&again), Ok(Some((head, again.len()))));
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_written(head in head(), body in vec(any::<u8>(), 0..50), cut in any::<prop::sample::Index>()) {
        let mut bytes = head.encode();
        let length = bytes.len();
        prop_assert_eq!(ResponseHead::decode(&bytes[..cut.index(length)]), Ok(None), "part of a head is no error");
        bytes.extend_from_slice(&body);
        prop_assert_eq!(ResponseHead::decode(&bytes), Ok(Some((head, length))));
    }

    #[test]
    fn request_ids_come_back(ms in 0..(1_u64 << 48), random in any::<u64>(), from in "[a-z0-9]{1,32}", to in "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?") {
        let tag = |name: &str| name.parse::<RegionName>().expect("a name").tag();
        let id = RequestId::mint(ms, tag(&from), random);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert_eq!(id.tag(), Some(tag(&from)));
        let moved = id.with_tag(tag(&to));
        prop_assert_eq!(moved.tag(), Some(tag(&to)));
        prop_assert_eq!(moved.with_tag(tag(&from)), id);
        let written = serde_json::to_string(&id).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<RequestId>(&written).expect("the same"), id);
    }

    #[test]
    fn any_text_is_an_id_or_not(text in any::<String>()) {
        if let Ok(id) = text.parse::<RequestId>() {
            prop_assert!(id.to_string().eq_ignore_ascii_case(&text));
        }
    }
}
