//! TLS with a root of the sandbox's own, or a certificate that signs itself.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tokio_rustls::{TlsAcceptor, rustls};

use crate::options::Certificate;

/// An acceptor with the certificate that is wanted, and the certificate that a client has to trust for it.
pub(super) fn make(wanted: &Certificate) -> (TlsAcceptor, String) {
    let made = "rcgen makes keys and certificates of its own defaults";
    let mut server = CertificateParams::new(wanted.names.clone()).expect(made);
    server
        .distinguished_name
        .push(DnType::CommonName, wanted.common_name.as_str());
    if let Some((begins, ends)) = wanted.years {
        server.not_before = rcgen::date_time_ymd(begins, 1, 1);
        server.not_after = rcgen::date_time_ymd(ends, 1, 1);
    }
    let key = KeyPair::generate().expect(made);
    let secret = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let (certificate, trusted) = if wanted.signs_itself {
        server.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = server.self_signed(&key).expect(made);
        let pem = certificate.pem();
        (certificate, pem)
    } else {
        let mut root = CertificateParams::new(Vec::<String>::new()).expect(made);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.distinguished_name.push(DnType::CommonName, "notify-event sandbox");
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(root, KeyPair::generate().expect(made)).expect(made);
        let certificate = server.signed_by(&key, &issuer).expect(made);
        let trusted = if wanted.given_itself {
            certificate.pem()
        } else {
            issuer.pem()
        };
        (certificate, trusted)
    };
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret.into())
        .expect("the key is the certificate's");
    (TlsAcceptor::from(Arc::new(config)), trusted)
}
