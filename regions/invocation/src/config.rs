//! Configuration of the invocation service: `invocation.toml` in, [`Settings`] out.
//!
//! `config/file.rs` is what people write, `config/settings.rs` is what it means. Nothing past this module sees the
//! written form. Called by the command line at start; the keys file alone is read again later (`auth/authority/file.rs`).

mod file;
mod settings;

use std::path::Path;

use frontdoor_protocol::config::{ConfigError, parse, parse_with};

pub use settings::{
    Auth, Authority, Function, Key, Limits, Nats, Polling, Scope, Settings, Stop, Tls, Workers,
};

/// Reads and checks a configuration file. Relative paths inside it are relative to the file.
///
/// # Errors
/// If the file cannot be read, is malformed, has unknown keys or breaks a rule.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let (file, text) = read(path)?;
    let mut settings: Settings =
        parse_with::<file::File, Settings>(&file, &text, |name| std::env::var(name).ok())?;
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

/// Reads and checks a keys file. No key of it may be among `others`.
///
/// The error shows no line of the file: a key may stand in one by mistake.
pub(crate) fn keys(path: &Path, others: &[Key]) -> Result<Vec<Key>, ConfigError> {
    let (file, text) = read(path)?;
    let keys = parse::<file::KeysFile, settings::Keys>(&file, &text).map_err(without_lines)?;
    keys.besides(others)
        .map_err(|rule| ConfigError::Rule { file, rule })
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
