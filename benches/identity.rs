//! What it costs to read who asks for what: once per request, before anything else.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use frontdoor::identity::{Facts, read};

const DOMAIN: &str = "invocation.example.com";
const FUNCTION: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
const VERSION: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";

fn identities(c: &mut Criterion) {
    let host = format!("{FUNCTION}.{DOMAIN}");
    let with_version = format!("{VERSION}.{host}:443");
    let facts = |authority, function: Option<&'static str>| Facts {
        authority,
        method: &http::Method::POST,
        path: "/v1/chat/completions",
        function: function.map(str::as_bytes),
        version: None,
        authorization: Some(
            b"Bearer nvapi-0123456789abcdefghijklmnopqrstuvwxyz-0123456789abcdefghij",
        ),
        poll: Some(b"300"),
        accept: None,
        idempotency_key: false,
    };
    for (name, facts) in [
        ("host", facts(&host, None)),
        ("host-with-version", facts(&with_version, None)),
        ("header", facts("gateway.example.com", Some(FUNCTION))),
        ("refused", facts("gateway.example.com", None)),
    ] {
        c.bench_function(&format!("identity/{name}"), |b| {
            b.iter(|| read(black_box(&facts), DOMAIN));
        });
    }
}

criterion_group!(benches, identities);
criterion_main!(benches);
