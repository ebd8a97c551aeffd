//! What the edge refuses by itself, without troubling a region, and how it says so.

use http::Request;
use test_support::client::{Client, Protocol, full};
use test_support::edge::FUNCTION;
use test_support::region::{Region, reply};

use crate::harness::{Edge, host, request};

#[tokio::test]
async fn bad_requests_never_reach_a_region() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    for protocol in [Protocol::H1, Protocol::H2] {
        let cases = [
            (
                request("POST", "/echo").header("nvcf-poll-seconds", "1.5"),
                400,
                "bad-poll-seconds",
            ),
            (
                request("POST", "/echo").header("nvcf-poll-seconds", "3601"),
                400,
                "bad-poll-seconds",
            ),
            (
                request("POST", "/echo").header("function-id", "nonsense"),
                400,
                "bad-target",
            ),
            (plain("/echo"), 401, "no-credential"),
            (
                plain("/echo").header("authorization", "Basic dXNlcg=="),
                401,
                "no-credential",
            ),
        ];
        for (builder, status, kind) in cases {
            // HTTP/1.1 is closed when an answer comes before the body was read.
            let mut client = edge.client(protocol).await;
            let answer = client
                .call(builder.body(full("x")).expect("valid"))
                .await
                .expect("an answer");
            assert_eq!(answer.status, status, "{kind}: {}", answer.text());
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert_eq!(answer.header("nvcf-status"), "errored");
            let problem = answer.json();
            assert_eq!(problem["type"], format!("urn:frontdoor:problem:{kind}"));
            assert_eq!(
                problem["nvcf-reqid"],
                answer.header("nvcf-reqid"),
                "the same id in header and body"
            );
            assert_eq!(answer.header("nvcf-reqid").len(), 36);
        }
    }
    assert_eq!(region.calls(), 0);
}

#[tokio::test]
async fn an_unknown_host_is_told_what_a_right_one_looks_like() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    for wrong in [
        "localhost",
        "invocation.localhost",
        &format!("{FUNCTION}evil.example"),
        "127.0.0.1:8080",
    ] {
        let mut client = Client::plain(edge.ports.http, Protocol::H1)
            .await
            .expect("a connection");
        let request = Request::post("/echo")
            .header("host", wrong)
            .header("authorization", "Bearer key");
        let answer = client
            .call(request.body(full("x")).expect("valid"))
            .await
            .expect("an answer");
        assert_eq!(answer.status, 404, "{wrong}");
        assert!(
            answer.text().contains("<function-id>.invocation.localhost"),
            "{}",
            answer.text()
        );
    }
    let mut client = Client::plain(edge.ports.http, Protocol::H1)
        .await
        .expect("a connection");
    let by_header = Request::post("/echo")
        .header("host", "localhost")
        .header("function-id", FUNCTION)
        .header("authorization", "Bearer key");
    let answer = client
        .call(by_header.body(full("x")).expect("valid"))
        .await
        .expect("an answer");
    assert_eq!((answer.status.as_u16(), region.calls()), (200, 1));
}

#[tokio::test]
async fn a_region_sees_our_headers_and_not_the_callers_forgeries() {
    let region = Region::start(|request| async move {
        let shown: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap_or("?")))
            .chain([format!(
                "authority={}",
                request.uri().authority().map_or("", |a| a.as_str())
            )])
            .collect();
        reply(200, &[("frontdoor-execution", "started")], shown.join("\n"))
    })
    .await
    .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    for protocol in [Protocol::H1, Protocol::H2] {
        let forged = request("POST", "/echo?a=b")
            .header("nvcf-poll-seconds", "30")
            .header("frontdoor-execution", "not-started")
            .header("frontdoor-remaining-ms", "99999999")
            .header("nvcf-reqid", "00000000-0000-4000-8000-000000000000")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-kept", "yes");
        let answer = edge
            .client(protocol)
            .await
            .call(forged.body(full("x")).expect("valid"))
            .await
            .expect("an answer");
        let seen = answer.text();
        let has = |line: &str| seen.lines().any(|l| l.starts_with(line));
        assert!(
            has(&format!("nvcf-reqid={}", answer.header("nvcf-reqid"))),
            "{seen}"
        );
        assert!(
            has("x-forwarded-for=127.0.0.1") && has("x-forwarded-proto=https"),
            "{seen}"
        );
        assert!(
            has("x-kept=yes") && has("authorization=Bearer key") && has("nvcf-poll-seconds=30"),
            "{seen}"
        );
        assert!(
            has("frontdoor-remaining-ms=29") || has("frontdoor-remaining-ms=30000"),
            "{seen}"
        );
        assert!(has(&format!("authority={}", host())), "{seen}");
        assert!(
            !seen.contains("frontdoor-execution") && !seen.contains("6.6.6.6"),
            "{seen}"
        );
        assert_eq!(
            answer.header("frontdoor-execution"),
            "",
            "the truth about execution is not for the caller"
        );
    }
}

fn plain(path: &str) -> http::request::Builder {
    Request::post(format!("https://{}{path}", host())).header("host", host())
}
