//! `regions/README.md` says which test proves what: each test that it names is there, each file too, and no row of its tables
//! of promises is without either a test or a reason.

use crate::tree::{self, File, Finding};

const TABLES: &str = "regions/README.md";
/// How the table shortens the places of tests.
const PLACES: [(&str, &str); 5] = [
    ("inv/", "regions/invocation/tests/wire/"),
    ("wrk/", "regions/worker/tests/wire/"),
    ("fn/", "regions/function/tests/paths/"),
    ("sys/", "tests/system/"),
    ("edge/", "tests/edge/"),
];
/// Without one of the shortened places a path begins in the folder of the table, but for the edge's own.
const FOLDER: &str = "regions/";
const EDGE: [&str; 2] = ["src/", "tests/"];
/// What a row that no test proves says first of its reason.
const REASON: &str = "*Not here*";
/// The tables in which each row is a promise.
const PROMISES: [&str; 3] = [
    "## What NVCF's HTTP invocation promises",
    "## NVCF's contract towards callers",
    "## NVIDIA's weaknesses, and ours",
];

/// What stands in code spans on a line.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Where a shortened path is.
fn place(path: &str) -> String {
    let long = PLACES.iter().find_map(|(short, long)| {
        let rest = path.strip_prefix(short)?;
        Some(format!("{long}{rest}"))
    });
    long.unwrap_or_else(|| match EDGE.iter().any(|own| path.starts_with(own)) {
        true => path.to_owned(),
        false => format!("{FOLDER}{path}"),
    })
}

/// A test that a span names: its file, and its function.
fn named(span: &str) -> Option<(String, &str)> {
    let (path, test) = span.split_once("::")?;
    path.ends_with(".rs").then(|| (place(path), test))
}

/// Whether a file has a test of this name: an attribute says that it is one, and no other function lies between.
fn has_test(text: &str, name: &str) -> bool {
    let Some(at) = text.find(&format!("fn {name}(")) else {
        return false;
    };
    let before = &text[..at];
    let attribute = ["#[test]", "#[tokio::test", "#[test("]
        .iter()
        .filter_map(|attribute| before.rfind(attribute))
        .max();
    let function = before.rfind("fn ");
    // A macro that makes tests of functions opens the file's own block.
    let made = before.rfind("proptest!").is_some();
    made || attribute.is_some_and(|at| function.is_none_or(|function| function < at))
}

fn findings(table: &File, files: &[File]) -> Vec<Finding> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|f| &f.text);
    let mut findings = Vec::new();
    let mut promises = false;
    let mut lines = (1..).zip(table.text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        if line.starts_with("## ") {
            promises = PROMISES.contains(&line);
        }
        let mut proven = false;
        for span in spans(line) {
            if let Some((path, test)) = named(span) {
                let there = text(&path).is_some_and(|text| has_test(text, test));
                proven |= there;
                if !there {
                    let what = format!("`{span}` is no test: name the one that proves this");
                    findings.push(table.finding(number, what));
                }
            } else if let Some(path) = span.strip_suffix('/').filter(|path| path.contains('/')) {
                let folder = place(path);
                if !files.iter().any(|file| file.path.starts_with(&folder)) {
                    findings.push(table.finding(number, format!("`{span}` is no folder")));
                }
            } else if span.ends_with(".rs") && span.contains('/') {
                let tests = text(&place(span))
                    .map(|text| text.contains("#[test]") || text.contains("#[tokio::test"));
                // Tests of a file may stand in a file of their own.
                let beside = place(span).replace(".rs", "/tests.rs");
                proven |= tests == Some(true) || text(&beside).is_some();
                if tests.is_none() {
                    findings.push(table.finding(number, format!("`{span}` is no file")));
                }
            }
        }
        let below = lines.peek().map_or("", |(_, line)| line);
        let heading = below.starts_with("| ---");
        let row = line.starts_with("| ") && !line.starts_with("| ---");
        if promises && row && !heading && !proven && !line.contains(REASON) {
            let what = format!("no test proves this row: name one, or say why not after {REASON}");
            findings.push(table.finding(number, what));
        }
    }
    findings
}

#[test]
fn what_is_promised_is_proven_by_tests_that_exist() {
    let files = tree::files();
    let table = files.iter().find(|file| file.path == TABLES);
    let table = table.expect("regions/README.md");
    for heading in PROMISES {
        assert!(
            table.text.lines().any(|line| line == heading),
            "{TABLES}: `{heading}` is gone: put it back, or correct this test"
        );
    }
    tree::assert_clean(&findings(table, &files));
}

#[test]
fn rows_without_proof_are_found() {
    let files = [
        File::new(
            "regions/invocation/tests/wire/a.rs",
            "fn helper() {}\n#[tokio::test]\nasync fn it_works() {}\nfn no_test() {}\n",
        ),
        File::new("regions/worker/src/b.rs", "#[test]\nfn unit() {}"),
        File::new("regions/worker/src/c.rs", "fn plain() {}"),
    ];
    let check = |row: &str| {
        let text = format!(
            "{}\n\n| statement | proof |\n| --- | --- |\n{row}\n",
            PROMISES[0]
        );
        let found = findings(&File::new(TABLES, &text), &files);
        found.iter().map(|f| f.line).collect::<Vec<usize>>()
    };
    assert!(check("| a | `inv/a.rs::it_works` |").is_empty());
    assert!(check("| a | unit tests of `worker/src/b.rs` |").is_empty());
    assert!(check("| a | *Not here*: it is somebody else's |").is_empty());
    assert_eq!(
        check("| a | `inv/a.rs::it_worked` |"),
        [5, 5],
        "no such test"
    );
    assert_eq!(check("| a | `inv/a.rs::no_test` |"), [5, 5]);
    assert_eq!(check("| a | `inv/b.rs::it_works` |"), [5, 5]);
    assert_eq!(
        check("| a | `worker/src/c.rs` |"),
        [5],
        "nothing is tested there"
    );
    assert_eq!(
        check("| a | `worker/src/d.rs`, `inv/a.rs::it_works` |"),
        [5]
    );
    assert_eq!(check("| a | `worker/lib/`, `inv/a.rs::it_works` |"), [5]);
    assert_eq!(check("| a | it is so |"), [5]);
}
