//! Credentials stay with whoever has them: nothing that a stack writes or shows holds the API key or the admin token it used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Request;
use test_support::client::{Client, Protocol, full};
use test_support::eventually::eventually;
use test_support::world::World;

use crate::{NEAR, world};

/// The files that are meant to hold them, for the tools of whoever started the stack.
const MEANT: [&str; 4] = ["api_key", "admin_token", "endpoints.json", "stack.json"];

#[tokio::test]
async fn nothing_a_stack_writes_or_shows_holds_a_credential() {
    let world = world(NEAR);
    let key = world.endpoint("/api_key").to_owned();
    let token = world.endpoint("/edge/admin_token").to_owned();
    assert!(key.len() > 8 && token.len() > 8);
    use_them(&world, &key, &token).await;
    let said = queue_one(&world).await;

    let mut found = Vec::new();
    let mut check = |place: String, content: &[u8]| {
        for (name, secret) in [("the API key", &key), ("the admin token", &token)] {
            if holds(content, secret.as_bytes()) {
                found.push(format!("{place} holds {name}"));
            }
        }
    };
    for message in &said {
        check("NATS".to_owned(), message.as_bytes());
    }
    // What it shows: pages of people, of Prometheus, and of NATS.
    let mut shown = 0;
    let pages = ["/metrics", "/decisions", "/regions", "/ready", "/events"];
    for page in pages {
        let text = page_of(&world, "/edge/admin", page).await;
        check(format!("the edge's {page}"), &text);
        shown += usize::from(!text.is_empty());
    }
    for region in ["us-east", "eu-west"] {
        for (part, page) in [
            ("invocation/admin", "/metrics"),
            ("worker/admin", "/metrics"),
            ("nats/monitor", "/connz?subs=true&auth=true"),
            (
                "nats/monitor",
                "/jsz?streams=true&consumers=true&config=true",
            ),
        ] {
            let pointer = format!("/regions/{region}/{part}");
            let text = page_of(&world, &pointer, page).await;
            check(format!("{region} {part}{page}"), &text);
            shown += usize::from(!text.is_empty());
        }
    }
    assert_eq!(shown, pages.len() + 8, "every page says something");

    // What it wrote, to the last byte: stopped first, so that nothing is still on its way to a disk.
    let kept = keep(world).await;
    let files = files(kept.path());
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if !MEANT.contains(&name.as_ref()) {
            let content = std::fs::read(file).expect("readable");
            check(file.display().to_string(), &content);
        }
    }
    let key_file = files.iter().find(|f| f.ends_with("running/api_key"));
    let key_file = std::fs::read(key_file.expect("there")).expect("readable");
    assert!(holds(&key_file, key.as_bytes()), "the search finds it");
    for kind in ["logs/edge.log", "journal/us-east.log", "edge.orders.json"] {
        let there = files.iter().any(|f| f.to_string_lossy().contains(kind));
        assert!(there, "{kind} is not among {files:?}");
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Every way in which a credential may come in: right and wrong, in the queue, streamed, refused, and where it does not belong.
async fn use_them(world: &World, key: &str, token: &str) {
    for (method, path) in [
        ("POST", "/echo"),
        ("GET", "/events?count=3"),
        ("POST", "/status/500"),
        ("POST", "/bytes/100000"),
        ("DELETE", "/x"),
    ] {
        let call = world.request(method, path).body(full("{}")).expect("valid");
        world.call(call).await.expect("an answer");
    }
    let mut wrong = vec![
        world.request_with_key("POST", "/echo", &format!("{key}x")),
        world.request("POST", "/echo").header("x-api-key", key),
        world
            .request("POST", "/echo")
            .header("nvcf-poll-seconds", key),
    ];
    wrong.push(world.request("POST", "/echo").header("authorization", key));
    for call in wrong {
        let call = call.body(full("{}")).expect("valid");
        let _ = world.call(call).await.expect("an answer");
    }
    for shown in [token.to_owned(), format!("{token}x")] {
        let mut admin = Client::plain(world.address("/edge/admin"), Protocol::H1)
            .await
            .expect("the admin port");
        let order = Request::put("/regions/us-east/weight")
            .header("host", "admin")
            .header("authorization", format!("Bearer {shown}"))
            .body(full("{\"weight\": 0.9}"))
            .expect("valid");
        admin.call(order).await.expect("an answer");
    }
}

/// Has a call wait in the queue, where nobody can take it for a while; returns everything that was said on that region's NATS.
async fn queue_one(world: &World) -> Vec<String> {
    let heard = async_nats::connect(world.endpoint("/regions/us-east/nats/url")).await;
    let heard = heard.expect("the region's NATS");
    let mut heard = heard.subscribe(">").await.expect("subscribed");
    let workers = ["us-east/worker", "eu-west/worker"];
    for part in workers {
        world.local(&["kill", part]).expect("killed");
    }
    let mut client = world.caller(Protocol::H2).await.expect("a connection");
    let call = world
        .request("POST", "/echo")
        .header("nvcf-poll-seconds", "30");
    let call = call.body(full("{}")).expect("valid");
    let waiting = tokio::spawn(async move { client.call(call).await });
    let mut said = Vec::new();
    let queued = async {
        while let Some(message) = heard.next().await {
            let item = message.subject.starts_with("rq.");
            let payload = String::from_utf8_lossy(&message.payload);
            said.push(format!(
                "{} {:?} {payload}",
                message.subject, message.headers
            ));
            if item {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), queued)
        .await
        .expect("a work item");
    for part in workers {
        world.local(&["start", part]).expect("started");
    }
    waiting.await.expect("no panic").expect("an answer");
    said
}

async fn page_of(world: &World, part: &str, page: &str) -> Vec<u8> {
    let mut client = Client::plain(world.address(part), Protocol::H1)
        .await
        .expect("a port");
    let request = Request::get(page).header("host", "admin").body(full(""));
    let mut body = client
        .send(request.expect("valid"))
        .await
        .expect("an answer")
        .into_body();
    // Of a page without an end the first picture is enough.
    let mut text = Vec::new();
    let read = async {
        while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
            text.extend(frame.into_data().unwrap_or_default());
            if page == "/events" {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .expect("in time");
    text
}

/// Copies what a stack has written: once while it runs, because some of it goes with it, and once when it has stopped and
/// nothing is on its way to a disk any more.
async fn keep(world: std::sync::Arc<World>) -> tempfile::TempDir {
    let kept = tempfile::tempdir().expect("a folder");
    let dir = world.dir.clone();
    copy(&dir, &kept.path().join("running"));
    world.local(&["down"]).expect("stopped");
    eventually("the stack is down", Duration::from_secs(10), async || {
        (!dir.join("endpoints.json").exists()).then_some(())
    })
    .await;
    copy(&dir, &kept.path().join("stopped"));
    kept
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let copy = to.join(file.strip_prefix(from).expect("inside"));
        std::fs::create_dir_all(copy.parent().expect("a folder")).expect("made");
        // What is gone meanwhile was renamed or has been acknowledged.
        if let Err(error) = std::fs::copy(&file, &copy) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            all.extend(files(&entry.path()));
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
    all
}

fn holds(content: &[u8], secret: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = content[from..].iter().position(|b| *b == secret[0]) {
        if content[from + at..].starts_with(secret) {
            return true;
        }
        from += at + 1;
    }
    false
}
