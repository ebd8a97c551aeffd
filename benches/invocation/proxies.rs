//! Two hops before the function that do nothing else, so this is what two hops cost on a machine, whoever makes them: HAProxies of
//! one thread each (HTTP in, HTTP out, connections kept; no key, no queue, no region), or relays that only copy bytes.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::load::{Caller, Protocol};
use crate::region::{Cpu, FUNCTION, KEY, Process, free, frontdoor, until};
use crate::relay;

pub(crate) struct Proxies {
    outer: Process,
    inner: Process,
    _function: Process,
    front: SocketAddr,
    container: SocketAddr,
    _folder: TempDir,
}

/// What the two are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    HaProxy,
    Relay,
}

// === impl Kind ===

impl Kind {
    /// How two of them are called in the table.
    pub(crate) const fn way(self) -> &'static str {
        match self {
            Self::HaProxy => "two HAProxies",
            Self::Relay => "two relays",
        }
    }
}

// === impl Proxies ===

impl Proxies {
    /// `None` if there is no `haproxy` and it is asked for.
    pub(crate) async fn start(kind: Kind) -> Option<Self> {
        if kind == Kind::HaProxy {
            let mut version = Command::new("haproxy");
            let version = version.arg("-v").stdout(Stdio::null()).status();
            version.ok().filter(std::process::ExitStatus::success)?;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let [front, middle, container] = [(); 3].map(|()| free());
        let proxy = |name: &str, from: SocketAddr, to: SocketAddr| {
            if kind == Kind::Relay {
                return relay::start(from, to);
            }
            let file = folder.path().join(name);
            let text = format!(
                "global\n nbthread 1\ndefaults\n mode http\n timeout client 60s\n timeout server 60s\n timeout connect 5s\n option http-no-delay\n\
                 frontend f\n bind {from}\n default_backend b\nbackend b\n http-reuse always\n server s {to}\n"
            );
            fs::write(&file, text).expect("written");
            Process::start(Command::new("haproxy").arg("-f").arg(&file))
        };
        let function = frontdoor(&["function", "--listen", &container.to_string()]);
        until(container, "/echo", "200 OK").await;
        let inner = proxy("inner.cfg", middle, container);
        until(middle, "/echo", "200 OK").await;
        let proxies = Self {
            _function: function,
            inner,
            outer: proxy("outer.cfg", front, middle),
            front,
            container,
            _folder: folder,
        };
        until(front, "/echo", "200 OK").await;
        Some(proxies)
    }

    /// Calls by way of both.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            protocol: Protocol::Http1,
            to: self.front,
            host: format!("{FUNCTION}.invocation.localhost"),
            key: KEY.to_owned(),
        }
    }

    /// Calls to the function itself.
    pub(crate) fn function_caller(&self) -> Caller {
        Caller {
            to: self.container,
            ..self.caller()
        }
    }

    /// What was used so far.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu {
            service: self.outer.nanoseconds(),
            nats: 0.0,
            worker: self.inner.nanoseconds(),
        }
    }
}
