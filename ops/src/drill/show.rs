//! Verdicts as a table for people, as Markdown for the guide, and as JSON for programs. (pure)

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Outcome;
use super::kind::Drill;

/// One line per drill; with several runs, times are median (worst) and counts are sums.
const COLUMNS: [&str; 14] = [
    "drill",
    "runs",
    "verdict",
    "detect",
    "reroute p99",
    "calm p99",
    "failed (not started)",
    "failed (in doubt)",
    "failed (started)",
    "executed twice",
    "misrouted",
    "return",
    "last to broken",
    "moved",
];

/// The table as text, columns aligned.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let rows = rows(outcomes);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&remarks(outcomes));
    text
}

/// The table as Markdown.
pub(super) fn markdown(outcomes: &[Outcome], heading: &str) -> String {
    let mut text = format!("{heading}\n\n");
    for (number, row) in rows(outcomes).iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|{}", " --- |".repeat(row.len()));
        }
    }
    let remarks = remarks(outcomes);
    if !remarks.is_empty() {
        let lines = remarks.lines().map(|line| format!("* {}\n", line.trim()));
        let _ = write!(text, "\n{}", lines.collect::<String>());
    }
    text
}

/// Everything, one element per run.
pub(super) fn json(outcomes: &[Outcome]) -> Value {
    let runs = outcomes.iter().map(|o| {
        json!({
            "drill": o.drill.as_str(),
            "run": o.run,
            "region": o.region,
            "started": o.started,
            "ok": o.ok(),
            "broken": o.broken,
            "names": o.names,
            "unsupported": o.unsupported,
            "figures": o.figures,
        })
    });
    json!({ "ok": outcomes.iter().all(Outcome::ok), "runs": runs.collect::<Vec<_>>() })
}

fn rows(outcomes: &[Outcome]) -> Vec<Vec<String>> {
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    for drill in Drill::ALL {
        let runs: Vec<&Outcome> = outcomes.iter().filter(|o| o.drill == drill).collect();
        if !runs.is_empty() {
            rows.push(row(drill, &runs));
        }
    }
    rows
}

fn row(drill: Drill, runs: &[&Outcome]) -> Vec<String> {
    let figures = || runs.iter().filter_map(|o| o.figures.as_ref());
    let time =
        |of: &dyn Fn(&super::Figures) -> Option<f64>| span(figures().filter_map(of).collect());
    let sum = |of: &dyn Fn(&super::Figures) -> Option<usize>| {
        let all: Vec<usize> = figures().filter_map(of).collect();
        if all.is_empty() {
            "–".to_owned()
        } else {
            all.iter().sum::<usize>().to_string()
        }
    };
    let good = runs.iter().filter(|o| o.ok()).count();
    let verdict = match (good, runs.len()) {
        (0, _) if runs.iter().all(|o| o.unsupported.is_some()) => "not supported yet".to_owned(),
        (good, all) if good == all => "ok".to_owned(),
        (0, _) => "FAILED".to_owned(),
        (good, all) => format!("FAILED {}/{all}", all - good),
    };
    let worst = figures()
        .filter_map(|f| f.misrouted_share)
        .max_by(f64::total_cmp);
    let misrouted = worst.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let moves: Vec<f64> = figures().filter_map(|f| f.replayed).collect();
    let replayed = match moves.as_slice() {
        [] => "–".to_owned(),
        moves => format!("{:.0}", moves.iter().sum::<f64>()),
    };
    vec![
        drill.to_string(),
        runs.len().to_string(),
        verdict,
        time(&|f| f.detect_ms),
        time(&|f| f.reroute_p99_ms),
        time(&|f| Some(f.calm_p99_ms)),
        sum(&|f| Some(f.failed_not_started)),
        sum(&|f| Some(f.failed_in_doubt)),
        sum(&|f| Some(f.failed_started)),
        sum(&|f| f.twice),
        misrouted,
        time(&|f| f.return_ms),
        time(&|f| f.last_to_broken_ms),
        replayed,
    ]
}

fn remarks(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for o in outcomes {
        let why = o.unsupported.iter().chain(&o.broken);
        for why in why {
            let _ = writeln!(text, "  {} (run {}): {why}", o.drill, o.run);
        }
    }
    text
}

/// Median, and the worst of several.
fn span(mut all: Vec<f64>) -> String {
    all.sort_by(f64::total_cmp);
    let Some(worst) = all.last() else {
        return "–".to_owned();
    };
    let median = all[(all.len() - 1) / 2];
    if all.len() == 1 {
        ms(median)
    } else {
        format!("{} ({})", ms(median), ms(*worst))
    }
}

fn ms(ms: f64) -> String {
    if ms < 10_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_a_drill_are_one_row() {
        let outcome = |run, broken: &[&str], unsupported: Option<&str>| Outcome {
            drill: Drill::RegionKill,
            run,
            region: "near".to_owned(),
            started: String::new(),
            names: vec![],
            broken: broken.iter().map(|&b| b.to_owned()).collect(),
            unsupported: unsupported.map(str::to_owned),
            figures: None,
        };
        let text = table(&[
            outcome(1, &[], None),
            outcome(2, &["detect 2000 ms > 1000 ms"], None),
        ]);
        assert!(text.contains("region-kill  2     FAILED 1/2"), "{text}");
        assert!(text.contains("(run 2): detect 2000 ms"), "{text}");
        let text = markdown(&[outcome(1, &[], Some("no way"))], "today");
        assert!(
            text.starts_with("today\n\n| drill |") && text.contains("not supported yet"),
            "{text}"
        );
        assert!(text.contains("* region-kill (run 1): no way"), "{text}");
        assert_eq!(span(vec![3.0, 1.0, 20_000.0]), "3 ms (20.0 s)");
        let found = json(&[outcome(1, &[], Some("no way"))]);
        assert_eq!(
            (found["ok"].as_bool(), found["runs"][0]["ok"].as_bool()),
            (Some(false), Some(false))
        );
    }
}
