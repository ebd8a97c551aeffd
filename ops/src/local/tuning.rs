//! Settings of a person's own, laid over the configuration that the stack writes for a part: `edge:limits.calls=10`. (pure)

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use toml::{Table, Value};

use super::parts::PartId;

/// One setting of one part.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// As `local kill` names parts.
    part: String,
    /// Tables and key, outermost first.
    path: Vec<String>,
    value: Value,
}

// === impl Tuning ===

impl FromStr for Tuning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(part, rest)| {
            let (path, value) = rest.split_once('=')?;
            Some(Self {
                part: part.to_owned(),
                path: path.split('.').map(str::to_owned).collect(),
                value: value_of(value),
            })
        });
        parsed
            .filter(|new| !new.part.is_empty() && new.path.iter().all(|key| !key.is_empty()))
            .ok_or_else(|| "write PART:KEY=VALUE, such as us-east/worker:slots=4".to_owned())
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}={}", self.part, self.path.join("."), self.value)
    }
}

/// As TOML, and what is none is text: quotes are lost on the way through a shell.
fn value_of(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}"));
    let value = parsed.ok().and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Whether every part that is named exists and has a configuration in TOML.
pub(super) fn check(tunings: &[Tuning], parts: &[(PartId, Option<String>)]) -> anyhow::Result<()> {
    for tuning in tunings {
        let known = parts.iter().any(|(id, file)| {
            let toml = file.as_ref().is_some_and(|name| name.ends_with(".toml"));
            id.to_string() == tuning.part && toml
        });
        if !known {
            bail!("--set {tuning}: no part of this stack with a TOML file is called that");
        }
    }
    Ok(())
}

/// A part's configuration with what is set for it.
pub(super) fn apply(tunings: &[Tuning], part: &PartId, text: String) -> anyhow::Result<String> {
    let part = part.to_string();
    let mut ours = tunings.iter().filter(|tuning| tuning.part == part);
    let Some(first) = ours.next() else {
        return Ok(text);
    };
    let mut table: Table = text.parse()?;
    for tuning in std::iter::once(first).chain(ours) {
        set(&mut table, &tuning.path, &tuning.value).with_context(|| format!("--set {tuning}"))?;
    }
    Ok(toml::to_string(&table)?)
}

fn set(table: &mut Table, path: &[String], value: &Value) -> anyhow::Result<()> {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value.clone());
        }
        [outer, inner @ ..] => {
            let entry = table
                .entry(outer.clone())
                .or_insert_with(|| Table::new().into());
            let inside = entry.as_table_mut();
            set(
                inside.with_context(|| format!("`{outer}` is no table"))?,
                inner,
                value,
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply_to(text: &str, sets: &[&str]) -> Result<Table, String> {
        let tunings: Vec<Tuning> = sets.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
        let applied = apply(&tunings, &PartId::Edge, text.to_owned());
        let text = applied.map_err(|error| format!("{error:#}"))?;
        text.parse().map_err(|error| format!("{error}"))
    }

    #[test]
    fn a_setting_takes_the_place_of_what_was_there_or_is_added() {
        let text = "a = 1\n[b]\nc = \"x\"\n[[d]]\ne = 1\n";
        let sets = ["edge:a=2", "edge:b.c=1s", "edge:f.g.h=true", "dns:a=3"];
        let table = apply_to(text, &sets).expect("applied");
        let expected = "a = 2\n[b]\nc = \"1s\"\n[[d]]\ne = 1\n[f.g]\nh = true\n";
        assert_eq!(table, expected.parse().expect("TOML"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            "",
            "edge",
            "edge:",
            "edge:a",
            ":a=1",
            "edge:=1",
            "edge:a..b=1",
        ] {
            let error = wrong.parse::<Tuning>().expect_err(wrong);
            assert!(error.contains("PART:KEY=VALUE"), "{error}");
        }
        let error = apply_to("a = 1\n", &["edge:a.b=1"]).expect_err("no table");
        assert!(
            error.contains("edge:a.b=1") && error.contains("`a`"),
            "{error}"
        );
        let parts = [
            (PartId::Edge, Some("edge.toml".to_owned())),
            (PartId::Hub, Some("hub.conf".to_owned())),
        ];
        let known = |text: &str| check(&[text.parse().expect("well written")], &parts).is_ok();
        assert!(known("edge:a=1"));
        assert!(!known("hub:a=1") && !known("mars/worker:a=1"));
    }
}
