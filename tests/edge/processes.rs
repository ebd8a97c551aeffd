//! The edge as a process under a service manager: its signals, the sockets it is given, and what it tells.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use test_support::client::{Answer, Client, Protocol};
use test_support::edge::{read_ports, write_config};
use test_support::eventually::eventually;
use test_support::region::{Region, reply};
use test_support::tls::Authority;
use test_support::world::alive;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::harness::{host, post};

const PATIENCE: Duration = Duration::from_secs(20);
const MORE: &str = "upgrade = { socket = \"door\" }\nstop = { notice = \"0s\", grace = \"60s\" }";

/// A folder with a configuration, and whom to trust.
struct Place {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Place {
    fn new(region: &Region) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new().expect("an authority");
        let regions = [("us-east", region.address)];
        write_config(folder.path(), &authority, &regions, MORE).expect("a configuration");
        Self { folder, authority }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self) -> [PathBuf; 5] {
        let own = ["edge", "-c"].map(PathBuf::from);
        let [edge, c] = own;
        let (config, ready) = (self.file("edge.toml"), self.file("ready.json"));
        [edge, c, config, "--ready-file".into(), ready]
    }

    fn start(&self, manager: Option<&Path>) -> Child {
        let log = std::fs::File::create(self.file("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_frontdoor"));
        command
            .args(self.arguments())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        if let Some(manager) = manager {
            command.env("NOTIFY_SOCKET", manager);
        }
        command.spawn().expect("starts")
    }

    async fn https(&self) -> SocketAddr {
        eventually("it serves", PATIENCE, async || {
            read_ports(&self.file("ready.json"))
        })
        .await
        .https
    }

    async fn call(&self, address: SocketAddr) -> anyhow::Result<Answer> {
        let tls = self.authority.client(&["h2"])?;
        let mut client = Client::with(address, &host(), tls, Protocol::H2).await?;
        client.call(post("/x", "x")).await
    }

    /// Waits until a region is known and answers.
    async fn answers(&self, address: SocketAddr) {
        eventually("a call is answered", PATIENCE, async || {
            let answer = self.call(address).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    fn says(&self, words: &str) -> bool {
        std::fs::read_to_string(self.file("log")).is_ok_and(|log| log.contains(words))
    }
}

/// A process that is nobody's child any more; it does not outlive the test.
struct Orphan(i32);

impl Drop for Orphan {
    fn drop(&mut self) {
        if alive(self.0) {
            let _ = kill(Pid::from_raw(self.0), Signal::SIGKILL);
        }
    }
}

fn pid(child: &Child) -> Pid {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    Pid::from_raw(pid.expect("runs"))
}

async fn well() -> Region {
    Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port")
}

#[tokio::test]
async fn a_signal_starts_the_successor_and_the_manager_hears_of_it() {
    let region = well().await;
    let place = Place::new(&region);
    let socket = place.file("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    let hear = async || {
        let mut text = [0; 64];
        let heard = timeout(PATIENCE, manager.recv(&mut text)).await;
        let count = heard.expect("in time").expect("heard");
        String::from_utf8_lossy(&text[..count]).into_owned()
    };
    let mut old = place.start(Some(&socket));
    assert_eq!(hear().await, "READY=1");
    let https = place.https().await;
    place.answers(https).await;

    // A successor whose configuration is wrong ends, and that is all.
    let config = place.file("edge.toml");
    let right = std::fs::read_to_string(&config).expect("there");
    std::fs::write(&config, format!("nonsense = 1\n{right}")).expect("written");
    kill(pid(&old), Signal::SIGUSR2).expect("signalled");
    eventually("the successor has ended", PATIENCE, async || {
        place.says("the successor has ended").then_some(())
    })
    .await;
    place.answers(https).await;

    std::fs::write(&config, right).expect("written");
    kill(pid(&old), Signal::SIGUSR2).expect("signalled");
    let mut heard = [hear().await, hear().await];
    heard.sort();
    let [main, ready] = heard;
    assert_eq!(ready, "READY=1");
    let new = main.strip_prefix("MAINPID=").and_then(|p| p.parse().ok());
    let new = Orphan(new.unwrap_or_else(|| panic!("{main}")));
    let ended = timeout(PATIENCE, old.wait()).await.expect("in time");
    assert!(ended.expect("waited for").success());
    assert_eq!(place.call(https).await.expect("an answer").status, 200);

    kill(Pid::from_raw(new.0), Signal::SIGTERM).expect("signalled");
    assert_eq!(hear().await, "STOPPING=1");
    eventually("it stops in order", PATIENCE, async || {
        (!alive(new.0)).then_some(())
    })
    .await;
    assert!(!place.file("door").exists());
}

#[tokio::test]
async fn sockets_of_the_service_manager_are_used() {
    let region = well().await;
    let place = Place::new(&region);
    let [https, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let addresses = [&https, &admin].map(|socket| socket.local_addr().expect("an address"));
    let config = place.file("edge.toml");
    let mut text = std::fs::read_to_string(&config).expect("there");
    for (port, address) in ["https", "admin"].into_iter().zip(addresses) {
        let any = format!("{port} = \"127.0.0.1:0\"");
        text = text.replace(&any, &format!("{port} = \"{address}\""));
    }
    std::fs::write(&config, text).expect("written");

    // A caller before there is an edge: it waits.
    let place = Arc::new(place);
    let early = {
        let place = Arc::clone(&place);
        tokio::spawn(async move { place.call(addresses[0]).await })
    };
    // As systemd passes them: from the third on, with the process's own number. A child's standard streams are what can be
    // given to it, and the shell moves them.
    const ACTIVATE: &str =
        "export LISTEN_FDS=2 LISTEN_PID=$$\nexec \"$0\" \"$@\" 3<&0 4<&1 </dev/null >/dev/null";
    let _edge = Command::new("sh")
        .args(["-c", ACTIVATE, env!("CARGO_BIN_EXE_frontdoor")])
        .args(place.arguments())
        .stdin(OwnedFd::from(https))
        .stdout(OwnedFd::from(admin))
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let answer = early.await.expect("no panic").expect("an answer");
    assert!(
        [200, 503].contains(&answer.status.as_u16()),
        "{}",
        answer.status
    );
    assert_eq!(place.https().await, addresses[0]);
    place.answers(addresses[0]).await;
    let mut client = Client::plain(addresses[1], Protocol::H1)
        .await
        .expect("admin");
    let live = http::Request::get("/live").header("host", "admin");
    let live = live.body(test_support::client::full("")).expect("valid");
    assert_eq!(client.call(live).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_second_signal_ends_the_edge_at_once() {
    let called = Arc::new(Notify::new());
    let tell = Arc::clone(&called);
    let region = Region::start(move |request| {
        let tell = Arc::clone(&tell);
        async move {
            if request.uri().path() == "/x" {
                tell.notify_one();
                std::future::pending::<()>().await;
            }
            reply(200, &[], "ok")
        }
    })
    .await
    .expect("a port");
    let place = Arc::new(Place::new(&region));
    let mut edge = place.start(None);
    let https = place.https().await;
    let waiting = {
        let place = Arc::clone(&place);
        tokio::spawn(async move {
            // Until the edge knows the region it says so.
            loop {
                let answer = place.call(https).await;
                if !answer.as_ref().is_ok_and(|a| a.status == 503) {
                    return answer;
                }
            }
        })
    };
    timeout(PATIENCE, called.notified()).await.expect("called");
    kill(pid(&edge), Signal::SIGTERM).expect("signalled");
    eventually("the port is closed", PATIENCE, async || {
        let again = tokio::net::TcpStream::connect(https).await;
        again.is_err().then_some(())
    })
    .await;
    assert!(edge.try_wait().expect("asked").is_none(), "a call runs");
    kill(pid(&edge), Signal::SIGTERM).expect("signalled");
    // Far below the grace of a minute.
    let ended = timeout(PATIENCE, edge.wait()).await.expect("at once");
    assert!(!ended.expect("waited for").success());
    assert!(
        waiting.await.expect("no panic").is_err(),
        "its caller sees it"
    );
}
