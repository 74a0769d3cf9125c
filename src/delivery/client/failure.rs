//! Why there was no reply, for a person: who it was that failed, and what mends it. Never with an address's path or
//! credentials.

use std::{error::Error, io, iter, time::Duration};

use rustls::{CertificateError, InvalidMessage, pki_types::UnixTime};
use url::Url;

use super::{SendError, proxy::Proxy, tls};
use crate::time::timestamp;

/// Where a request went.
pub(super) struct Way<'a> {
    /// Its whole address.
    pub(super) url: &'a Url,
    /// The variable that holds the beginning of it.
    pub(super) address: Option<&'a str>,
    /// The proxy that it went through.
    pub(super) proxy: Option<&'a Proxy>,
    /// The time that it had.
    pub(super) timeout: Duration,
}

/// What the HTTP client says of a failure.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "they are the client's own questions")]
pub(super) struct Failure<'e> {
    pub(super) error: &'e (dyn Error + 'static),
    pub(super) is_timeout: bool,
    pub(super) is_connect: bool,
    pub(super) is_dns: bool,
    /// The request could not even be made.
    pub(super) is_unmade: bool,
    /// What to say if it names no cause. Its own words hold the whole address.
    pub(super) otherwise: &'static str,
}

impl Way<'_> {
    /// Host and port.
    pub(super) fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port_or_known_default() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Host and port, and which variable leads there.
    fn service(&self) -> String {
        match self.address {
            Some(variable) => format!("{} ({variable})", self.host()),
            None => self.host(),
        }
    }

    /// Why there is no reply, and what may have become of the request.
    pub(super) fn explain(&self, failure: Failure) -> SendError {
        if let Some(why) = self.misconfiguration(failure) {
            return SendError::Misconfigured(why);
        }
        let why = self.in_words(failure);
        // A request that could not even be built was not sent either.
        if failure.is_connect || failure.is_unmade {
            SendError::NotSent(why)
        } else {
            SendError::MaybeSent(why)
        }
    }

    /// The proxy, if it was that which failed, or the way to it.
    fn failed_proxy(&self, failure: Failure) -> Option<&Proxy> {
        self.proxy.filter(|proxy| {
            tunnel_error(failure.error).is_some()
                // What a SOCKS proxy has looked up here is the service's name; that of the proxy itself is hidden.
                || (failure.is_dns && !proxy.is_socks())
                || (failure.is_connect && proxy.sees_requests(self.url))
        })
    }

    /// What is wrong with a setting, so that trying again is of no use.
    fn misconfiguration(&self, failure: Failure) -> Option<String> {
        let at_proxy = self.failed_proxy(failure);
        if let Some(proxy) = at_proxy
            && let Some(said) = tunnel_error(failure.error)
            && (said.ends_with("proxy authorization required") || said.ends_with("credentials not accepted"))
        {
            return Some(unauthorized(proxy));
        }
        if self.url.scheme() == "http" && chain(failure.error).any(|error| error.to_string() == NO_HTTP) {
            return Some(self.no_http(self.proxy.filter(|proxy| proxy.sees_requests(self.url))));
        }
        let at = at_proxy.map_or_else(|| self.service(), Proxy::shown);
        let address = at_proxy.map_or(self.address, |proxy| Some(proxy.variable.as_str()));
        match chain(failure.error).find_map(<dyn Error>::downcast_ref::<rustls::Error>)? {
            rustls::Error::InvalidCertificate(error) => Some(certificate(&at, address, error)),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Some(format!(
                "{at} does not speak TLS at that port: it is one for http://, or of another protocol. Correct {}",
                address.unwrap_or("the address")
            )),
            _ => None,
        }
    }

    /// What it means that plain http was answered by something else, by TLS as a rule; `proxy` is who was asked, if it
    /// was one.
    fn no_http(&self, proxy: Option<&Proxy>) -> String {
        let at = proxy.map_or_else(|| self.service(), Proxy::shown);
        let address = proxy.map_or(self.address, |proxy| Some(proxy.variable.as_str()));
        format!(
            "{at} does not speak plain http at that port: it is one for https://, or of another protocol. Correct {}",
            address.unwrap_or("the address")
        )
    }

    /// What a server says that was asked by plain http at its port for TLS, if this is it: nginx, Apache and Go answer
    /// in plain http, each in its own words, and have not read the request. A proxy hands that on.
    pub(super) fn wants_tls(&self, status: u16, body: &[u8]) -> Option<String> {
        const WORDS: &[&str] = &[
            "plain HTTP request was sent to HTTPS port",
            "speaking plain HTTP to an SSL-enabled server port",
            "sent an HTTP request to an HTTPS server",
        ];
        let is_it = self.url.scheme() == "http" && status == 400 && {
            let body = String::from_utf8_lossy(body);
            WORDS.iter().any(|words| body.contains(words))
        };
        is_it.then(|| self.no_http(None))
    }

    pub(super) fn in_words(&self, failure: Failure) -> String {
        let host = self.host();
        let through = self
            .proxy
            .map(|proxy| format!(" through {}", proxy.shown()))
            .unwrap_or_default();
        let why = reason(failure.error).unwrap_or_else(|| failure.otherwise.to_owned());
        let within = format!("within {:.1} s", self.timeout.as_secs_f64());
        if let Some(proxy) = self.failed_proxy(failure) {
            let proxy = proxy.shown();
            let said = tunnel_error(failure.error).unwrap_or_default();
            return if failure.is_dns {
                format!("the name of {proxy} can't be resolved")
            } else if failure.is_timeout {
                format!("no connection to {proxy} {within}")
            } else if said.ends_with("unsuccessful") {
                format!("{proxy} refuses to lead to {host}")
            } else if why == said && said.ends_with("underlying connection") {
                format!("no connection to {proxy}")
            } else if said.is_empty() || said.ends_with("underlying connection") {
                format!("no connection to {proxy}: {why}")
            } else {
                format!("{proxy} did not lead to {host}: {why}")
            };
        }
        if failure.is_timeout {
            let what = if failure.is_connect {
                "no connection to"
            } else {
                "no answer from"
            };
            format!("{what} {host}{through} {within}")
        } else if failure.is_dns {
            let name = self.url.host_str().unwrap_or_default();
            format!("the name {name} can't be resolved")
        } else if failure.is_connect {
            format!("no connection to {host}{through}: {why}")
        } else {
            format!("the connection to {host}{through} broke: {why}")
        }
    }
}

/// What the HTTP client says of an answer that does not begin as one does.
const NO_HTTP: &str = "invalid HTTP version parsed";

/// What a proxy's own answer 407 means.
pub(super) fn unauthorized(proxy: &Proxy) -> String {
    let (shown, variable) = (proxy.shown(), &proxy.variable);
    if proxy.has_credentials() {
        format!("{shown} does not accept the user name and password in {variable} (407)")
    } else {
        format!(
            "{shown} wants a user name and a password (407); give them in {variable}, as in http://USER:PASSWORD@HOST:PORT"
        )
    }
}

/// What is wrong with the certificate of `at`, and what mends just that.
fn certificate(at: &str, address: Option<&str>, error: &CertificateError) -> String {
    let time = |time: &UnixTime| timestamp(std::time::UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    let clock = "if that is not so, this machine's clock is wrong";
    let (wrong, advice) = match error {
        CertificateError::UnknownIssuer => (
            "its certificate is signed by no root that is known here".to_owned(),
            "If that is as it should be, give its root in NOTIFY_CA_FILE, or the certificate itself; \
             if not, have the server send its intermediate certificates"
                .to_owned(),
        ),
        error if tls::is_authority(error) => (
            "its certificate signs itself, or is an authority's, and is none of those that are given here".to_owned(),
            "If that is as it should be, give this very certificate in NOTIFY_CA_FILE".to_owned(),
        ),
        CertificateError::ExpiredContext { time: now, not_after } => (
            format!(
                "its certificate expired at {}, and it is {} now",
                time(not_after),
                time(now)
            ),
            format!("Have it renewed there; {clock}"),
        ),
        CertificateError::Expired => (
            "its certificate has expired".to_owned(),
            format!("Have it renewed there; {clock}"),
        ),
        CertificateError::NotValidYetContext { time: now, not_before } => (
            format!(
                "its certificate is valid from {} on, and it is {} now",
                time(not_before),
                time(now)
            ),
            format!("Have it replaced there; {clock}"),
        ),
        CertificateError::NotValidForNameContext { expected, presented } => (
            format!("its certificate is {}, not for {}", names(presented), expected.to_str()),
            format!(
                "Correct {}, or have the certificate made for that name",
                address.unwrap_or("the address")
            ),
        ),
        error => (
            format!("its certificate can't be used ({error})"),
            "Have it replaced there".to_owned(),
        ),
    };
    format!("{at} is not trusted: {wrong}. {advice}")
}

/// The names in a certificate. It is a stranger's, so no more than a few are shown, and none that is endless.
fn names(presented: &[String]) -> String {
    const SHOWN: usize = 5;
    const LONGEST: usize = 80;
    if presented.is_empty() {
        return "for nobody (it has no subjectAltName)".to_owned();
    }
    // `DnsName("example.com")`, `IpAddress(10.0.0.1)`
    let name = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner);
        let inner = inner.trim_end_matches(')').trim_matches('"');
        inner.chars().take(LONGEST).collect::<String>()
    };
    let shown: Vec<String> = presented.iter().take(SHOWN).map(name).collect();
    let more = match presented.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("for {}{more}", shown.join(", "))
}

/// What a proxy did instead of making a way: the types of these errors are hidden, their words are not.
fn tunnel_error(error: &(dyn Error + 'static)) -> Option<String> {
    chain(error)
        .map(ToString::to_string)
        .find(|said| said.starts_with("tunnel error: ") || said.starts_with("SOCKS error: "))
}

/// The innermost cause, which is the one that says something.
pub(super) fn reason(error: &(dyn Error + 'static)) -> Option<String> {
    chain(error).skip(1).last().map(ToString::to_string)
}

/// An error and its causes. What an I/O error wraps is skipped by its own `source`.
fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
