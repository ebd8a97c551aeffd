//! `--check`: whether the files that a configuration names are there and of use, as the start would find them.
//!
//! Each complaint says which key names the file. Nothing is opened towards the network, and nothing is written.

use std::fmt;
use std::path::Path;

use anyhow::anyhow;
use frontdoor::config::CertificateFiles;
use frontdoor::listen::certificates::{self, Certificates};
use frontdoor::upstream::Dialer;
use frontdoor_bus::Access;
use frontdoor_invocation::config::Authority;
use frontdoor_telemetry::table::Telemetry;
use frontdoor_telemetry::trust;

pub(super) fn edge(settings: &frontdoor::config::Settings) -> anyhow::Result<()> {
    told(
        Certificates::load(&settings.certificates),
        "key `tls.certificates`",
    )?;
    if let Some(tls) = &settings.region_tls {
        authorities(&tls.ca, "upstream.ca")?;
        if let Some((cert, key)) = &tls.identity {
            pair(cert, key, "upstream")?;
        }
    }
    // Names of regions too, which the files alone do not show.
    let dialer = Dialer::new(&settings.regions, settings.region_tls.as_ref());
    told(dialer, "the way to the regions")?;
    text(settings.admin.token_file.as_deref(), "admin.token_file")?;
    if let Some(access) = &settings.nats {
        nats(access)?;
    }
    telemetry(&settings.telemetry)
}

pub(super) fn invocation(settings: &frontdoor_invocation::config::Settings) -> anyhow::Result<()> {
    if let Some(tls) = &settings.tls {
        pair(&tls.cert, &tls.key, "tls")?;
        authorities(&tls.client_ca, "tls.client_ca")?;
    }
    let (kind, ca, token_file) = match &settings.auth.authority {
        None => ("", None, None),
        Some(Authority::Http { ca, .. }) => ("http", ca.as_deref(), None),
        Some(Authority::Grpc { ca, token_file, .. }) => {
            ("grpc", ca.as_deref(), token_file.as_deref())
        }
    };
    if let Some(ca) = ca {
        authorities(ca, &format!("auth.{kind}.ca"))?;
    }
    text(token_file, &format!("auth.{kind}.token_file"))?;
    nats(&settings.nats.access)?;
    telemetry(&settings.telemetry)
}

pub(super) fn worker(settings: &frontdoor_worker::config::Settings) -> anyhow::Result<()> {
    nats(&settings.nats)?;
    telemetry(&settings.telemetry)
}

/// The log-in by the code that logs in; certificates besides, which that leaves to the first connection.
fn nats(access: &Access) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    told(runtime.block_on(access.options()), "table `nats`")?;
    let Some(trust) = &access.trust else {
        return Ok(());
    };
    if let Some(ca) = &trust.ca {
        authorities(ca, "nats.tls.ca")?;
    }
    match &trust.identity {
        Some((cert, key)) => pair(cert, key, "nats.tls"),
        None => Ok(()),
    }
}

fn telemetry(settings: &Telemetry) -> anyhow::Result<()> {
    match &settings.ca {
        Some(ca) if settings.endpoint.is_some() => authorities(ca, "telemetry.ca"),
        _ => Ok(()),
    }
}

fn authorities(file: &Path, key: &str) -> anyhow::Result<()> {
    told(trust::roots(Some(file)), &format!("key `{key}`"))?;
    Ok(())
}

fn pair(cert: &Path, key: &Path, table: &str) -> anyhow::Result<()> {
    let files = CertificateFiles {
        cert: cert.to_owned(),
        key: key.to_owned(),
    };
    let found = certificates::certified(&files);
    told(found, &format!("keys `{table}.cert` and `{table}.key`"))?;
    Ok(())
}

fn text(file: Option<&Path>, key: &str) -> anyhow::Result<()> {
    if let Some(file) = file {
        let found = std::fs::read_to_string(file);
        told(found, &format!("key `{key}`: {}", file.display()))?;
    }
    Ok(())
}

/// In one line: these errors tell their sources themselves, and a chain of them would tell those twice.
fn told<T>(found: Result<T, impl fmt::Display>, what: &str) -> anyhow::Result<T> {
    found.map_err(|error| anyhow!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_names_key_and_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing.pem");
        let garbage = folder.path().join("garbage.pem");
        std::fs::write(&garbage, "garbage").expect("written");
        for (found, said) in [
            (
                authorities(&garbage, "upstream.ca"),
                ["`upstream.ca`", "garbage.pem"],
            ),
            (
                pair(&garbage, &missing, "tls"),
                ["`tls.cert`", "garbage.pem"],
            ),
            (
                text(Some(&missing), "admin.token_file"),
                ["`admin.token_file`", "missing.pem"],
            ),
        ] {
            let text = found.err().map_or_else(String::new, |e| format!("{e:#}"));
            assert!(said.iter().all(|said| text.contains(said)), "{text}");
        }
        assert!(text(None, "admin.token_file").is_ok());
    }
}
