//! What a `[nats]` table means, and the options of a connection it makes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use nkeys::KeyPair;

/// Where NATS is, and how to get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `nats://host:port` or `tls://host:port`, several with commas between.
    pub url: String,
    /// How servers know us.
    pub login: Login,
    /// How we know the servers; none: TLS where they ask for it, with the system's authorities.
    pub trust: Option<Trust>,
}

/// How servers know us.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// They do not ask.
    None,
    /// By a `.creds` file.
    Credentials(PathBuf),
    /// By an nkey, whose seed is in this file.
    Nkey(PathBuf),
    /// By user and password.
    Password {
        /// The user.
        user: String,
        /// Its password.
        password: String,
    },
}

/// How we know the servers. With this there is no connection without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The authorities their certificates come from; the system's if there is none.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why there is no way in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file of ours cannot be used.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no seed in the file.
    #[error(
        "{file}: holds no seed of an nkey: a line that begins with SU, as `frontdoor keys nkey` makes it"
    )]
    Seed {
        /// The file.
        file: PathBuf,
    },
}

// === impl Access ===

impl Access {
    /// Takes relative paths as seen from `folder`, the one of the file they are written in.
    pub fn under(&mut self, folder: &Path) {
        let login = match &mut self.login {
            Login::Credentials(file) | Login::Nkey(file) => Some(file),
            Login::None | Login::Password { .. } => None,
        };
        let (ca, identity) = self.trust.as_mut().map_or((None, None), |trust| {
            (trust.ca.as_mut(), trust.identity.as_mut())
        });
        let (cert, key) = identity.map_or((None, None), |(cert, key)| (Some(cert), Some(key)));
        for file in [login, ca, cert, key].into_iter().flatten() {
            *file = folder.join(&*file);
        }
    }

    /// Options of a connection that gets in; how it is named and reconnects is up to the caller.
    ///
    /// # Errors
    /// If a file that it needs cannot be used.
    pub async fn options(&self) -> Result<ConnectOptions, AccessError> {
        // The client takes the process's cryptography, and panics if nobody chose. An error says that somebody did.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let options = ConnectOptions::new();
        let mut options = match &self.login {
            Login::None => options,
            Login::Credentials(file) => options
                .credentials_file(file)
                .await
                .map_err(|source| unusable(file, source))?,
            Login::Nkey(file) => options.nkey(seed(file).await?),
            Login::Password { user, password } => {
                options.user_and_password(user.clone(), password.clone())
            }
        };
        if let Some(trust) = &self.trust {
            options = options.require_tls(true);
            if let Some(ca) = &trust.ca {
                readable(ca).await?;
                options = options.add_root_certificates(ca.clone());
            }
            if let Some((cert, key)) = &trust.identity {
                readable(cert).await?;
                readable(key).await?;
                options = options.add_client_certificate(cert.clone(), key.clone());
            }
        }
        Ok(options)
    }
}

/// Files of TLS are read with every connection, so that new ones are taken; the first time it is better to say which is wrong.
async fn readable(file: &Path) -> Result<(), AccessError> {
    let read = tokio::fs::read(file).await;
    read.map(drop).map_err(|source| unusable(file, source))
}

async fn seed(file: &Path) -> Result<String, AccessError> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|source| unusable(file, source))?;
    let mut lines = text.lines().map(str::trim);
    lines
        .find(|line| line.starts_with("SU") && KeyPair::from_seed(line).is_ok())
        .map(str::to_owned)
        .ok_or_else(|| AccessError::Seed { file: file.into() })
}

fn unusable(file: &Path, source: io::Error) -> AccessError {
    let file = file.into();
    AccessError::File { file, source }
}

// === impl Login ===

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Credentials(file) => write!(f, "credentials in {}", file.display()),
            Self::Nkey(file) => write!(f, "nkey in {}", file.display()),
            Self::Password { user, .. } => write!(f, "user {user}"),
        }
    }
}
