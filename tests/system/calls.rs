//! Each sample of NVIDIA's document on HTTP invocation, over every way in.

use http::Request;
use sha2::{Digest as _, Sha256};
use test_support::client::{Answer, Client, Protocol, full};
use test_support::world::World;

use crate::{NEAR, world};

/// Every way in: TLS with HTTP/1.1 and HTTP/2, and plain HTTP with the Host header form.
async fn ways(world: &World) -> Vec<Client> {
    let plain = world.address("/edge/http");
    vec![
        world.caller(Protocol::H1).await.expect("TLS"),
        world.caller(Protocol::H2).await.expect("TLS"),
        Client::plain(plain, Protocol::H1).await.expect("plain"),
        Client::plain(plain, Protocol::H2).await.expect("plain"),
    ]
}

fn fulfilled(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("nvcf-status"), "fulfilled");
    let id: uuid::Uuid = answer
        .header("nvcf-reqid")
        .parse()
        .expect("nvcf-reqid is a UUID");
    assert_eq!(id.get_version_num(), 8, "made at the edge");
    assert_eq!(answer.header("frontdoor-execution"), "");
}

#[tokio::test]
async fn every_sample_over_every_way_in() {
    let world = world(NEAR);
    let file: Vec<u8> = (0..20 * 1024 * 1024_u32)
        .map(|n| n.to_le_bytes()[(n % 3) as usize])
        .collect();
    let upload = multipart(&file);
    let sha = hex::encode(Sha256::digest(&upload));
    for mut client in ways(&world).await {
        let json = |path: &str| {
            world
                .request("POST", path)
                .header("content-type", "application/json")
        };

        let call = json("/echo")
            .body(full(r#"{"message": "hello"}"#))
            .expect("valid");
        let answer = client.call(call).await.expect("an answer");
        fulfilled(&answer);
        assert_eq!(answer.text(), "hello");

        let call = json("/echo?name=John")
            .body(full(r#"{"name": "John"}"#))
            .expect("valid");
        let answer = client.call(call).await.expect("an answer");
        fulfilled(&answer);
        assert_eq!(answer.json()["name"], "John");

        for path in ["/my-cool-endpoint?abc=123", "/inspect?abc=123&d=%2F"] {
            let call = world
                .request("PUT", path)
                .header("accept", "application/octet-stream")
                .header("content-type", "multipart/form-data; boundary=cut")
                .body(full(upload.clone()))
                .expect("valid");
            let answer = client.call(call).await.expect("an answer");
            fulfilled(&answer);
            let seen = answer.json();
            let (expected_path, query) = path.split_once('?').expect("a query");
            assert_eq!(
                (seen["method"].as_str(), seen["path"].as_str()),
                (Some("PUT"), Some(expected_path))
            );
            assert_eq!(seen["query"].as_str(), Some(query));
            assert_eq!(seen["body_bytes"].as_u64(), Some(upload.len() as u64));
            assert_eq!(seen["sha256"].as_str(), Some(sha.as_str()));
        }

        let call = json("/echo")
            .header("accept", "text/event-stream")
            .body(full(CHAT))
            .expect("valid");
        let answer = client.call(call).await.expect("an answer");
        fulfilled(&answer);
        assert_eq!(answer.header("content-type"), "text/event-stream");
        assert!(answer.text().contains("data: "), "{}", answer.text());
    }
}

#[tokio::test]
async fn functions_are_named_by_host_version_or_header() {
    let world = world(NEAR);
    let (function, version) = (
        world.function().to_owned(),
        world.endpoint("/functions/0/versions/0").to_owned(),
    );
    let domain = world.endpoint("/domain");
    let key = format!("Bearer {}", world.endpoint("/api_key"));
    let mut client = Client::plain(world.address("/edge/http"), Protocol::H1)
        .await
        .expect("plain");
    let bare = |host: String| {
        Request::post("/echo")
            .header("host", host)
            .header("authorization", &key)
    };
    for call in [
        bare(format!("{function}.{domain}:8080")),
        bare(format!("{version}.{function}.{domain}")),
        bare("localhost:8080".into()).header("function-id", &function),
        bare("localhost:8080".into())
            .header("function-id", &function)
            .header("function-version-id", &version),
    ] {
        let answer = client
            .call(call.body(full(r#"{"message":"x"}"#)).expect("valid"))
            .await
            .expect("an answer");
        fulfilled(&answer);
    }
    let ca = std::fs::read(world.dir.join("ca.pem")).expect("a CA");
    let name = format!("{version}.{}", world.host());
    Client::tls(world.address("/edge/https"), &name, &ca, Protocol::H2)
        .await
        .expect("the certificate covers versions");
}

#[tokio::test]
async fn a_function_sees_the_call_as_it_was_made() {
    let world = world(NEAR);
    let call = world
        .request("PATCH", "/inspect/a%20b?q=%C3%BC")
        .header("x-twice", "1")
        .header("x-twice", "2")
        .header("nvcf-poll-seconds", "30")
        .header("nvcf-sub", "forged");
    let answer = world
        .call(call.body(full("body")).expect("valid"))
        .await
        .expect("an answer");
    let seen = answer.json();
    assert_eq!(seen["path"], "/inspect/a%20b", "{seen}");
    let headers: Vec<(String, String)> =
        serde_json::from_value(seen["headers"].clone()).expect("pairs");
    let all = |name: &str| {
        headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(all("x-twice"), ["1", "2"]);
    assert_eq!(
        all("authorization"),
        [""; 0],
        "the caller's key stays with the platform"
    );
    assert_eq!(all("nvcf-reqid"), [answer.header("nvcf-reqid")]);
    assert_eq!(all("nvcf-function-id"), [world.function()]);
    assert_eq!(
        all("nvcf-invocation-region"),
        [answer.header("frontdoor-region")]
    );
    assert_eq!(all("host"), [world.host().as_str()]);
    assert!(!all("nvcf-sub").contains(&"forged"), "{headers:?}");
}

fn multipart(file: &[u8]) -> Vec<u8> {
    let mut body =
        b"--cut\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n\"123\"\r\n--cut\r\n\
                     Content-Disposition: form-data; name=\"file\"; filename=\"cool-file.zip\"\r\n\
                     Content-Type: application/zip\r\n\r\n"
            .to_vec();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--cut--\r\n");
    body
}

const CHAT: &str = r#"{"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.2, "top_p": 0.7, "max_tokens": 512}"#;
