//! `frontdoor keys …`: makes API keys, says how one is stored, and revokes one in every region.
//!
//! A key is shown once, on standard error, and goes nowhere else: not into arguments (other users of the machine see
//! those), not into files, not over NATS. What is stored, and printed on standard output, is its SHA-256.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use async_nats::Client;
use clap::{ArgGroup, Args, Subcommand};
use frontdoor_bus::{Access, NatsTable, TlsTable};
use frontdoor_protocol::key::{KeyHash, PREFIX};
use frontdoor_protocol::moment::Moment;
use frontdoor_protocol::names::FunctionId;
use frontdoor_protocol::revocation::Revocation;
use frontdoor_protocol::span::Span;
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use rand::distr::{Alphanumeric, SampleString as _};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};

/// Letters and digits after the prefix: 256 bits.
const LENGTH: usize = 43;
/// To connect to NATS.
const CONNECT: Duration = Duration::from_secs(5);
/// For regions to confirm.
const CONFIRM: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a key. It is shown once, on standard error; standard output gets what the keys file needs.
    #[command(after_help = NEW_HELP)]
    New(New),
    /// Read a key from standard input and print the SHA-256 it is stored under.
    #[command(after_help = "Example:\n  frontdoor keys hash < key.txt")]
    Hash,
    /// Make an nkey, by which NATS servers know a program: the seed goes into a file, its public half is printed.
    #[command(after_help = NKEY_HELP)]
    Nkey {
        /// The file for the seed; it must not exist.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Refuse a key in every region from now on.
    #[command(after_help = REVOKE_HELP)]
    Revoke(Revoke),
}

const NEW_HELP: &str = "Examples:\n  frontdoor keys new --name acme --all >> keys.toml\n  \
    frontdoor keys new --name trial --function 0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11 --expires 30d\n\n\
    Put the printed lines into the file that auth.keys_file of invocation.toml names, in every region. It is read \
    again within a second, no restart is needed. Nobody can show the key again: only its SHA-256 is stored.";

const NKEY_HELP: &str = "Example:\n  frontdoor keys nkey edge.nk\n\n\
    The file is for nats.nkey_file of edge.toml, invocation.toml or worker.toml, and stays with that program. What is \
    printed begins with U, is no secret, and goes into the server's configuration: { nkey: U… }, as deploy/nats has it.";

const REVOKE_HELP: &str = "Examples:\n  \
    frontdoor keys revoke 9f86d081… --nats nats://hub:4222 --user operator --password-file hub.pw\n  \
    frontdoor keys revoke --stdin --nats nats://hub:4222 < leaked-key.txt\n\n\
    Takes effect within a second in every region that is connected. A region that is cut off does not hear it, and one \
    that restarts forgets it: take the key out of the keys files (or the authority) as well, they are the truth.";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").required(true).args(["all", "function"]))]
pub(super) struct New {
    /// Who it is for: what logs and the function's container (NVCF-SUB) call its owner.
    #[arg(long)]
    name: String,
    /// It opens every function.
    #[arg(long)]
    all: bool,
    /// It opens this function; may be given several times.
    #[arg(long, value_name = "ID")]
    function: Vec<FunctionId>,
    /// When it stops to work: a time such as 2027-01-31T12:00:00Z, or a length of time such as 30d. Default: never.
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<Moment>,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The key's SHA-256, as `keys hash` prints it and keys files hold it.
    #[arg(
        value_name = "SHA256",
        required_unless_present = "stdin",
        conflicts_with = "stdin"
    )]
    hash: Option<KeyHash>,
    /// Read the key itself from standard input instead.
    #[arg(long)]
    stdin: bool,
    /// The NATS hub, or any region's server that is joined to it.
    #[arg(long, value_name = "URL")]
    nats: String,
    /// A credentials file for it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "nkey_file"])]
    credentials: Option<PathBuf>,
    /// A file with the seed of an nkey for it.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    nkey_file: Option<PathBuf>,
    /// The authorities that its certificate comes from; implies TLS.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A user of it.
    #[arg(long, requires = "password_file")]
    user: Option<String>,
    /// A file that holds the user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

pub(super) fn run(command: Keys) -> anyhow::Result<ExitCode> {
    match command {
        Keys::New(new) => make(&new)?,
        Keys::Nkey { file } => nkey(&file)?,
        Keys::Hash => println!("{}", hash(&from_stdin()?)),
        Keys::Revoke(revoke) => return in_every_region(revoke),
    }
    Ok(ExitCode::SUCCESS)
}

fn nkey(file: &Path) -> anyhow::Result<()> {
    let pair = nkeys::KeyPair::new_user();
    let seed = pair.seed().context("no seed")?;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut open| writeln!(open, "{seed}"))
        .with_context(|| format!("{} cannot be written", file.display()))?;
    println!("{}", pair.public_key());
    Ok(())
}

fn make(new: &New) -> anyhow::Result<()> {
    let visible = |b: u8| b.is_ascii_graphic() || b == b' ';
    ensure!(
        (1..=256).contains(&new.name.len()) && new.name.bytes().all(visible),
        "--name must be visible ASCII, up to 256 bytes: it becomes the value of a header"
    );
    let key = PREFIX.to_owned() + &Alphanumeric.sample_string(&mut rand::rng(), LENGTH);
    eprintln!("The key, shown this once; hand it to its owner:\n\n  {key}\n");
    eprintln!("What to store of it (see `frontdoor keys new --help`):\n");
    print!("{}", snippet(new, hash(&key)));
    Ok(())
}

/// The entry of a keys file.
fn snippet(new: &New, hash: KeyHash) -> String {
    let functions: Vec<String> = match new.all {
        true => vec!["\"*\"".to_owned()],
        false => new.function.iter().map(|id| format!("\"{id}\"")).collect(),
    };
    let name = toml::Value::from(new.name.as_str());
    let mut text = format!(
        "[[keys]]\nname = {name}\nsha256 = \"{hash}\"\nfunctions = [{}]\n",
        functions.join(", ")
    );
    if let Some(expires) = new.expires {
        text += &format!("expires = \"{expires}\"\n");
    }
    text
}

fn hash(key: &str) -> KeyHash {
    KeyHash(Sha256::digest(key).into())
}

/// The first line of standard input, which is a key.
fn from_stdin() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("The key, then Enter:");
    }
    let mut line = String::new();
    stdin
        .lock()
        .read_line(&mut line)
        .context("no key on standard input")?;
    let key = line.trim();
    ensure!(!key.is_empty(), "no key on standard input");
    Ok(key.to_owned())
}

fn expiry(text: &str) -> Result<Moment, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let quoted = toml::Value::from(text);
    let span: Span = serde::Deserialize::deserialize(quoted).map_err(|_| {
        "write a time such as 2027-01-31T12:00:00Z, or a length such as 30d".to_owned()
    })?;
    SystemTime::now()
        .checked_add(span.0)
        .map(Moment)
        .ok_or_else(|| "that is too far away".to_owned())
}

fn in_every_region(revoke: Revoke) -> anyhow::Result<ExitCode> {
    let sha256 = match revoke.hash {
        Some(hash) => hash,
        None => hash(&from_stdin()?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let regions = runtime.block_on(async {
        let client = connect(&revoke).await?;
        publish(&client, Revocation { sha256 }).await
    })?;
    if regions.is_empty() {
        bail!(
            "published, but no region confirmed that it refuses {sha256}: is {} the hub, and may its user publish {}?",
            revoke.nats,
            subject::REVOKED
        );
    }
    for region in &regions {
        println!("{region} refuses it");
    }
    println!(
        "Take {sha256} out of the keys files as well: a region that was not connected did not hear this."
    );
    Ok(ExitCode::SUCCESS)
}

async fn connect(revoke: &Revoke) -> anyhow::Result<Client> {
    let password = revoke.password_file.as_ref().map(|file| {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("{} cannot be read", file.display()))?;
        anyhow::Ok(text.trim().to_owned())
    });
    let access = Access::try_from(NatsTable {
        url: revoke.nats.clone(),
        credentials_file: revoke.credentials.clone(),
        nkey_file: revoke.nkey_file.clone(),
        user: revoke.user.clone(),
        password: password.transpose()?,
        tls: revoke.ca.clone().map(|ca| TlsTable {
            ca: Some(ca),
            cert: None,
            key: None,
        }),
    })?;
    access
        .options()
        .await?
        .name("frontdoor-keys-revoke")
        .connection_timeout(CONNECT)
        .custom_inbox_prefix(subject::CHATTER_INBOX)
        .connect(&revoke.nats)
        .await
        .with_context(|| format!("cannot connect to {}", revoke.nats))
}

/// Publishes the word, and collects who heard it.
async fn publish(client: &Client, revocation: Revocation) -> anyhow::Result<BTreeSet<String>> {
    let inbox = client.new_inbox();
    let mut confirmed = client.subscribe(inbox.clone()).await?;
    client.flush().await?;
    client
        .publish_with_reply(subject::REVOKED, inbox, revocation.encode().into())
        .await?;
    client.flush().await?;
    let deadline = Instant::now() + CONFIRM;
    let mut regions = BTreeSet::new();
    while let Ok(Some(message)) = timeout_at(deadline, confirmed.next()).await {
        let name = std::str::from_utf8(&message.payload).unwrap_or_default();
        if let Ok(region) = name.parse::<frontdoor_protocol::names::RegionName>() {
            regions.insert(region.to_string());
        }
    }
    Ok(regions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_what_a_keys_file_holds() {
        let new = New {
            name: "a \"b\"".into(),
            all: false,
            function: vec![
                "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"
                    .parse()
                    .expect("valid"),
            ],
            expires: Some("2027-01-31T12:00:00Z".parse().expect("valid")),
        };
        let text = snippet(&new, hash("fdk_x"));
        let table: toml::Table = text.parse().expect("TOML");
        let key = &table["keys"][0];
        assert_eq!(key["name"].as_str(), Some("a \"b\""));
        assert_eq!(key["sha256"].as_str(), Some(&*hash("fdk_x").to_string()));
        assert_eq!(key["functions"][0].as_str().map(str::len), Some(36));
        assert_eq!(key["expires"].as_str(), Some("2027-01-31T12:00:00Z"));
        assert!(!text.contains("fdk_"));
    }

    #[test]
    fn expiry_is_a_time_or_a_length_of_time() {
        assert!(expiry("2027-01-31T12:00:00Z").is_ok());
        let in_a_month = expiry("30d").expect("a length").0;
        let days = in_a_month.duration_since(SystemTime::now()).expect("ahead");
        assert!(days > Duration::from_secs(29 * 24 * 3600));
        for wrong in ["", "soon", "30", "2027-01-31"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }
}
