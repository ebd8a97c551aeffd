//! Whom TLS believes: the authorities in a file, or else the system's.
//!
//! All programs read them here, so that a file that is missing, empty or of no use is refused everywhere, and by its name. A
//! store without an authority is never given out: it would refuse every peer, and the log would blame the peers.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Why nobody can be believed.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file is missing or not PEM.
    #[error("{file}: {source}")]
    Pem {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// What is in the file is no certificate of an authority.
    #[error("{file}: {source}")]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// There is nothing in the file.
    #[error("{file}: holds no certificate")]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// The system has none that are of use, and says why if it could not read them.
    #[error("the system has no certificate authorities of use{}", because(.0))]
    System(#[source] Option<rustls_native_certs::Error>),
}

/// The authorities in the file, or the system's if none is named. Reads files: not for the path of a call.
///
/// # Errors
/// If there is no such file, or nobody in it, or the system has nobody.
pub fn roots(ca: Option<&Path>) -> Result<RootCertStore, RootsError> {
    match ca {
        Some(file) => of_file(file),
        None => of_system(),
    }
}

fn of_file(file: &Path) -> Result<RootCertStore, RootsError> {
    let pem = |source| RootsError::Pem {
        file: file.to_owned(),
        source,
    };
    let unusable = |source| RootsError::Unusable {
        file: file.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(pem)? {
        roots.add(certificate.map_err(pem)?).map_err(unusable)?;
    }
    if roots.is_empty() {
        let file = file.to_owned();
        return Err(RootsError::Empty { file });
    }
    Ok(roots)
}

fn of_system() -> Result<RootCertStore, RootsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some may be of no use to us; that is no fault of ours.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(RootsError::System(found.errors.into_iter().next()));
    }
    Ok(roots)
}

fn because(why: &Option<rustls_native_certs::Error>) -> String {
    why.as_ref()
        .map_or_else(String::new, |why| format!(": {why}"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn read(folder: &Path, name: &str, text: &str) -> Result<RootCertStore, RootsError> {
        let file = folder.join(name);
        std::fs::write(&file, text).expect("written");
        roots(Some(&file))
    }

    #[test]
    fn all_that_a_file_holds_is_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = || {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
            params.self_signed(&key).expect("signed").pem()
        };
        let two = certificate() + &certificate();
        let roots = read(folder.path(), "two.pem", &two).expect("of use");
        assert_eq!(roots.len(), 2);
    }

    #[test]
    fn what_is_of_no_use_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = roots(Some(&folder.path().join("ca.pem")));
        assert!(matches!(&missing, Err(RootsError::Pem { .. })));
        let empty = read(folder.path(), "ca.pem", "");
        assert!(matches!(&empty, Err(RootsError::Empty { .. })));
        let other = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let other = read(folder.path(), "ca.pem", other);
        assert!(matches!(&other, Err(RootsError::Unusable { .. })));
        let torn = "-----BEGIN CERTIFICATE-----\nAQID\n";
        let torn = read(folder.path(), "ca.pem", torn);
        assert!(matches!(&torn, Err(RootsError::Pem { .. })));
        for refused in [missing, empty, other, torn] {
            let text = refused
                .err()
                .map_or_else(String::new, |error| error.to_string());
            assert!(text.contains("ca.pem"), "{text}");
        }
    }

    #[test]
    fn the_system_says_why_it_has_nobody() {
        let text = RootsError::System(None).to_string();
        assert_eq!(text, "the system has no certificate authorities of use");
        let why = rustls_native_certs::Error {
            context: "opening directory",
            kind: rustls_native_certs::ErrorKind::Os("none".into()),
        };
        let text = RootsError::System(Some(why)).to_string();
        assert!(text.ends_with("of use: opening directory: none"), "{text}");
    }
}
