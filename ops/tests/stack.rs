//! The whole stack as a person or a test runs it, with real NATS servers, DNS and delay lines, and stand-ins for the
//! edge and the regions' services: it comes up, tells the truth, obeys, and leaves nothing behind however it ends.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A stack run in the foreground by a child process, which stops when this is dropped: its stdin closes.
struct Stack {
    dir: TempDir,
    supervisor: Child,
}

fn program() -> PathBuf {
    let test = std::env::current_exe().expect("own path");
    let built = test
        .ancestors()
        .nth(2)
        .expect("target folder")
        .join("examples/stand_in");
    assert!(
        built.is_file(),
        "cargo builds examples with the tests: {}",
        built.display()
    );
    built
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("local").args(args).arg("--dir").arg(dir);
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args)
        .stdin(Stdio::null())
        .output()
        .expect("ran")
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn alive(pid: u64) -> bool {
    // A zombie is not alive: it is waiting for its parent, which may be nobody we control.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

// === impl Stack ===

impl Stack {
    fn start(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut stack = Self::begin(args, variables);
        let endpoints = stack.dir.path().join("endpoints.json");
        let limit = Instant::now() + Duration::from_secs(20);
        while !endpoints.is_file() {
            let gone = stack.supervisor.try_wait().expect("looked");
            assert!(
                gone.is_none() && Instant::now() < limit,
                "not ready: {gone:?}\n{}",
                stack.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        stack
    }

    fn begin(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let log = fs::File::create(dir.path().join("out.log")).expect("log");
        let mut up = command(dir.path(), &["up", "--stop-on-stdin-eof"]);
        up.args(args)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped());
        up.stdout(log.try_clone().expect("log")).stderr(log);
        Self {
            supervisor: up.spawn().expect("started"),
            dir,
        }
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir().join("out.log")).unwrap_or_default()
    }

    fn endpoints(&self) -> Value {
        let text = fs::read_to_string(self.dir().join("endpoints.json")).expect("endpoints");
        serde_json::from_str(&text).expect("json")
    }

    fn status(&self) -> Value {
        serde_json::from_str(&ok(self.dir(), &["status", "--json"])).expect("json")
    }

    fn state(&self, part: &str) -> String {
        let status = self.status();
        let parts = status["parts"].as_array().expect("parts");
        let part = parts
            .iter()
            .find(|p| p["name"] == part)
            .expect("a part of the stack");
        part["state"].as_str().expect("state").to_owned()
    }

    fn pids(&self) -> Vec<u64> {
        let status = self.status();
        status["parts"]
            .as_array()
            .expect("parts")
            .iter()
            .filter_map(|p| p["pid"].as_u64())
            .collect()
    }

    /// Waits for the supervisor to end by itself.
    fn ended(&mut self) -> std::process::ExitStatus {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.supervisor.try_wait().expect("looked") {
                return status;
            }
            assert!(Instant::now() < limit, "does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        // Also when a test panics: nothing may stay behind. Failing means that it has ended already.
        let limit = Instant::now() + Duration::from_secs(20);
        while matches!(self.supervisor.try_wait(), Ok(None)) && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

#[test]
fn comes_up_quickly_tells_where_it_is_and_stops_in_order() {
    let begun = Instant::now();
    let mut stack = Stack::start(&["--wan", "us-east=2ms,eu-west=40ms"], &[]);
    let took = begun.elapsed();
    println!("two regions ready after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");

    let endpoints = stack.endpoints();
    assert_eq!(endpoints["regions"]["us-east"]["wan"], "2ms");
    assert_eq!(endpoints["regions"]["eu-west"]["wan"], "40ms");
    for pid in [
        "/edge/pid",
        "/hub/pid",
        "/dns/pid",
        "/regions/us-east/worker/pid",
        "/regions/eu-west/nats/pid",
    ] {
        let pid = endpoints
            .pointer(pid)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("{pid}: {endpoints}"));
        assert!(alive(pid));
    }
    for url in [
        "/edge/http",
        "/regions/us-east/invocation/url",
        "/regions/us-east/function/url",
    ] {
        let url = endpoints.pointer(url).and_then(Value::as_str).expect(url);
        let addr = url
            .trim_start_matches("http://")
            .replace("localhost", "127.0.0.1");
        TcpStream::connect(&addr).unwrap_or_else(|e| panic!("{url}: {e}"));
    }
    assert_eq!(
        fs::read_to_string(stack.dir().join("api_key")).expect("key"),
        endpoints["api_key"].as_str().expect("key")
    );
    assert!(stack.log().contains("curl --cacert"), "{}", stack.log());
    let again = run(stack.dir(), &["up"]);
    assert!(!again.status.success());
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("running"),
        "{again:?}"
    );

    let pids = stack.pids();
    assert_eq!(pids.len(), 12);
    ok(stack.dir(), &["down"]);
    assert!(stack.ended().success(), "{}", stack.log());
    assert!(pids.iter().all(|&pid| !alive(pid)), "all reaped");
    for name in ["control.json", "endpoints.json", "processes.json"] {
        assert!(!stack.dir().join(name).exists(), "{name} is gone");
    }
    assert!(
        ok(stack.dir(), &["down"]).contains("no stack"),
        "twice is fine"
    );
    assert!(!run(stack.dir(), &["status"]).status.success());
}

#[test]
fn a_region_is_killed_as_one_and_comes_back_at_the_same_place() {
    let stack = Stack::start(&[], &[]);
    let before = stack.endpoints();
    let front = before["regions"]["us-east"]["front"]
        .as_str()
        .expect("front")
        .to_owned();
    TcpStream::connect(&front).expect("the region can be reached");

    ok(stack.dir(), &["kill", "us-east"]);
    for part in ["nats", "invocation", "worker", "function"] {
        assert_eq!(stack.state(&format!("us-east/{part}")), "dead");
        assert_eq!(stack.state(&format!("eu-west/{part}")), "up");
    }
    // The front was not told; it finds out with the next caller.
    eventually("the front refuses", || TcpStream::connect(&front).is_err());

    ok(stack.dir(), &["start", "us-east"]);
    assert_eq!(stack.state("us-east/worker"), "up");
    TcpStream::connect(&front).expect("reachable as soon as it is ready");
    let after = stack.endpoints();
    assert_eq!(
        before["regions"]["us-east"]["invocation"]["url"],
        after["regions"]["us-east"]["invocation"]["url"]
    );
    assert_ne!(
        before["regions"]["us-east"]["worker"]["pid"],
        after["regions"]["us-east"]["worker"]["pid"]
    );

    ok(stack.dir(), &["kill", "edge", "--signal", "TERM"]);
    eventually("the edge stops", || stack.state("edge") == "dead");
    ok(stack.dir(), &["start", "edge"]);
    assert_eq!(
        stack.endpoints()["edge"]["http"],
        before["edge"]["http"],
        "the same port, though any was asked for"
    );

    let unknown = run(stack.dir(), &["kill", "mars"]);
    assert!(
        String::from_utf8_lossy(&unknown.stderr).contains("us-east, eu-west"),
        "{unknown:?}"
    );
    assert!(
        !run(stack.dir(), &["kill", "hub", "--signal", "NOPE"])
            .status
            .success()
    );
}

#[test]
fn a_held_part_is_shown_held_and_a_dead_one_with_its_last_words() {
    let stack = Stack::start(&["--regions", "us-east"], &[]);
    ok(stack.dir(), &["kill", "us-east/worker", "--signal", "STOP"]);
    eventually("held", || stack.state("us-east/worker") == "stopped");
    ok(stack.dir(), &["kill", "us-east/worker", "--signal", "CONT"]);
    eventually("going on", || stack.state("us-east/worker") == "up");

    // Not through the supervisor: it has to notice by itself.
    let pid = stack.endpoints()["us-east"].as_u64();
    assert_eq!(pid, None);
    let pid = stack.endpoints()["regions"]["us-east"]["function"]["pid"]
        .as_u64()
        .expect("pid");
    let killed = Command::new("kill")
        .args(["-ABRT", &pid.to_string()])
        .status()
        .expect("kill");
    assert!(killed.success());
    eventually("noticed", || stack.state("us-east/function") == "dead");
    let table = ok(stack.dir(), &["status"]);
    assert!(
        table.contains("us-east/function: dead, killed by SIGABRT\n  | stand-in: function"),
        "{table}"
    );
    // A held part must not hold up the end: Drop checks that by its time limit.
    ok(stack.dir(), &["kill", "edge", "--signal", "STOP"]);
}

#[test]
fn delays_change_at_run_time_and_outlive_a_restart_of_the_lines() {
    let stack = Stack::start(&["--regions", "us-east"], &[]);
    ok(stack.dir(), &["wan", "us-east=30ms"]);
    assert_eq!(stack.endpoints()["regions"]["us-east"]["wan"], "30ms");
    let admin = stack.endpoints()["wan"]["admin"]
        .as_str()
        .expect("admin")
        .to_owned();
    assert!(get(&admin, "/wan").contains("\"delay\":\"30ms\""));
    ok(stack.dir(), &["kill", "wan"]);
    ok(stack.dir(), &["start", "wan"]);
    assert!(get(&admin, "/wan").contains("\"delay\":\"30ms\""));
    assert!(!run(stack.dir(), &["wan", "mars=1ms"]).status.success());
    assert!(!run(stack.dir(), &["wan", "us-east=1h"]).status.success());
}

#[test]
fn names_resolve_to_the_fronts() {
    let stack = Stack::start(&["--regions", "us-east"], &[]);
    let endpoints = stack.endpoints();
    // A question for us-east.regions.frontdoor.test, A, IN (RFC 1035 §4.1).
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["us-east", "regions", "frontdoor", "test"] {
        question.push(u8::try_from(label.len()).expect("short"));
        question.extend(label.bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set");
    socket
        .send_to(&question, endpoints["dns"]["addr"].as_str().expect("addr"))
        .expect("sent");
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).expect("answered");
    let front = endpoints["regions"]["us-east"]["front"]
        .as_str()
        .expect("front");
    let front: Ipv4Addr = front
        .split(':')
        .next()
        .expect("host")
        .parse()
        .expect("address");
    assert_eq!(answer[length - 4..length], front.octets());
}

#[test]
fn nothing_outlives_a_supervisor_that_is_killed() {
    let mut stack = Stack::start(&["--regions", "us-east"], &[]);
    let pids = stack.pids();
    let left_of_it = stack.endpoints()["functions"][0]["id"].clone();
    stack.supervisor.kill().expect("killed");
    stack.supervisor.wait().expect("reaped");
    eventually("all gone", || pids.iter().all(|&pid| !alive(pid)));

    assert!(ok(stack.dir(), &["down"]).contains("no stack"));
    let status = run(stack.dir(), &["status"]);
    assert!(
        String::from_utf8_lossy(&status.stderr).contains("no stack is running"),
        "{status:?}"
    );
    // What it left is cleaned by the next one, which keeps the ids.
    ok(stack.dir(), &["up", "--detach", "--regions", "us-east"]);
    assert_eq!(stack.endpoints()["functions"][0]["id"], left_of_it);
    ok(stack.dir(), &["down"]);
}

#[test]
fn detached_it_returns_when_ready_and_a_failure_says_why() {
    let dir = tempfile::tempdir().expect("folder");
    let told = ok(
        dir.path(),
        &[
            "up",
            "--detach",
            "--regions",
            "us-east",
            "--wan",
            "us-east=1ms",
            "--log",
            "json",
        ],
    );
    for part in [
        "dns",
        "wan",
        "edge",
        "us-east-invocation",
        "us-east-worker",
        "us-east-function",
    ] {
        let log = dir.path().join("logs").join(format!("{part}.log"));
        let log = fs::read_to_string(log).expect("a log");
        assert!(log.contains("told json of log lines"), "{part}: {log}");
    }
    assert!(
        told.contains("curl --cacert") && told.contains("local down"),
        "{told}"
    );
    let again = run(dir.path(), &["up", "--detach"]);
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("running"),
        "{again:?}"
    );
    assert!(ok(dir.path(), &["status"]).contains("us-east  1ms"));
    ok(dir.path(), &["down"]);

    let failed = command(dir.path(), &["up", "--detach"])
        .env("STAND_IN_FAILS", "worker")
        .output()
        .expect("ran");
    let reason = String::from_utf8_lossy(&failed.stderr);
    assert!(
        !failed.status.success() && reason.contains("/worker") && reason.contains("told to fail"),
        "{reason}"
    );
    assert!(
        ok(dir.path(), &["down"]).contains("no stack"),
        "nothing is left running"
    );
}

#[test]
fn a_part_that_does_not_come_up_ends_the_start_and_is_quoted() {
    let mut stack = Stack::begin(&[], &[("STAND_IN_FAILS", "invocation")]);
    assert!(!stack.ended().success());
    let log = stack.log();
    assert!(
        log.contains("/invocation exited with status 1") && log.contains("| error: told to fail"),
        "{log}"
    );
}

#[test]
fn a_part_that_does_not_listen_is_made_to_stop() {
    let mut stack = Stack::start(&["--regions", "us-east"], &[("STAND_IN_DEAF", "function")]);
    let pids = stack.pids();
    let begun = Instant::now();
    let mut stdin = stack.supervisor.stdin.take().expect("stdin");
    stdin
        .write_all(b"words on stdin mean nothing\n")
        .expect("written");
    drop(stdin);
    assert!(stack.ended().success(), "{}", stack.log());
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    assert!(pids.iter().all(|&pid| !alive(pid)));
}

#[test]
fn a_port_in_use_is_named_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = taken.local_addr().expect("address").port().to_string();
    let mut stack = Stack::begin(&["--https-port", &port], &[]);
    assert!(!stack.ended().success());
    assert!(
        stack.log().contains(&port) && stack.log().contains("--https-port"),
        "{}",
        stack.log()
    );
}

/// One GET over HTTP/1.0.
fn get(base: &str, path: &str) -> String {
    use std::io::Read as _;
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).expect("connected");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}
