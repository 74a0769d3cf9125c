//! Addresses of services.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};
use url::{Host, Url};

use super::{FromVariable, Kind};

/// The address of a service: scheme, host, port, and the path behind which its API lies.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// An address without scheme or host, with credentials, a query or a fragment in it, or none at all.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "as in https://api.example.com";
        let text = text.trim();
        if !text.contains("://") {
            return Err(format!("has no scheme; it has to start with https://, {example}"));
        }
        let url = Url::parse(text).map_err(|error| format!("is no address ({error}); write it {example}"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(format!(
                "has the scheme {}; only https and http are spoken here",
                url.scheme()
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("has a user name or password in it; credentials have variables of their own".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("has a `?` or `#` in it; give the address only, {example}"));
        }
        Ok(Self(url))
    }

    /// This address as it was given: for a service that is all of one address.
    pub fn whole(&self) -> &str {
        self.0.as_str()
    }

    /// This address followed by `path`, where the address may already end in one of `prefixes` with which every path
    /// of the API starts (`/api/v1`): people copy it with and without.
    pub fn join(&self, prefixes: &[&str], path: &str) -> String {
        let base = self.0.as_str().trim_end_matches('/');
        let base = prefixes
            .iter()
            .find_map(|prefix| base.strip_suffix(prefix))
            .unwrap_or(base);
        format!("{base}{path}")
    }

    /// As [`require_tls`].
    ///
    /// # Errors
    /// It is `http://` to another machine.
    pub fn require_tls(&self) -> Result<(), String> {
        require_tls(self.0.as_str())
    }
}

/// Whether credentials may go to an address: over https, or to this machine.
///
/// # Errors
/// It is `http://` to another machine, or none.
pub fn require_tls(address: &str) -> Result<(), String> {
    let url = Url::parse(address.trim()).map_err(|error| format!("is no address ({error})"))?;
    let is_loopback = url.host().is_some_and(|host| is_loopback(&host));
    if url.scheme() == "https" || is_loopback {
        return Ok(());
    }
    Err(
        "is http://, which would send credentials in the clear; use https://, or set NOTIFY_ALLOW_HTTP=true if the \
         network between is your own"
            .to_owned(),
    )
}

/// Whether a host is this machine: by its address, or by the one name that the client resolves to that address itself.
/// What `x.localhost` leads to is for DNS to say.
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl FromVariable for BaseUrl {
    const KIND: Kind = Kind::Url;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_an_address() {
        let may_go = |url: &str| require_tls(url).is_ok();
        for here in [
            "http://localhost:8080/x",
            "http://LocalHost",
            "http://127.0.0.1",
            "http://127.1",
            "http://[::1]:80",
            "https://x.localhost",
        ] {
            assert!(may_go(here), "{here}");
        }
        for elsewhere in [
            "http://x.localhost",
            "http://localhost.",
            "http://localhost.example.com",
            "http://[::ffff:127.0.0.1]",
            "http://0.0.0.0",
            "http://128.0.0.1",
        ] {
            assert!(!may_go(elsewhere), "{elsewhere}");
        }
    }
}
