//! One direction: a library's list of modules is its dependency order, so a cycle cannot land.

use crate::code::{self, NamedPath};
use crate::tree::{self, File, Finding};

/// A list of modules: the file that holds it, the folder of their files, and how code names the place they hang from.
struct Library {
    list: &'static str,
    folder: &'static str,
    base: &'static [&'static str],
}

const LIBRARIES: [Library; 10] = [
    library("src/lib.rs", "src/"),
    library("regions/protocol/src/lib.rs", "regions/protocol/src/"),
    library("regions/bus/src/lib.rs", "regions/bus/src/"),
    library("regions/telemetry/src/lib.rs", "regions/telemetry/src/"),
    library("regions/socket/src/lib.rs", "regions/socket/src/"),
    library("regions/invocation/src/lib.rs", "regions/invocation/src/"),
    library("regions/worker/src/lib.rs", "regions/worker/src/"),
    library("regions/function/src/lib.rs", "regions/function/src/"),
    library("tests/support/src/lib.rs", "tests/support/src/"),
    Library {
        list: "ops/src/local.rs",
        folder: "ops/src/local/",
        base: &["crate", "local"],
    },
];

const fn library(list: &'static str, folder: &'static str) -> Library {
    Library {
        list,
        folder,
        base: &["crate"],
    }
}

fn findings(library: &Library, files: &[File]) -> Vec<Finding> {
    let text = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        file.map(|file| code::outside_tests(&code::bare(&file.text)))
    };
    let listed = code::modules(&text(library.list).expect("the list is a file"));
    let binary = text(&format!("{}main.rs", library.folder)).map(|main| code::modules(&main));
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !file.is_test()) {
        let Some(below) = file.path.strip_prefix(library.folder) else {
            continue;
        };
        let own = below.split(['/', '.']).next().unwrap_or_default();
        if ["lib", "main"].contains(&own) && !below.contains('/')
            || binary.iter().flatten().any(|module| module == own)
        {
            continue;
        }
        let Some(rank) = listed.iter().position(|module| module == own) else {
            let what = format!(
                "no file of {}: list `{own}` there or delete this",
                library.list
            );
            findings.push(file.finding(1, what));
            continue;
        };
        let depth = below.split('/').count();
        for path in code::paths(&code::outside_tests(&code::bare(&file.text))) {
            let module = named(&path, library.base, depth);
            let later = listed
                .iter()
                .skip(rank + 1)
                .find(|m| Some(m.as_str()) == module);
            if let Some(module) = later {
                let what = format!(
                    "`{own}` uses `{module}`, which {} lists after it: change the order of the list, or if that \
                     makes a cycle, move what both need to a module before them",
                    library.list
                );
                findings.push(file.finding(path.line, what));
            }
        }
    }
    findings.dedup();
    findings
}

/// The word of a path that may be a module of the list: what follows the base, or `super` often enough to reach it.
fn named<'a>(path: &'a NamedPath, base: &[&str], depth: usize) -> Option<&'a str> {
    let segments = &path.segments;
    let supers = segments.iter().take_while(|s| *s == "super").count();
    let at = if supers == depth {
        depth
    } else if segments.len() > base.len() && segments.iter().zip(base).all(|(s, b)| s == b) {
        base.len()
    } else {
        return None;
    };
    segments.get(at).map(String::as_str)
}

#[test]
fn modules_use_only_what_is_listed_before_them() {
    let files = tree::rust();
    let found: Vec<Finding> = LIBRARIES.iter().flat_map(|l| findings(l, &files)).collect();
    tree::assert_clean(&found);
}

#[test]
fn every_library_is_read() {
    let root: toml::Table = tree::read("Cargo.toml").parse().expect("TOML");
    let members = root["workspace"]["members"].as_array().expect("members");
    for member in members.iter().map(|m| m.as_str().expect("a path")) {
        let folder = if member == "." {
            "src/".to_owned()
        } else {
            format!("{member}/src/")
        };
        assert!(
            LIBRARIES.iter().any(|l| l.folder.starts_with(&folder)),
            "{member}: add its list of modules to LIBRARIES in tests/tidy/order.rs"
        );
    }
}

#[test]
fn a_step_back_is_found() {
    let list = File::new("src/lib.rs", "pub mod a;\n\npub mod b;\n");
    let check = |path: &str, text: &str| {
        let files = [list.clone(), File::new(path, text)];
        let found = findings(&library("src/lib.rs", "src/"), &files);
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (path, text) in [
        ("src/a.rs", "\nuse crate::b::X;"),
        ("src/a/part.rs", "\nuse crate::{a::Y, b};"),
        ("src/a.rs", "\nfn f() { super::b::x() }"),
        ("src/a/part.rs", "\nfn f() { super::super::b::x() }"),
    ] {
        let found = check(path, text);
        assert_eq!(found.len(), 1, "{path} {text}");
        let expected = format!("{path}:2: `a` uses `b`");
        assert!(found[0].starts_with(&expected), "{found:?}");
    }
    for (path, text) in [
        ("src/b.rs", "use crate::a::X;"),
        (
            "src/b/part.rs",
            "use super::super::a::X; use super::X; use crate::b::Z;",
        ),
        (
            "src/a.rs",
            "//! See [`crate::b`].\n#[cfg(test)]\nmod tests { use crate::b::X; }",
        ),
        ("src/a/tests.rs", "use crate::b::X;"),
        ("src/a/part.rs", "use super::b::X;"),
    ] {
        assert!(check(path, text).is_empty(), "{path} {text}");
    }
    assert!(check("src/c.rs", "")[0].starts_with("src/c.rs:1: no file of src/lib.rs"));
}
