//! Certificates of endpoints: whom to trust, what a certificate says, and a verifier that keeps
//! what it saw even when it refuses.
//!
//! There is no way to accept what does not verify: `tls` looks at a bad certificate and hangs up,
//! `http` never sends a byte of its request to it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits::PEM_BYTES_MAX;

/// What became of the handshake's certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The server's own certificate, DER; `None` if the handshake did not come so far.
    pub(super) leaf: Option<Vec<u8>>,
    /// Why it was not accepted.
    pub(super) refusal: Option<Error>,
}

/// What a handshake leaves behind.
pub(super) type Record = Arc<Mutex<Seen>>;

/// Reads a record, also after a panic elsewhere.
pub(super) fn seen(record: &Record) -> Seen {
    record.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Whether a certificate that does not verify ends the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Yes: nothing is ever sent to such a server.
    Refuse,
    /// The handshake goes on, so that we see whether it would work otherwise; the caller sends
    /// nothing through it.
    OnlyLook,
}

/// A client's configuration that trusts the PEM file `ca`, or else this system's roots, and a
/// record of the certificate that it meets. Blocking: it reads files.
///
/// # Errors
///
/// A text for people: the file of roots cannot be read or holds no certificate.
pub(super) fn client_config(
    ca: Option<&str>,
    strictness: Strictness,
) -> Result<(ClientConfig, Record), String> {
    let provider = Arc::new(ring::default_provider());
    let pinned = ca.map(certificates_of).transpose()?;
    let roots = roots(pinned.as_deref())?;
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|why| format!("use the trusted roots: {why}"))?;
    let record = Record::default();
    let verifier = Verifier {
        webpki,
        provider: provider.clone(),
        pinned: pinned.unwrap_or_default(),
        strictness,
        record: record.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| format!("set up TLS: {why}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // A resumed session shows no certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok((config, record))
}

/// For plain http: a configuration that trusts nobody, where the client insists on one.
pub(super) fn no_tls() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of TLS 1.2 and 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

fn certificates_of(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let size = Path::new(path).metadata().map_err(|why| format!("read roots `{path}`: {why}"))?;
    if !size.is_file() || size.len() > PEM_BYTES_MAX {
        return Err(format!("read roots `{path}`: not a file of at most {PEM_BYTES_MAX} bytes"));
    }
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| format!("read roots `{path}`: {why}"))?;
    if found.is_empty() {
        return Err(format!("read roots `{path}`: it holds no PEM certificate"));
    }
    Ok(found)
}

/// `pinned`, else the system's, else Mozilla's list: a slim container often has no list at all.
fn roots(pinned: Option<&[CertificateDer<'static>]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match pinned {
        Some(pinned) => {
            roots.add_parsable_certificates(pinned.iter().cloned());
            if roots.is_empty() {
                return Err("use the trusted roots: no usable certificate among them".to_owned());
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
    }
    Ok(roots)
}

#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    /// What the author's own `ca` file names.
    pinned: Vec<CertificateDer<'static>>,
    strictness: Strictness,
    record: Record,
}

impl Verifier {
    /// As every TLS client does; and a server's own certificate that stands itself in the `ca`
    /// file is trusted as such, whatever kind it is (self-signed ones say that they are a CA).
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.pinned.iter().any(|pinned| pinned.as_ref() == leaf.as_ref()) {
            let facts = Facts::of(leaf).ok_or(CertificateError::BadEncoding)?;
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            if now < facts.not_before {
                return Err(CertificateError::NotValidYet.into());
            }
            if now > facts.not_after {
                return Err(CertificateError::Expired.into());
            }
            let parsed = ParsedCertificate::try_from(leaf)?;
            return rustls::client::verify_server_name(&parsed, name);
        }
        self.webpki.verify_server_cert(leaf, between, name, ocsp, now).map(|_| ())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let refusal = self.verify(leaf, between, name, ocsp, now).err();
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) =
            Seen { leaf: Some(leaf.to_vec()), refusal: refusal.clone() };
        match refusal {
            Some(why) if self.strictness == Strictness::Refuse => Err(why),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, leaf, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// As in `CN=example.org, O=Example`.
    pub(super) subject: String,
    /// As `subject`.
    pub(super) issuer: String,
    /// DNS names and addresses that it is good for, in its order.
    pub(super) names: Vec<String>,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    /// Seconds since 1970.
    pub(super) not_after: i64,
}

impl Facts {
    /// `None` if `der` is not a certificate.
    pub(super) fn of(der: &[u8]) -> Option<Facts> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = match certificate.subject_alternative_name() {
            Ok(Some(names)) => names.value.general_names.iter().filter_map(shown).collect(),
            Ok(None) | Err(_) => Vec::new(),
        };
        Some(Facts {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }

    /// Whole days until it expires, rounded down as every monitoring tool does: a certificate
    /// with 71 hours left has 2 days, one that expired an hour ago has -1.
    pub(super) fn days_left(&self, now: jiff::Timestamp) -> i64 {
        (self.not_after - now.as_second()).div_euclid(86_400)
    }

    /// The last moment of its life, RFC 3339.
    pub(super) fn expires(&self) -> Option<String> {
        jiff::Timestamp::from_second(self.not_after).ok().map(|at| at.to_string())
    }
}

fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => {
                <[u8; 4]>::try_from(*bytes).ok().map(|ip| std::net::Ipv4Addr::from(ip).to_string())
            }
            16 => {
                <[u8; 16]>::try_from(*bytes).ok().map(|ip| std::net::Ipv6Addr::from(ip).to_string())
            }
            _ => None,
        },
        _ => None,
    }
}

/// Why a handshake failed, in words that say what to do about it.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is not valid for this name".to_owned()
            }
            CertificateError::UnknownIssuer => {
                "the certificate's issuer is not trusted here".to_owned()
            }
            CertificateError::Revoked => "the certificate was revoked".to_owned(),
            other => format!("the certificate is not acceptable: {other}"),
        },
        Error::InvalidMessage(_) => "the other side does not speak TLS".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_rounded_down() {
        let facts = |not_after| Facts {
            subject: String::new(),
            issuer: String::new(),
            names: Vec::new(),
            not_before: 0,
            not_after,
        };
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        for (left_s, days) in [(3 * 86_400, 3), (3 * 86_400 - 1, 2), (0, 0), (-1, -1)] {
            assert_eq!(facts(1_000_000 + left_s).days_left(now), days, "{left_s}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_none() {
        assert_eq!(Facts::of(b""), None);
        assert_eq!(Facts::of(&[0x30, 0x82, 0xff, 0xff]), None);
    }
}
