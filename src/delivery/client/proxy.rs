//! The proxies that the environment names, and which of them a request goes through.

use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use crate::{problem::Problem, secret::Secret, settings::Network, variables::is_loopback};

/// Where SOCKS proxies listen if their address does not say.
const SOCKS_PORT: u16 = 1080;

/// A proxy, and what goes through it.
pub(super) struct Proxy {
    /// Its address, with the credentials for it.
    pub(super) url: Url,
    /// The variable that named it.
    pub(super) variable: String,
    matcher: Matcher,
}

impl Proxy {
    /// Where it listens, for a person: never with the credentials.
    pub(super) fn shown(&self) -> String {
        let port = self.url.port_or_known_default().unwrap_or(SOCKS_PORT);
        let host = self.url.host_str().unwrap_or_default();
        format!("the proxy {host}:{port} ({})", self.variable)
    }

    /// Whether it is asked for each request, rather than for a tunnel through which it sees nothing.
    pub(super) fn sees_requests(&self, to: &Url) -> bool {
        to.scheme() == "http" && !self.is_socks()
    }

    /// Whether it leads bytes, and knows nothing of http.
    pub(super) fn is_socks(&self) -> bool {
        self.url.scheme().starts_with("socks")
    }

    /// Whether it gets a user name or a password.
    pub(super) fn has_credentials(&self) -> bool {
        !self.url.username().is_empty() || self.url.password().is_some()
    }

    /// Whether a request to `url` goes through it. What is on this machine never does: a proxy elsewhere could not
    /// reach it, and would get in the clear what only needs no TLS because it stays here.
    pub(super) fn takes(&self, url: &Url) -> bool {
        url.host().is_some_and(|host| !is_loopback(&host)) && intercepts(&self.matcher, url)
    }
}

fn intercepts(matcher: &Matcher, url: &Url) -> bool {
    let origin = url.origin().ascii_serialization();
    origin.parse().is_ok_and(|origin| matcher.intercept(&origin).is_some())
}

/// The proxies that `network` names, the one for a scheme before the one for all.
///
/// # Errors
/// What is no address of a proxy.
pub(super) fn all(network: &Network) -> Result<Vec<Proxy>, Vec<Problem>> {
    let except = network.no_proxy.as_deref().map_or(Some(String::new()), exceptions);
    let (mut proxies, mut problems) = (Vec::new(), Vec::new());
    for (secret, scheme) in [
        (&network.https_proxy, "https"),
        (&network.http_proxy, "http"),
        (&network.all_proxy, ""),
    ] {
        let Some(secret) = secret else { continue };
        match (address(secret), &except) {
            (Ok(_), None) => {}
            (Ok(url), Some(except)) => {
                let matcher = Matcher::builder().no(except.clone());
                let matcher = match scheme {
                    "https" => matcher.https(url.as_str()),
                    "http" => matcher.http(url.as_str()),
                    _ => matcher.all(url.as_str()),
                };
                proxies.push(Proxy {
                    url,
                    variable: secret.variable().to_owned(),
                    matcher: matcher.build(),
                });
            }
            (Err(problem), _) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(proxies)
    } else {
        Err(problems)
    }
}

/// The password in a proxy's address, which has to be hidden on its own too.
pub fn password(secret: &Secret) -> Option<String> {
    let password = address(secret).ok()?.password()?.to_owned();
    let password = percent_encoding::percent_decode_str(&password);
    Some(password.decode_utf8_lossy().into_owned())
}

fn address(secret: &Secret) -> Result<Url, Problem> {
    let text = secret.expose();
    // As curl: without a scheme it is http.
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let is_spoken = |url: &Url| {
        matches!(
            url.scheme(),
            "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h"
        )
    };
    Url::parse(&text)
        .ok()
        .filter(|url| url.has_host() && is_spoken(url))
        // What the matcher can't read it would pass over, and requests would go out directly.
        .filter(|url| {
            let any = Url::parse("https://any.invalid").expect("it is an address");
            intercepts(&Matcher::builder().all(url.as_str()).build(), &any)
        })
        .ok_or_else(|| {
            Problem::new(
                secret.variable(),
                "is no address of a proxy, as in http://proxy.example.com:3128 (http, https, socks4 and socks5 are spoken)",
            )
        })
}

/// What `NO_PROXY` excepts, as curl reads it: commas or spaces between, and `*` for every host (`None`), which the
/// matcher would match with names only, not with addresses.
fn exceptions(list: &str) -> Option<String> {
    let hosts: Vec<&str> = list
        .split(|character: char| character == ',' || character.is_whitespace())
        .filter(|host| !host.is_empty())
        .collect();
    (!hosts.contains(&"*")).then(|| hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Reader;

    fn proxies(variables: &[(&str, &str)]) -> Vec<Proxy> {
        let own = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        let environment = crate::environment::Environment::from_variables(variables.iter().map(own));
        let reader = Reader {
            environment: &environment,
            official_names: false,
            allow_http: true,
            literals: &[],
        };
        all(&reader.read::<Network>().expect("the variables are right")).expect("these are proxies")
    }

    fn taken(proxies: &[Proxy], url: &str) -> Option<String> {
        let url = Url::parse(url).expect("it is an address");
        proxies.iter().find(|proxy| proxy.takes(&url)).map(Proxy::shown)
    }

    #[test]
    fn the_address_of_this_machine_goes_through_no_proxy() {
        let proxies = proxies(&[("ALL_PROXY", "http://user:secret@proxy.example.com:3128")]);
        for here in [
            "http://localhost:80/x",
            "https://LOCALHOST",
            "http://127.0.0.1",
            "http://127.9.9.9:8080",
            "https://[::1]:8443",
            "http://2130706433",
        ] {
            assert_eq!(taken(&proxies, here), None, "{here}");
        }
        for elsewhere in [
            "http://x.localhost",
            "https://localhost.example.com",
            "http://10.0.0.1",
            "https://[2001:db8::1]",
        ] {
            assert_eq!(
                taken(&proxies, elsewhere).as_deref(),
                Some("the proxy proxy.example.com:3128 (ALL_PROXY)"),
                "{elsewhere}"
            );
        }
    }

    #[test]
    fn a_proxy_is_shown_with_its_port_and_without_credentials() {
        for (given, shown) in [
            ("proxy.example.com", "the proxy proxy.example.com:80 (https_proxy)"),
            (
                "https://me:pw@proxy.example.com",
                "the proxy proxy.example.com:443 (https_proxy)",
            ),
            ("socks5h://me:pw@10.0.0.1", "the proxy 10.0.0.1:1080 (https_proxy)"),
            ("http://[::1]:3128", "the proxy [::1]:3128 (https_proxy)"),
        ] {
            let proxies = proxies(&[("https_proxy", given)]);
            assert_eq!(taken(&proxies, "https://api.example.com").as_deref(), Some(shown));
            assert_eq!(taken(&proxies, "http://api.example.com"), None);
        }
    }
}
