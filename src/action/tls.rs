//! `tls`: the certificate that an endpoint shows, and whether it would be trusted.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::Cx;
use super::bounded::{
    Fields, bounded, connect_budget, error, found, reading, refused, stopped, unreachable,
};
use super::cert::{self, Facts, Strictness};
use crate::outcome::{Outcome, Verdict};
use crate::runbook::params::Tls;

/// Shakes hands and looks at the certificate, also at one that does not verify; sends nothing.
///
/// Fields: `days_left` (whole days, rounded down, negative once expired), `subject`, `issuer`,
/// `names`, `verified`, `verify_error` where it is not, `not_after`, `protocol`. The rule: ok if
/// verified, which an expired or foreign certificate never is, else critical.
pub async fn perform(params: &Tls, cx: &Cx) -> Outcome {
    let host = params.host.trim_matches(|c| c == '[' || c == ']');
    let asked = params.sni.as_deref().unwrap_or(host).to_owned();
    let Ok(name) = ServerName::try_from(asked.clone()) else {
        return refused("E_HOST", format!("`{asked}` is neither a host name nor an address"));
    };
    let ca = params.ca.clone();
    let ready = reading(cx, move |_| cert::client_config(ca.as_deref(), Strictness::OnlyLook));
    let (config, record) = match ready.await {
        Ok(Ok(ready)) => ready,
        Ok(Err(why)) => return refused("E_CA", why),
        Err(ended) => return ended,
    };
    let stream = match bounded(cx, super::tcp::connect(&params.host, params.port, cx)).await {
        Err(stop) => return stopped(stop),
        Ok(Err(why)) => return unreachable(&why.code, why.message),
        Ok(Ok(stream)) => stream,
    };
    let place = format!("shake hands with `{}` port {}", params.host, params.port);
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let budget = connect_budget(cx);
    let shaken = match bounded(cx, tokio::time::timeout(budget, handshake)).await {
        Err(stop) => return stopped(stop),
        Ok(Err(_)) => {
            let silence = format!("{place}: no answer within {:.1}s", budget.as_secs_f64());
            return unreachable("E_HANDSHAKE_TIMEOUT", silence);
        }
        Ok(Ok(shaken)) => shaken,
    };
    let seen = cert::seen(&record);
    let failure = shaken.as_ref().err().map(|why| {
        let tls = why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        tls.map_or_else(|| why.to_string(), cert::reason)
    });
    let Some(facts) = seen.leaf.as_deref().and_then(Facts::of) else {
        let why = failure.unwrap_or_else(|| "it showed no readable certificate".to_owned());
        let fields = Fields::default().set("verified", false).set("verify_error", why.as_str());
        let why = error("E_TLS", format!("{place}: {why}"));
        return Outcome { error: Some(why), ..found(Verdict::Critical, fields.0) };
    };
    let refusal = seen.refusal.as_ref().map(cert::reason);
    let protocol = shaken.ok().and_then(|stream| {
        stream.get_ref().1.protocol_version().and_then(|version| version.as_str())
    });
    let problem = refusal.or(failure);
    let fields = Fields::default()
        .set("days_left", facts.days_left(jiff::Timestamp::now()))
        .set("not_after", facts.expires())
        .set("subject", facts.subject.as_str())
        .set("issuer", facts.issuer.as_str())
        .set("names", facts.names.clone())
        .set("verified", problem.is_none())
        .set_if("protocol", protocol)
        .set_if("verify_error", problem.as_deref());
    match problem {
        None => found(Verdict::Ok, fields.0),
        Some(why) => {
            let why = format!("verify the certificate of `{asked}`: {why}");
            let why = error("E_CERTIFICATE", why);
            Outcome { error: Some(why), ..found(Verdict::Critical, fields.0) }
        }
    }
}
