//! http, tcp, tls, dns, clock and prometheus against servers on loopback.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runwarden::action::Cancel;
use runwarden::outcome::{End, Verdict};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

use crate::{assert_ok, attempt, code, fields, message, perform, perform_in};

type Heard = Arc<Mutex<Vec<String>>>;

/// Serves one answer a connection, in order, the last for ever; keeps the requests.
async fn http_server(answers: Vec<String>) -> (SocketAddr, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let heard = Heard::default();
    let kept = heard.clone();
    tokio::spawn(async move {
        let mut turn = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream).await;
            kept.lock().unwrap().push(request);
            let answer = &answers[turn.min(answers.len() - 1)];
            turn += 1;
            if answer == "HANG" {
                std::future::pending::<()>().await;
            }
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (at, heard)
}

/// Greets at once and hangs up, in words that are no TLS.
async fn plain_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    at
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).await.unwrap_or(0);
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let head = text.find("\r\n\r\n").map(|end| end + 4);
        let whole = head.is_some_and(|head| bytes.len() >= head + length.unwrap_or(0));
        if whole || count == 0 {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn http_tells_everything_of_an_answer() {
    let (at, heard) = http_server(vec![answer(
        "200 OK",
        "Content-Type: application/json\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n",
        "{\"up\": true}",
    )])
    .await;
    let outcome = perform(json!({"http": {
        "url": format!("http://{at}/health?deep=1"), "query": {"q": "a b&c"},
        "headers": {"X-Trace": "7"}, "auth": {"basic": {"user": "u", "password": "p"}},
    }}))
    .await;
    assert_ok(&outcome);
    let got = fields(&outcome);
    assert_eq!(got["status_code"], 200);
    assert_eq!(got["json"], json!({"up": true}));
    assert_eq!(got["body"], "{\"up\": true}");
    assert_eq!(got["headers"]["set-cookie"], "a=1, b=2");
    assert!(got["latency_seconds"].as_f64().unwrap() < 1.0);
    let request = heard.lock().unwrap()[0].clone();
    assert!(request.starts_with("GET /health?deep=1&q=a+b%26c HTTP/1.1"), "{request}");
    assert!(request.contains("authorization: Basic dTpw"), "{request}");
    assert!(!request.to_lowercase().contains("accept-encoding"), "{request}");
}

#[tokio::test]
async fn http_judges_the_status_and_posts_what_it_is_given() {
    let (at, heard) = http_server(vec![
        answer("201 Created", "", "[1,2]"),
        answer("204 No Content", "", ""),
        answer("503 Service Unavailable", "", "down"),
        answer("301 Moved", "Location: /elsewhere\r\n", ""),
    ])
    .await;
    let url = format!("http://{at}/");
    let json_sent = perform(json!({"http": {"url": url, "json": {"n": [1, null]}}})).await;
    assert_ok(&json_sent);
    assert_eq!(fields(&json_sent)["json"], json!([1, 2]));
    let form_sent =
        perform(json!({"http": {"url": url, "method": "put", "form": {"a": ["1", 2]}}})).await;
    assert_ok(&form_sent);
    assert_eq!(fields(&form_sent)["json"], Value::Null);
    let down = perform(json!({"http": {"url": url}})).await;
    assert_eq!((down.rule, down.end), (Some(Verdict::Critical), End::Completed));
    assert_eq!(fields(&down)["body"], "down");
    let moved = perform(json!({"http": {"url": url}})).await;
    assert_eq!(fields(&moved)["status_code"], 301);
    assert_eq!(moved.rule, Some(Verdict::Critical));
    let heard = heard.lock().unwrap();
    assert!(heard[0].starts_with("POST / ") && heard[0].ends_with("{\"n\":[1,null]}"));
    assert!(heard[0].contains("content-type: application/json"));
    assert!(heard[1].starts_with("PUT / ") && heard[1].ends_with("a=1&a=2"));
}

#[tokio::test]
async fn http_follows_redirects_only_so_far_and_tells_no_stranger() {
    let (stranger, told) = http_server(vec![answer("200 OK", "", "hello")]).await;
    let location = format!("Location: http://{stranger}/in\r\n");
    let (at, _) = http_server(vec![answer("302 Found", &location, "")]).await;
    let outcome = perform(json!({"http": {
        "url": format!("http://{at}/"), "redirects": 1,
        "headers": {"X-Api-Key": "hunter22"}, "auth": {"bearer": "hunter23"},
    }}))
    .await;
    assert_ok(&outcome);
    assert_eq!(fields(&outcome)["url"], format!("http://{stranger}/in"));
    let told = told.lock().unwrap()[0].clone();
    assert!(!told.contains("hunter"), "{told}");
    // A circle ends where the step says.
    let (at, heard) = http_server(vec![answer("302 Found", "Location: /\r\n", "")]).await;
    let circle = perform(json!({"http": {"url": format!("http://{at}/"), "redirects": 3}})).await;
    assert_eq!(fields(&circle)["status_code"], 302);
    assert_eq!(heard.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn http_keeps_no_more_than_it_may() {
    let (at, _) =
        http_server(vec![answer("200 OK", "", &format!("\"{}\"", "x".repeat(5000)))]).await;
    let url = format!("http://{at}/");
    let cut = perform(json!({"http": {"url": url, "max_bytes": 100}})).await;
    assert_ok(&cut);
    let got = fields(&cut);
    assert_eq!(got["body"].as_str().unwrap().len(), 100);
    assert_eq!((&got["body_truncated"], &got["json"]), (&json!(true), &Value::Null));
    let exact = perform(json!({"http": {"url": url, "max_bytes": 5002}})).await;
    assert_eq!(fields(&exact).get("body_truncated"), None);
}

/// Goal: what may have happened is never called failed. Method: a server that reads and hangs, or
/// hangs up, asked by a reading and by a changing request.
#[tokio::test]
async fn http_without_an_answer() {
    let hang = || http_server(vec!["HANG".to_owned()]);
    let hang_up = || http_server(vec![String::new()]);
    for (method, server, want) in [
        ("GET", hang().await, End::TimedOut),
        ("POST", hang().await, End::Interrupted),
        ("GET", hang_up().await, End::Unreachable),
        ("DELETE", hang_up().await, End::Interrupted),
    ] {
        let (mut cx, _asks) = attempt();
        cx.deadline = Some(Instant::now() + Duration::from_millis(80));
        let url = format!("http://{}/", server.0);
        let outcome = perform_in(json!({"http": {"url": url, "method": method}}), &cx).await;
        assert_eq!(outcome.end, want, "{method} {outcome:?}");
    }
    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned();
    let (at, _) = http_server(vec![broken]).await;
    let half = perform(json!({"http": {"url": format!("http://{at}/")}})).await;
    assert_eq!((half.rule, code(&half)), (Some(Verdict::Unknown), "E_HTTP"));
    assert_eq!(fields(&half)["status_code"], 200);
}

#[tokio::test]
async fn http_that_cannot_be_asked() {
    let at = plain_server().await;
    let refused = closed_port().await;
    let url = |url: &str| json!({"http": {"url": url}});
    for (action, want, end) in [
        (url(&format!("http://{refused}/")), "E_REFUSED", End::Unreachable),
        (url(&format!("http://{}/", "a".repeat(64))), "E_DNS", End::Unreachable),
        (url(&format!("https://{at}/")), "E_TLS", End::Unreachable),
        (url("gopher://localhost/"), "E_URL", End::NotStarted),
        (
            json!({"http": {"url": "http://a/", "headers": {"a": "b\r\nc: d"}}}),
            "E_HEADER",
            End::NotStarted,
        ),
        (json!({"http": {"url": "http://a/", "json": 1, "body": "x"}}), "E_BODY", End::NotStarted),
        (json!({"http": {"url": "http://a/", "method": "NO SUCH"}}), "E_METHOD", End::NotStarted),
        (
            json!({"http": {"url": "https://a/", "tls": {"ca": "/no/such.pem"}}}),
            "E_CA",
            End::NotStarted,
        ),
    ] {
        let outcome = perform(action.clone()).await;
        assert_eq!((code(&outcome), outcome.end), (want, end), "{action} {outcome:?}");
    }
}

/// A port of which we know that nobody listens on it: it was ours a moment ago.
async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Serves HTTPS with one of the test certificates.
async fn tls_server(certificate: &str) -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(fixture(certificate)).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut piece = [0; 4096];
                if stream.read(&mut piece).await.unwrap_or(0) > 0 {
                    let _ = stream.write_all(answer("200 OK", "", "safe").as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    at
}

#[tokio::test]
async fn tls_looks_at_every_certificate_and_trusts_the_right_one() {
    let ca = fixture("ca.pem");
    for (certificate, trusted, verified, why) in [
        ("good.pem", &ca, true, ""),
        ("expired.pem", &ca, false, "expired"),
        ("wrong-name.pem", &ca, false, "not valid for this name"),
        ("self-signed.pem", &ca, false, ""),
        // A self-signed one that is itself named as trusted.
        ("self-signed.pem", &fixture("self-signed.pem"), true, ""),
        // Being named does not make up for having expired.
        ("expired.pem", &fixture("expired.pem"), false, "expired"),
    ] {
        let at = tls_server(certificate).await;
        let outcome = perform(json!({"tls": {
            "host": "127.0.0.1", "port": at.port(), "sni": "localhost", "ca": trusted,
        }}))
        .await;
        let got = fields(&outcome);
        assert_eq!(got["verified"], verified, "{certificate} {outcome:?}");
        let rule = if verified { Verdict::Ok } else { Verdict::Critical };
        assert_eq!(outcome.rule, Some(rule), "{certificate}");
        assert!(got["verify_error"].as_str().unwrap_or("").contains(why), "{certificate} {got}");
        let days = got["days_left"].as_i64().unwrap();
        assert_eq!(days < 0, certificate == "expired.pem", "{certificate} {days}");
        assert!(got["subject"].as_str().unwrap().starts_with("CN="));
        if certificate == "good.pem" {
            assert_eq!(got["names"], json!(["localhost", "127.0.0.1"]));
            assert_eq!(got["issuer"], "CN=Test authority");
        }
    }
}

#[tokio::test]
async fn tls_verifies_addresses_too_and_needs_a_trusted_root() {
    let port = tls_server("good.pem").await.port();
    let by_address =
        perform(json!({"tls": {"host": "127.0.0.1", "port": port, "ca": fixture("ca.pem")}})).await;
    assert_ok(&by_address);
    let untrusted = perform(json!({"tls": {"host": "localhost", "port": port}})).await;
    assert_eq!(fields(&untrusted)["verified"], false);
    assert!(message(&untrusted).contains("not trusted"), "{untrusted:?}");
    let refused = closed_port().await.port();
    let closed = perform(json!({"tls": {"host": "127.0.0.1", "port": refused}})).await;
    assert_eq!((code(&closed), closed.end), ("E_REFUSED", End::Unreachable));
    assert_eq!(closed.rule, Some(Verdict::Critical));
    let plain = plain_server().await;
    let no_tls = perform(json!({"tls": {"host": "127.0.0.1", "port": plain.port()}})).await;
    assert_eq!((code(&no_tls), no_tls.rule), ("E_TLS", Some(Verdict::Critical)));
}

/// Goal: a server that accepts and says nothing costs the connect timeout, not the attempt.
#[tokio::test]
async fn a_silent_server_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mut cx, asks) = attempt();
    cx.connect_timeout = Duration::from_millis(60);
    let began = Instant::now();
    let action = json!({"tls": {"host": "127.0.0.1", "port": port}});
    let silent = perform_in(action, &cx).await;
    assert_eq!((code(&silent), silent.end), ("E_HANDSHAKE_TIMEOUT", End::Unreachable));
    assert!(began.elapsed() < Duration::from_secs(2));
    // And a cancel is obeyed at once.
    cx.deadline = None;
    asks.send(Cancel::InOrder).unwrap();
    let waits = json!({"tcp": {"host": "127.0.0.1", "port": port, "match": "never"}});
    assert_eq!(perform_in(waits, &cx).await.end, End::Cancelled);
}

#[tokio::test]
async fn https_is_spoken_only_with_whom_it_trusts() {
    let ca = fixture("ca.pem");
    let good = tls_server("good.pem").await.port();
    let action = json!({"http": {"url": format!("https://localhost:{good}/"), "tls": {"ca": ca}}});
    let outcome = perform(action).await;
    assert_ok(&outcome);
    assert_eq!(fields(&outcome)["body"], "safe");
    assert!(fields(&outcome)["tls_days_left"].as_i64().unwrap() > 30_000);
    for (certificate, why) in
        [("expired.pem", "expired"), ("wrong-name.pem", "this name"), ("self-signed.pem", "")]
    {
        let port = tls_server(certificate).await.port();
        let url = format!("https://localhost:{port}/");
        let action = json!({"http": {"url": url, "json": {}, "tls": {"ca": ca}}});
        let outcome = perform(action).await;
        // Nothing was sent, so that even a POST is known not to have happened.
        assert_eq!(
            (code(&outcome), outcome.end),
            ("E_CERTIFICATE", End::Unreachable),
            "{outcome:?}"
        );
        assert!(message(&outcome).contains(why), "{outcome:?}");
        assert!(fields(&outcome)["tls_days_left"].is_i64(), "{outcome:?}");
    }
}

#[tokio::test]
async fn tcp_connects_sends_and_matches() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut piece = [0; 64];
                let count = stream.read(&mut piece).await.unwrap_or(0);
                match &piece[..count] {
                    b"PING\r\n" => {
                        let _ = stream.write_all(b"+PO").await;
                        tokio::task::yield_now().await;
                        let _ = stream.write_all(b"NG \xff\r\n").await;
                    }
                    _ => while stream.write_all(&[b'x'; 4096]).await.is_ok() {},
                }
            });
        }
    });
    let to = |send: &str, pattern: &str| json!({"tcp": {"host": "localhost", "port": port, "send": send, "match": pattern}});
    let plain = perform(json!({"tcp": {"host": "127.0.0.1", "port": port}})).await;
    assert_ok(&plain);
    assert_eq!(fields(&plain)["connected"], true);
    let pong = perform(to("PING\r\n", "^\\+PONG")).await;
    assert_ok(&pong);
    assert!(fields(&pong)["banner"].as_str().unwrap().starts_with("+PONG"));
    let other = perform(to("PING\r\n", "^-ERR")).await;
    assert_eq!((code(&other), other.rule), ("E_NO_MATCH", Some(Verdict::Critical)));
    // Endless talk without a match ends at the cap.
    let endless = perform(to("?", "never")).await;
    assert_eq!(code(&endless), "E_NO_MATCH");
    assert_eq!(fields(&endless)["banner"].as_str().unwrap().len(), 4096);
    let closed = closed_port().await.port();
    let refused = perform(json!({"tcp": {"host": "127.0.0.1", "port": closed}})).await;
    assert_eq!((code(&refused), refused.end), ("E_REFUSED", End::Completed));
    assert_eq!(fields(&refused), json!({"connected": false}));
    let bad = perform(to("", "(")).await;
    assert_eq!((code(&bad), bad.end), ("E_PATTERN", End::NotStarted));
}

/// A DNS server of two names: `good.test` has two addresses and a text, `bare.test` has nothing,
/// all others do not exist; `broken.test` is SERVFAIL.
async fn dns_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let mut query = [0; 512];
            let (count, from) = socket.recv_from(&mut query).await.unwrap();
            let _ = socket.send_to(&dns_answer(&query[..count]), from).await;
        }
    });
    at
}

fn dns_answer(query: &[u8]) -> Vec<u8> {
    let mut end = 12;
    let mut name = Vec::new();
    while query[end] != 0 {
        let length = usize::from(query[end]);
        name.push(String::from_utf8_lossy(&query[end + 1..=end + length]).to_lowercase());
        end += length + 1;
    }
    let kind = u16::from_be_bytes([query[end + 1], query[end + 2]]);
    let (rcode, records): (u8, Vec<Vec<u8>>) = match (name.join(".").as_str(), kind) {
        ("good.test", 1) => (0, vec![vec![192, 0, 2, 2], vec![192, 0, 2, 1]]),
        ("good.test", 16) => (0, vec![[&[5][..], b"hello"].concat()]),
        ("good.test", 15) => (0, vec![[&[0, 10, 4][..], b"mail", &[0xc0, 12]].concat()]),
        ("good.test" | "bare.test", _) => (0, Vec::new()),
        ("broken.test", _) => (2, Vec::new()),
        _ => (3, Vec::new()),
    };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | rcode, 0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
    reply.extend(&query[12..end + 5]);
    for record in records {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 60]);
        reply.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        reply.extend(record);
    }
    reply
}

#[tokio::test]
async fn dns_answers_and_refusals() {
    let server = dns_server().await.to_string();
    for (name, kind, answers, rcode, rule) in [
        ("good.test", "A", json!(["192.0.2.1", "192.0.2.2"]), "NOERROR", Verdict::Ok),
        ("good.test", "txt", json!(["hello"]), "NOERROR", Verdict::Ok),
        ("good.test", "MX", json!(["10 mail.good.test."]), "NOERROR", Verdict::Ok),
        ("bare.test", "A", json!([]), "NOERROR", Verdict::Critical),
        ("nowhere.test", "A", json!([]), "NXDOMAIN", Verdict::Critical),
        ("broken.test", "A", json!([]), "SERVFAIL", Verdict::Critical),
    ] {
        let action = json!({"dns": {"name": name, "type": kind, "server": server}});
        let outcome = perform(action).await;
        let got = fields(&outcome);
        assert_eq!((&got["answers"], &got["rcode"]), (&answers, &json!(rcode)), "{outcome:?}");
        assert_eq!(outcome.rule, Some(rule), "{name}");
    }
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (mut cx, _asks) = attempt();
    cx.connect_timeout = Duration::from_millis(60);
    let server = silent.local_addr().unwrap().to_string();
    let outcome = perform_in(json!({"dns": {"name": "good.test", "server": server}}), &cx).await;
    assert_eq!((code(&outcome), outcome.end), ("E_DNS_TIMEOUT", End::Unreachable));
}

/// Goal: only the answer to our own question counts. Method: a server that first sends a forgery.
#[tokio::test]
async fn clock_compares_with_a_server() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut query = [0; 128];
        let (count, from) = socket.recv_from(&mut query).await.unwrap();
        assert_eq!((count, query[0]), (48, 0x23));
        let ahead_s = 5;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seconds =
            u32::try_from((now.as_secs() + ahead_s + 2_208_988_800) & 0xffff_ffff).unwrap();
        let fraction = ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000) as u32;
        let mut reply = [0; 48];
        (reply[0], reply[1]) = (0x24, 3);
        for start in [32, 40] {
            reply[start..start + 4].copy_from_slice(&seconds.to_be_bytes());
            reply[start + 4..start + 8].copy_from_slice(&fraction.to_be_bytes());
        }
        socket.send_to(&reply, from).await.unwrap();
        socket.send_to(b"short", from).await.unwrap();
        reply[24..32].copy_from_slice(&query[40..48]);
        socket.send_to(&reply, from).await.unwrap();
    });
    let outcome = perform(json!({"clock": {"server": server}})).await;
    assert_ok(&outcome);
    let offset = fields(&outcome)["offset_seconds"].as_f64().unwrap();
    assert!((offset - 5.0).abs() < 0.5, "{offset}");
    assert_eq!(fields(&outcome)["stratum"], 3);
}

#[tokio::test]
async fn prometheus_values_and_errors() {
    let one = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"job":"a"},"value":[1.0,"0.5"]}]}}"#;
    let bad = r#"{"status":"error","errorType":"bad_data","error":"parse error at char 4"}"#;
    let (at, heard) = http_server(vec![
        answer("200 OK", "", one),
        answer("400 Bad Request", "", bad),
        answer("200 OK", "", "<html>"),
    ])
    .await;
    let action = json!({"prometheus": {"query": "up == 1", "url": format!("http://{at}/prom/")}});
    let outcome = perform(action.clone()).await;
    assert_ok(&outcome);
    assert_eq!(
        fields(&outcome),
        json!({"value": 0.5, "series": [{"labels": {"job": "a"}, "value": 0.5}]})
    );
    let request = heard.lock().unwrap()[0].clone();
    assert!(request.starts_with("GET /prom/api/v1/query?query=up+%3D%3D+1 "), "{request}");
    let outcome = perform(action.clone()).await;
    assert_eq!(outcome.rule, Some(Verdict::Unknown));
    assert!(message(&outcome).contains("parse error at char 4"), "{outcome:?}");
    assert_eq!(perform(action).await.rule, Some(Verdict::Unknown));
}
