//! Which door leads where: a connection serves the names of its certificate and no others, and what is for operators is not to
//! be had at the public ports.

use http::Request;
use serde_json::Value;
use test_support::client::{Client, Protocol, full};
use test_support::edge::DOMAIN;
use test_support::region::{Region, reply};

use crate::harness::{Edge, host, post};

#[tokio::test]
async fn a_connection_serves_the_names_of_its_certificate() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let edge = Edge::also_named(("us-east", region.address), "elsewhere.test").await;
    edge.health("us-east", "up").await;
    for (protocol, alpn) in [(Protocol::H1, "http/1.1"), (Protocol::H2, "h2")] {
        for (asked_for, status) in [(host(), 200), ("elsewhere.test".to_owned(), 421)] {
            let before = region.calls();
            let config = edge.authority.client(&[alpn]).expect("trust");
            let client = Client::with(edge.ports.https, &asked_for, config, protocol).await;
            let answer = client.expect("TLS").call(post("/x", "x")).await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status, status, "{protocol:?} {asked_for}");
            if status == 421 {
                assert!(answer.text().contains("misdirected"), "{}", answer.text());
                assert_eq!(region.calls(), before, "no region is troubled");
            }
        }
    }
}

#[tokio::test]
async fn operators_pages_are_not_public() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let api: Value = edge.admin("/openapi.json").await.json();
    let paths = api["paths"].as_object().expect("paths");
    assert!(paths.len() > 10, "{}", paths.len());
    for (path, item) in paths {
        let path = path
            .replace("{name}", "us-east")
            .replace("{id}", "00000000-0000-4000-8000-000000000000");
        for method in item.as_object().expect("methods").keys() {
            for named in [DOMAIN, "localhost", "127.0.0.1", "admin"] {
                let call = |scheme: &str| {
                    Request::builder()
                        .method(method.to_uppercase().as_str())
                        .uri(format!("{scheme}://{named}{path}"))
                        .header("host", named)
                        .header("authorization", "Bearer key")
                        .body(full(""))
                        .expect("valid")
                };
                let mut client = Client::plain(edge.ports.http, Protocol::H1)
                    .await
                    .expect("a connection");
                let plain = client.call(call("http")).await.expect("an answer");
                let mut client = edge.client(Protocol::H2).await;
                let secured = client.call(call("https")).await.expect("an answer");
                for answer in [plain, secured] {
                    let what = format!("{method} {path} at {named}: {}", answer.text());
                    assert!(answer.status.is_client_error(), "{} {what}", answer.status);
                    assert!(answer.text().contains("urn:frontdoor:problem:"), "{what}");
                }
            }
        }
    }
    assert_eq!(region.calls(), 0);
}
