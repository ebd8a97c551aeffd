//! Settings of the regions: their names, where they are, and their shares.

use std::net::{IpAddr, SocketAddr};

use frontdoor_protocol::config::RuleError;
use frontdoor_protocol::names::RegionName;

use super::file::RegionFile;
use super::settings::require;

/// One region.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionSettings {
    /// Its name.
    pub name: RegionName,
    /// Where it is.
    pub endpoint: UpstreamEndpoint,
    /// Its name in TLS; none where it is spoken to in the clear.
    pub server_name: Option<String>,
    /// Its share among equals.
    pub weight: f64,
}

/// A region's endpoint: what DNS is asked, and the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamEndpoint {
    /// Host name, or an address.
    pub host: String,
    /// Port; without one the host is the name of SRV records, which say hosts and ports.
    pub port: Option<u16>,
}

// === impl UpstreamEndpoint ===

impl UpstreamEndpoint {
    /// The address, if the host is one and needs no DNS.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddr> {
        let ip = self.host.trim_matches(['[', ']']).parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(ip, self.port?))
    }
}

impl std::fmt::Display for UpstreamEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

pub(super) fn regions(
    files: Vec<RegionFile>,
    trust: bool,
) -> Result<Vec<RegionSettings>, RuleError> {
    require(!files.is_empty(), "regions", "must have at least one entry")?;
    let mut regions: Vec<RegionSettings> = Vec::with_capacity(files.len());
    for (index, file) in files.into_iter().enumerate() {
        let key = |name: &str| format!("regions[{index}].{name}");
        let weight = file.weight.unwrap_or(1.0);
        require(
            weight.is_finite() && weight > 0.0,
            &key("weight"),
            "must be above 0",
        )?;
        if let Some(other) = regions
            .iter()
            .find(|other| other.name.tag() == file.name.tag())
        {
            let rule = format!(
                "`{}` is called like `{}`, or has the same tag in request ids: rename it",
                file.name, other.name
            );
            return Err(RuleError::new(key("name"), rule));
        }
        let (endpoint, secured) =
            endpoint(&file.endpoint).map_err(|rule| RuleError::new(key("endpoint"), rule))?;
        require(
            secured || file.server_name.is_none(),
            &key("server_name"),
            "is for https endpoints",
        )?;
        require(
            !secured || trust,
            "upstream.ca",
            "must be given for https endpoints",
        )?;
        let named = |name: &String| !name.starts_with('_');
        let server_name = file.server_name.or_else(|| Some(endpoint.host.clone()));
        require(
            !secured || server_name.as_ref().is_some_and(named),
            &key("server_name"),
            "must be given for SRV records: the name in the region's certificate",
        )?;
        regions.push(RegionSettings {
            name: file.name,
            endpoint,
            server_name: server_name.filter(|_| secured),
            weight,
        });
    }
    Ok(regions)
}

/// An endpoint, and whether it is spoken to over TLS.
pub(super) fn endpoint(text: &str) -> Result<(UpstreamEndpoint, bool), String> {
    let rule = || {
        format!(
            "`{text}` must be http://host:port (or https), or http://_service._tcp.name for SRV records"
        )
    };
    let secured = text.strip_prefix("https://");
    let rest = secured
        .or_else(|| text.strip_prefix("http://"))
        .ok_or_else(rule)?;
    let secured = secured.is_some();
    let rest = rest.trim_end_matches('/');
    let (host, port) = if rest.starts_with('_') {
        (rest, None)
    } else {
        let (host, port) = rest.rsplit_once(':').ok_or_else(rule)?;
        let port = port.parse().ok().filter(|&port| port > 0);
        (host, Some(port.ok_or_else(rule)?))
    };
    let named = port.is_some() || !host.contains(':');
    if host.is_empty() || host.contains('/') || !named {
        Err(rule())
    } else {
        let endpoint = UpstreamEndpoint {
            host: host.to_owned(),
            port,
        };
        Ok((endpoint, secured))
    }
}
