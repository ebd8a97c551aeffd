//! The worker's configuration: `load` reads the file, `file` is what is written there, `settings` what is meant.
//!
//! Nothing else of the crate reads a file of configuration or sees an unchecked value.

mod file;
mod settings;

use std::path::Path;

use frontdoor_protocol::config::{ConfigError, parse_with};

pub use settings::{Container, Protocol, Settings};

/// Reads and checks a file. Paths in it are relative to the folder it lies in.
///
/// # Errors
/// If it cannot be read, is malformed, or breaks a rule.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        file: file.clone(),
        source,
    })?;
    let mut settings = parse(&file, &text, |name| std::env::var(name).ok())?;
    if let Some(folder) = path.parent() {
        settings.nats.under(folder);
        settings.telemetry.under(folder);
    }
    Ok(settings)
}

/// Checks a configuration that is at hand: its name for errors, its text, and the environment that it may speak of. Paths in it
/// stay as they are written.
///
/// # Errors
/// If it is malformed, or breaks a rule.
pub fn parse(
    name: &str,
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Settings, ConfigError> {
    parse_with::<file::File, _>(name, text, environment)
}

#[cfg(test)]
mod tests;
