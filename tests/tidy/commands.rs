//! What the documents tell people to type, and the files they lead to, exist; and the list of checks runs the tests as
//! everybody does.

use crate::tree::{self, File, Finding};

/// Without these the README does not say how to run and how to test.
const PROMISED: [&str; 2] = ["demo", "test"];

/// The targets that a text tells people to make: `make x` in code, with the line.
fn made(text: &str) -> Vec<(usize, &str)> {
    let mut made = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for (at, _) in line.match_indices("make ") {
            let starts =
                line[..at].ends_with('`') || line[..at].trim_matches([' ', '$']).is_empty();
            let rest = &line[at + "make ".len()..];
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .unwrap_or(rest.len());
            let closes = rest[end..].is_empty() || rest[end..].starts_with(['`', ' ']);
            if starts && closes && end > 0 {
                made.push((number, &rest[..end]));
            }
        }
    }
    made
}

fn has_target(makefile: &str, target: &str) -> bool {
    makefile.lines().any(|line| {
        line.split_once(':').is_some_and(|(names, _)| {
            !line.starts_with(['\t', '.', '#'])
                && names.split_whitespace().any(|name| name == target)
        })
    })
}

fn findings(document: &File, makefile: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = made(&document.text)
        .into_iter()
        .filter(|(_, target)| !has_target(makefile, target))
        .map(|(line, target)| {
            document.finding(
                line,
                format!("`make {target}` is no target of the Makefile: add or correct it"),
            )
        })
        .collect();
    if document.path == "README.md" {
        for target in PROMISED {
            if !made(&document.text).iter().any(|(_, made)| *made == target) {
                findings.push(document.finding(1, format!("tell people about `make {target}`")));
            }
        }
    }
    findings
}

/// Links to files of the repository that are not there.
fn dead_links(document: &File, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let folder = document
        .path
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(document.text.lines()) {
        let links = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        for (link, _) in links {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains(':') && !exists(&format!("{folder}/{path}")) {
                findings.push(
                    document.finding(number, format!("`{link}` leads nowhere: correct the path")),
                );
            }
        }
    }
    findings
}

fn runs(script: &str, command: &str) -> bool {
    script.lines().any(|line| {
        let line = line.trim();
        !line.starts_with('#') && (line == command || line.ends_with(&format!(" {command}")))
    })
}

#[test]
fn documents_name_real_targets() {
    let makefile = tree::read("Makefile");
    let documents = tree::files()
        .into_iter()
        .filter(|file| file.path.ends_with(".md"));
    let found: Vec<Finding> = documents
        .flat_map(|file| findings(&file, &makefile))
        .collect();
    tree::assert_clean(&found);
}

#[test]
fn documents_lead_to_real_files() {
    let exists = |path: &str| tree::root().join(path.trim_start_matches('/')).exists();
    let documents = tree::files()
        .into_iter()
        .filter(|file| file.path.ends_with(".md"));
    let found: Vec<Finding> = documents
        .flat_map(|file| dead_links(&file, exists))
        .collect();
    tree::assert_clean(&found);
}

#[test]
fn the_two_commands_exist() {
    let makefile = tree::read("Makefile");
    assert!(
        tree::root().join("README.md").exists(),
        "README.md: say how to run and how to test"
    );
    for target in PROMISED {
        assert!(
            has_target(&makefile, target),
            "Makefile: add the target `{target}`"
        );
    }
}

#[test]
fn the_checks_run_the_tests_and_each_bench_once() {
    let script = tree::read(".ci/run");
    for command in ["make test", "cargo test --workspace --bench '*'"] {
        assert!(runs(&script, command), ".ci/run: add a step `{command}`");
    }
}

#[test]
fn wrong_commands_are_found() {
    let makefile = ".PHONY: all test\ndemo test: setup\n\tbuild: it\n";
    let check = |path: &str, text: &str| findings(&File::new(path, text), makefile).len();
    assert_eq!(check("a.md", "Run `make demo`, then\n\n    make test\n"), 0);
    assert_eq!(
        check("a.md", "We make sure that it makes sense; make haste."),
        0
    );
    assert_eq!(check("a.md", "Run `make all`."), 1);
    assert_eq!(check("a.md", "$ make build"), 1);
    assert_eq!(check("README.md", "Run `make demo`."), 1);
    assert!(runs("step make test\n", "make test") && runs("make test", "make test"));
    assert!(!runs("# make test\necho nothing\n", "make test"));
}

#[test]
fn dead_links_are_found() {
    let file = File::new(
        "a/b.md",
        "[x](c.md) [y](https://example.com/z) [z](#part)\n[d](../d.md#e)",
    );
    let check = |there: &[&str]| {
        let found = dead_links(&file, |path| there.contains(&path));
        found.into_iter().map(|f| f.line).collect::<Vec<usize>>()
    };
    assert!(check(&["a/c.md", "a/../d.md"]).is_empty());
    assert_eq!(check(&["a/c.md"]), [2]);
    assert_eq!(check(&["a/../d.md"]), [1]);
}
