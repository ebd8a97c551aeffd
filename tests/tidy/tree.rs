//! The files of the repository, and how a broken rule is reported.

use std::fmt;
use std::path::{Path, PathBuf};

/// One text file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Relative to the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All text files but those that the top-level `.gitignore` names by path, and git's own.
pub(crate) fn files() -> Vec<File> {
    let ignored = std::fs::read_to_string(root().join(".gitignore")).expect("a .gitignore");
    let mut skipped: Vec<PathBuf> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('/'))
        .map(|path| root().join(path.trim_end_matches('/')))
        .collect();
    skipped.push(root().join(".git"));
    let mut files = Vec::new();
    collect(root(), &skipped, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The Rust files among all.
pub(crate) fn rust() -> Vec<File> {
    let mut files = files();
    files.retain(|file| file.path.ends_with(".rs"));
    files
}

/// The text of one file that must be there.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with all findings, one a line.
pub(crate) fn assert_clean(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

fn collect(folder: &Path, skipped: &[PathBuf], files: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if skipped.contains(&path) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(&path, skipped, files);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let relative = path.strip_prefix(root()).expect("below the root");
            let path = relative.to_string_lossy().replace('\\', "/");
            files.push(File { path, text });
        }
    }
}

// === impl File ===

impl File {
    /// A made-up file, for tests of the rules.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Whether all of it is test code, by its place.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/').peekable();
        let support = self.path.starts_with("tests/support/src/");
        !support
            && (self.path.ends_with("/tests.rs")
                || parts.any(|p| matches!(p, "tests" | "benches" | "examples")))
    }

    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

#[test]
fn the_tree_is_read() {
    let files = files();
    let has = |path: &str| files.iter().any(|file| file.path == path);
    assert!(has("Cargo.toml") && has("src/lib.rs") && has("tests/tidy/tree.rs"));
    assert!(!files.iter().any(|f| f.path.starts_with("target/")));
}

#[test]
fn test_code_is_known_by_its_place() {
    for (path, test) in [
        ("src/route.rs", false),
        ("src/route/tests.rs", true),
        ("src/route/tests/laws.rs", true),
        ("regions/worker/tests/wire/main.rs", true),
        ("tests/edge/main.rs", true),
        ("tests/support/src/client.rs", false),
        ("benches/route.rs", true),
    ] {
        assert_eq!(File::new(path, "").is_test(), test, "{path}");
    }
}
