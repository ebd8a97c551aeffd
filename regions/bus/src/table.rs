//! The `[nats]` table as it is written.

use std::path::PathBuf;

use frontdoor_protocol::config::RuleError;
use serde::Deserialize;

use crate::access::{Access, Login, Trust};

/// Where NATS is, and how to get in.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsTable {
    /// `nats://host:port` or `tls://host:port`, several with commas between.
    pub url: String,
    /// A `.creds` file.
    pub credentials_file: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey_file: Option<PathBuf>,
    /// A user …
    pub user: Option<String>,
    /// … and its password.
    pub password: Option<String>,
    /// Whom to trust, and who we are.
    pub tls: Option<TlsTable>,
}

/// TLS to NATS.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsTable {
    /// The authorities that servers' certificates come from, PEM; the system's if left out.
    pub ca: Option<PathBuf>,
    /// Our own certificate, for servers that ask for one …
    pub cert: Option<PathBuf>,
    /// … and its key.
    pub key: Option<PathBuf>,
}

impl TryFrom<NatsTable> for Access {
    type Error = RuleError;

    fn try_from(table: NatsTable) -> Result<Self, RuleError> {
        // A URL is logged; what is secret has keys of its own.
        let right = |url: &str| {
            (url.starts_with("nats://") || url.starts_with("tls://"))
                && !url.contains('@')
                && url.parse::<async_nats::ServerAddr>().is_ok()
        };
        if !table.url.split(',').map(str::trim).all(right) {
            let rule = "must be nats://host:port or tls://host:port, without a user";
            return Err(RuleError::new("nats.url", rule));
        }
        if table.user.is_some() != table.password.is_some() {
            return Err(RuleError::new("nats.user", "user and password go together"));
        }
        let login = match (
            table.credentials_file,
            table.nkey_file,
            table.user,
            table.password,
        ) {
            (None, None, None, None) => Login::None,
            (Some(file), None, None, None) => Login::Credentials(file),
            (None, Some(file), None, None) => Login::Nkey(file),
            (None, None, Some(user), Some(password)) => Login::Password { user, password },
            _ => {
                return Err(RuleError::new(
                    "nats",
                    "takes one of credentials_file, nkey_file, or user and password together, or none of them",
                ));
            }
        };
        let trust = table.tls.map(trust).transpose()?;
        Ok(Self {
            url: table.url,
            login,
            trust,
        })
    }
}

fn trust(table: TlsTable) -> Result<Trust, RuleError> {
    let identity = match (table.cert, table.key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(RuleError::new("nats.tls", "cert and key go together")),
    };
    Ok(Trust {
        ca: table.ca,
        identity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(text: &str) -> Result<Access, String> {
        let table: NatsTable = toml::from_str(text).map_err(|e| e.to_string())?;
        Access::try_from(table).map_err(|e| e.to_string())
    }

    #[test]
    fn one_way_in_or_none() {
        let url = "url = \"tls://a:4222,tls://b:4222\"\n";
        let with = |more: &str| access(&format!("{url}{more}"));
        assert!(matches!(with("").expect("valid").login, Login::None));
        let nkey = with("nkey_file = \"edge.nk\"").expect("valid");
        assert!(matches!(nkey.login, Login::Nkey(_)));
        for (wrong, key) in [
            ("user = \"a\"", "nats.user"),
            ("password = \"a\"", "nats.user"),
            ("nkey_file = \"a\"\ncredentials_file = \"b\"", "nats"),
            ("nkey_file = \"a\"\nuser = \"b\"\npassword = \"c\"", "nats"),
        ] {
            let error = with(wrong).expect_err(wrong);
            assert!(error.contains(&format!("key `{key}`")), "{error}");
        }
        let error = with("[tls]\ncert = \"a.pem\"").expect_err("no key");
        assert!(error.contains("key `nats.tls`"), "{error}");
        assert!(with("tsl = 1").expect_err("unknown").contains("tsl"));
    }

    #[test]
    fn a_url_holds_no_secret() {
        for wrong in ["host:4222", "nats://me:secret@host:4222", "ws://host", ""] {
            let error = access(&format!("url = \"{wrong}\"")).expect_err(wrong);
            assert!(error.contains("key `nats.url`"), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let access = access("url = \"nats://h:1\"\nuser = \"me\"\npassword = \"hidden\"");
        let shown = format!("{:?}", access.expect("valid"));
        assert!(shown.contains("me") && !shown.contains("hidden"), "{shown}");
    }
}
