//! NVCF's API paths at the edge: calls go where all calls go, polls go to the region that holds the answer.

use std::sync::{Arc, Mutex};

use frontdoor_protocol::names::{RegionName, RequestId};
use http::Request;
use test_support::client::{Answer, Protocol, full};
use test_support::edge::{DOMAIN, FUNCTION};
use test_support::region::{Region, reply};

use crate::harness::Edge;

/// A region that answers polls with this status, and the ids and paths it was asked for.
async fn region(status: u16) -> (Region, Arc<Mutex<Vec<(String, String)>>>) {
    let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let book = Arc::clone(&seen);
    let region = Region::start(move |request| {
        let id = request.headers()["nvcf-reqid"].to_str().expect("text");
        let path = request.uri().path().to_owned();
        book.lock().expect("sound").push((id.to_owned(), path));
        let execution = [("frontdoor-execution", "not-started")];
        async move {
            match status {
                200 => reply(200, &[], "here"),
                status => reply(status, &execution, "not here"),
            }
        }
    });
    (region.await.expect("a port"), seen)
}

async fn ask(edge: &Edge, method: &str, path: &str) -> Answer {
    let host = format!("api.{DOMAIN}");
    let request = Request::builder()
        .method(method)
        .uri(format!("https://{host}/v2/nvcf/{path}"))
        .header("host", &host)
        .header("authorization", "Bearer key");
    edge.client(Protocol::H2)
        .await
        .call(request.body(full("")).expect("valid"))
        .await
        .expect("an answer")
}

fn tag(name: &str) -> frontdoor_protocol::names::RegionTag {
    name.parse::<RegionName>().expect("valid").tag()
}

#[tokio::test]
async fn a_poll_goes_to_the_region_in_its_id_and_nowhere_else() {
    let (here, seen_here) = region(200).await;
    let (gone, seen_gone) = region(404).await;
    let regions = [("us-east", here.address), ("eu-west", gone.address)];
    let edge = Edge::start(&regions).await;
    for (name, status) in [("us-east", 200), ("eu-west", 404)] {
        for n in 0..4 {
            let id = RequestId::mint(1_000, tag(name), n);
            let answer = ask(&edge, "GET", &format!("pexec/status/{id}")).await;
            assert_eq!(answer.status, status, "{name}: {}", answer.text());
            assert_eq!(answer.header("nvcf-reqid"), id.to_string());
        }
    }
    for (seen, name) in [(seen_here, "us-east"), (seen_gone, "eu-west")] {
        let seen = seen.lock().expect("sound");
        assert_eq!(seen.len(), 4, "{name}: {seen:?}");
        for (n, (id, path)) in (0..).zip(seen.iter()) {
            assert_eq!(*id, RequestId::mint(1_000, tag(name), n).to_string());
            assert_eq!(*path, format!("/v2/nvcf/pexec/status/{id}"));
        }
    }
}

#[tokio::test]
async fn an_id_that_no_edge_made_is_looked_for_in_all_regions() {
    let (here, seen_here) = region(200).await;
    let (gone, seen_gone) = region(404).await;
    let regions = [("us-east", gone.address), ("eu-west", here.address)];
    let edge = Edge::start(&regions).await;
    let id = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";
    let answer = ask(&edge, "GET", &format!("exec/status/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(seen_here.lock().expect("sound")[0].0, id);
    assert_eq!(seen_gone.lock().expect("sound").len(), 1);
}

#[tokio::test]
async fn a_call_by_path_gets_an_id_that_its_region_can_be_found_by() {
    let (region, seen) = region(200).await;
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let answer = ask(&edge, "POST", &format!("pexec/functions/{FUNCTION}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id: RequestId = answer.header("nvcf-reqid").parse().expect("an id");
    assert_eq!(id.tag(), Some(tag("us-east")));
    assert_eq!(seen.lock().expect("sound")[0].0, id.to_string());
    for (method, path, status) in [
        ("GET", format!("pexec/functions/{FUNCTION}"), 405),
        ("POST", "pexec/functions/echo".to_owned(), 400),
        ("GET", "pexec/status/1".to_owned(), 400),
        ("POST", "other".to_owned(), 404),
    ] {
        assert_eq!(ask(&edge, method, &path).await.status, status, "{path}");
    }
    assert_eq!(region.calls(), 1);
}

#[tokio::test]
async fn a_browser_asks_the_edge_whether_a_page_may_call_the_api() {
    let (here, seen) = region(200).await;
    let edge = Edge::start(&[("us-east", here.address)]).await;
    let api = format!("api.{DOMAIN}");
    let ask = async |protocol, host: &str, path: &str, origin: bool| {
        let mut request = Request::options(format!("https://{host}{path}"))
            .header("host", host)
            .header("access-control-request-method", "POST");
        if origin {
            request = request.header("origin", "https://page.example");
        }
        let request = request.body(full("")).expect("valid");
        let mut client = edge.client(protocol).await;
        client.call(request).await.expect("an answer")
    };
    let path = format!("/v2/nvcf/pexec/functions/{FUNCTION}");
    for protocol in [Protocol::H1, Protocol::H2] {
        let told = ask(protocol, &api, &path, true).await;
        assert_eq!(told.status, 200, "{}", told.text());
        let origin = told.header("access-control-allow-origin");
        assert_eq!(origin, "https://page.example");
        assert_eq!(told.header("access-control-allow-methods"), "POST");
        assert_eq!(told.header("access-control-allow-credentials"), "true");
        assert_eq!(told.header("access-control-max-age"), "86400");
        assert_eq!(ask(protocol, &api, &path, false).await.status, 405);
        let by_host = format!("{FUNCTION}.{DOMAIN}");
        assert_eq!(ask(protocol, &by_host, "/x", true).await.status, 401);
    }
    assert!(
        seen.lock().expect("sound").is_empty(),
        "no region need know"
    );
}
