//! Tells a person what happens while a stack runs in the foreground: progress at the start, then a table that is
//! redrawn in place on a terminal, or a line per change where there is none.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, interval};

use super::folder::{ENDPOINTS, Folder};
use super::http;
use super::status::{self, Seen};
use super::view::{Phase, StackView};

/// How often the table is redrawn, and how long a step may take before progress is told.
const BEAT: Duration = Duration::from_secs(1);
/// How long the edge may take to say what it sees; the table does not wait longer.
const SEEN: Duration = Duration::from_millis(300);

/// What is shown, and where it was read from.
pub(super) struct Show {
    folder: Folder,
    /// The folder as the person named it.
    dir: String,
    terminal: bool,
    /// Lines of the table on the screen now.
    drawn: usize,
    totals: BTreeMap<String, f64>,
    seen: Seen,
}

// === impl Show ===

impl Show {
    pub(super) fn new(folder: Folder, dir: String) -> Self {
        Self {
            folder,
            dir,
            terminal: io::stdout().is_terminal(),
            drawn: 0,
            totals: BTreeMap::new(),
            seen: Seen::new(),
        }
    }

    /// Tells until the supervisor is gone.
    pub(super) async fn follow(mut self, mut view: watch::Receiver<StackView>) {
        let begun = Instant::now();
        let mut before = view.borrow_and_update().clone();
        let mut beat = interval(BEAT);
        beat.tick().await;
        loop {
            let on_beat = tokio::select! {
                changed = view.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => break,
                },
                _ = beat.tick() => true,
            };
            let now = view.borrow_and_update().clone();
            self.tell(&before, &now, on_beat, begun).await;
            before = now;
        }
        say(&format!(
            "stopped after {:.1} s in all",
            begun.elapsed().as_secs_f64()
        ));
    }

    async fn tell(&mut self, before: &StackView, now: &StackView, on_beat: bool, begun: Instant) {
        let elapsed = begun.elapsed().as_secs_f64();
        let quiet_changes =
            self.terminal && before.phase == Phase::Running && now.phase == Phase::Running;
        if !quiet_changes {
            self.erase();
            for line in status::changes(before, now) {
                say(&format!("{elapsed:6.2} s  {line}"));
            }
        }
        match (before.phase, now.phase) {
            (Phase::Starting, Phase::Starting) if on_beat => {
                if let Some(parts) = status::waiting_for(now) {
                    say(&format!("{elapsed:6.2} s  still starting: {parts}"));
                }
            }
            (Phase::Starting, Phase::Running) => {
                say(&format!("\nready after {elapsed:.2} s"));
                if let Ok(Some(endpoints)) = self.folder.read::<Value>(ENDPOINTS) {
                    say(&status::how_to_call(&endpoints, &self.dir));
                }
                say("Ctrl-C stops everything\n");
            }
            (Phase::Starting | Phase::Running, Phase::Stopping) => {
                say("stopping, from the edge inwards")
            }
            _ => {}
        }
        if self.terminal && now.phase == Phase::Running {
            if on_beat {
                self.seen = seen(&self.folder, &mut self.totals).await;
            }
            self.draw(&status::table(now, &self.seen));
        }
    }

    /// Draws the table over the last one. Long lines are cut, not wrapped: a wrapped one would move the cursor.
    fn draw(&mut self, table: &str) {
        self.erase();
        let mut out = io::stdout().lock();
        // A terminal that is gone has no reader either.
        let _ = write!(out, "\x1b[?7l{table}\x1b[?7h");
        let _ = out.flush();
        self.drawn = table.lines().count();
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            let mut out = io::stdout().lock();
            let _ = write!(out, "\x1b[{}A\r\x1b[J", self.drawn);
            let _ = out.flush();
            self.drawn = 0;
        }
    }
}

/// What the running edge thinks of the regions; nothing if it does not answer soon.
pub(super) async fn seen(folder: &Folder, totals: &mut BTreeMap<String, f64>) -> Seen {
    let Ok(Some(endpoints)) = folder.read::<Value>(ENDPOINTS) else {
        return Seen::new();
    };
    let admin = endpoints["edge"]["admin"].as_str().unwrap_or_default();
    match http::send_within(SEEN, "GET", &format!("{admin}/regions"), None, None).await {
        Ok((_, body)) => status::seen(&serde_json::from_slice(&body).unwrap_or_default(), totals),
        Err(_) => Seen::new(),
    }
}

/// Writes a line, also when nobody reads any more: a closed pipe must not stop a stack.
pub(super) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
