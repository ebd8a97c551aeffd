//! What must hold for any bytes off the wire, or in a file of configuration: one law a file.
//!
//! Here each is held to the inputs of `fuzz/corpus`, the findings of earlier runs among them, and to a few thousand that are like
//! them (`FRONTDOOR_FUZZ=600`: for so many seconds, others each time). `fuzz/` feeds them what a fuzzer thinks of (`make fuzz`).

mod attach;
mod chatter;
mod config;
mod identity;
mod mutate;
mod protobuf;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mutate::Mutator;

/// Inputs that each test run makes for each law.
const MADE: usize = 3000;

/// Holds a law to every input that is kept for it, and to some like them.
fn replay(name: &str, law: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let entries = std::fs::read_dir(root.join("corpus").join(name)).expect("a folder of inputs");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    let mut kept = Vec::new();
    for file in files {
        let input = std::fs::read(&file).expect("readable");
        hold(law, &input, &file.display().to_string());
        kept.push(input);
    }
    let seconds = std::env::var("FRONTDOOR_FUZZ").ok();
    let seconds = seconds.map(|text| text.parse().expect("FRONTDOOR_FUZZ is a number of seconds"));
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = seconds.map_or(7, |_: u64| unix.expect("after 1970").subsec_nanos().into());
    let dictionary = root.join("dictionaries").join(format!("{name}.dict"));
    let mut mutator = Mutator::new(kept, &dictionary, seed);
    let (begun, mut made) = (Instant::now(), 0);
    let goes_on = |made: usize| match seconds {
        Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
        None => made < MADE,
    };
    while goes_on(made) {
        let input = mutator.next();
        hold(law, &input, "made");
        made += 1;
    }
    println!("{name}: {made} inputs made, {:?}", begun.elapsed());
}

/// Shows the input that breaks the law.
fn hold(law: fn(&[u8]), input: &[u8], whence: &str) {
    if let Err(broken) = catch_unwind(AssertUnwindSafe(|| law(input))) {
        println!("{whence}: {}", input.escape_ascii());
        resume_unwind(broken);
    }
}

#[test]
fn every_head_is_attached_whole_or_refused() {
    replay("attach", attach::law);
}

#[test]
fn every_message_is_believed_or_doubted() {
    replay("chatter", chatter::law);
}

#[test]
fn every_configuration_gives_settings_or_an_error() {
    replay("config", config::law);
}

#[test]
fn every_head_has_one_meaning() {
    replay("identity", identity::law);
}

#[test]
fn every_work_item_is_run_as_it_says_or_refused() {
    replay("protobuf", protobuf::law);
}
