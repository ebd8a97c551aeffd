//! The edge's configuration: one entry, [`load`], from a path to checked [`Settings`].
//!
//! `file.rs` is what is written, `settings.rs` what is meant, `calls.rs` that of the request path. Read once at start; nothing on a request's path looks here.

mod calls;
mod explain;
mod file;
mod regions;
mod rules;
mod settings;
mod steering;

use std::path::Path;

use frontdoor_protocol::config::ConfigError;

pub use self::calls::{CallLimits, RegionTls, ReplaySettings, UpstreamSettings};
pub use self::explain::ExplainSettings;
pub use self::regions::{RegionSettings, UpstreamEndpoint};
pub use self::settings::{
    Admin, CertificateFiles, Listen, Probe, Resolver, Settings, Stop, Upgrade,
};

/// Reads and checks a configuration file. Paths in it are relative to its folder.
///
/// # Errors
/// If the file cannot be read, has unknown keys, or breaks a rule; the error names file, key and rule.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        file: name.clone(),
        source,
    })?;
    let mut settings = parse(&name, &text, |name| std::env::var(name).ok())?;
    if let Some(folder) = path.parent() {
        settings.resolve_paths(folder);
    }
    path.clone_into(&mut settings.file);
    Ok(settings)
}

/// Checks a configuration that is at hand: its name for errors, its text, and the environment that it may speak of. Paths in it
/// stay as they are written.
///
/// # Errors
/// If it has unknown keys or breaks a rule.
pub fn parse(
    name: &str,
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Settings, ConfigError> {
    frontdoor_protocol::config::parse_with::<file::File, _>(name, text, environment)
}
