//! The shape of files: length, headers, names; no tests that do not run, nothing that holds on one machine only.

use crate::code;
use crate::tree::{self, File, Finding};

/// The most lines of a Rust file.
const LONGEST: usize = 500;

/// What no file may say, and why. Written in two halves, so that this file does not say it either.
const NOWHERE: [(&str, &str); 12] = [
    (concat!("/wo", "rk/"), MACHINE),
    (concat!("/ro", "ot/"), MACHINE),
    (concat!("/ho", "me/"), MACHINE),
    (concat!("/Us", "ers/"), MACHINE),
    (concat!("design", ".md"), NOTES),
    (concat!("layout", ".md"), NOTES),
    (concat!("style", ".md"), NOTES),
    (concat!("contract", ".md"), NOTES),
    (concat!("wire", ".md"), NOTES),
    (concat!("pingora", ".md"), NOTES),
    (concat!("seed", ".txt"), NOTES),
    (concat!("`wi", "re`"), NOTES),
];
const MACHINE: &str = "a path of one machine: use one relative to the repository, or a setting";
const NOTES: &str =
    "notes that readers do not have: say what they say, or name NVCF's contract or the RFC";

/// Code that says "later" or "not now".
const UNFINISHED: [(&str, &str); 4] = [
    (
        "#[ignore",
        "a test that never runs: make it run or delete it",
    ),
    (
        "#[should_panic",
        "assert on a Result or on what catch_unwind gives instead",
    ),
    ("todo!", "finish it or file an issue"),
    ("unimplemented!", "finish it or file an issue"),
];

fn any_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        for (words, why) in NOWHERE.iter().filter(|(words, _)| line.contains(words)) {
            findings.push(file.finding(number, format!("says `{words}`, {why}")));
        }
    }
    findings
}

fn rust_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > LONGEST {
        let what =
            format!("{lines} lines, at most {LONGEST}: split it into `foo.rs` and `foo/part.rs`");
        findings.push(file.finding(LONGEST + 1, what));
    }
    if !file.text.starts_with("//! ") {
        let what =
            "open the file with a `//!` header: what it is for, what it never does, who calls it";
        findings.push(file.finding(1, what));
    }
    if file.path.ends_with("/mod.rs") {
        findings.push(file.finding(1, "call `foo/mod.rs` `foo.rs`"));
    }
    for (number, line) in (1..).zip(code::bare(&file.text).lines()) {
        for (words, why) in UNFINISHED.iter().filter(|(words, _)| line.contains(words)) {
            findings.push(file.finding(number, format!("`{words}`: {why}")));
        }
        // Only a statement of its own drops the handle; tests may, their runtime ends with them.
        if line.trim_start().starts_with("tokio::spawn(") && !file.is_test() {
            let what = "a task that nobody joins: put it into a JoinSet or TaskTracker";
            findings.push(file.finding(number, what));
        }
    }
    findings
}

#[test]
fn no_file_is_about_one_machine_or_our_notes() {
    let found: Vec<Finding> = tree::files().iter().flat_map(any_file).collect();
    tree::assert_clean(&found);
}

#[test]
fn rust_files_have_their_shape() {
    let found: Vec<Finding> = tree::rust().iter().flat_map(rust_file).collect();
    tree::assert_clean(&found);
}

#[test]
fn paths_and_notes_are_found() {
    for (words, _) in NOWHERE {
        let found = any_file(&File::new("README.md", &format!("a\nsee {words}b")));
        assert_eq!(found.len(), 1, "{words}");
        assert_eq!(found[0].line, 2);
    }
    assert!(
        any_file(&File::new(
            "README.md",
            "at work, /etc/frontdoor/edge.toml, the wire"
        ))
        .is_empty()
    );
}

#[test]
fn misshapen_files_are_found() {
    let check = |path: &str, text: &str| rust_file(&File::new(path, text)).len();
    assert_eq!(check("src/a.rs", "//! Good.\nfn f() {}\n"), 0);
    assert_eq!(
        check(
            "src/a.rs",
            &format!("//! Long.\n{}", "\n".repeat(LONGEST - 1))
        ),
        0
    );
    assert_eq!(
        check("src/a.rs", &format!("//! Long.\n{}", "\n".repeat(LONGEST))),
        1
    );
    assert_eq!(check("src/a.rs", "// Headless.\n"), 1);
    let forgotten = "//! Good.\nfn f() {\n    tokio::spawn(g());\n}\n";
    assert_eq!(check("src/a.rs", forgotten), 1);
    assert_eq!(check("src/a/tests.rs", forgotten), 0);
    assert_eq!(check("src/a/mod.rs", "//! Good.\n"), 1);
    for (words, _) in UNFINISHED {
        assert_eq!(
            check("src/a.rs", &format!("//! Good.\nfn f() {{ {words}")),
            1,
            "{words}"
        );
        assert_eq!(
            check("src/a.rs", &format!("//! Good.\n// {words}\n")),
            0,
            "{words}"
        );
    }
}
