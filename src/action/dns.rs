//! `dns`: what a name resolves to.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::Cx;
use super::bounded::{
    Fields, bounded, connect_budget, error, found, reading, refused, stopped, unknown, unreachable,
};
use crate::outcome::{Outcome, Verdict};
use crate::runbook::params::Dns;

/// Asks `server`, or the servers that this host asks (then `/etc/hosts` counts too).
///
/// Fields: `answers`, as a zone file would write them, sorted, those of the asked type alone;
/// `rcode`, such as `NOERROR` or `NXDOMAIN`. The rule: `NOERROR` with an answer is ok, an answer
/// without is critical. Type `PTR` takes an address as well as an `in-addr.arpa` name.
pub async fn perform(params: &Dns, cx: &Cx) -> Outcome {
    let (name, kind) = match question(params) {
        Ok(question) => question,
        Err(why) => return refused("E_DNS_QUESTION", why),
    };
    let resolver = match resolver(params.server.as_deref(), cx).await {
        Ok(resolver) => resolver,
        Err(outcome) => return *outcome,
    };
    let budget = connect_budget(cx);
    let lookup = tokio::time::timeout(budget, resolver.lookup(name, kind));
    let looked = match bounded(cx, lookup).await {
        Err(stop) => return stopped(stop),
        Ok(Err(_)) => {
            let silence = format!("resolve `{}`: no answer within {budget:.1?}", params.name);
            return unreachable("E_DNS_TIMEOUT", silence);
        }
        Ok(Ok(looked)) => looked,
    };
    let (answers, rcode) = match looked {
        Ok(lookup) => {
            let records = lookup.answers().iter().filter(|record| record.record_type() == kind);
            let mut answers: Vec<String> = records.map(|record| record.data.to_string()).collect();
            answers.sort();
            (answers, ResponseCode::NoError)
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => (Vec::new(), none.response_code),
        Err(NetError::Dns(DnsError::ResponseCode(code))) => (Vec::new(), code),
        Err(NetError::Timeout) => {
            return unreachable("E_DNS_TIMEOUT", format!("resolve `{}`: no answer", params.name));
        }
        Err(why) => return unreachable("E_DNS", format!("resolve `{}`: {why}", params.name)),
    };
    let rcode = shown(rcode);
    let fields = Fields::default().set("answers", answers.clone()).set("rcode", rcode.as_str());
    if rcode == "NOERROR" && !answers.is_empty() {
        return found(Verdict::Ok, fields.0);
    }
    let why = match rcode.as_str() {
        "NOERROR" => format!("resolve `{}`: the name has no {kind} record", params.name),
        _ => format!("resolve `{}`: the answer was {rcode}", params.name),
    };
    Outcome { error: Some(error("E_DNS_ANSWER", why)), ..found(Verdict::Critical, fields.0) }
}

fn question(params: &Dns) -> Result<(Name, RecordType), String> {
    let kind = params.record_type.as_deref().unwrap_or("A").to_ascii_uppercase();
    let kind: RecordType = kind.parse().map_err(|_| format!("`{kind}` is not a record type"))?;
    if kind == RecordType::PTR
        && let Ok(address) = params.name.parse::<IpAddr>()
    {
        return Ok((Name::from(address), kind));
    }
    if params.name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    let name = Name::from_utf8(&params.name)
        .map_err(|why| format!("`{}` is not a name: {why}", params.name))?;
    Ok((name, kind))
}

async fn resolver(server: Option<&str>, cx: &Cx) -> Result<TokioResolver, Box<Outcome>> {
    let provider = TokioRuntimeProvider::default();
    let builder = match server {
        Some(server) => {
            let address = address_of(server, cx).await?;
            let mut config = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut config.connections {
                connection.port = address.port();
            }
            let config = ResolverConfig::from_name_servers(vec![config]);
            let mut builder = TokioResolver::builder_with_config(config, provider);
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        }
        None => reading(cx, move |_| TokioResolver::builder(provider)).await?.map_err(|why| {
            unknown("E_DNS", format!("read this host's resolver settings: {why}"))
        })?,
    };
    let mut builder = builder;
    let options = builder.options_mut();
    // Two tries fit into the time, so that one lost packet is not yet an outage.
    options.timeout = connect_budget(cx) / 3;
    options.attempts = 2;
    options.cache_size = 0;
    builder.build().map_err(|why| Box::new(unknown("E_DNS", format!("set up a resolver: {why}"))))
}

/// `host`, `host:port`, `[v6]:port` or a bare address; port 53 unless written.
async fn address_of(server: &str, cx: &Cx) -> Result<SocketAddr, Box<Outcome>> {
    if let Ok(ip) = server.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 53));
    }
    if let Ok(address) = server.parse::<SocketAddr>() {
        return Ok(address);
    }
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port) => (host, port),
            Err(_) => {
                let why = format!("`{server}` is no server: write `host` or `host:port`");
                return Err(Box::new(refused("E_HOST", why)));
            }
        },
        None => (server, 53),
    };
    let lookup = tokio::time::timeout(connect_budget(cx), tokio::net::lookup_host((host, port)));
    match bounded(cx, lookup).await {
        Err(stop) => Err(Box::new(stopped(stop))),
        Ok(Ok(Ok(mut found))) => found.next().ok_or_else(|| {
            Box::new(unreachable("E_DNS", format!("the server `{server}` has no address")))
        }),
        Ok(Ok(Err(why))) => {
            let why = format!("the server `{server}` does not resolve: {why}");
            Err(Box::new(unreachable("E_DNS", why)))
        }
        Ok(Err(_)) => {
            let why = format!("the server `{server}` does not resolve in time");
            Err(Box::new(unreachable("E_DNS_TIMEOUT", why)))
        }
    }
}

/// As every tool for DNS prints it.
fn shown(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::NotAuth => "NOTAUTH".to_owned(),
        ResponseCode::NotZone => "NOTZONE".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(name: &str, kind: Option<&str>) -> Result<(Name, RecordType), String> {
        let kind = kind.map(str::to_owned);
        question(&Dns { name: name.to_owned(), record_type: kind, server: None })
    }

    #[test]
    fn questions() {
        assert_eq!(asks("example.org", None).unwrap().1, RecordType::A);
        assert_eq!(asks("example.org", Some("mx")).unwrap().1, RecordType::MX);
        let (name, _) = asks("192.0.2.1", Some("PTR")).unwrap();
        assert_eq!(name.to_string(), "1.2.0.192.in-addr.arpa.");
        for (name, kind) in
            [("", None), ("a..b", None), ("a", Some("NOPE")), (&"a".repeat(64), None)]
        {
            assert!(asks(name, kind).is_err(), "{name} {kind:?}");
        }
    }
}
