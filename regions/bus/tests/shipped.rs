//! The configurations of `deploy/nats` on real servers: programs get in by nkey over TLS, strangers and lookalikes do not,
//! and what a region says reaches an edge.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_nats::Client;
use frontdoor_bus::{Access, NatsTable, TlsTable};
use futures_util::StreamExt as _;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as Key};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(20);

/// A folder as an operator would fill it.
struct Folder {
    dir: TempDir,
    publics: Vec<(&'static str, String)>,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let publics = ["edge", "operator", "leaf", "invocation", "worker"].map(|who| {
            let pair = KeyPair::new_user();
            let seed = pair.seed().expect("a seed");
            std::fs::write(dir.path().join(format!("{who}.nk")), seed + "\n").expect("written");
            (who, pair.public_key())
        });
        let tls = dir.path().join("tls");
        std::fs::create_dir(&tls).expect("made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params.clone(), Key::generate().expect("a key"));
        let ca = ca.expect("valid");
        std::fs::write(tls.join("ca.pem"), ca.pem()).expect("written");
        let stranger = CertifiedIssuer::self_signed(params, Key::generate().expect("a key"));
        let stranger = stranger.expect("valid").pem();
        std::fs::write(tls.join("stranger.pem"), stranger).expect("written");
        for who in ["hub", "region"] {
            let key = Key::generate().expect("a key");
            let params = CertificateParams::new(["localhost".to_owned()]).expect("valid");
            let cert = params.signed_by(&key, &ca).expect("valid");
            std::fs::write(tls.join(format!("{who}.pem")), cert.pem()).expect("written");
            std::fs::write(tls.join(format!("{who}.key")), key.serialize_pem()).expect("written");
        }
        Self {
            dir,
            publics: publics.to_vec(),
        }
    }

    /// Runs `deploy/nats/FILE` here, on free ports; returns its URLs for programs and for leaf nodes.
    async fn serve(&self, file: &str, hub: &str) -> (Child, String, String) {
        let shipped = root().join("deploy/nats").join(file);
        let text = std::fs::read_to_string(&shipped).expect("shipped");
        let at = self.dir.path().join(file);
        // What a test must not share with the machine; everything else is as shipped.
        let store = self.dir.path().join(format!("{file}.store"));
        let text = text
            .replace("0.0.0.0:4222", "127.0.0.1:-1")
            .replace("0.0.0.0:7422", "127.0.0.1:-1")
            .replace("127.0.0.1:8222", "127.0.0.1:-1")
            .replace("/var/lib/nats", &store.display().to_string())
            .replace("/etc/nats", &self.dir.path().display().to_string());
        std::fs::write(&at, text).expect("written");
        let log = at.with_extension("log");
        let mut command = Command::new(server());
        command
            .arg("-c")
            .arg(&at)
            .env("REGION", "us-east")
            .env("HUB_URL", hub)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .kill_on_drop(true);
        for (who, public) in &self.publics {
            command.env(format!("{}_NKEY", who.to_uppercase()), public);
        }
        let seed = std::fs::read_to_string(self.dir.path().join("leaf.nk"));
        command.env("LEAF_SEED", seed.expect("there").trim());
        let child = command.spawn().expect("started");
        let ready = timeout(LIMIT, async {
            while !said(&log).contains("Server is ready") {
                sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(ready.await.is_ok(), "{file}: {}", said(&log));
        let port = |what: &str| {
            let said = said(&log);
            let port = said.split_once(what).and_then(|(_, rest)| {
                let address = rest.split_whitespace().next()?;
                Some(address.rsplit(':').next()?.to_owned())
            });
            format!("tls://localhost:{}", port.unwrap_or_default())
        };
        let programs = port("Listening for client connections on ");
        (child, programs, port("leafnode connections on "))
    }

    /// Goes in as an operator's configuration would make a program go in.
    async fn enter(&self, url: &str, who: Option<&str>, ca: &str) -> Result<Client, String> {
        let mut access = Access::try_from(NatsTable {
            url: url.to_owned(),
            nkey_file: who.map(|who| format!("{who}.nk").into()),
            tls: Some(TlsTable {
                ca: Some(format!("tls/{ca}.pem").into()),
                cert: None,
                key: None,
            }),
            ..NatsTable::default()
        })
        .expect("valid");
        access.under(self.dir.path());
        let options = access.options().await.map_err(|e| e.to_string())?;
        let connected = timeout(LIMIT, options.connect(url)).await;
        connected.expect("in time").map_err(|e| format!("{e:?}"))
    }
}

fn said(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn server() -> PathBuf {
    let fetched = root().join(".tools/bin/nats-server");
    if fetched.exists() {
        fetched
    } else {
        "nats-server".into()
    }
}

#[tokio::test]
async fn programs_get_in_by_nkey_over_tls() {
    let folder = Folder::new();
    let (_hub, hub, leafs) = folder.serve("hub.conf", "").await;
    let (_leaf, leaf, _) = folder.serve("leaf.conf", &leafs).await;

    let edge = folder.enter(&hub, Some("edge"), "ca").await;
    let edge = edge.expect("an edge gets in");
    let service = folder.enter(&leaf, Some("invocation"), "ca").await;
    let service = service.expect("an invocation service gets in");
    folder
        .enter(&leaf, Some("worker"), "ca")
        .await
        .expect("a worker gets in");

    // The leaf, too, went in by nkey over TLS: what its region says comes to the edge.
    let mut heard = edge.subscribe("fd.report.>").await.expect("may listen");
    edge.flush().await.expect("connected");
    let word = timeout(LIMIT, async {
        loop {
            let said = service.publish("fd.report.us-east", "news".into()).await;
            said.expect("connected");
            if let Ok(Some(word)) = timeout(Duration::from_millis(100), heard.next()).await {
                return word;
            }
        }
    });
    assert_eq!(word.await.expect("joined").payload, "news");
}

#[tokio::test]
async fn strangers_do_not() {
    let folder = Folder::new();
    let (_hub, hub, _) = folder.serve("hub.conf", "").await;
    for (who, why) in [
        (Some("worker"), "an nkey of another server"),
        (None, "no nkey"),
    ] {
        let error = folder.enter(&hub, who, "ca").await.expect_err(why);
        assert!(
            error.to_lowercase().contains("authorization"),
            "{why}: {error}"
        );
    }
    let error = folder.enter(&hub, Some("edge"), "stranger").await;
    let error = error.expect_err("a server of nobody's authority");
    assert!(error.contains("InvalidCertificate"), "{error}");
    let error = folder.enter(&hub, Some("nobody"), "ca").await;
    let error = error.expect_err("no such file");
    assert!(error.contains("nobody.nk"), "{error}");
    std::fs::write(folder.dir.path().join("bad.nk"), "UABC\n").expect("written");
    let error = folder.enter(&hub, Some("bad"), "ca").await;
    let error = error.expect_err("no seed");
    assert!(error.contains("holds no seed"), "{error}");
}
