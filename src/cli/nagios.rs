//! A run as a monitoring plugin says it (`run --nagios`): one line, and a code of its own.

use serde_json::Value;

use super::report::{count, visible};
use super::summary::{finding, is_told, round, standing, steps, text};
use super::words::{self, Mood};

/// One line for a monitoring system, and its exit code: `OK - text | 'measure'=1`.
#[must_use]
pub(super) fn report(run: &Value) -> (String, u8) {
    let is_over = matches!(text(run, "outcome"), "succeeded" | "degraded" | "failed");
    let (word, code) = match (is_over, text(run, "verdict")) {
        (true, "ok") => ("OK", 0),
        (true, "warning") => ("WARNING", 1),
        (true, "critical") => ("CRITICAL", 2),
        _ => ("UNKNOWN", 3),
    };
    let title = text(&run["runbook"], "title");
    let told: Vec<&Value> = steps(run).iter().filter(|step| is_told(step)).collect();
    // The worst first: the line may be cut on its way to a telephone.
    let mut wrong = Vec::new();
    for mood in [Mood::Bad, Mood::Odd] {
        for step in &told {
            let word = words::of_step(text(step, "status"), text(step, "verdict"));
            if word.mood == mood {
                let finding = finding(step);
                let finding = if finding.is_empty() { word.word.to_owned() } else { finding };
                wrong.push(format!("{}: {finding}", text(step, "title")));
            }
        }
    }
    let said = match (wrong.is_empty(), is_over) {
        (false, _) => wrong.join("; "),
        (true, true) => format!("{} ok", count(told.len(), "check")),
        (true, false) => format!("the run is {}", standing(run)),
    };
    let line = plugin_line(word, &format!("{title}: {said}"));
    let measures = run.get("measures").and_then(Value::as_object);
    let data: Vec<String> = measures
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some(perfdata(name, value.as_f64()?)))
        .collect();
    match data.is_empty() {
        true => (line, code),
        false => (format!("{line} | {}", data.join(" ")), code),
    }
}

/// `OK - text`, with nothing in it that ends the text of a plugin.
#[must_use]
pub(super) fn plugin_line(word: &str, text: &str) -> String {
    let text: Vec<&str> = text.split_whitespace().collect();
    format!("{word} - {}", visible(&text.join(" ")).replace('|', "/"))
}

fn perfdata(name: &str, value: f64) -> String {
    let unit = match name {
        name if name.ends_with("_seconds") => "s",
        name if name.ends_with("_bytes") => "B",
        name if name.ends_with("_percent") => "%",
        _ => "",
    };
    // The format knows no `=` and no `'` inside a label.
    let label: String = visible(name).replace(['=', '\''], "_");
    format!("'{label}'={}{unit}", round(value, 6))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: one line that a monitoring system can take apart, whatever the names hold.
    #[test]
    fn nagios_gets_one_line() {
        let run = json!({
            "runbook": { "title": "Host" },
            "outcome": "failed", "verdict": "critical",
            "steps": [
                { "id": "disk", "title": "Disk", "action": "disk", "status": "succeeded",
                  "verdict": "warning", "result": { "used_percent": 91.25 }, "note": "it is much" },
                { "id": "calc", "title": "calc", "action": "set", "status": "succeeded",
                  "verdict": "ok" },
                { "id": "web", "title": "Web", "action": "http", "status": "failed",
                  "verdict": "critical", "error": { "code": "E_HTTP", "message": "no | answer" } },
            ],
            "measures": { "disk_used_percent": 91.25, "odd='name": 1e21 },
        });
        let (line, code) = report(&run);
        let said = "CRITICAL - Host: Web: no / answer; Disk: used 91.2 %; it is much | \
                    'disk_used_percent'=91.25% 'odd__name'=1000000000000000000000";
        assert_eq!((line.as_str(), code), (said, 2));
        let mut hostile = run;
        hostile["runbook"]["title"] = json!("a | b\nc\x1b");
        hostile["outcome"] = json!("cancelled");
        hostile["steps"] = json!([]);
        hostile["measures"] = json!({});
        let (line, code) = report(&hostile);
        assert_eq!((line.as_str(), code), ("UNKNOWN - a / b c\\x1b: the run is cancelled", 3));
    }
}
