//! A stack in words and tables, for people: from data to text and nothing else. (pure)

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::files::DOMAIN;
use super::parts::{PartId, RegionPart};
use super::process::WELL;
use super::view::{PartView, Phase, StackView, State};

/// What the edge thinks of each region.
pub(super) type Seen = BTreeMap<String, EdgeView>;

/// What the edge thinks of one region, as far as it says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct EdgeView {
    /// In the edge's own word: up, down, …
    health: Option<String>,
    /// Share of the calls since the last look, from 0 to 1.
    share: Option<f64>,
}

/// Counters of calls in the edge's `/regions`, whichever it has.
const COUNTERS: [&str; 4] = ["served", "calls", "requests", "total"];

/// The whole stack as a table: a row per region, a line for what exists once, and what died with the end of its log.
pub(super) fn table(view: &StackView, seen: &Seen) -> String {
    let mut rows = vec![vec!["region".to_owned(), "wan".to_owned()]];
    let header = rows.first_mut();
    if let Some(header) = header {
        header.extend(RegionPart::ALL.map(|part| part.as_str().to_owned()));
        header.push("edge sees".to_owned());
    }
    for region in &view.regions {
        let mut row = vec![region.name.to_string(), region.wan.to_string()];
        row.extend(RegionPart::ALL.map(|part| cell(view.part_of(&region.name, part))));
        row.push(
            seen.get(region.name.as_str())
                .map_or_else(|| "-".to_owned(), EdgeView::to_text),
        );
        rows.push(row);
    }
    let mut text = aligned(&rows);
    let single = [PartId::Hub, PartId::Dns, PartId::Wan, PartId::Edge];
    let single: Vec<_> = single
        .iter()
        .map(|id| format!("{id} {}", cell(view.part(id))))
        .collect();
    text += &single.join("   ");
    text.push('\n');
    for part in view.parts.iter().filter(|part| part.state == State::Dead) {
        text += &death(part);
    }
    text
}

/// What is different between two moments, a line each.
pub(super) fn changes(before: &StackView, after: &StackView) -> Vec<String> {
    let mut lines = vec![];
    for (old, new) in before.parts.iter().zip(&after.parts) {
        if old.state == new.state && old.pid == new.pid {
            continue;
        }
        match new.state {
            State::Waiting | State::Starting => {}
            // What ends when it is told to, and well, is not news.
            State::Dead
                if after.phase == Phase::Stopping && new.ending.as_deref() == Some(WELL) => {}
            State::Dead => lines.extend(death(new).lines().map(str::to_owned)),
            State::Up | State::Stopped => lines.push(format!("{}: {}", new.name, cell(Some(new)))),
        }
    }
    for (old, new) in before.regions.iter().zip(&after.regions) {
        if old.wan != new.wan {
            lines.push(format!("{}: wan {} (was {})", new.name, new.wan, old.wan));
        }
    }
    lines
}

/// What the start of a stack is waiting for, if anything.
pub(super) fn waiting_for(view: &StackView) -> Option<String> {
    let starting: Vec<_> = view
        .parts
        .iter()
        .filter(|p| p.state == State::Starting)
        .map(|p| p.name.as_str())
        .collect();
    (!starting.is_empty()).then(|| starting.join(", "))
}

/// What the edge's `/regions` says of each region; `totals` keeps its counters from one look to the next. Anything that
/// is not there is left out.
pub(super) fn seen(regions: &Value, totals: &mut BTreeMap<String, f64>) -> Seen {
    let list = regions.get("regions").and_then(Value::as_array);
    let named = list
        .into_iter()
        .flatten()
        .filter_map(|r| Some((r["name"].as_str()?, r)));
    let mut found = Seen::new();
    let mut fresh = BTreeMap::new();
    for (name, region) in named {
        if let Some(total) = COUNTERS
            .iter()
            .find_map(|counter| region[*counter].as_f64())
        {
            let before = totals.insert(name.to_owned(), total);
            // A counter that fell belongs to a new edge.
            fresh.insert(
                name.to_owned(),
                total - before.filter(|&b| b <= total).unwrap_or_default(),
            );
        }
        let health = region["health"].as_str().map(str::to_owned);
        found.insert(
            name.to_owned(),
            EdgeView {
                health,
                share: region["share"].as_f64(),
            },
        );
    }
    let sum: f64 = fresh.values().sum();
    if sum > 0.0 {
        for (name, calls) in fresh {
            found
                .entry(name)
                .or_default()
                .share
                .get_or_insert(calls / sum);
        }
    }
    found
}

/// Two ways to call the running stack, from its `endpoints.json`. `dir` is the state folder as the person named it.
pub(super) fn how_to_call(endpoints: &Value, dir: &str) -> String {
    let text = |path: &str| {
        endpoints
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or("?")
            .to_owned()
    };
    let port = |path: &str| text(path).rsplit(':').next().unwrap_or("?").to_owned();
    let (function, https, http) = (
        text("/functions/0/id"),
        port("/edge/https"),
        port("/edge/http"),
    );
    let dir = shell_quoted(dir);
    let rest = format!(
        "-H \"Authorization: Bearer $(cat {dir}/api_key)\" -H 'Content-Type: application/json' -d '{{\"message\":\"hello\"}}'"
    );
    let mut lines = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(lines, "call it:");
    let _ = writeln!(
        lines,
        "  curl --cacert {dir}/ca.pem https://{function}.{DOMAIN}:{https}/echo {rest}"
    );
    let _ = writeln!(
        lines,
        "  curl http://localhost:{http}/echo -H 'Host: {function}.{DOMAIN}' {rest}"
    );
    let _ = writeln!(
        lines,
        "edge admin: {}   all addresses: {dir}/endpoints.json",
        text("/edge/admin")
    );
    lines
}

/// A path as one word of a shell, left alone when it is one already.
pub(super) fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

// === impl EdgeView ===

impl EdgeView {
    fn to_text(&self) -> String {
        let share = self.share.map(|share| format!("{:.0} %", share * 100.0));
        match (&self.health, share) {
            (Some(health), Some(share)) => format!("{health} {share}"),
            (Some(only), None) => only.clone(),
            (None, only) => only.unwrap_or_else(|| "-".to_owned()),
        }
    }
}

fn cell(part: Option<&PartView>) -> String {
    match part {
        None => "-".to_owned(),
        Some(part) => match part.pid {
            Some(pid) => format!("{} {pid}", part.state.as_str()),
            None => part.state.as_str().to_owned(),
        },
    }
}

fn death(part: &PartView) -> String {
    let ending = part.ending.as_deref().unwrap_or("ended");
    if part.asked {
        return format!("{}: dead, {ending} as asked\n", part.name);
    }
    let log: String = part
        .log
        .iter()
        .map(|line| format!("  | {line}\n"))
        .collect();
    format!("{}: dead, {ending}\n{log}", part.name)
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|c| c.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
