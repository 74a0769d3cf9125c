//! The HTTP client: TLS with built-in roots and the user's own, proxies, bounds. The only user of `reqwest`.

mod failure;
mod proxy;
mod tls;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use reqwest::{Url, header, redirect};

use failure::{Failure, Way};
use proxy::Proxy;
pub use proxy::password as proxy_password;

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
    /// A variable has to be set right, or a certificate, before there is any use in trying again: the service saw
    /// nothing.
    Misconfigured(String),
    /// The service answered, with more than is read.
    TooLong(u16, usize),
}

/// Sends requests. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    direct: reqwest::Client,
    /// The proxies in the order in which they are asked, each with a client that knows no other.
    proxied: Arc<[(Proxy, reqwest::Client)]>,
}

impl Client {
    /// A client that reaches the services as `network` says. `attempt_timeout` is the time of one attempt, `more_roots`
    /// a file with roots that are trusted too.
    ///
    /// # Errors
    /// Roots that can't be read, a proxy that is no address.
    pub fn new(network: &Network, attempt_timeout: Duration, more_roots: Option<&str>) -> Result<Self, Vec<Problem>> {
        let (tls, proxies) = match (tls::config(network, more_roots), proxy::all(network)) {
            (Ok(tls), Ok(proxies)) => (tls, proxies),
            (tls, proxies) => {
                let of_proxies = proxies.err().unwrap_or_default();
                return Err(tls.err().into_iter().chain(of_proxies).collect());
            }
        };
        let make = |proxy: Option<&Proxy>| {
            let mut builder = reqwest::Client::builder()
                .user_agent(USER_AGENT)
                // No reply is so long that it would be worth unpacking, which could make any length of it.
                .default_headers(header::HeaderMap::from_iter([(
                    header::ACCEPT_ENCODING,
                    header::HeaderValue::from_static("identity"),
                )]))
                // A redirect would carry the credential, or lose the body; the address has to be right.
                .redirect(redirect::Policy::none())
                // What may be repeated is decided by the plan alone.
                .retry(reqwest::retry::never())
                .connect_timeout(attempt_timeout.mul_f64(CONNECT_SHARE))
                // No proxy but the given one: the environment is read in one place.
                .no_proxy()
                // What is sent there may be sent in the clear, so that no DNS may lead it elsewhere.
                .resolve_to_addrs(
                    "localhost",
                    &[
                        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
                    ],
                )
                .tls_backend_preconfigured(tls.clone());
            if let Some(proxy) = proxy {
                builder = builder.proxy(reqwest::Proxy::all(proxy.url.clone())?);
            }
            builder.build()
        };
        let make = |proxy: Option<&Proxy>| {
            make(proxy).map_err(|error| {
                let variable = proxy.map_or("", |proxy| &proxy.variable);
                let why = failure::reason(&error).unwrap_or_default();
                vec![Problem::new(variable, format!("the HTTP client can't be made: {why}"))]
            })
        };
        let with_client = |proxy: Proxy| make(Some(&proxy)).map(|client| (proxy, client));
        let ways: Result<Vec<_>, _> = proxies.into_iter().map(with_client).collect();
        Ok(Self {
            proxied: ways?.into(),
            direct: make(None)?,
        })
    }

    /// Sends `request` and reads up to `limit` bytes of the reply, from `now` on within `timeout`. `address` is the variable that
    /// leads there, for messages.
    ///
    /// # Errors
    /// What became of it when there is no whole reply.
    pub async fn send(
        &self,
        request: &Request,
        address: Option<&str>,
        learned: &dyn Fn(&str) -> Option<Secret>,
        (now, timeout): (SystemTime, Duration),
        limit: usize,
    ) -> Result<Reply, SendError> {
        let build = |text: &Text| text.expose(learned).unwrap_or_default();
        let url = Url::parse(&build(&request.url))
            .map_err(|error| SendError::NotSent(format!("there is no such address: {error}")))?;
        let proxied = self.proxied.iter().find(|(proxy, _)| proxy.takes(&url));
        let (proxy, http) = proxied.map_or((None, &self.direct), |(proxy, http)| (Some(proxy), http));
        let way = Way {
            url: &url,
            address,
            proxy,
            timeout,
        };
        let method = reqwest::Method::from_bytes(request.method.name().as_bytes()).unwrap_or_default();
        let mut builder = http.request(method, url.clone()).timeout(timeout);
        for (name, value) in &request.headers {
            let value = build(value);
            // A header whose name is part of the credential, as in DIREKTIV_HEADER: a whole line.
            builder = match (name.as_str(), value.split_once(':')) {
                ("", Some((name, value))) => builder.header(name.trim(), value.trim()),
                (name, _) => builder.header(name, value),
            };
        }
        let body = request.body.as_ref().map(build);
        if let Some(signing) = &request.signing {
            for (name, value) in signing.headers(now, body.as_deref().unwrap_or_default()) {
                builder = builder.header(name, value);
            }
        }
        if let Some(body) = body {
            builder = builder.body(body);
        } else if request.method != super::request::Method::Get {
            builder = builder.header(header::CONTENT_LENGTH, "0");
        }
        let mut response = builder.send().await.map_err(|error| way.explain(failure_of(&error)))?;
        let status = response.status().as_u16();
        if let Some(proxy) = proxy.filter(|proxy| status == 407 && proxy.sees_requests(&url)) {
            return Err(SendError::Misconfigured(failure::unauthorized(proxy)));
        }
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
                    if let Some(why) = way.wants_tls(status, &body) {
                        return Err(SendError::Misconfigured(why));
                    }
                    return Err(SendError::MaybeSent(format!(
                        "{} answered {status}, but not to the end: {}",
                        way.host(),
                        way.in_words(failure_of(&error))
                    )));
                }
            }
        }
        if let Some(why) = way.wants_tls(status, &body) {
            return Err(SendError::Misconfigured(why));
        }
        let reply = Reply::new(status, headers, body);
        Ok(match proxy.filter(|proxy| proxy.sees_requests(&url)) {
            Some(proxy) => reply.through(proxy.shown()),
            None => reply,
        })
    }
}

/// What `error` says of itself.
fn failure_of(error: &reqwest::Error) -> Failure<'_> {
    Failure {
        error,
        is_timeout: error.is_timeout(),
        is_connect: error.is_connect(),
        is_dns: error.is_dns(),
        is_unmade: error.is_builder(),
        otherwise: if error.is_body() || error.is_decode() {
            "its body broke off"
        } else {
            "the request failed"
        },
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
