//! Frames, statuses, and what NVCF's answers mean.

use frontdoor_protocol::authority::FunctionVersion;

use super::*;

const V: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";

fn reply(status: &str, message: Option<&str>, body: &[u8]) -> Reply {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_str(status).expect("valid"));
    if let Some(message) = message {
        let message = HeaderValue::from_str(message).expect("valid");
        trailers.insert("grpc-message", message);
    }
    Reply {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body),
        trailers: Some(trailers),
    }
}

fn told(subject: &str, account: &str, versions: &[&str]) -> Vec<u8> {
    let message = ClientInvokeResponse {
        function_id: "f".into(),
        function_versions: versions
            .iter()
            .map(|id| FunctionVersion {
                function_version_id: (*id).to_owned(),
                ..FunctionVersion::default()
            })
            .collect(),
        client_auth_subject: subject.into(),
        client_nca_id: account.into(),
    }
    .encode_to_vec();
    let length = u32::try_from(message.len()).expect("short");
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

#[test]
fn a_question_is_one_frame() {
    let message = ClientInvokeRequest {
        client_authorization_token: "t".into(),
        ..ClientInvokeRequest::default()
    };
    assert_eq!(&framed(&message)[..], b"\0\0\0\0\x03\x0a\x01t");
}

#[test]
fn statuses_are_a_no_or_no_answer() {
    for (status, message, denied) in [
        ("16", None, Some(Denied::Unknown)),
        ("7", None, Some(Denied::Forbidden)),
        ("5", None, Some(Denied::NoFunction)),
        ("9", None, Some(Denied::NotReady)),
        ("2", Some("Cloud%20credits%20expired"), Some(Denied::Unpaid)),
        ("2", Some("Cloud credits expired"), Some(Denied::Unpaid)),
        ("2", Some("boom"), None),
        ("1", None, None),
        ("4", None, None),
        ("8", None, None),
        ("12", None, None),
        ("13", None, None),
        ("14", None, None),
        ("99", None, None),
        ("x", None, None),
    ] {
        let verdict = read(&reply(status, message, b"")).map(|answer| answer.verdict);
        assert_eq!(verdict.ok().map(|v| v.expect_err("no")), denied, "{status}");
    }
    let mut bare = reply("16", None, b"");
    std::mem::swap(&mut bare.headers, bare.trailers.as_mut().expect("there"));
    assert!(read(&bare).is_ok(), "a status without anything else");
    bare.headers.clear();
    assert!(read(&bare).is_err(), "no status");
    let mut failed = reply("0", None, &told("s", "n", &[V]));
    failed.status = StatusCode::BAD_GATEWAY;
    assert!(read(&failed).is_err());
}

#[test]
fn a_yes_names_the_caller_and_the_versions() {
    let check = |body: &[u8]| read(&reply("0", None, body)).map(|answer| answer.verdict);
    let yes = |body: &[u8]| check(body).expect("answer").expect("yes");
    let caller = yes(&told("alice", "acme", &[V, "not an id"]));
    assert_eq!((&*caller.subject, &*caller.account), ("alice", "acme"));
    assert_eq!(
        caller.versions.as_deref(),
        Some(&[V.parse().expect("valid")][..])
    );
    assert_eq!(&*yes(&told("", "acme", &[V])).subject, "acme");
    assert_eq!(&*yes(&told("alice", "", &[V])).account, "alice");
    let none = check(&told("alice", "acme", &[])).expect("answer");
    assert_eq!(none, Err(Denied::NoFunction));
    let good = told("a", "b", &[V]);
    let compressed = [&[1], &good[1..]].concat();
    let two = [&good[..], &good].concat();
    for body in [
        &b""[..],
        b"\0\0",
        &good[..good.len() - 1],
        &compressed,
        &two,
    ] {
        assert!(check(body).is_err(), "{body:?}");
    }
    assert!(check(&told("a\n", "", &[V])).is_err(), "nobody");
}
