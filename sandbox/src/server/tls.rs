//! TLS with a root of the sandbox's own.

use std::sync::Arc;

use tokio_rustls::{TlsAcceptor, rustls};

/// A root made for this sandbox, and an acceptor with its certificate for `localhost` and 127.0.0.1.
pub(super) fn make() -> (TlsAcceptor, String) {
    let made = "rcgen makes keys and certificates of its own defaults";
    let mut root = rcgen::CertificateParams::new(Vec::<String>::new()).expect(made);
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.distinguished_name
        .push(rcgen::DnType::CommonName, "notify-event sandbox");
    root.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let issuer = rcgen::CertifiedIssuer::self_signed(root, rcgen::KeyPair::generate().expect(made)).expect(made);
    let key = rcgen::KeyPair::generate().expect(made);
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = rcgen::CertificateParams::new(names)
        .expect(made)
        .signed_by(&key, &issuer)
        .expect(made);
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key.into())
        .expect("the key is the certificate's");
    (TlsAcceptor::from(Arc::new(config)), issuer.pem())
}
