//! `${NAME}` in a configuration's strings: replaced by a variable of the environment (pure; the environment is an argument).
//!
//! It is done on parsed values, never on text, so that no value can change the shape of the file. A `$` that no `{`
//! follows stands for itself.

use toml::{Table, Value};

use super::RuleError;

/// Whether a text may have something to replace.
pub(super) fn is_named(text: &str) -> bool {
    text.contains("${")
}

/// Replaces in every string of a table.
pub(super) fn expand(
    table: &mut Table,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<(), RuleError> {
    for (key, value) in table {
        walk(key, value, environment)?;
    }
    Ok(())
}

fn walk(
    key: &str,
    value: &mut Value,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<(), RuleError> {
    match value {
        Value::String(text) if is_named(text) => *text = replaced(key, text, environment)?,
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(&format!("{key}[{index}]"), item, environment)?;
            }
        }
        Value::Table(table) => {
            for (inner, item) in table {
                walk(&format!("{key}.{inner}"), item, environment)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn replaced(
    key: &str,
    text: &str,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<String, RuleError> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after
            .split_once('}')
            .ok_or_else(|| RuleError::new(key, "`${` without a `}` after it"))?;
        let value = environment(name).ok_or_else(|| {
            let rule = format!("the environment has no variable `{name}`, or it is not UTF-8");
            RuleError::new(key, rule)
        })?;
        whole.push_str(before);
        whole.push_str(&value);
        rest = behind;
    }
    whole.push_str(rest);
    Ok(whole)
}
