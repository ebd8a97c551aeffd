//! Which of the sockets that were handed to this process is which port of its configuration. (pure)

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// What a listening socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Callers, TLS.
    Https,
    /// Callers, without.
    Http,
    /// Operators.
    Admin,
}

/// What is known of a socket that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// What it was for; systemd does not say.
    pub port: Option<Port>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A line that is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a socket without a name and an address")]
pub struct NoLabel;

/// The socket for a port that shall listen at `address`: one that listens there; or everywhere, if that is what is wanted,
/// whatever the family calls it; or, for any free port, the one that had this job before.
#[must_use]
pub fn choose(port: Port, address: SocketAddr, offered: &[Label]) -> Option<usize> {
    let everywhere = |label: &Label| {
        label.address.port() == address.port()
            && label.address.ip().is_unspecified()
            && address.ip().is_unspecified()
    };
    let same_job = |label: &Label| {
        address.port() == 0 && label.port == Some(port) && label.address.ip() == address.ip()
    };
    offered
        .iter()
        .position(|label| label.address == address)
        .or_else(|| offered.iter().position(everywhere))
        .or_else(|| offered.iter().position(same_job))
}

// === impl Port ===

impl Port {
    const ALL: [Self; 3] = [Self::Https, Self::Http, Self::Admin];

    /// Its key in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Admin => "admin",
        }
    }
}

// === impl Label ===

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port.map_or("-", Port::as_str);
        write!(f, "{port} {}", self.address)
    }
}

impl FromStr for Label {
    type Err = NoLabel;

    /// The opposite of its text. A name of a later version is as good as none.
    fn from_str(text: &str) -> Result<Self, NoLabel> {
        let (name, address) = text.split_once(' ').ok_or(NoLabel)?;
        Ok(Self {
            port: Port::ALL.into_iter().find(|port| port.as_str() == name),
            address: address.parse().map_err(|_| NoLabel)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(lines: &[&str]) -> Vec<Label> {
        lines.iter().map(|l| l.parse().expect("a label")).collect()
    }

    #[test]
    fn a_socket_is_chosen_by_where_it_listens() {
        let three = [
            "https 127.0.0.1:443",
            "http 127.0.0.1:80",
            "admin 127.0.0.1:9901",
        ];
        for (port, address, offered, chosen) in [
            (Port::Https, "127.0.0.1:443", &three[..], Some(0)),
            (Port::Admin, "127.0.0.1:9901", &three, Some(2)),
            // The configuration moved a port: nobody listens there yet.
            (Port::Https, "127.0.0.1:8443", &three, None),
            (Port::Https, "10.0.0.1:443", &three, None),
            // Where it listens says more than what it was for.
            (Port::Https, "127.0.0.1:80", &three, Some(1)),
            // Any free port: the one of before.
            (Port::Http, "127.0.0.1:0", &three, Some(1)),
            (Port::Http, "127.0.0.2:0", &three, None),
            // systemd's `ListenStream=443` is [::]:443 and takes IPv4 as well.
            (Port::Https, "0.0.0.0:443", &["- [::]:443"], Some(0)),
            (Port::Https, "127.0.0.1:443", &["- [::]:443"], None),
            (Port::Https, "0.0.0.0:0", &["- 0.0.0.0:443"], None),
            (Port::Https, "127.0.0.1:443", &[], None),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(
                choose(port, address, &labels(offered)),
                chosen,
                "{port:?} {address} of {offered:?}"
            );
        }
    }

    #[test]
    fn labels_are_read_as_they_are_written() {
        for text in ["https 127.0.0.1:443", "- [::1]:80", "admin 0.0.0.0:9901"] {
            assert_eq!(text.parse::<Label>().expect(text).to_string(), text);
        }
        let later: Label = "quic 127.0.0.1:443".parse().expect("a label");
        assert_eq!(later.port, None);
        for bad in ["", "https", "https 127.0.0.1", "127.0.0.1:443"] {
            assert_eq!(bad.parse::<Label>(), Err(NoLabel), "{bad}");
        }
    }
}
