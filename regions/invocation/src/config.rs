//! Configuration of the invocation service: `invocation.toml` in, [`Settings`] out.
//!
//! `config/file.rs` is what people write, `config/settings.rs` is what it means. Nothing past this module sees the
//! written form. Called by the command line at start; the keys file alone is read again later (`auth/authority/file.rs`).

mod file;
mod settings;

use std::path::Path;

use frontdoor_protocol::config::{self, ConfigError};

pub use settings::{
    Auth, Authority, Function, Key, Limits, Nats, Polling, Scope, Settings, Stop, Tls, Workers,
};

/// Reads and checks a configuration file. Relative paths inside it are relative to the file.
///
/// # Errors
/// If the file cannot be read, is malformed, has unknown keys or breaks a rule.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let (file, text) = read(path)?;
    let mut settings = parse(&file, &text, |name| std::env::var(name).ok())?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    settings.nats.access.under(folder);
    settings.telemetry.under(folder);
    if let Some(tls) = &mut settings.tls {
        for file in [&mut tls.cert, &mut tls.key, &mut tls.client_ca] {
            *file = folder.join(&*file);
        }
    }
    settings.auth.be_relative_to(folder);
    if let Some(keys_file) = &settings.auth.keys_file {
        // Only to refuse a wrong one at start; who uses it reads it again.
        keys(keys_file, &settings.auth.keys)?;
    }
    Ok(settings)
}

/// Checks a configuration that is at hand: its name for errors, its text, and the environment that it may speak of. Paths in it
/// stay as they are written.
///
/// # Errors
/// If it is malformed, has unknown keys or breaks a rule.
pub fn parse(
    name: &str,
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Settings, ConfigError> {
    config::parse_with::<file::File, _>(name, text, environment)
}

/// Reads and checks a keys file. No key of it may be among `others`.
pub(crate) fn keys(path: &Path, others: &[Key]) -> Result<Vec<Key>, ConfigError> {
    let (file, text) = read(path)?;
    parse_keys(&file, &text, others)
}

/// Checks a keys file that is at hand. No key of it may be among `others`.
///
/// The error shows no line of the file: a key may stand in one by mistake.
///
/// # Errors
/// If it is malformed, breaks a rule, or has a key of the others.
pub fn parse_keys(name: &str, text: &str, others: &[Key]) -> Result<Vec<Key>, ConfigError> {
    let keys = config::parse::<file::KeysFile, settings::Keys>(name, text);
    let keys = keys.map_err(without_lines)?.besides(others);
    keys.map_err(|rule| ConfigError::Rule {
        file: name.to_owned(),
        rule,
    })
}

fn read(path: &Path) -> Result<(String, String), ConfigError> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((file, text)),
        Err(source) => Err(ConfigError::Read { file, source }),
    }
}

/// Drops the quoted lines of the file (`3 | key = …` and the marks below) from what the parser says.
fn without_lines(error: ConfigError) -> ConfigError {
    let ConfigError::Syntax { file, reason } = error else {
        return error;
    };
    let quoted = |line: &str| {
        let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        line.starts_with('|')
    };
    let kept: Vec<&str> = reason.lines().filter(|line| !quoted(line)).collect();
    ConfigError::Syntax {
        file,
        reason: kept.join(": "),
    }
}

#[cfg(test)]
mod tests;
