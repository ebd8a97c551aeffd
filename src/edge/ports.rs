//! The edge's listening sockets: opened, or taken from the edge that ran before or from the service manager.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;

use super::EdgeError;
use crate::config::Listen;
use crate::handover::Offered;
use crate::handover::sockets::{self, Label, Port};
use crate::listen::{self, BindError};

/// The ports, open.
pub(super) struct Ports {
    pub(super) https: TcpListener,
    pub(super) http: Option<TcpListener>,
    pub(super) admin: TcpListener,
}

// === impl Ports ===

impl Ports {
    /// Takes of the `offered` sockets what the configuration names, opens the rest, and closes what nobody wants any more.
    pub(super) fn open(listen: &Listen, mut offered: Offered) -> Result<Self, BindError> {
        let mut open = |port, address| {
            let labels: Vec<Label> = offered.iter().map(|(label, _)| *label).collect();
            match sockets::choose(port, address, &labels) {
                Some(index) => listen::adopt(address, offered.swap_remove(index).1),
                None => listen::bind(address),
            }
        };
        let ports = Self {
            https: open(Port::Https, listen.https)?,
            http: listen
                .http
                .map(|address| open(Port::Http, address))
                .transpose()?,
            admin: open(Port::Admin, listen.admin)?,
        };
        for (label, _) in offered {
            tracing::warn!(address = %label.address, "a socket that was handed over is not in the configuration and is let go");
        }
        Ok(ports)
    }

    /// The same sockets once more, for a successor.
    pub(super) fn offer(&self) -> std::io::Result<Offered> {
        let http = self.http.as_ref().map(|http| (Port::Http, http));
        let all = [(Port::Https, &self.https), (Port::Admin, &self.admin)];
        all.into_iter()
            .chain(http)
            .map(|(port, listener)| {
                let label = Label {
                    port: Some(port),
                    address: listener.local_addr()?,
                };
                Ok((label, socket2::SockRef::from(listener).try_clone()?.into()))
            })
            .collect()
    }

    /// Where they listen: https, http, admin.
    pub(super) fn addresses(&self) -> std::io::Result<Addresses> {
        let http = self
            .http
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()?;
        Ok(Addresses {
            https: self.https.local_addr()?,
            http,
            admin: self.admin.local_addr()?,
        })
    }
}

/// Where the edge listens.
#[derive(serde::Serialize)]
pub(super) struct Addresses {
    https: SocketAddr,
    http: Option<SocketAddr>,
    admin: SocketAddr,
}

// === impl Addresses ===

impl Addresses {
    /// Says which ports these are: in the log, and in a file for whoever asked for any free port.
    pub(super) fn tell(&self, file: Option<PathBuf>) -> Result<(), EdgeError> {
        let (https, admin) = (self.https, self.admin);
        tracing::info!(%https, http = self.http.map(tracing::field::display), %admin, "the edge listens");
        let Some(file) = file else { return Ok(()) };
        let text = serde_json::to_string(self).unwrap_or_default();
        let temporary = file.with_extension("tmp");
        // Written aside and renamed, so that a reader never sees half of it.
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, &file))
            .map_err(|source| EdgeError::ReadyFile { file, source })
    }
}
