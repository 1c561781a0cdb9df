//! `prometheus`: one instant query.

use serde_json::{Map, Value, json};

use super::Cx;
use super::bounded::{Fields, error, found, refused, unknown};
use super::http::{self, Request};
use crate::limits::HTTP_BODY_BYTES_CEILING;
use crate::outcome::{Outcome, Verdict};
use crate::runbook::params::Prometheus;

/// Asks the server's HTTP API.
///
/// Fields: `series`, a list of `{labels, value}` (a range gives its last value), and `value` where
/// the answer is one number. A value that JSON cannot hold (`NaN`, `+Inf`, `-Inf`) is a string, so
/// that no comparison takes it for a number; `value` is undefined then. The rule: answered is ok,
/// also with no series, because only an `expect` knows what was hoped for.
pub async fn perform(params: &Prometheus, cx: &Cx) -> Outcome {
    let base = params.url.as_deref().unwrap_or("http://localhost:9090");
    let mut url = match http::http_url(base) {
        Ok(url) => url,
        Err(why) => return refused("E_URL", why),
    };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(["api", "v1", "query"]);
    }
    url.query_pairs_mut().append_pair("query", &params.query);
    let cap = usize::try_from(HTTP_BODY_BYTES_CEILING).unwrap_or(usize::MAX);
    let answer = match http::fetch(Request::get(url, cap), None, cx).await {
        Ok(answer) => answer,
        Err(outcome) => return *outcome,
    };
    if let Some(cut) = answer.cut_short {
        return cut;
    }
    let tree: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if !answer.status.is_success() || tree["status"] != "success" {
        // Its own words are the best explanation: a parse error names the position.
        let own = tree["error"].as_str().map_or_else(String::new, |why| format!(": {why}"));
        let status = answer.status.as_u16();
        return unknown("E_PROMETHEUS", format!("query `{base}`: it answered {status}{own}"));
    }
    match read(&tree["data"]) {
        Some((value, series)) => {
            let fields = Fields::default().set_if("value", value).set("series", series);
            found(Verdict::Ok, fields.0)
        }
        None => Outcome {
            error: Some(error(
                "E_PROMETHEUS",
                format!("query `{base}`: an answer of no known shape"),
            )),
            rule: Some(Verdict::Unknown),
            ..Outcome::default()
        },
    }
}

/// The one number, if it is one, and all series.
fn read(data: &Value) -> Option<(Option<Value>, Vec<Value>)> {
    let result = data["result"].as_array()?;
    let series: Vec<Value> = match data["resultType"].as_str()? {
        "scalar" | "string" => vec![json!({ "labels": Map::new(), "value": sample(result)? })],
        "vector" => result
            .iter()
            .map(|one| {
                Some(json!({ "labels": one["metric"], "value": sample(one["value"].as_array()?)? }))
            })
            .collect::<Option<_>>()?,
        "matrix" => result
            .iter()
            .map(|one| {
                let last = one["values"].as_array()?.last()?.as_array()?;
                Some(json!({ "labels": one["metric"], "value": sample(last)? }))
            })
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let value = match series.as_slice() {
        [only] if only["value"].is_number() => Some(only["value"].clone()),
        _ => None,
    };
    Some((value, series))
}

/// `[time, "text"]` as a number where it is one.
fn sample(pair: &[Value]) -> Option<Value> {
    let text = pair.get(1)?.as_str()?;
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    Some(match number {
        // Counts stay whole numbers.
        Some(number) if number.fract() == 0.0 && number.abs() < 9e15 => json!(number as i64),
        Some(number) => json!(number),
        None => json!(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_shape() {
        let one = |value: &str| json!({"resultType": "scalar", "result": [1.5, value]});
        assert_eq!(read(&one("42")).unwrap().0, Some(json!(42)));
        assert_eq!(read(&one("0.25")).unwrap().0, Some(json!(0.25)));
        assert_eq!(read(&one("NaN")).unwrap().0, None);
        let none = json!({"resultType": "vector", "result": []});
        assert_eq!(read(&none), Some((None, Vec::new())));
        let two = json!({"resultType": "vector", "result": [
            {"metric": {"i": "a"}, "value": [1, "1"]}, {"metric": {"i": "b"}, "value": [1, "+Inf"]},
        ]});
        let (value, series) = read(&two).unwrap();
        assert_eq!(value, None);
        assert_eq!(series[1], json!({"labels": {"i": "b"}, "value": "+Inf"}));
        for broken in [
            json!(null),
            json!({"resultType": "vector"}),
            json!({"result": []}),
            json!({"resultType": "scalar", "result": []}),
        ] {
            assert_eq!(read(&broken), None, "{broken}");
        }
    }
}
