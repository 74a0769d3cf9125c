//! The HTTP client: TLS with built-in roots and the user's own, proxies, bounds. The only user of `reqwest`.

use std::{error::Error as _, fs, path::Path, sync::Arc, time::Duration};

use reqwest::{NoProxy, Proxy, Url, header, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{
    reply::Reply,
    request::{Part, Request, Text},
};
use crate::{problem::Problem, secret::Secret, settings::Network, text::shape};

/// How this program presents itself.
const USER_AGENT: &str = concat!("notify-event/", env!("CARGO_PKG_VERSION"));

/// The part of an attempt's time after which a connection that is not made counts as not made, rather than as an
/// attempt that may have arrived: the two have to be told apart.
const CONNECT_SHARE: f64 = 0.8;

/// Why there is no reply.
#[derive(Debug, PartialEq, Eq)]
pub enum SendError {
    /// No connection was made: the service saw nothing.
    NotSent(String),
    /// The request, or a part of it, was sent: the service may have acted on it.
    MaybeSent(String),
    /// The service answered, with more than is read.
    TooLong(u16, usize),
}

/// Sends requests. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
}

impl Client {
    /// A client that reaches the services as `network` says. `attempt_timeout` is the time of one attempt, `more_roots`
    /// a file with roots that are trusted too.
    ///
    /// # Errors
    /// Roots that can't be read, a proxy that is no address.
    pub fn new(network: &Network, attempt_timeout: Duration, more_roots: Option<&str>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            // A redirect would carry the credential, or lose the body; the address has to be right.
            .redirect(redirect::Policy::none())
            // What may be repeated is decided by the plan alone.
            .retry(reqwest::retry::never())
            .connect_timeout(attempt_timeout.mul_f64(CONNECT_SHARE))
            // No proxy but those that are named below: the environment is read in one place.
            .no_proxy();
        match roots(network, more_roots) {
            Ok(roots) => builder = builder.tls_backend_preconfigured(tls(roots)),
            Err(problem) => problems.push(problem),
        }
        let except = network.no_proxy.as_deref().map(exceptions);
        let except_all = matches!(except, Some(None));
        for (secret, make) in [
            (
                &network.https_proxy,
                Proxy::https::<Url> as fn(Url) -> reqwest::Result<Proxy>,
            ),
            (&network.http_proxy, Proxy::http::<Url>),
            (&network.all_proxy, Proxy::all::<Url>),
        ] {
            let Some(secret) = secret else { continue };
            match proxy_url(secret).and_then(|url| make(url).map_err(|_| bad_proxy(secret))) {
                Ok(_) if except_all => {}
                Ok(proxy) => builder = builder.proxy(proxy.no_proxy(except.clone().flatten())),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        match builder.build() {
            Ok(http) => Ok(Self { http }),
            Err(error) => Err(vec![Problem::new(
                "",
                format!("the HTTP client can't be made: {}", reason(&error)),
            )]),
        }
    }

    /// Sends `request` and reads up to `limit` bytes of the reply, all within `timeout`.
    ///
    /// # Errors
    /// What became of it when there is no whole reply.
    pub async fn send(
        &self,
        request: &Request,
        learned: &dyn Fn(&str) -> Option<Secret>,
        timeout: Duration,
        limit: usize,
    ) -> Result<Reply, SendError> {
        let build = |text: &Text| text.expose(learned).unwrap_or_default();
        let url = build(&request.url);
        let host = Url::parse(&url)
            .ok()
            .and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)))
            .unwrap_or_default();
        let method = reqwest::Method::from_bytes(request.method.name().as_bytes()).unwrap_or_default();
        let mut builder = self.http.request(method, url).timeout(timeout);
        for (name, value) in &request.headers {
            let value = build(value);
            // A header whose name is part of the credential, as in DIREKTIV_HEADER: a whole line.
            builder = match (name.as_str(), value.split_once(':')) {
                ("", Some((name, value))) => builder.header(name.trim(), value.trim()),
                (name, _) => builder.header(name, value),
            };
        }
        if let Some(body) = &request.body {
            builder = builder.body(build(body));
        } else if request.method != super::request::Method::Get {
            builder = builder.header(header::CONTENT_LENGTH, "0");
        }
        let mut response = builder.send().await.map_err(|error| {
            let why = explanation(&error, &host, timeout);
            // A request that could not even be built was not sent either.
            if error.is_connect() || error.is_builder() {
                SendError::NotSent(why)
            } else {
                SendError::MaybeSent(why)
            }
        })?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Err(SendError::TooLong(status, limit)),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => {
                    let why = explanation(&error, &host, timeout);
                    return Err(SendError::MaybeSent(format!(
                        "{host} answered {status}, but not to the end: {why}"
                    )));
                }
            }
        }
        Ok(Reply::new(status, headers, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Whether every header of `request` can be sent: a token that was pasted with its line break can't.
///
/// # Errors
/// The variable whose value a header can't carry.
pub fn check(request: &Request) -> Result<(), Problem> {
    for (_, text) in &request.headers {
        for part in &text.0 {
            let Part::Secret(secret, _) = part else { continue };
            let position = secret.expose().chars().position(char::is_control);
            if let Some(position) = position {
                return Err(Problem::new(
                    secret.variable(),
                    format!(
                        "has a line break or another control character at position {} of {}; a header can't carry it. \
                         Paste the value anew, without what surrounds it",
                        position + 1,
                        shape(secret.expose())
                    ),
                ));
            }
        }
    }
    Ok(())
}

fn tls(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks every version of TLS that rustls is built with")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The built-in public roots, and what the user adds.
fn roots(network: &Network, more_roots: Option<&str>) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for (variable, given) in [
        ("NOTIFY_CA_FILE", network.ca_file.as_deref()),
        ("SSL_CERT_FILE", network.ssl_cert_file.as_deref()),
        ("CI_SERVER_TLS_CA_FILE", more_roots),
    ] {
        let Some(given) = given else { continue };
        let pem = if given.contains("-----BEGIN") {
            given.as_bytes().to_vec()
        } else {
            fs::read(Path::new(given)).map_err(|error| {
                Problem::new(
                    variable,
                    format!("is neither a readable file ({error}) nor the text of a certificate (-----BEGIN CERTIFICATE-----)"),
                )
            })?
        };
        let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(Problem::new(
                variable,
                "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)",
            ));
        }
    }
    Ok(roots)
}

fn proxy_url(secret: &Secret) -> Result<Url, Problem> {
    let text = secret.expose();
    // As curl: without a scheme it is http.
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    Url::parse(&text)
        .ok()
        .filter(|url| {
            url.has_host()
                && matches!(
                    url.scheme(),
                    "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h"
                )
        })
        .ok_or_else(|| bad_proxy(secret))
}

/// What `NO_PROXY` excepts, as curl reads it: commas or spaces between, and `*` for every host (`None`), which reqwest
/// would match with names only, not with addresses.
fn exceptions(list: &str) -> Option<NoProxy> {
    let hosts: Vec<&str> = list
        .split(|character: char| character == ',' || character.is_whitespace())
        .filter(|host| !host.is_empty())
        .collect();
    if hosts.contains(&"*") {
        return None;
    }
    NoProxy::from_string(&hosts.join(","))
}

/// The password in a proxy's address, which has to be hidden on its own too.
pub fn proxy_password(secret: &Secret) -> Option<String> {
    let password = proxy_url(secret).ok()?.password()?.to_owned();
    Some(
        percent_encoding::percent_decode_str(&password)
            .decode_utf8_lossy()
            .into_owned(),
    )
}

fn bad_proxy(secret: &Secret) -> Problem {
    Problem::new(
        secret.variable(),
        "is no address of a proxy, as in http://proxy.example.com:3128 (http, https, socks4 and socks5 are spoken)",
    )
}

/// What went wrong, for a person: never with the address, which may hold a credential.
fn explanation(error: &reqwest::Error, host: &str, timeout: Duration) -> String {
    let why = reason(error);
    if error.is_timeout() {
        let what = if error.is_connect() {
            "no connection to"
        } else {
            "no answer from"
        };
        format!("{what} {host} within {:.1} s", timeout.as_secs_f64())
    } else if error.is_dns() {
        format!("the name {} can't be resolved", host.split(':').next().unwrap_or(host))
    } else if why.contains("certificate") {
        format!("{host} is not trusted: {why}. If its root is your own, give it in NOTIFY_CA_FILE")
    } else if error.is_connect() {
        format!("no connection to {host}: {why}")
    } else {
        format!("the connection to {host} broke: {why}")
    }
}

/// The innermost cause, which is the one that says something.
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.source().is_none() {
        return if error.is_body() || error.is_decode() {
            "its body broke off"
        } else {
            "the request failed"
        }
        .to_owned();
    }
    innermost.to_string()
}
