//! How every part reads its TOML file: one parser, one error that names file, key and rule.
//!
//! A part has a `File` (what is written, serde, unknown keys refused) and `Settings` (what is meant, only valid
//! values). This module turns text into the first; the part's own `TryFrom` makes the second and reports a broken
//! rule with [`RuleError`]. Reading the file is the caller's I/O.
//!
//! `${NAME}` in a string stands for a variable of the environment, so that secrets and what a scheduler decides (a pod's
//! address) need not stand in files. A variable that is missing is an error that names it; its value is never shown.

mod environment;

use serde::de::DeserializeOwned;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Read {
        /// Path as given.
        file: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not TOML, or not of the known shape; the text shows line, key and what would be right.
    #[error("{file}: {reason}")]
    Syntax {
        /// Path as given.
        file: String,
        /// The parser's words, with the offending line.
        reason: String,
    },
    /// A value that breaks a rule.
    #[error("{file}: {rule}")]
    Rule {
        /// Path as given.
        file: String,
        /// Which key, which rule.
        rule: RuleError,
    },
}

/// A key whose value breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key `{key}`: {rule}")]
pub struct RuleError {
    /// Dotted path of the key, such as `regions[1].endpoint`.
    pub key: String,
    /// What the value must be.
    pub rule: String,
}

// === impl RuleError ===

impl RuleError {
    /// Names a key and the rule its value broke.
    pub fn new(key: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            rule: rule.into(),
        }
    }
}

/// Parses and checks a configuration that names no variables of the environment: text to `F` as written, `F` to `S` as meant.
///
/// # Errors
/// If the text is malformed, has unknown keys, or breaks a rule of `S`.
pub fn parse<F, S>(file: &str, text: &str) -> Result<S, ConfigError>
where
    F: DeserializeOwned,
    S: TryFrom<F, Error = RuleError>,
{
    parse_with(file, text, |_| None)
}

/// Like [`parse`], with the environment that `${NAME}` speaks of.
///
/// # Errors
/// As [`parse`], and if a variable that the text names is not there.
pub fn parse_with<F, S>(
    file: &str,
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<S, ConfigError>
where
    F: DeserializeOwned,
    S: TryFrom<F, Error = RuleError>,
{
    let syntax = |reason: String| ConfigError::Syntax {
        file: file.to_owned(),
        reason: reason.trim_end().to_owned(),
    };
    let written: F = if environment::is_named(text) {
        let mut table: toml::Table = toml::from_str(text).map_err(|e| syntax(e.to_string()))?;
        environment::expand(&mut table, &environment).map_err(|rule| ConfigError::Rule {
            file: file.to_owned(),
            rule,
        })?;
        table.try_into().map_err(|e| syntax(e.to_string()))?
    } else {
        toml::from_str(text).map_err(|e| syntax(e.to_string()))?
    };
    S::try_from(written).map_err(|rule| ConfigError::Rule {
        file: file.to_owned(),
        rule,
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        slots: u32,
    }

    #[derive(Debug)]
    struct Settings(u32);

    impl TryFrom<File> for Settings {
        type Error = RuleError;
        fn try_from(file: File) -> Result<Self, RuleError> {
            if file.slots == 0 {
                Err(RuleError::new("slots", "must be at least 1"))
            } else {
                Ok(Self(file.slots))
            }
        }
    }

    #[test]
    fn strings_may_name_the_environment() {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            listen: std::net::SocketAddr,
            nats: std::collections::BTreeMap<String, String>,
        }
        #[derive(Debug)]
        struct Meant(std::net::SocketAddr, String);
        impl TryFrom<Written> for Meant {
            type Error = RuleError;
            fn try_from(file: Written) -> Result<Self, RuleError> {
                Ok(Self(file.listen, file.nats["password"].clone()))
            }
        }
        let parse = |text: &str| {
            parse_with::<Written, Meant>("edge.toml", text, |name| match name {
                "POD_IP" => Some("10.0.0.7".into()),
                "PASSWORD" => Some("it's \"$5\"".into()),
                _ => None,
            })
            .map_err(|e| e.to_string())
        };
        let text = "listen = '${POD_IP}:8080'\nnats = { password = '${PASSWORD}!' }";
        let Meant(listen, password) = parse(text).expect("right");
        assert_eq!(listen.to_string(), "10.0.0.7:8080");
        assert_eq!(password, "it's \"$5\"!");
        let missing = parse(&text.replace("PASSWORD", "NATS_PW")).expect_err("not there");
        assert!(
            missing.contains("nats.password") && missing.contains("NATS_PW"),
            "{missing}"
        );
        let unknown = parse(&format!("{text}\nadmin = 1")).expect_err("unknown key");
        assert!(
            unknown.contains("admin") && !unknown.contains("$5"),
            "{unknown}"
        );
    }

    #[test]
    fn errors_name_file_key_and_rule() {
        let check = |text: &str| {
            parse::<File, Settings>("worker.toml", text)
                .map(|s| s.0)
                .map_err(|e| e.to_string())
        };
        assert_eq!(check("slots = 2"), Ok(2));
        assert_eq!(
            check("slots = 0"),
            Err("worker.toml: key `slots`: must be at least 1".into())
        );
        let unknown = check("slots = 1\nslot = 2").expect_err("unknown key");
        assert!(
            unknown.contains("worker.toml")
                && unknown.contains("`slot`")
                && unknown.contains("slots"),
            "{unknown}"
        );
        let wrong = check("slots = 'x'").expect_err("wrong type");
        assert!(wrong.contains("line 1"), "{wrong}");
    }
}
