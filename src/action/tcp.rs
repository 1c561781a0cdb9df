//! `tcp`: a port answers, and says what is expected.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use regex::bytes::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Cx;
use super::bounded::{Fields, bounded, connect_budget, error, found, refused, seconds, stopped};
use crate::limits::{BANNER_BYTES_MAX, BANNER_WAIT};
use crate::outcome::{ErrorInfo, Outcome, Verdict};
use crate::runbook::params::Tcp;

/// Connects, sends `send`, and reads until `match` matches.
///
/// Fields: `connected`, `latency_seconds` (of the connection alone), `banner` (what came back, at
/// most 4 KiB, as text), `matched` where `match` is given. A port that cannot be reached is a
/// finding, not a failure to look: `connected` is false, the rule critical, and an `expect` may
/// want just that. With `send` alone what comes back within a second is the banner.
pub async fn perform(params: &Tcp, cx: &Cx) -> Outcome {
    let pattern = match params.matches.as_deref().map(Regex::new).transpose() {
        Ok(pattern) => pattern,
        Err(why) => return refused("E_PATTERN", format!("read `match`: {why}")),
    };
    let began = Instant::now();
    let stream = match bounded(cx, connect(&params.host, params.port, cx)).await {
        Err(stop) => return stopped(stop),
        Ok(Err(why)) => {
            let fields = Fields::default().set("connected", false);
            return Outcome { error: Some(why), ..found(Verdict::Critical, fields.0) };
        }
        Ok(Ok(stream)) => stream,
    };
    let fields =
        Fields::default().set("connected", true).set("latency_seconds", seconds(began.elapsed()));
    if params.send.is_none() && pattern.is_none() {
        return found(Verdict::Ok, fields.0);
    }
    let mut banner = Vec::new();
    let talked =
        bounded(cx, talk(stream, params.send.as_deref(), pattern.as_ref(), &mut banner)).await;
    let fields = fields.set("banner", String::from_utf8_lossy(&banner));
    let Some(pattern) = pattern else {
        return match talked {
            Err(stop) => Outcome { fields: fields.0, ..stopped(stop) },
            Ok(Err(why)) => {
                let why = error("E_TCP", format!("talk to {}: {why}", at(params)));
                Outcome { error: Some(why), ..found(Verdict::Critical, fields.0) }
            }
            Ok(Ok(_)) => found(Verdict::Ok, fields.0),
        };
    };
    let fields = fields.set("matched", matches!(talked, Ok(Ok(true))));
    match talked {
        Err(stop) => Outcome { fields: fields.0, ..stopped(stop) },
        Ok(Ok(true)) => found(Verdict::Ok, fields.0),
        Ok(outcome) => {
            let cause = match outcome {
                Err(why) => format!(": {why}"),
                Ok(_) => String::new(),
            };
            let message = format!(
                "wait for `{}` from {}: it did not come{cause}",
                pattern.as_str(),
                at(params)
            );
            Outcome {
                error: Some(error("E_NO_MATCH", message)),
                ..found(Verdict::Critical, fields.0)
            }
        }
    }
}

fn at(params: &Tcp) -> String {
    format!("`{}` port {}", params.host, params.port)
}

/// Sends, and reads until the pattern matches (true), the other side has finished, or the cap is
/// reached. Without a pattern reading ends after a moment, because nobody knows when all is said.
async fn talk(
    mut stream: TcpStream,
    send: Option<&str>,
    pattern: Option<&Regex>,
    banner: &mut Vec<u8>,
) -> io::Result<bool> {
    if let Some(send) = send {
        stream.write_all(send.as_bytes()).await?;
    }
    let read = read_until(&mut stream, pattern, banner);
    match pattern {
        Some(_) => read.await,
        None => tokio::time::timeout(BANNER_WAIT, read).await.unwrap_or(Ok(false)),
    }
}

async fn read_until(
    stream: &mut TcpStream,
    pattern: Option<&Regex>,
    banner: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut chunk = [0; 1024];
    while banner.len() < BANNER_BYTES_MAX {
        let room = chunk.len().min(BANNER_BYTES_MAX - banner.len());
        let count = stream.read(&mut chunk[..room]).await?;
        if count == 0 {
            break;
        }
        banner.extend_from_slice(&chunk[..count]);
        if pattern.is_some_and(|pattern| pattern.is_match(banner)) {
            return Ok(true);
        }
        if pattern.is_none() && banner.ends_with(b"\n") {
            break;
        }
    }
    Ok(pattern.is_some_and(|pattern| pattern.is_match(banner)))
}

/// Connects to the first of the host's addresses that answers, all of them within
/// `connect_timeout`; the error tells name, refusal and silence apart.
pub(super) async fn connect(host: &str, port: u16, cx: &Cx) -> Result<TcpStream, ErrorInfo> {
    let budget = connect_budget(cx);
    let place = format!("connect to `{host}` port {port}");
    match tokio::time::timeout(budget, connect_any(host, port)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(Unreached::Name(why))) => Err(error("E_DNS", format!("{place}: {why}"))),
        Ok(Err(Unreached::Address(why))) if why.kind() == io::ErrorKind::ConnectionRefused => {
            Err(error("E_REFUSED", format!("{place}: refused, nothing listens there")))
        }
        Ok(Err(Unreached::Address(why))) => Err(error("E_CONNECT", format!("{place}: {why}"))),
        Err(_) => {
            let silence = format!("{place}: no answer within {:.1}s", budget.as_secs_f64());
            Err(error("E_CONNECT_TIMEOUT", silence))
        }
    }
}

enum Unreached {
    Name(String),
    Address(io::Error),
}

async fn connect_any(host: &str, port: u16) -> Result<TcpStream, Unreached> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((bare, port))
        .await
        .map_err(|why| Unreached::Name(format!("the name does not resolve: {why}")))?
        .collect();
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(why) => last = Some(why),
        }
    }
    Err(last
        .map_or_else(|| Unreached::Name("the name has no address".to_owned()), Unreached::Address))
}
