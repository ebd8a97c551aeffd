//! Callers who mean harm: the edge answers or closes as the RFCs say, its memory stays bounded, and others are served on.
//!
//! `http1.rs` and `http2.rs` are what must be refused, and how; `floods.rs`, `slow.rs` and `noise.rs` are attacks that go on while
//! `siege.rs` measures what others notice of them and what they cost.

mod floods;
mod frames;
mod http1;
mod http2;
mod noise;
mod siege;
mod slow;

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::BodyExt as _;
use test_support::region::{Region, reply};

/// The size of what a region answers at `/large`: far more than the kernel keeps for a caller who takes none of it, and so many
/// times what the edge may keep that a few of them would show.
const LARGE: usize = 16 << 20;

/// A region that remembers which paths it was asked for; `/large` is large.
struct Witness {
    region: Region,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Witness {
    async fn start() -> Self {
        let paths = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&paths);
        let large = bytes::Bytes::from(vec![7; LARGE]);
        let region = Region::start(move |request| {
            let (noted, large) = (Arc::clone(&noted), large.clone());
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await;
                if body.is_err() {
                    return reply(400, &[], "broken");
                }
                let large = if path == "/large" { large } else { "ok".into() };
                if path != "/calm" {
                    let mut paths = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    paths.push(path);
                }
                reply(200, &[], large)
            }
        })
        .await
        .expect("a port");
        Self { region, paths }
    }

    fn saw(&self, path: &str) -> bool {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.iter().any(|p| p == path)
    }
}
