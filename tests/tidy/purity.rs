//! Decisions are functions of their arguments: the files that make them name no runtime, socket, file, clock, log,
//! metric or source of randomness, outside of their tests.

use crate::code::{self, NamedPath};
use crate::tree::{self, File, Finding};

/// Pure files, and folders of them (with a final `/`). A file whose header begins a sentence with `Pure` is one too.
const PURE: [&str; 28] = [
    "src/region.rs",
    "src/identity.rs",
    "src/identity/",
    "src/table.rs",
    "src/table/",
    "src/route.rs",
    "src/route/",
    "src/upstream/deadline.rs",
    "src/response/failure.rs",
    "src/resolve/refresh.rs",
    "src/probe/schedule.rs",
    "src/canary/turns.rs",
    "src/chatter/hearsay.rs",
    "src/chatter/peers.rs",
    "src/chatter/speak.rs",
    "src/lastgood/format.rs",
    "src/admin/regions.rs",
    "src/orders/book.rs",
    "src/orders/guard.rs",
    "src/reload/differ.rs",
    "regions/protocol/src/",
    "regions/invocation/src/pending.rs",
    "regions/invocation/src/report/ledger.rs",
    "regions/invocation/src/respond.rs",
    "regions/invocation/src/respond/",
    "regions/invocation/src/auth/verdict.rs",
    "regions/worker/src/slots.rs",
    "regions/worker/src/settle.rs",
];

/// Crates that bring time, I/O, randomness or side effects; names that begin with them and `_` as well.
const CRATES: [&str; 16] = [
    "tokio",
    "pingora",
    "async_nats",
    "hickory",
    "hyper",
    "h2",
    "axum",
    "prometheus",
    "tracing",
    "rand",
    "rustls",
    "socket2",
    "reqwest",
    "moka",
    "nix",
    "futures_util",
];

fn is_pure(file: &File) -> bool {
    let listed = PURE
        .iter()
        .any(|pure| file.path == *pure || pure.ends_with('/') && file.path.starts_with(pure));
    let header = file.text.lines().take_while(|line| line.starts_with("//!"));
    listed
        || header.into_iter().any(|line| {
            let says = |mark: &str| {
                line.starts_with(&format!("//! {mark}")) || line.contains(&format!(". {mark}"))
            };
            says("Pure:") || says("Pure.") || says("Pure,")
        })
}

fn findings(file: &File) -> Vec<Finding> {
    if file.is_test() || !is_pure(file) {
        return Vec::new();
    }
    code::paths(&code::outside_tests(&code::bare(&file.text)))
        .into_iter()
        .filter(impure)
        .map(|path| {
            let what = format!(
                "a pure file must not name `{}`: take what it gives as an argument, return what it should do",
                path.segments.join("::")
            );
            file.finding(path.line, what)
        })
        .collect()
}

fn impure(path: &NamedPath) -> bool {
    let words: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    let of_crate = words.len() > 1
        && CRATES.iter().any(|name| {
            let rest = words[0].strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        });
    let of_std = matches!(words[..], ["std", "fs" | "thread" | "process" | "env", ..])
        || matches!(words[..], ["fs" | "thread", _, ..]);
    let clock = words
        .windows(2)
        .any(|pair| matches!(pair, ["Instant" | "SystemTime", "now"]));
    const SOCKETS: [&str; 5] = [
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "ToSocketAddrs",
    ];
    of_crate || of_std || clock || words.iter().any(|word| SOCKETS.contains(word))
}

#[test]
fn pure_files_are_pure() {
    let files = tree::rust();
    let found: Vec<Finding> = files.iter().flat_map(findings).collect();
    tree::assert_clean(&found);
}

#[test]
fn pure_files_are_there() {
    let files = tree::rust();
    for pure in PURE {
        assert!(
            files
                .iter()
                .any(|f| f.path == pure || pure.ends_with('/') && f.path.starts_with(pure)),
            "{pure} is gone: give its new name in tests/tidy/purity.rs"
        );
    }
}

#[test]
fn what_is_impure_is_found() {
    let check = |text: &str| findings(&File::new("src/route/rank.rs", text)).len();
    for text in [
        "use tokio::time::sleep;",
        "use tokio_util::sync::CancellationToken;",
        "use hickory_resolver::Resolver;",
        "fn f() { tracing::info!(1) }",
        "fn f() { rand::random::<u64>() }",
        "use std::{fs, fmt};",
        "use std::net::{IpAddr, TcpStream};",
        "fn f() { let a = Instant::now(); }",
        "fn f() { std::time::SystemTime::now(); }",
    ] {
        assert_eq!(check(text), 1, "{text}");
    }
    for text in [
        "use std::net::SocketAddr; use std::time::{Duration, Instant};",
        "/// Not tokio::time.\nfn f(random: u64, now: Instant) -> u64 { random }",
        "#[cfg(test)]\nmod tests { fn f() { std::time::Instant::now(); } }",
        "fn f() { http::StatusCode::OK; \"tokio::spawn\"; }",
    ] {
        assert_eq!(check(text), 0, "{text}");
    }
    let clock = "fn f() { Instant::now(); }";
    let elsewhere =
        |header: &str| findings(&File::new("src/x.rs", &format!("{header}\n{clock}"))).len();
    assert_eq!(elsewhere("//! Times things."), 0);
    assert_eq!(elsewhere("//! Decides.\n//!\n//! Pure: no clock."), 1);
    assert_eq!(elsewhere("//! Decides. Pure."), 1);
}
