//! Which function a request calls: `{version}.{function}.invocation.<domain>`, `{function}.invocation.<domain>`, or the
//! headers `function-id` and `function-version-id`. Asked through `errand.rs`, which knows the API's paths as well.
//!
//! Stricter than NVCF where it was unsafe: what follows the ids must be the configured domain, the
//! version must be separated by a dot, an invalid header is an error instead of being ignored, and a header that
//! contradicts the host is refused. `Forwarded` and `X-Forwarded-Host` are never looked at.

use crate::names::{FunctionId, VersionId};

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The function.
    pub function: FunctionId,
    /// The version, if the caller insists on one.
    pub version: Option<VersionId>,
}

/// Why no function could be read from a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither host nor headers name a function.
    #[error(
        "host `{host}` names no function; call https://<function-id>.{domain}/… or \
         https://<version-id>.<function-id>.{domain}/…, or send the header function-id"
    )]
    Unknown {
        /// The host that was asked for, shortened.
        host: String,
        /// The configured domain.
        domain: String,
    },
    /// A header that should hold an id does not.
    #[error("header {name} is not an id: use the 36-character form of a UUID")]
    Header {
        /// The header's name.
        name: &'static str,
    },
    /// Host and headers name different functions or versions.
    #[error("host and header {name} name different ids; send only one of them")]
    Contradiction {
        /// The header's name.
        name: &'static str,
    },
    /// A place of a path that should hold an id does not.
    #[error("the {what} in the path is not an id: use the 36-character form of a UUID")]
    Path {
        /// What should stand there.
        what: &'static str,
    },
    /// The path is one of the API's, the method is not.
    #[error("only {allow} is served on this path")]
    Method {
        /// The method that is.
        allow: &'static str,
    },
}

/// Reads the target of a request from its authority (`:authority` or `Host`, port allowed) and the two headers.
///
/// # Errors
/// See [`TargetError`]. `Unknown` is a 404, the others are a 400; it never says `Path` or `Method`.
pub fn read(
    authority: &str,
    domain: &str,
    function_header: Option<&[u8]>,
    version_header: Option<&[u8]>,
) -> Result<Target, TargetError> {
    let function = header(function_header, "function-id")?;
    let version = header(version_header, "function-version-id")?;
    let Some(host) = from_host(authority, domain) else {
        return match function {
            Some(function) => Ok(Target { function, version }),
            None => Err(TargetError::Unknown {
                host: authority
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(128)
                    .collect(),
                domain: domain.to_owned(),
            }),
        };
    };
    if function.is_some_and(|f| f != host.function) {
        return Err(TargetError::Contradiction {
            name: "function-id",
        });
    }
    match (host.version, version) {
        (Some(h), Some(v)) if h != v => Err(TargetError::Contradiction {
            name: "function-version-id",
        }),
        (h, v) => Ok(Target {
            function: host.function,
            version: h.or(v),
        }),
    }
}

/// The target that a host name spells, if it spells one under `domain`.
#[must_use]
pub fn from_host(authority: &str, domain: &str) -> Option<Target> {
    let labels = under(without_port(authority), domain)?;
    match labels.split_once('.') {
        Some((version, function)) => Some(Target {
            function: function.parse().ok()?,
            version: Some(version.parse().ok()?),
        }),
        None => Some(Target {
            function: labels.parse().ok()?,
            version: None,
        }),
    }
}

/// What stands before `.domain`, case ignored and a final dot allowed.
pub(crate) fn under<'a>(host: &'a str, domain: &str) -> Option<&'a str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let cut = host.len().checked_sub(domain.len() + 1)?;
    let (labels, suffix) = (host.get(..cut)?, host.get(cut..)?);
    (suffix.starts_with('.') && suffix[1..].eq_ignore_ascii_case(domain)).then_some(labels)
}

pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn header<T: std::str::FromStr>(
    value: Option<&[u8]>,
    name: &'static str,
) -> Result<Option<T>, TargetError> {
    value
        .map(|bytes| {
            std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .ok_or(TargetError::Header { name })
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
    const V: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";
    const DOMAIN: &str = "invocation.localhost";

    fn check(
        host: &str,
        function: Option<&str>,
        version: Option<&str>,
    ) -> Result<(String, Option<String>), TargetError> {
        read(
            host,
            DOMAIN,
            function.map(str::as_bytes),
            version.map(str::as_bytes),
        )
        .map(|t| (t.function.to_string(), t.version.map(|v| v.to_string())))
    }

    #[test]
    fn hosts_and_headers_name_functions() {
        let function = Ok((F.to_owned(), None));
        let both = Ok((F.to_owned(), Some(V.to_owned())));
        assert_eq!(
            check(&format!("{F}.invocation.localhost"), None, None),
            function
        );
        assert_eq!(
            check(&format!("{F}.invocation.localhost:8080"), None, None),
            function
        );
        assert_eq!(
            check(
                &format!("{}.Invocation.LOCALHOST.:8080", F.to_uppercase()),
                None,
                None
            ),
            function
        );
        assert_eq!(
            check(&format!("{V}.{F}.invocation.localhost"), None, None),
            both
        );
        assert_eq!(
            check(&format!("{F}.invocation.localhost"), Some(F), Some(V)),
            both
        );
        assert_eq!(check("localhost:8080", Some(F), None), function);
        assert_eq!(check("anything", Some(F), Some(V)), both);
    }

    #[test]
    fn what_names_none_is_told_how() {
        for host in [
            "localhost",
            "invocation.localhost",
            ".invocation.localhost",
            "",
            &format!("{F}evil.example"),
            &format!("{F}.invocation.localhost.evil.example"),
            &format!("{F}xinvocation.localhost"),
            &format!("a.{V}.{F}.invocation.localhost"),
            "é.invocation.localhost",
        ] {
            let Err(TargetError::Unknown { .. }) = check(host, None, None) else {
                panic!("{host}")
            };
        }
        let text = check("localhost", None, None)
            .expect_err("unknown")
            .to_string();
        assert!(
            text.contains("<function-id>.invocation.localhost"),
            "{text}"
        );
    }

    #[test]
    fn bad_and_contradicting_headers_are_refused() {
        let host = format!("{V}.{F}.invocation.localhost");
        assert_eq!(
            check("x", Some("nonsense"), None),
            Err(TargetError::Header {
                name: "function-id"
            })
        );
        assert_eq!(
            check(&host, None, Some("1")),
            Err(TargetError::Header {
                name: "function-version-id"
            })
        );
        assert_eq!(
            check(&host, Some(V), None),
            Err(TargetError::Contradiction {
                name: "function-id"
            })
        );
        assert_eq!(
            check(&host, None, Some(F)),
            Err(TargetError::Contradiction {
                name: "function-version-id"
            })
        );
    }
}
