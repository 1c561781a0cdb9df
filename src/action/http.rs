//! `http`: one request and its answer.
//!
//! HTTP/1.1, no proxy from the environment, no decompression (a small answer cannot become a large
//! one), no certificate that does not verify. Redirects are followed only as far as the step says;
//! what the author wrote for one origin (headers, credentials, a body) is never sent to another.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::{Map, Value};

use super::Cx;
use super::bounded::{
    Fields, Stop, bounded, connect_budget, found, over, reading, refused, seconds, stopped,
    unknown, unreachable,
};
use super::cert::{self, Facts, Record, Strictness};
use crate::limits::{
    HTTP_BODY_BYTES_CEILING, HTTP_BODY_BYTES_MAX, HTTP_HEADERS_BYTES_MAX, HTTP_REDIRECTS_MAX,
};
use crate::outcome::{End, Outcome, Verdict};
use crate::runbook::params::{Bytes, Http, HttpAuth};

/// Sends the request and reads the answer.
///
/// Fields: `status_code`, `headers` (lower-case names; repeated ones joined by `, `), `body` (at
/// most `max_bytes`; `body_truncated` where that cut it), `json` where the whole body is JSON,
/// `latency_seconds` (until the last byte was read), `tls_days_left`, `url` (the last one after
/// redirects). The rule: 2xx is ok, all else critical.
///
/// Without `method` it is GET, with `json`, `form` or `body` POST. A request that may change
/// something and whose answer did not come is [`End::Interrupted`]: it may have happened.
pub async fn perform(params: &Http, cx: &Cx) -> Outcome {
    let request = match Request::of(params) {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let began = Instant::now();
    match fetch(request, params.tls.as_ref().and_then(|tls| tls.ca.clone()), cx).await {
        Ok(answer) => judge(answer, began.elapsed()),
        Err(outcome) => *outcome,
    }
}

fn judge(answer: Answer, elapsed: Duration) -> Outcome {
    let rule = if answer.status.is_success() { Verdict::Ok } else { Verdict::Critical };
    let text = String::from_utf8_lossy(&answer.body);
    let whole = !answer.truncated && answer.cut_short.is_none();
    let json = if whole { serde_json::from_slice::<Value>(&answer.body).ok() } else { None };
    let mut fields = Fields::default()
        .set("status_code", answer.status.as_u16())
        .set("headers", shown_headers(&answer.headers))
        .set("body", text)
        .set_if("json", json)
        .set("latency_seconds", seconds(elapsed))
        .set_if("tls_days_left", answer.tls_days_left)
        .set("url", answer.url.as_str());
    if answer.truncated {
        fields = fields.set("body_truncated", true);
    }
    match answer.cut_short {
        None => found(rule, fields.0),
        Some(cut) => Outcome { fields: fields.0, ..cut },
    }
}

fn shown_headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut shown: Map<String, Value> = Map::new();
    let mut room = HTTP_HEADERS_BYTES_MAX;
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let Some(left) = room.checked_sub(name.as_str().len() + value.len()) else { break };
        room = left;
        match shown.get_mut(name.as_str()) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            _ => {
                shown.insert(name.as_str().to_owned(), Value::from(value));
            }
        }
    }
    shown
}

/// A request, checked before anything is sent.
pub(super) struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    redirects: u32,
    body_bytes_max: usize,
}

impl Request {
    /// Reads without side effects only: whoever did not get the answer may ask again.
    fn is_safe(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// A GET of `url` as our own actions need it.
    pub(super) fn get(url: Url, body_bytes_max: usize) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Request { method: Method::GET, url, headers, body: None, redirects: 0, body_bytes_max }
    }

    fn of(params: &Http) -> Result<Request, Box<Outcome>> {
        let no = |code: &str, message: String| Box::new(refused(code, message));
        let url = http_url(&params.url).map_err(|why| no("E_URL", why))?;
        let url = with_query(url, &params.query).map_err(|why| no("E_QUERY", why))?;
        let headers = headers_of(params).map_err(|why| no("E_HEADER", why))?;
        let (body, content_type) = body_of(params).map_err(|why| no("E_BODY", why))?;
        let method = match (&params.method, &body) {
            (Some(name), _) => Method::from_bytes(name.to_ascii_uppercase().as_bytes())
                .map_err(|_| no("E_METHOD", format!("`{name}` is not an HTTP method")))?,
            (None, Some(_)) => Method::POST,
            (None, None) => Method::GET,
        };
        let Bytes(wanted) = params.max_bytes.unwrap_or(Bytes(HTTP_BODY_BYTES_MAX));
        if wanted > HTTP_BODY_BYTES_CEILING {
            let most = HTTP_BODY_BYTES_CEILING;
            return Err(no(
                "E_LIMIT",
                format!("`max_bytes` is {wanted}, at most {most} can be held"),
            ));
        }
        if params.redirects > HTTP_REDIRECTS_MAX {
            let most = HTTP_REDIRECTS_MAX;
            let asked = params.redirects;
            return Err(no(
                "E_LIMIT",
                format!("`redirects` is {asked}, at most {most} make sense"),
            ));
        }
        let mut request = Request {
            method,
            url,
            headers,
            body,
            redirects: params.redirects,
            body_bytes_max: usize::try_from(wanted).unwrap_or(usize::MAX),
        };
        if let Some(kind) = content_type {
            request.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        }
        request.headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        Ok(request)
    }

    /// What a redirect asks for, or `None` if it is not followed: it is the result then. To
    /// another origin go neither the author's headers nor a body.
    fn redirected(mut self, status: StatusCode, location: Option<&HeaderValue>) -> Option<Request> {
        let to = self.url.join(location?.to_str().ok()?).ok()?;
        if self.redirects == 0 || !matches!(to.scheme(), "http" | "https") {
            return None;
        }
        // What was asked for in secret is not asked for again in the open.
        if self.url.scheme() == "https" && to.scheme() == "http" {
            return None;
        }
        let same_origin = to.origin() == self.url.origin();
        let becomes_get = match status.as_u16() {
            301 | 302 => self.method == Method::POST,
            303 => self.method != Method::HEAD,
            307 | 308 => false,
            _ => return None,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = None;
            self.headers.remove(CONTENT_TYPE);
        }
        if !same_origin {
            if self.body.is_some() || !self.is_safe() {
                return None;
            }
            self.headers = HeaderMap::new();
            self.headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        }
        self.redirects -= 1;
        self.url = to;
        Some(self)
    }
}

/// Parses a URL that must be http or https and names a host.
pub(super) fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|why| format!("read the URL `{text}`: {why}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("read the URL `{text}`: it must begin with `http://` or `https://`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: it holds a password.
        return Err("read the URL: credentials belong into `auth`, not into the URL".to_owned());
    }
    Ok(url)
}

fn with_query(
    mut url: Url,
    query: &std::collections::BTreeMap<String, Value>,
) -> Result<Url, String> {
    if !query.is_empty() {
        let mut pairs = url.query_pairs_mut();
        for (name, value) in query {
            for text in texts(name, value)? {
                pairs.append_pair(name, &text);
            }
        }
    }
    Ok(url)
}

/// A value as form fields have it; a list repeats the field.
fn texts(name: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Number(number) => Ok(vec![number.to_string()]),
        Value::Bool(truth) => Ok(vec![truth.to_string()]),
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            let texts: Result<Vec<_>, _> = items.iter().map(|item| texts(name, item)).collect();
            Ok(texts?.concat())
        }
        Value::Object(_) => Err(format!("write field `{name}`: an object has no text form")),
    }
}

fn headers_of(params: &Http) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &params.headers {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{name}` is not a header name"))?;
        // The value is not shown: it may be a secret.
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of header `{name}` holds a line break or the like"))?;
        headers.insert(key, value);
    }
    let credentials = match &params.auth {
        None => return Ok(headers),
        Some(HttpAuth::Bearer(token)) => format!("Bearer {token}"),
        Some(HttpAuth::Basic { user, password }) => {
            use base64::Engine as _;
            if user.contains(':') {
                return Err("`auth`: a user name for basic authentication has no colon".to_owned());
            }
            let pair = format!("{user}:{password}");
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
    };
    let mut value = HeaderValue::from_str(&credentials)
        .map_err(|_| "`auth`: the token holds a line break or the like".to_owned())?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(headers)
}

type Body = (Option<Vec<u8>>, Option<&'static str>);

fn body_of(params: &Http) -> Result<Body, String> {
    let written = [params.json.is_some(), !params.form.is_empty(), params.body.is_some()];
    if written.iter().filter(|given| **given).count() > 1 {
        return Err("a request has one body: write one of `json`, `form` and `body`".to_owned());
    }
    if let Some(tree) = &params.json {
        return Ok((Some(tree.to_string().into_bytes()), Some("application/json")));
    }
    if let Some(text) = &params.body {
        return Ok((Some(text.clone().into_bytes()), Some("text/plain; charset=utf-8")));
    }
    if params.form.is_empty() {
        return Ok((None, None));
    }
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &params.form {
        for text in texts(name, value)? {
            form.append_pair(name, &text);
        }
    }
    let kind = "application/x-www-form-urlencoded";
    Ok((Some(form.finish().into_bytes()), Some(kind)))
}

/// What came back.
pub(super) struct Answer {
    /// Of the last request.
    pub(super) status: StatusCode,
    headers: HeaderMap,
    /// As sent, up to the cap.
    pub(super) body: Vec<u8>,
    /// Whether there was more than the cap.
    pub(super) truncated: bool,
    /// The status came, the rest of the body did not: how that ended the attempt.
    pub(super) cut_short: Option<Outcome>,
    tls_days_left: Option<i64>,
    url: Url,
}

/// Sends a request, follows its redirects, reads the answer. The error is the attempt's outcome.
pub(super) async fn fetch(
    mut request: Request,
    ca: Option<String>,
    cx: &Cx,
) -> Result<Answer, Box<Outcome>> {
    loop {
        let (response, record) = send(&request, ca.clone(), cx).await?;
        let status = response.status();
        if status.is_redirection() && request.redirects > 0 {
            let location = response.headers().get(LOCATION).cloned();
            let (url, cap) = (request.url.clone(), request.body_bytes_max);
            match request.redirected(status, location.as_ref()) {
                Some(next) => {
                    request = next;
                    continue;
                }
                None => return Ok(read(response, url, cap, record.as_ref(), cx).await),
            }
        }
        let (url, cap) = (request.url, request.body_bytes_max);
        return Ok(read(response, url, cap, record.as_ref(), cx).await);
    }
}

async fn send(
    request: &Request,
    ca: Option<String>,
    cx: &Cx,
) -> Result<(Response, Option<Record>), Box<Outcome>> {
    let (client, record) = client(&request.url, ca, cx).await?;
    let mut to_send = client.request(request.method.clone(), request.url.clone());
    to_send = to_send.headers(request.headers.clone());
    if let Some(body) = &request.body {
        to_send = to_send.body(body.clone());
    }
    if let Some(stop) = over(cx) {
        // Nothing was sent yet, whatever the request would have done.
        return Err(Box::new(stopped(stop)));
    }
    match bounded(cx, to_send.send()).await {
        Ok(Ok(response)) => Ok((response, record)),
        Ok(Err(why)) => Err(Box::new(not_answered(request, &why, record.as_ref()))),
        Err(stop) if request.is_safe() => Err(Box::new(stopped(stop))),
        Err(stop) => {
            let why = match stop {
                Stop::Deadline => "the attempt's time ran out",
                Stop::Cancelled => "the attempt was cancelled",
            };
            Err(Box::new(perhaps_done(request, why)))
        }
    }
}

async fn client(
    url: &Url,
    ca: Option<String>,
    cx: &Cx,
) -> Result<(Client, Option<Record>), Box<Outcome>> {
    // A little before the deadline, so that a connection that never came up is known as such and
    // not taken for a request that may have been carried out.
    let budget = connect_budget(cx);
    let budget = match cx.deadline {
        Some(_) if budget < cx.connect_timeout => budget.saturating_sub(Duration::from_millis(50)),
        _ => budget,
    };
    let builder = Client::builder()
        .no_proxy()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(concat!("runwarden/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(0)
        .connect_timeout(budget.max(Duration::from_millis(1)));
    let (tls, record) = if url.scheme() == "https" {
        let ready =
            reading(cx, move |_| cert::client_config(ca.as_deref(), Strictness::Refuse)).await?;
        let (config, record) = ready.map_err(|why| Box::new(refused("E_CA", why)))?;
        (config, Some(record))
    } else {
        (cert::no_tls(), None)
    };
    let built = builder.tls_backend_preconfigured(tls).build();
    let client =
        built.map_err(|why| Box::new(unknown("E_INTERNAL", format!("set up a client: {why}"))))?;
    Ok((client, record))
}

/// No answer came: could it not be asked, or was it asked in vain?
fn not_answered(request: &Request, why: &reqwest::Error, record: Option<&Record>) -> Outcome {
    let place = format!("{} {}", request.method, shown_url(&request.url));
    let fields = Fields::default().set_if("tls_days_left", record.and_then(days_left));
    if why.is_builder() {
        return refused("E_HTTP", format!("{place}: {}", innermost(why)));
    }
    if why.is_connect() {
        let (code, text) = connect_reason(why);
        return Outcome { fields: fields.0, ..unreachable(code, format!("{place}: {text}")) };
    }
    if !request.is_safe() {
        return perhaps_done(request, &innermost(why));
    }
    unreachable("E_HTTP", format!("{place}: no answer: {}", innermost(why)))
}

fn perhaps_done(request: &Request, why: &str) -> Outcome {
    let place = format!("{} {}", request.method, shown_url(&request.url));
    let message = format!("{place}: it was sent and may have been carried out, but {why}");
    Outcome { end: End::Interrupted, ..unknown("E_INTERRUPTED", message) }
}

/// Without its query, which may hold what is nobody else's business.
fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

fn connect_reason(why: &reqwest::Error) -> (&'static str, String) {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(why);
    while let Some(error) = cause {
        if let Some(tls) = tls_error(error) {
            let certificate = matches!(tls, rustls::Error::InvalidCertificate(_));
            let code = if certificate { "E_CERTIFICATE" } else { "E_TLS" };
            return (code, cert::reason(tls));
        }
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::ConnectionRefused
        {
            return ("E_REFUSED", "refused, nothing listens there".to_owned());
        }
        if error.to_string() == "dns error" {
            let why = error.source().map_or_else(String::new, |why| format!(": {why}"));
            return ("E_DNS", format!("the name does not resolve{why}"));
        }
        cause = error.source();
    }
    if why.is_timeout() {
        return ("E_CONNECT_TIMEOUT", "no connection within the connect timeout".to_owned());
    }
    ("E_CONNECT", innermost(why))
}

/// The error of a handshake, which hides in one or more of input and output.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut at = error;
    loop {
        if let Some(tls) = at.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        at = at.downcast_ref::<io::Error>()?.get_ref()?;
    }
}

/// The last cause: the ones above only say that there is one, and show the URL with its query.
fn innermost(why: &reqwest::Error) -> String {
    let mut last: &(dyn StdError + 'static) = why;
    while let Some(next) = last.source() {
        last = next;
    }
    if last.is::<reqwest::Error>() { "the exchange failed".to_owned() } else { last.to_string() }
}

fn days_left(record: &Record) -> Option<i64> {
    let leaf = cert::seen(record).leaf?;
    Facts::of(&leaf).map(|facts| facts.days_left(jiff::Timestamp::now()))
}

async fn read(
    mut response: Response,
    url: Url,
    body_bytes_max: usize,
    record: Option<&Record>,
    cx: &Cx,
) -> Answer {
    let mut answer = Answer {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body: Vec::new(),
        truncated: false,
        cut_short: None,
        tls_days_left: record.and_then(days_left),
        url,
    };
    loop {
        let chunk = match bounded(cx, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return answer,
            Ok(Err(why)) => {
                let why = format!(
                    "read the body of {}: it broke off: {}",
                    shown_url(&answer.url),
                    innermost(&why)
                );
                answer.cut_short = Some(unknown("E_HTTP", why));
                return answer;
            }
            Err(stop) => {
                answer.cut_short = Some(stopped(stop));
                return answer;
            }
        };
        let room = body_bytes_max - answer.body.len();
        answer.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            answer.truncated = true;
            return answer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, method: Method) -> Request {
        let mut request = Request::get(Url::parse(url).unwrap(), 10);
        request.headers.insert("x-api-key", HeaderValue::from_static("s3cret"));
        request.method = method;
        request.redirects = 3;
        request
    }

    /// Goal: a redirect never carries the author's headers to another origin, never leaves TLS,
    /// and never repeats a change elsewhere. Method: a table of redirects.
    #[test]
    fn a_redirect_takes_nothing_along_that_was_not_meant_for_it() {
        let cases = [
            ("https://a/x", "https://a/y", Method::GET, 302, Some(true)),
            ("https://a/x", "https://b/y", Method::GET, 302, Some(false)),
            ("https://a/x", "https://a:8443/y", Method::GET, 301, Some(false)),
            ("https://a/x", "http://a/y", Method::GET, 302, None),
            ("http://a/x", "file:///etc/passwd", Method::GET, 302, None),
            ("http://a/x", "//b/y", Method::GET, 302, Some(false)),
            ("http://a/x", "/y", Method::POST, 303, Some(true)),
            ("http://a/x", "http://b/y", Method::DELETE, 307, None),
            ("http://a/x", "/y", Method::GET, 304, None),
        ];
        for (from, to, method, status, want) in cases {
            let location = HeaderValue::from_static(to);
            let status = StatusCode::from_u16(status).unwrap();
            let got = request(from, method).redirected(status, Some(&location));
            let keeps = got.map(|next| next.headers.contains_key("x-api-key"));
            assert_eq!(keeps, want, "{from} to {to}");
        }
    }

    #[test]
    fn urls_are_http_and_hold_no_password() {
        for url in ["ftp://a/", "file:///etc/passwd", "http://", "a.example", "http://u:p@a/", ""] {
            assert!(http_url(url).is_err(), "{url}");
        }
        assert!(!http_url("http://u:hunter22@a/").unwrap_err().contains("hunter22"));
        assert!(http_url("http://[::1]:8080/x?y=z").is_ok());
    }

    #[test]
    fn a_list_repeats_its_field() {
        let value = serde_json::json!(["a", 1, true, null]);
        assert_eq!(texts("f", &value).unwrap(), ["a", "1", "true"]);
        assert!(texts("f", &serde_json::json!({})).is_err());
    }
}
