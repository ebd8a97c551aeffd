//! A real browser for tests: Debian's chromium without a window, spoken to in the DevTools protocol over two pipes.
//!
//! No driver, no port: the browser reads commands from its descriptor 3 and answers on 4, as JSON that ends with a zero
//! byte. It has a profile of its own and ends when it is dropped.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// One page in a browser of its own.
pub struct Browser {
    commands: pipe::Sender,
    answers: BufReader<pipe::Receiver>,
    session: String,
    next: u64,
    /// What the page complained of: exceptions, and what its policy forbade.
    pub complaints: Vec<String>,
    _process: Child,
    _folder: tempfile::TempDir,
}

/// For one answer; a busy machine needs seconds to start a browser.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

const FLAGS: [&str; 14] = [
    "--headless=new",
    "--remote-debugging-pipe",
    // Tests run as root in containers, where it does not work, and only our own page is loaded.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--mute-audio",
    "about:blank",
];

// === impl Browser ===

impl Browser {
    /// Starts one.
    ///
    /// # Errors
    /// If there is no chromium, or it does not answer.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        let made = Command::new("mkfifo").arg(&to).arg(&from).status().await?;
        ensure!(made.success(), "mkfifo failed");
        let process = Command::new("sh")
            .args([
                "-c",
                "to=$1 from=$2; shift 2; exec chromium \"$@\" 3<>\"$to\" 4<>\"$from\"",
                "sh",
            ])
            .args([&to, &from])
            .args(FLAGS)
            .arg(format!(
                "--user-data-dir={}",
                folder.path().join("profile").display()
            ))
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut pipes = pipe::OpenOptions::new();
        let pipes = pipes.read_write(true);
        let mut browser = Self {
            commands: pipes.open_sender(&to)?,
            answers: BufReader::new(pipes.open_receiver(&from)?),
            session: String::new(),
            next: 0,
            complaints: Vec::new(),
            _process: process,
            _folder: folder,
        };
        let page = browser
            .ask("Target.createTarget", json!({ "url": "about:blank" }))
            .await
            .context(
                "chromium is needed: run `ops/setup --tests`, or `apt-get install chromium`",
            )?;
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", attach).await?;
        browser.session = attached["sessionId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({})).await?;
        }
        Ok(browser)
    }

    /// Opens a page.
    ///
    /// # Errors
    /// If the browser does not.
    pub async fn open(&mut self, url: &str) -> anyhow::Result<()> {
        self.ask("Page.navigate", json!({ "url": url }))
            .await
            .map(drop)
    }

    /// Sets the size of the window and the reader's preferred theme.
    ///
    /// # Errors
    /// If the browser does not.
    pub async fn look(&mut self, width: u32, height: u32, theme: &str) -> anyhow::Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.ask("Emulation.setDeviceMetricsOverride", size).await?;
        let theme = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.ask("Emulation.setEmulatedMedia", theme)
            .await
            .map(drop)
    }

    /// What a JavaScript expression gives.
    ///
    /// # Errors
    /// If it throws.
    pub async fn eval(&mut self, expression: &str) -> anyhow::Result<Value> {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", ask).await?;
        let thrown = &answer["exceptionDetails"];
        ensure!(thrown.is_null(), "{expression}: {thrown}");
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until an expression is true, and says how long that took.
    ///
    /// # Errors
    /// If it is not within `limit`.
    pub async fn until(&mut self, expression: &str, limit: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        loop {
            // What is not there yet is not true yet.
            if let Ok(Value::Bool(true)) = self.eval(expression).await {
                return Ok(begun.elapsed());
            }
            ensure!(
                begun.elapsed() < limit,
                "not true after {limit:?}: {expression}"
            );
            sleep(PAUSE).await;
        }
    }

    /// Presses and releases a key, such as `Tab`, `Enter` or `Escape`.
    ///
    /// # Errors
    /// If the browser does not.
    pub async fn press(&mut self, key: &str) -> anyhow::Result<()> {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            other => bail!("no code for {other}"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.ask("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Types a text where the focus is.
    ///
    /// # Errors
    /// If the browser does not.
    pub async fn type_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.ask("Input.insertText", json!({ "text": text }))
            .await
            .map(drop)
    }

    /// Keeps a picture of the whole page, or of what the window shows.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub async fn picture(&mut self, file: &Path, whole: bool) -> anyhow::Result<()> {
        let ask = json!({ "format": "png", "captureBeyondViewport": whole });
        let answer = self.ask("Page.captureScreenshot", ask).await?;
        let data = answer["data"].as_str().context("no picture")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(data)?;
        std::fs::write(file, bytes).with_context(|| format!("{}", file.display()))
    }

    async fn ask(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.next += 1;
        let mut command = json!({ "id": self.next, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        timeout(PATIENCE, self.commands.write_all(&bytes)).await??;
        loop {
            let message = self.hear().await.with_context(|| method.to_owned())?;
            if message["id"] == self.next {
                ensure!(message["error"].is_null(), "{method}: {}", message["error"]);
                return Ok(message["result"].clone());
            }
            self.note(&message);
        }
    }

    async fn hear(&mut self) -> anyhow::Result<Value> {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.answers.read_until(0, &mut bytes));
        read.await.context("the browser does not answer")??;
        bytes.pop();
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(params["exceptionDetails"].to_string())
            }
            Some("Log.entryAdded") => {
                let entry = &params["entry"];
                // That a fetch was answered 401 is no complaint of the page's.
                if entry["level"] == "error" && entry["source"] != "network" {
                    self.complaints.push(entry["text"].to_string());
                }
            }
            _ => {}
        }
    }
}
