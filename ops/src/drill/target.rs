//! What is drilled: the system behind an `endpoints.json`, and what can be read of it from outside.
//!
//! A stack of this machine has its `control.json`, journals and logs beside that file; of a deployed system only the
//! edge's two ports are known. Nothing here breaks anything.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::StatusCode;
use serde_json::Value;

use crate::load::{Caller, trusting};
use crate::local::http as ask;

/// How long the edge's admin port may take to answer.
const ADMIN: Duration = Duration::from_secs(2);
/// How long an order may take: it holds at once, and is answered when the other edges were offered it.
const ORDER: Duration = Duration::from_secs(10);

/// A system to drill.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The folder of `endpoints.json`.
    pub(super) dir: PathBuf,
    /// Its content.
    endpoints: Value,
    /// Whether it is a stack of this machine, which can be broken from here.
    pub(super) local: bool,
}

/// How the edge sees one region.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) region: String,
    pub(super) health: String,
    pub(super) fault: String,
}

/// How often each call of a drill ran, by its number.
pub(super) type Executions = HashMap<u32, u32>;

// === impl Target ===

impl Target {
    pub(super) fn open(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(file).with_context(|| {
            format!(
                "{} cannot be read: start a stack with `frontdoor local up`, let the drill start its own with --fresh, or \
                 name a deployed system's file with --endpoints",
                file.display()
            )
        })?;
        let endpoints: Value = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not JSON", file.display()))?;
        let dir = file.parent().unwrap_or_else(|| Path::new(".")).to_owned();
        let local = dir.join("control.json").exists();
        let target = Self {
            dir,
            endpoints,
            local,
        };
        for pointer in [
            "/edge/https",
            "/edge/admin",
            "/domain",
            "/api_key",
            "/functions/0/id",
        ] {
            if target.text(pointer).is_empty() {
                bail!(
                    "{} lacks `{}`",
                    file.display(),
                    pointer.trim_start_matches('/').replace('/', ".")
                );
            }
        }
        Ok(target)
    }

    pub(super) fn text(&self, pointer: &str) -> &str {
        self.endpoints
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The names of its regions, as far as the file says.
    pub(super) fn regions(&self) -> Vec<String> {
        let regions = self.endpoints["regions"].as_object();
        regions
            .into_iter()
            .flat_map(|all| all.keys().cloned())
            .collect()
    }

    /// A caller of the function who also trusts the authorities in `more`.
    pub(super) fn caller(&self, function: Option<&str>, more: &str) -> anyhow::Result<Caller> {
        let function = function.unwrap_or_else(|| self.text("/functions/0/id"));
        let ca = match self.text("/ca") {
            "" => std::fs::read_to_string(SYSTEM_ROOTS)
                .context("no authorities to trust: give `ca` in the endpoints")?,
            file => {
                let path = self.dir.join(file);
                std::fs::read_to_string(&path)
                    .with_context(|| format!("{} cannot be read", path.display()))?
            }
        };
        Ok(Caller {
            address: address(self.text("/edge/https"))?,
            host: format!("{function}.{}", self.text("/domain")),
            tls: trusting(format!("{ca}\n{more}").as_bytes(), &["h2"])?,
        })
    }

    /// A page of the edge's admin port.
    pub(super) async fn admin(&self, path: &str) -> anyhow::Result<Value> {
        let (_, body) = self.send(ADMIN, "GET", path).await?;
        Ok(body)
    }

    /// An order to the edge.
    pub(super) async fn order(&self, path: &str) -> anyhow::Result<(StatusCode, Value)> {
        self.send(ORDER, "POST", path).await
    }

    async fn send(
        &self,
        limit: Duration,
        method: &str,
        path: &str,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let url = format!("{}{path}", self.text("/edge/admin").trim_end_matches('/'));
        let token = Some(self.text("/edge/admin_token")).filter(|token| !token.is_empty());
        let (status, body) = ask::send_within(limit, method, &url, token, None).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// How the edge sees its regions: name, health, and what is wrong by name.
    pub(super) async fn health(&self) -> anyhow::Result<Vec<Seen>> {
        let world = self.admin("/regions").await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let regions = world["regions"]
            .as_array()
            .context("the edge shows no regions")?;
        Ok(regions
            .iter()
            .map(|r| {
                let draining = r["draining"].as_bool().unwrap_or_default();
                let health = if draining {
                    "draining".to_owned()
                } else {
                    text(&r["health"])
                };
                Seen {
                    region: text(&r["name"]),
                    health,
                    fault: text(&r["fault"]),
                }
            })
            .collect())
    }

    /// How many attempts went on in another region so far; unknown if the edge does not say.
    pub(super) async fn moves(&self) -> Option<f64> {
        self.sum("frontdoor_edge_moves_total").await
    }

    /// The sum of all metrics of the edge that begin so.
    pub(super) async fn sum(&self, series: &str) -> Option<f64> {
        let url = format!("{}/metrics", self.text("/edge/admin").trim_end_matches('/'));
        let (_, body) = ask::send_within(ADMIN, "GET", &url, None, None)
            .await
            .ok()?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let lines = text.lines().filter(|l| l.starts_with(series));
        Some(
            lines
                .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
                .sum(),
        )
    }

    /// How often the calls with this path ran, by the sample functions' journals; unknown without those.
    pub(super) fn executions(&self, path: &str) -> Option<Executions> {
        let mut times = Executions::new();
        for entry in std::fs::read_dir(self.dir.join("journal")).ok()? {
            let text = std::fs::read_to_string(entry.ok()?.path()).ok()?;
            for number in text
                .lines()
                .filter_map(|line| number(line.rsplit(' ').next()?, path))
            {
                *times.entry(number).or_insert(0) += 1;
            }
        }
        Some(times)
    }

    /// The calls with this path that the edge tried more than once, by its access log; unknown without one.
    pub(super) fn rerouted(&self, path: &str) -> Option<HashSet<u32>> {
        let log = std::fs::read_to_string(self.dir.join("logs/edge.log")).ok()?;
        let more = log
            .lines()
            .filter(|l| l.contains(" attempts=") && !l.contains(" attempts=1 "));
        let path_of = |line: &str| {
            let rest = line.split(" path=").nth(1)?;
            number(rest.trim_start_matches('"').split(['"', ' ']).next()?, path)
        };
        Some(more.filter_map(path_of).collect())
    }
}

/// Where Debian, Ubuntu and Alpine keep the authorities that the system trusts.
pub(super) const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

fn number(found: &str, path: &str) -> Option<u32> {
    found.strip_prefix(path)?.parse().ok()
}

/// The first IPv4 address behind a URL, or the first of all.
pub(super) fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let uri: http::Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
    let host = uri
        .host()
        .with_context(|| format!("`{url}` names no host"))?;
    let port = uri.port_u16().unwrap_or_else(|| {
        if uri.scheme_str() == Some("http") {
            80
        } else {
            443
        }
    });
    let all: Vec<SocketAddr> = (host.trim_matches(['[', ']']), port)
        .to_socket_addrs()
        .with_context(|| format!("{host} has no address"))?
        .collect();
    let found = all.iter().find(|a| a.is_ipv4()).or_else(|| all.first());
    found
        .copied()
        .with_context(|| format!("{host} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(folder: &Path) -> Target {
        let text = r#"{"edge": {"https": "https://localhost:1", "admin": "http://localhost:2"}, "domain": "d", "api_key": "k",
                       "functions": [{"id": "f"}], "regions": {"a": {}, "b": {}}}"#;
        std::fs::write(folder.join("endpoints.json"), text).expect("written");
        Target::open(&folder.join("endpoints.json")).expect("right")
    }

    #[test]
    fn journal_and_log_are_read_by_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = target(folder.path());
        assert_eq!(target.regions(), ["a", "b"]);
        assert_eq!(target.executions("/drill/x/"), None);
        assert_eq!(target.rerouted("/drill/x/"), None);
        for name in ["journal", "logs"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        std::fs::write(
            folder.path().join("journal/a.log"),
            "1 id POST /drill/x/7\n2 id POST /drill/y/7\n",
        )
        .expect("written");
        std::fs::write(
            folder.path().join("journal/b.log"),
            "3 id POST /drill/x/7\n3 id POST /drill/x/8\n",
        )
        .expect("written");
        assert_eq!(
            target.executions("/drill/x/"),
            Some(Executions::from([(7, 2), (8, 1)]))
        );
        let log = "INFO access: id=1 path=\"/drill/x/7\" attempts=2 failure=\"a\"\nINFO access: id=2 path=\"/drill/x/8\" attempts=1 f=1\n";
        std::fs::write(folder.path().join("logs/edge.log"), log).expect("written");
        assert_eq!(target.rerouted("/drill/x/"), Some(HashSet::from([7])));
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("endpoints.json");
        let check = |words: &str| {
            let error = format!("{:#}", Target::open(&file).expect_err("refused"));
            assert!(error.contains(words), "{error}");
        };
        check("--fresh");
        std::fs::write(&file, r#"{"edge": {"https": "https://localhost:1"}}"#).expect("written");
        check("`edge.admin`");
    }

    #[test]
    fn urls_have_addresses() {
        for (url, expected) in [
            ("https://127.0.0.1", "127.0.0.1:443"),
            ("http://127.0.0.1/x", "127.0.0.1:80"),
            ("https://[::1]:8", "[::1]:8"),
        ] {
            assert_eq!(address(url).expect("right").to_string(), expected);
        }
        assert!(address("nonsense of a URL").is_err());
    }
}
