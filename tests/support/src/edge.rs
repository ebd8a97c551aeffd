//! What every test of an edge writes: a configuration on free ports, with certificates.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::tls::Authority;

/// A function that does not exist but is well named.
pub const FUNCTION: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
/// What follows it in a host name.
pub const DOMAIN: &str = "invocation.localhost";

/// Where an edge listens.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// TLS.
    pub https: SocketAddr,
    /// No TLS.
    pub http: SocketAddr,
    /// Operators.
    pub admin: SocketAddr,
}

/// Writes `edge.toml` and its certificate into `folder`; regions are names and endpoints, `more` is appended as it is.
///
/// # Errors
/// If a file cannot be written.
pub fn write_config(
    folder: &Path,
    authority: &Authority,
    regions: &[(&str, SocketAddr)],
    more: &str,
) -> anyhow::Result<PathBuf> {
    authority.issue(
        folder,
        "edge",
        &["localhost", DOMAIN, &format!("*.{DOMAIN}")],
    )?;
    let mut text = format!(
        "domain = \"{DOMAIN}\"\n{more}\n[listen]\nhttps = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         [tls]\ncertificates = [{{ cert = \"edge.pem\", key = \"edge.key\" }}]\n"
    );
    for (name, address) in regions {
        write!(
            text,
            "[[regions]]\nname = \"{name}\"\nendpoint = \"http://{address}\"\n"
        )?;
    }
    let file = folder.join("edge.toml");
    std::fs::write(&file, text)?;
    Ok(file)
}

/// Reads the file in which an edge says where it listens; `None` until it is there.
#[must_use]
pub fn read_ports(file: &Path) -> Option<Ports> {
    let text = std::fs::read_to_string(file).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    let port = |name: &str| ports.get(name)?.as_str()?.parse().ok();
    Some(Ports {
        https: port("https")?,
        http: port("http")?,
        admin: port("admin")?,
    })
}
