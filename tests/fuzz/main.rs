//! What must hold for any bytes off the wire, or in a file of configuration: one law a file.
//!
//! Here each is held to the inputs of `fuzz/corpus`, the findings of earlier runs among them; `fuzz/` feeds them what a fuzzer
//! thinks of (`make fuzz`).

mod attach;
mod chatter;
mod config;
mod identity;
mod protobuf;

use std::path::Path;

/// Holds a law to every input that is kept for it.
fn replay(name: &str, law: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let entries = std::fs::read_dir(folder.join(name)).expect("a folder of inputs");
    let mut count = 0;
    for entry in entries {
        let file = entry.expect("readable").path();
        // Shown if it fails.
        println!("{}", file.display());
        law(&std::fs::read(&file).expect("readable"));
        count += 1;
    }
    assert!(count > 0, "no inputs for {name}");
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
