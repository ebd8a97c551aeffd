//! Shipped configurations are the reference of all keys: each loads through the program's own loader, has every key
//! that the program knows (one that is commented out counts), and none that it does not know.

use std::collections::BTreeMap;
use std::path::Path;

use crate::tree::{self, File, Finding};

/// A structure of a `file.rs`: its fields and their types' names.
type Structures = BTreeMap<String, Vec<(String, String)>>;

/// What a configuration says: per table, its keys with the line and the whole text of each.
type Tables = BTreeMap<String, Vec<Key>>;

struct Key {
    name: String,
    line: usize,
    text: String,
}

/// A shipped file, the source that names its keys, and its loader.
const SHIPPED: [(&str, &str, Loader); 3] = [
    ("config/edge.toml", "src/config/file.rs", load_edge),
    (
        "config/invocation.toml",
        "regions/invocation/src/config/file.rs",
        load_invocation,
    ),
    (
        "config/worker.toml",
        "regions/worker/src/config/file.rs",
        load_worker,
    ),
];
/// Loads a file and describes what came of it.
/// Tables that several of them have.
const SHARED: [&str; 2] = ["regions/bus/src/table.rs", "regions/telemetry/src/table.rs"];

type Loader = fn(&Path) -> Result<String, String>;

/// Keys whose commented-out value is an example, not the default.
const EXAMPLES: [&str; 24] = [
    "account",
    "threads",
    "socket",
    "endpoint",
    "token_file",
    "orders_file",
    "ca",
    "cert",
    "key",
    "client_ca",
    "server_name",
    "rate_per_key",
    "http",
    "grpc",
    "keys_file",
    "expires",
    "servers",
    "state_file",
    "affinity_header",
    "affinity_cookie",
    "credentials_file",
    "nkey_file",
    "user",
    "password",
];

fn load_edge(path: &Path) -> Result<String, String> {
    frontdoor::config::load(path)
        .map(|settings| format!("{settings:#?}"))
        .map_err(|e| e.to_string())
}

fn load_invocation(path: &Path) -> Result<String, String> {
    frontdoor_invocation::config::load(path)
        .map(|settings| format!("{settings:#?}"))
        .map_err(|e| e.to_string())
}

fn load_worker(path: &Path) -> Result<String, String> {
    frontdoor_worker::config::load(path)
        .map(|settings| format!("{settings:#?}"))
        .map_err(|e| e.to_string())
}

/// Reads `struct Name {` … `name: Type,` as rustfmt writes them.
fn structures(source: &str) -> Structures {
    let mut structures = Structures::new();
    let mut current = None;
    for line in source.lines() {
        let line = line
            .trim()
            .trim_start_matches("pub(super) ")
            .trim_start_matches("pub ");
        if let Some(name) = line
            .strip_prefix("struct ")
            .and_then(|l| l.strip_suffix(" {"))
        {
            current = Some(name.to_owned());
            structures.insert(name.to_owned(), Vec::new());
        } else if line == "}" {
            current = None;
        } else if let (Some(name), Some((field, kind))) = (&current, line.split_once(": "))
            && is_key(field)
        {
            let kind = kind.trim_end_matches([',', '>']);
            let kind = kind.rsplit('<').next().unwrap_or(kind);
            let fields = structures.entry(name.clone()).or_default();
            fields.push((field.to_owned(), kind.to_owned()));
        }
    }
    structures
}

fn tables(text: &str) -> Tables {
    let mut tables = Tables::from([(String::new(), Vec::new())]);
    let mut current = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start_matches(['#', ' ']).trim_end();
        let header = line.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
        let header = header.map(|name| name.trim_matches(['[', ']']));
        if let Some(name) = header.filter(|name| name.split('.').all(is_key)) {
            current = name.to_owned();
            tables.entry(current.clone()).or_default();
            continue;
        }
        let keys = tables.entry(current.clone()).or_default();
        match line.split_once('=').map(|(name, _)| name.trim_end()) {
            Some(name) if is_key(name) => keys.push(Key {
                name: name.to_owned(),
                line: number,
                text: line.to_owned(),
            }),
            _ => {
                if let Some(last) = keys.last_mut() {
                    last.text.push_str(line);
                }
            }
        }
    }
    tables
}

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn findings(file: &File, source: &str) -> Vec<Finding> {
    let (structures, tables) = (structures(source), tables(&file.text));
    let mut findings = Vec::new();
    let mut known = BTreeMap::new();
    missing(
        file,
        &structures,
        &tables,
        ("File", ""),
        &mut known,
        &mut findings,
    );
    for (table, keys) in &tables {
        for key in keys {
            if !known
                .get(table)
                .is_some_and(|fields: &Vec<String>| fields.contains(&key.name))
            {
                let what = format!(
                    "`{}` in [{table}] is no key (any more): delete it",
                    key.name
                );
                findings.push(file.finding(key.line, what));
            }
        }
    }
    findings
}

/// Looks for all fields of one structure in one table, and in the tables below it.
fn missing(
    file: &File,
    structures: &Structures,
    tables: &Tables,
    (structure, table): (&str, &str),
    known: &mut BTreeMap<String, Vec<String>>,
    findings: &mut Vec<Finding>,
) {
    for (field, kind) in &structures[structure] {
        known
            .entry(table.to_owned())
            .or_default()
            .push(field.clone());
        let below = if table.is_empty() {
            field.clone()
        } else {
            format!("{table}.{field}")
        };
        let key = tables
            .get(table)
            .and_then(|keys| keys.iter().find(|key| key.name == *field));
        if tables.contains_key(&below) && structures.contains_key(kind) {
            missing(file, structures, tables, (kind, &below), known, findings);
        } else if let Some(key) = key {
            let inner = structures.get(kind).into_iter().flatten();
            for (name, _) in inner.filter(|(name, _)| !key.text.contains(&format!("{name} = "))) {
                findings
                    .push(file.finding(key.line, format!("lacks `{name}` in `{field}`: show it")));
            }
        } else {
            let what =
                format!("lacks `{field}` in [{table}]: add it, commented out if it is optional");
            findings.push(file.finding(1, what));
        }
    }
}

#[test]
fn shipped_configurations_load() {
    for (path, _, load) in SHIPPED {
        load(&tree::root().join(path))
            .map(drop)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn shipped_configurations_have_every_key() {
    let found: Vec<Finding> = SHIPPED
        .iter()
        .flat_map(|(path, source, _)| {
            let shared = SHARED.map(tree::read).concat();
            let source = tree::read(source) + &shared;
            findings(&File::new(path, &tree::read(path)), &source)
        })
        .collect();
    tree::assert_clean(&found);
}

#[test]
fn every_configuration_has_a_loader() {
    for file in tree::files() {
        let shipped = file.path.starts_with("config/") && file.path.ends_with(".toml");
        assert!(
            !shipped || SHIPPED.iter().any(|(path, ..)| *path == file.path),
            "{}: name its loader in tests/tidy/configs.rs",
            file.path
        );
    }
}

/// The text with every default written out that it shows in a comment.
fn with_defaults(text: &str) -> String {
    let line = |line: &str| {
        let key = line.strip_prefix("# ").filter(|written| {
            let name = written.split(" = ").next().unwrap_or_default();
            written.contains(" = ") && is_key(name) && !EXAMPLES.contains(&name)
        });
        format!("{}\n", key.unwrap_or(line))
    };
    text.lines().map(line).collect()
}

#[test]
fn defaults_in_comments_are_the_defaults() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shipped.toml");
    for (shipped, _, load) in SHIPPED {
        let text = tree::read(shipped);
        let [as_shipped, written_out] = [text.clone(), with_defaults(&text)].map(|text| {
            std::fs::write(&path, text).expect("written");
            load(&path).unwrap_or_else(|error| panic!("{shipped}: {error}"))
        });
        assert_eq!(
            as_shipped, written_out,
            "{shipped}: a comment shows another default"
        );
    }
}

#[test]
fn defaults_in_comments_are_found() {
    let text = "# Some a = b.\n# moves = 2\n# user = \"x\"\n";
    assert_eq!(with_defaults(text), text.replace("# moves", "moves"));
}

#[test]
fn a_wrong_configuration_does_not_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wrong.toml");
    std::fs::write(&path, "no_such_key = 1\n").expect("written");
    for (shipped, _, load) in SHIPPED {
        assert!(load(&path).is_err(), "{shipped}");
    }
}

#[test]
fn missing_and_unknown_keys_are_found() {
    const SOURCE: &str = "pub(super) struct File {\n    pub(super) name: String,\n    #[serde(default)]\n    \
                          pub(super) stop: Stop,\n    pub(super) pairs: Vec<Pair>,\n}\nstruct Stop {\n    grace: Option<Span>,\n}\n\
                          struct Pair {\n    left: u8,\n    right: u8,\n}\n";
    let check = |text: &str| {
        let found = findings(&File::new("x.toml", text), SOURCE);
        found
            .into_iter()
            .map(|f| (f.line, f.what))
            .collect::<Vec<_>>()
    };
    let good = "# The name.\nname = \"x\"\npairs = [\n  { left = 1, right = 2 },\n]\n[stop]\n# grace = \"1s\"\n";
    assert_eq!(check(good), []);
    assert_eq!(
        check(&good.replace(
            "pairs = [\n  { left = 1, right = 2 },\n]",
            "[[pairs]]\nleft = 1\n#right = 2"
        )),
        []
    );
    for (text, line, word) in [
        (good.replace("name = \"x\"", ""), 1, "`name`"),
        (good.replace("# grace", "# The grace"), 1, "`grace`"),
        (good.replace("right", "wrong"), 3, "`right`"),
        (format!("{good}# late = 1\n"), 8, "`late`"),
    ] {
        let found = check(&text);
        assert!(
            found.len() == 1 && found[0].0 == line && found[0].1.contains(word),
            "{text}: {found:?}"
        );
    }
}
