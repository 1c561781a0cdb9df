//! `clock`: how far this host's clock is from the truth, as an NTP server has it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::Cx;
use super::bounded::{
    Fields, bounded, connect_budget, error, found, reading, refused, seconds, stopped, unknown,
    unreachable,
};
use super::process::run_process;
use super::service_backend::text_of;
use crate::limits::SNTP_WAIT;
use crate::outcome::{End, Outcome, Verdict};
use crate::runbook::params::{Clock, ProcessSettings};

/// Asks `server` (`host` or `host:port`) by SNTP, or else what this host knows of its own
/// synchronisation.
///
/// Fields: `offset_seconds` (positive: the server is ahead of us), and with a server
/// `delay_seconds` (the offset is wrong by at most half of it) and `stratum`. Without one
/// `synchronized`, and an offset only where chronyd keeps one. Where nothing can be known the rule
/// is unknown: a number is never made up.
pub async fn perform(params: &Clock, cx: &Cx) -> Outcome {
    match &params.server {
        Some(server) => ask(server, cx).await,
        None => own_state(cx).await,
    }
}

/// systemd-timesyncd makes this file once it has set the clock.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// Asks who may keep this clock: timesyncd by its mark, chronyd by its client.
async fn own_state(cx: &Cx) -> Outcome {
    let marked = reading(cx, |_| std::path::Path::new(SYNCHRONIZED).exists());
    match marked.await {
        Ok(true) => return found(Verdict::Ok, Fields::default().set("synchronized", true).0),
        Ok(false) => {}
        Err(outcome) => return outcome,
    }
    let argv = ["chronyc", "-n", "-c", "tracking"].map(str::to_owned);
    let end = run_process(&argv, &ProcessSettings::default(), cx).await;
    if matches!(end.end, End::TimedOut | End::Cancelled | End::Interrupted) {
        return Outcome { end: end.end, error: end.error, ..Outcome::default() };
    }
    let told = match end.exit_code {
        Some(0) => read_tracking(&text_of(end.stdout.as_ref())),
        _ => None,
    };
    match told {
        Some((true, offset_s)) => {
            let fields =
                Fields::default().set("synchronized", true).set("offset_seconds", offset_s);
            found(Verdict::Ok, fields.0)
        }
        Some((false, _)) => {
            let why = error("E_CLOCK", "this host's chronyd runs, but has no time to follow");
            let fields = Fields::default().set("synchronized", false);
            Outcome { error: Some(why), ..found(Verdict::Critical, fields.0) }
        }
        None => unknown(
            "E_CLOCK",
            "read this host's synchronisation: nothing here tells of it; name a `server` to \
             compare with",
        ),
    }
}

/// Chrony's report as comma-separated values: whether it is synchronised, and how many seconds the
/// clock is behind.
fn read_tracking(text: &str) -> Option<(bool, f64)> {
    let columns: Vec<&str> = text.trim().split(',').collect();
    let offset_s: f64 = columns.get(4)?.parse().ok()?;
    let leap = columns.get(13)?;
    Some((*leap != "Not synchronised", offset_s))
}

async fn ask(server: &str, cx: &Cx) -> Outcome {
    let (host, port) = match split(server) {
        Some(parts) => parts,
        None => {
            return refused(
                "E_HOST",
                format!("`{server}` is no server: write `host` or `host:port`"),
            );
        }
    };
    let budget = connect_budget(cx).min(SNTP_WAIT);
    let asked = bounded(cx, tokio::time::timeout(budget, exchange(host, port))).await;
    match asked {
        Err(stop) => stopped(stop),
        Ok(Err(_)) => {
            let silence = format!("ask the clock of `{server}`: no answer within {budget:.1?}");
            unreachable("E_CLOCK_TIMEOUT", silence)
        }
        Ok(Ok(Err(why))) => unreachable("E_CLOCK", format!("ask the clock of `{server}`: {why}")),
        Ok(Ok(Ok(reply))) => {
            let fields = Fields::default()
                .set("offset_seconds", (reply.offset_s * 1e6).round() / 1e6)
                .set("delay_seconds", seconds(reply.delay))
                .set("stratum", reply.stratum);
            found(Verdict::Ok, fields.0)
        }
    }
}

fn split(server: &str) -> Option<(&str, u16)> {
    if server.is_empty() {
        return None;
    }
    if server.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some((server, 123));
    }
    match server.rsplit_once(':') {
        Some((host, port)) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            port.parse().ok().filter(|_| !host.is_empty()).map(|port| (host, port))
        }
        None => Some((server, 123)),
    }
}

/// What the server's answer means.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reply {
    offset_s: f64,
    delay: Duration,
    stratum: u8,
}

/// An SNTP packet without extensions: RFC 4330, section 4. Bytes.
const PACKET_BYTES: usize = 48;
/// From 1900, where NTP begins, to 1970. Seconds.
const NTP_EPOCH_S: f64 = 2_208_988_800.0;

async fn exchange(host: &str, port: u16) -> Result<Reply, String> {
    let mut addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(|why| format!("the name does not resolve: {why}"))?;
    let address = addresses.next().ok_or("the name has no address")?;
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(local).await.map_err(|why| why.to_string())?;
    // Connected, so that only this server's packets come in.
    socket.connect(address).await.map_err(|why| why.to_string())?;
    // The server gives our time stamp back; being random, nobody else can.
    let mut token = [0; 8];
    getrandom::fill(&mut token).map_err(|why| format!("get random bytes: {why}"))?;
    let mut packet = [0; PACKET_BYTES];
    packet[0] = 0x23; // no leap warning, version 4, client
    packet[40..48].copy_from_slice(&token);
    let left = ntp_now();
    let began = std::time::Instant::now();
    socket.send(&packet).await.map_err(|why| why.to_string())?;
    loop {
        let mut answer = [0; 512];
        let count = socket.recv(&mut answer).await.map_err(|why| why.to_string())?;
        let took = began.elapsed();
        let Some(answer) = answer.get(..count).and_then(|got| got.first_chunk::<PACKET_BYTES>())
        else {
            continue;
        };
        // A packet that does not answer this question is not evidence of anything.
        if answer[24..32] == token {
            return read(answer, left, took);
        }
    }
}

/// Seconds since 1900 by this host's clock.
fn ntp_now() -> f64 {
    let now = jiff::Timestamp::now().as_duration();
    now.as_secs_f64() + NTP_EPOCH_S
}

/// Judges an answer to the question that left at `left` and came back `took` later. The way back
/// is taken to be as long as the way there; the local end is measured by the monotonic clock.
fn read(packet: &[u8; PACKET_BYTES], left: f64, took: Duration) -> Result<Reply, String> {
    let (leap, mode, stratum) = (packet[0] >> 6, packet[0] & 0b111, packet[1]);
    if mode != 4 {
        return Err(format!("it answered in mode {mode}, not as a server"));
    }
    if stratum == 0 {
        let kiss = String::from_utf8_lossy(&packet[12..16]).into_owned();
        return Err(format!("it refuses to answer: `{}`", kiss.trim_end_matches('\0')));
    }
    if leap == 3 || stratum > 15 {
        return Err("its own clock is not synchronised".to_owned());
    }
    let received = stamp(&packet[32..40], left)?;
    let sent = stamp(&packet[40..48], left)?;
    let took_s = took.as_secs_f64();
    let offset_s = ((received - left) + (sent - (left + took_s))) / 2.0;
    let delay = Duration::try_from_secs_f64((took_s - (sent - received)).max(0.0));
    Ok(Reply { offset_s, delay: delay.unwrap_or_default(), stratum })
}

/// A time stamp of the packet, in the era of 136 years that is nearest to `near`.
fn stamp(bytes: &[u8], near: f64) -> Result<f64, String> {
    const ERA_S: f64 = 4_294_967_296.0;
    let bytes: [u8; 8] = bytes.try_into().map_err(|_| "its answer is too short")?;
    let raw = u64::from_be_bytes(bytes);
    if raw == 0 {
        return Err("its answer names no time".to_owned());
    }
    let in_era = raw as f64 / ERA_S;
    Ok(in_era + ((near - in_era) / ERA_S).round() * ERA_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's answer, `ahead_s` ahead of us, that took a millisecond to make.
    fn answer(first: u8, stratum: u8, left: f64, ahead_s: f64) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        packet[0] = first;
        packet[1] = stratum;
        let fixed = |at: f64| ((at.rem_euclid(4_294_967_296.0)) * 4_294_967_296.0) as u64;
        packet[32..40].copy_from_slice(&fixed(left + 0.010 + ahead_s).to_be_bytes());
        packet[40..48].copy_from_slice(&fixed(left + 0.011 + ahead_s).to_be_bytes());
        packet
    }

    /// Goal: the offset is right, also across the end of NTP's first era in 2036.
    #[test]
    fn offsets() {
        for left in [3_900_000_000.0, 4_294_967_295.5, 4_400_000_000.0] {
            for ahead_s in [0.0, 2.5, -40.0] {
                let packet = answer(0x24, 2, left, ahead_s);
                let reply = read(&packet, left, Duration::from_millis(21)).unwrap();
                assert!((reply.offset_s - ahead_s).abs() < 1e-4, "{left} {ahead_s} {reply:?}");
                assert!((reply.delay.as_secs_f64() - 0.020).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn who_does_not_know_the_time_is_not_believed() {
        let left = 3_900_000_000.0;
        for (first, stratum) in [(0x23, 2), (0x24, 0), (0xe4, 2), (0x24, 16)] {
            let packet = answer(first, stratum, left, 0.0);
            assert!(read(&packet, left, Duration::from_millis(21)).is_err(), "{first} {stratum}");
        }
        assert!(read(&[0x24; PACKET_BYTES], left, Duration::ZERO).is_err());
        let mut timeless = answer(0x24, 2, left, 0.0);
        timeless[40..48].fill(0);
        assert!(read(&timeless, left, Duration::ZERO).is_err());
    }

    #[test]
    fn what_chrony_says() {
        let line = |leap: &str| {
            format!(
                "C0000201,192.0.2.1,3,1700000000.1,0.000123,0.1,0.1,1,0,0.1,0.03,0.01,64.2,{leap}\n"
            )
        };
        assert_eq!(read_tracking(&line("Normal")), Some((true, 0.000_123)));
        assert_eq!(read_tracking(&line("Not synchronised")), Some((false, 0.000_123)));
        for junk in ["", "506 Cannot talk to daemon", ",,,,x"] {
            assert_eq!(read_tracking(junk), None, "{junk}");
        }
    }

    #[test]
    fn servers() {
        assert_eq!(split("pool.example"), Some(("pool.example", 123)));
        assert_eq!(split("127.0.0.1:1123"), Some(("127.0.0.1", 1123)));
        assert_eq!(split("::1"), Some(("::1", 123)));
        assert_eq!(split("[::1]:123"), Some(("::1", 123)));
        for bad in ["", ":1", "a:b", "a:70000"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
