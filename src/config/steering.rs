//! Settings of what callers may say of where their calls go.

use frontdoor_protocol::config::RuleError;
use http::HeaderName;

use super::file::SteeringFile;
use super::settings::require;
use crate::identity::steer::Steering;

pub(super) fn steering(file: SteeringFile) -> Result<Steering, RuleError> {
    let header = file.affinity_header.map(|name| name.parse::<HeaderName>());
    let affinity_header = header
        .transpose()
        .map_err(|_| RuleError::new("steering.affinity_header", "must be the name of a header"))?;
    let token = |name: &String| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|b| b.is_ascii_graphic() && !b"=;,\"\\".contains(&b))
    };
    require(
        file.affinity_cookie.as_ref().is_none_or(token),
        "steering.affinity_cookie",
        "must be the name of a cookie",
    )?;
    let keys = file.override_keys.iter().map(|hash| hash.parse());
    let override_keys = keys.collect::<Result<_, _>>().map_err(|_| {
        RuleError::new(
            "steering.override_keys",
            "must be SHA-256 hashes of keys, 64 hexadecimal digits each",
        )
    })?;
    Ok(Steering {
        affinity_header,
        affinity_cookie: file.affinity_cookie,
        override_keys,
    })
}
