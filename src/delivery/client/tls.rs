//! Whom to trust: the built-in public roots, those of the user, and servers' own certificates that the user gave.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

use crate::{
    files::{self, Links},
    problem::Problem,
    settings::Network,
};

/// How TLS is spoken, and whom it trusts. `more_roots` is a file, or a text, with roots that are trusted too.
///
/// # Errors
/// Roots that can't be read.
pub(super) fn config(network: &Network, more_roots: Option<&str>) -> Result<ClientConfig, Problem> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (roots, given) = trusted(network, more_roots)?;
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .expect("there are roots, and no lists of what is revoked");
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks every version of TLS that rustls is built with")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { inner, given }))
        .with_no_client_auth())
}

/// The roots, and which certificates the user gave.
fn trusted(
    network: &Network,
    more_roots: Option<&str>,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Problem> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let mut all_given = Vec::new();
    for (variable, given) in [
        ("NOTIFY_CA_FILE", network.ca_file.as_deref()),
        ("SSL_CERT_FILE", network.ssl_cert_file.as_deref()),
        ("CI_SERVER_TLS_CA_FILE", more_roots),
    ] {
        let Some(given) = given else { continue };
        let pem = if given.contains("-----BEGIN") {
            given.as_bytes().to_vec()
        } else {
            files::read(Path::new(given), Links::Followed).map_err(|error| {
                Problem::new(
                    variable,
                    format!("is neither a readable file ({error}) nor the text of a certificate (-----BEGIN CERTIFICATE-----)"),
                )
            })?
        };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
        let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            return Err(Problem::new(
                variable,
                "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)",
            ));
        }
        all_given.extend(certificates);
    }
    Ok((roots, all_given))
}

/// Whether a server's certificate was refused only because it is an authority's: `openssl req -x509` makes a
/// certificate that is both, and servers use it as their own.
pub(super) fn is_authority(error: &CertificateError) -> bool {
    match error {
        CertificateError::Other(OtherError(error)) => {
            error.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
        }
        _ => false,
    }
}

/// Whether a certificate's subject is of that name.
fn is_common_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    webpki::anchor_from_trusted_cert(certificate)
        .is_ok_and(|anchor| common_name(&anchor.subject).is_some_and(|own| own.eq_ignore_ascii_case(&name.to_str())))
}

/// The last common name in a subject: a sequence of sets of pairs of an object identifier and a text, in DER.
fn common_name(mut subject: &[u8]) -> Option<&str> {
    const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    let mut last = None;
    while !subject.is_empty() {
        let (mut set, after) = element(subject)?;
        subject = after;
        while !set.is_empty() {
            let (pair, after) = element(set)?;
            set = after;
            let (key, value) = element(pair)?;
            if key == COMMON_NAME {
                last = Some(str::from_utf8(element(value)?.0).ok()?);
            }
        }
    }
    last
}

/// The content of the first element in DER, and what follows it. A name is no longer than what two bytes can count.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, content) = match der.get(1..)? {
        [short @ 0..=0x7f, content @ ..] => (usize::from(*short), content),
        [0x81, length, content @ ..] => (usize::from(*length), content),
        [0x82, high, low, content @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), content),
        _ => return None,
    };
    content.split_at_checked(length)
}

/// Trusts what webpki trusts, and a server whose very certificate the user gave, as curl does.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self
            .inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if !self.given.contains(end_entity) {
            return verdict;
        }
        let verdict = match verdict {
            // Of itself, or of an authority that was not given: this very certificate was. webpki looks at the dates
            // before it looks whose certificate it is, so they are right here: the black-box tests hold that. At the
            // name it looks last.
            Err(Error::InvalidCertificate(error))
                if is_authority(&error) || error == CertificateError::UnknownIssuer =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)
                    .map(|()| ServerCertVerified::assertion())
            }
            verdict => verdict,
        };
        match verdict {
            // Without more arguments, `openssl req -x509` writes the name where it stood of old.
            Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }))
                if presented.is_empty() && is_common_name(end_entity, server_name) =>
            {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("it is short").to_be_bytes();
        match length {
            [0, short @ 0..=0x7f] => [&[tag, short], content].concat(),
            [0, longer] => [&[tag, 0x81, longer], content].concat(),
            [high, low] => [&[tag, 0x82, high, low], content].concat(),
        }
    }

    /// A set with one pair, as every subject is made of them.
    fn attribute(key: u8, text: &str) -> Vec<u8> {
        let pair = [der(6, &[0x55, 4, key]), der(12, text.as_bytes())].concat();
        der(0x31, &der(0x30, &pair))
    }

    #[test]
    fn the_last_common_name_is_the_name() {
        let organisation = attribute(10, &"x".repeat(200));
        let long = "y".repeat(300);
        for (subject, expected) in [
            (attribute(3, "a.example.com"), Some("a.example.com")),
            (
                [organisation.clone(), attribute(3, "a"), attribute(3, "b")].concat(),
                Some("b"),
            ),
            ([attribute(3, "a"), organisation.clone()].concat(), Some("a")),
            (attribute(3, &long), Some(long.as_str())),
            (organisation, None),
            (Vec::new(), None),
        ] {
            assert_eq!(common_name(&subject), expected);
        }
    }

    #[test]
    fn a_subject_that_is_cut_or_none_has_no_name() {
        let whole = attribute(3, "a.example.com");
        for end in 1..whole.len() {
            assert_eq!(common_name(&whole[..end]), None, "{end} bytes");
        }
        assert_eq!(common_name(&[0x31, 0x83, 0, 0, 1, 0]), None);
        assert_eq!(common_name(&attribute(3, "a").repeat(2)[..20]), None);
    }
}
