//! Configuration of the invocation service: `invocation.toml` in, [`Settings`] out.
//!
//! `config/file.rs` is what people write, `config/settings.rs` is what it means. Nothing past this module sees the
//! written form. Called by the command line at start; nothing is reloaded.

mod file;
mod settings;

use std::path::Path;

use frontdoor_protocol::config::{ConfigError, parse};

pub use settings::{
    Function, Key, Limits, Nats, NatsAuth, Polling, Scope, Settings, Stop, Workers,
};

/// Reads and checks a configuration file. Relative paths inside it are relative to the file.
///
/// # Errors
/// If the file cannot be read, is malformed, has unknown keys or breaks a rule.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        file: file.clone(),
        source,
    })?;
    let mut settings: Settings = parse::<file::File, Settings>(&file, &text)?;
    if let NatsAuth::CredentialsFile(credentials) = &mut settings.nats.auth
        && let Some(folder) = path.parent()
    {
        *credentials = folder.join(&*credentials);
    }
    Ok(settings)
}

#[cfg(test)]
mod tests;
