//! What a request asks of the platform: a call of a function as it is, a call through NVCF's API (`pexec`, `exec`), or the
//! answer of an earlier one (`status`). Edge and region ask this one function, so they can never disagree.
//!
//! A host or header that names a function comes first: there, every path belongs to the function. The API paths count on
//! the API's own hosts only: the domain itself, every host under it that names no function, and, where the domain begins
//! with `invocation.` as NVCF's does, what follows that.

use http::Method;

use crate::names::RequestId;
use crate::target::{self, Target, TargetError};

/// Under it stand the paths of the API.
const API: &str = "/v2/nvcf/";
/// The label by which NVCF's function hosts differ from its API host.
const INVOCATION: &str = "invocation.";

/// What of a request's head says what is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// `:authority` or `Host`, port allowed.
    pub authority: &'a str,
    /// The path without the query.
    pub path: &'a str,
    /// `function-id`.
    pub function: Option<&'a [u8]>,
    /// `function-version-id`.
    pub version: Option<&'a [u8]>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Errand {
    /// This very request goes to the function, and its answer to the caller.
    Call(Target),
    /// The body goes to the function's one path; an answer that takes too long is asked for later.
    Invoke(Target, Wrapping),
    /// The answer of a call that was put aside.
    Poll(RequestId, Wrapping),
}

/// How bodies travel through the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrapping {
    /// As they are (`pexec`).
    None,
    /// Inside of JSON that also says what headers else would (`exec`).
    Json,
}

/// Reads what a request asks for.
///
/// # Errors
/// See [`TargetError`]. `Unknown` is a 404, `Method` a 405, the others are a 400.
pub fn read(asked: &Asked<'_>, domain: &str) -> Result<Errand, TargetError> {
    match target::read(asked.authority, domain, asked.function, asked.version) {
        Err(unknown @ TargetError::Unknown { .. }) if is_api(asked.authority, domain) => {
            match asked.path.strip_prefix(API) {
                Some(path) => by_path(asked.method, path).unwrap_or(Err(unknown)),
                None => Err(unknown),
            }
        }
        other => other.map(Errand::Call),
    }
}

/// Whether the API's paths count on this host.
fn is_api(authority: &str, domain: &str) -> bool {
    let host = target::without_port(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    let parent = domain.strip_prefix(INVOCATION);
    host.eq_ignore_ascii_case(domain)
        || parent.is_some_and(|parent| host.eq_ignore_ascii_case(parent))
        || target::under(host, domain).is_some_and(|labels| !labels.is_empty())
}

/// Reads a path after [`API`]; `None` if it is none of ours.
fn by_path(method: &Method, path: &str) -> Option<Result<Errand, TargetError>> {
    let mut segments = path.split('/');
    let wrapping = match segments.next()? {
        "pexec" => Wrapping::None,
        "exec" => Wrapping::Json,
        _ => return None,
    };
    let kind = segments.next()?;
    let parts = [
        segments.next()?,
        segments.next().unwrap_or_default(),
        segments.next().unwrap_or_default(),
    ];
    if segments.next().is_some() {
        return None;
    }
    match (kind, parts) {
        ("functions", [function, "", ""]) if !path.ends_with('/') => {
            Some(invoke(method, function, None, wrapping))
        }
        ("functions", [function, "versions", version]) if !version.is_empty() => {
            Some(invoke(method, function, Some(version), wrapping))
        }
        ("status", [request, "", ""]) if !path.ends_with('/') => Some(
            only(method, &Method::GET)
                .and_then(|()| Ok(Errand::Poll(id(request, "request id")?, wrapping))),
        ),
        _ => None,
    }
}

fn invoke(
    method: &Method,
    function: &str,
    version: Option<&str>,
    wrapping: Wrapping,
) -> Result<Errand, TargetError> {
    only(method, &Method::POST)?;
    let target = Target {
        function: id(function, "function id")?,
        version: version.map(|v| id(v, "version id")).transpose()?,
    };
    Ok(Errand::Invoke(target, wrapping))
}

fn only(method: &Method, allowed: &'static Method) -> Result<(), TargetError> {
    if method == allowed {
        Ok(())
    } else {
        Err(TargetError::Method {
            allow: allowed.as_str(),
        })
    }
}

fn id<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, TargetError> {
    text.parse().map_err(|_| TargetError::Path { what })
}

// === impl Errand ===

impl Errand {
    /// The function it names, if it does.
    #[must_use]
    pub const fn target(&self) -> Option<Target> {
        match self {
            Self::Call(target) | Self::Invoke(target, _) => Some(*target),
            Self::Poll(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
    const V: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";
    const DOMAIN: &str = "invocation.example.com";

    fn check(method: &Method, authority: &str, path: &str) -> Result<Errand, TargetError> {
        let asked = Asked {
            method,
            authority,
            path,
            function: None,
            version: None,
        };
        read(&asked, DOMAIN)
    }

    fn target(version: Option<&str>) -> Target {
        Target {
            function: F.parse().expect("valid"),
            version: version.map(|v| v.parse().expect("valid")),
        }
    }

    #[test]
    fn api_paths_count_on_the_apis_hosts() {
        let path = format!("/v2/nvcf/pexec/functions/{F}");
        let invoke = Ok(Errand::Invoke(target(None), Wrapping::None));
        for host in [
            DOMAIN,
            "Invocation.Example.COM.:8443",
            "api.invocation.example.com",
            "example.com",
            "example.com:443",
        ] {
            assert_eq!(check(&Method::POST, host, &path), invoke, "{host}");
        }
        for host in [
            "",
            "evil.com",
            "other.example.com",
            ".invocation.example.com",
            "xinvocation.example.com",
        ] {
            assert!(
                matches!(
                    check(&Method::POST, host, &path),
                    Err(TargetError::Unknown { .. })
                ),
                "{host}"
            );
        }
        let host = format!("{V}.{F}.{DOMAIN}");
        assert_eq!(
            check(&Method::POST, &host, &path),
            Ok(Errand::Call(target(Some(V)))),
            "every path of a function's host is the function's"
        );
    }

    #[test]
    fn each_path_says_what_it_wants() {
        let poll = |wrapping| Ok(Errand::Poll(V.parse().expect("valid"), wrapping));
        let invoke = |version, wrapping| Ok(Errand::Invoke(target(version), wrapping));
        let (post, get) = (Method::POST, Method::GET);
        for (method, path, errand) in [
            (
                &post,
                format!("pexec/functions/{F}/versions/{V}"),
                invoke(Some(V), Wrapping::None),
            ),
            (
                &post,
                format!("exec/functions/{F}"),
                invoke(None, Wrapping::Json),
            ),
            (&get, format!("pexec/status/{V}"), poll(Wrapping::None)),
            (&get, format!("exec/status/{V}"), poll(Wrapping::Json)),
            (
                &get,
                format!("pexec/functions/{F}"),
                Err(TargetError::Method { allow: "POST" }),
            ),
            (
                &post,
                format!("exec/status/{V}"),
                Err(TargetError::Method { allow: "GET" }),
            ),
            (
                &post,
                "pexec/functions/echo".into(),
                Err(TargetError::Path {
                    what: "function id",
                }),
            ),
            (
                &post,
                format!("pexec/functions/{F}/versions/1"),
                Err(TargetError::Path { what: "version id" }),
            ),
            (
                &get,
                "pexec/status/1".into(),
                Err(TargetError::Path { what: "request id" }),
            ),
        ] {
            assert_eq!(
                check(method, DOMAIN, &format!("/v2/nvcf/{path}")),
                errand,
                "{path}"
            );
        }
    }

    #[test]
    fn other_paths_are_nobodys() {
        for path in [
            "/",
            "/v2/nvcf/",
            "/v2/nvcf/pexec",
            "/v2/nvcf/pexec/functions",
            "/v2/nvcf/worker/request-attach",
            "/v3/nvcf/pexec/functions/x",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("/v2/nvcf/pexec/functions/{F}/"),
            format!("/v2/nvcf/pexec/functions/{F}/versions"),
            format!("/v2/nvcf/pexec/functions/{F}/versions/"),
            format!("/v2/nvcf/pexec/functions/{F}/versions/{V}/x"),
            format!("/v2/nvcf/pexec/functions/{F}/x/{V}"),
        ]) {
            for method in [Method::GET, Method::POST] {
                let refused = check(&method, DOMAIN, &path);
                assert!(
                    matches!(refused, Err(TargetError::Unknown { .. })),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn a_header_names_the_function_on_any_host() {
        let path = format!("/v2/nvcf/pexec/functions/{V}");
        let asked = Asked {
            method: &Method::GET,
            authority: DOMAIN,
            path: &path,
            function: Some(F.as_bytes()),
            version: None,
        };
        assert_eq!(read(&asked, DOMAIN), Ok(Errand::Call(target(None))));
    }
}
