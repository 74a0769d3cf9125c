//! Who may do what: the header that carries the credential, and the permissions of a token.

use super::refusal::Refusal;
use crate::options::{DirektivAuth, DirektivVersion, Options};
use crate::wire::Request;

/// The headers that are looked at.
pub(super) fn accepts(options: &Options) -> Vec<DirektivAuth> {
    match (options.direktiv_accepts, options.direktiv_version) {
        (Some(one), _) => vec![one],
        (None, DirektivVersion::V0_6) => vec![DirektivAuth::Apikey, DirektivAuth::Token],
        (None, DirektivVersion::V0_7 | DirektivVersion::V0_8_4 | DirektivVersion::V0_8_5) => vec![DirektivAuth::Token],
        (None, DirektivVersion::V0_10 | DirektivVersion::Head) => vec![DirektivAuth::ApiKey],
    }
}

/// Legacy servers answer 401 without a body, v0.9 and newer 403 with the envelope (docs/vendors/direktiv.md 2).
pub(super) fn authorise(options: &Options, request: &Request, rest: &[&str]) -> Result<(), Refusal> {
    let accepts = accepts(options);
    if accepts == [DirektivAuth::Open] {
        return Ok(());
    }
    let known = options.credentials.direktiv_token.as_str();
    let right = |auth: &DirektivAuth| match auth {
        DirektivAuth::Bearer => request.bearer() == Some(known),
        auth => auth.header().and_then(|name| request.header(name)) == Some(known),
    };
    if options.direktiv_version < DirektivVersion::V0_10 {
        return if accepts.iter().any(right) {
            Ok(())
        } else {
            Err(Refusal::Empty(401))
        };
    }
    // The enterprise middleware looks at a JWT, then at a token, and only then at the admin's key: a bad one of
    // the first two isn't saved by a good key.
    let order = [DirektivAuth::Bearer, DirektivAuth::ApiToken, DirektivAuth::ApiKey];
    let order = if accepts == [DirektivAuth::Token] || accepts == [DirektivAuth::Apikey] {
        accepts.clone()
    } else {
        order.to_vec()
    };
    let sent = order
        .into_iter()
        .find(|auth| auth.header().is_some_and(|name| request.header(name).is_some()));
    match sent {
        None => Err(Refusal::v2("access_token_missing", "missing api key")),
        Some(auth) if accepts.contains(&auth) && right(&auth) => permit(options, rest),
        Some(DirektivAuth::ApiKey) => Err(Refusal::v2("access_token_invalid", "invalid api key")),
        Some(_) => Err(Refusal::v2("access_token_invalid", "invalid api token")),
    }
}

/// A token's permissions are by topic, the path segment after the namespace (docs/vendors/direktiv.md 2).
fn permit(options: &Options, rest: &[&str]) -> Result<(), Refusal> {
    let topic = rest.get(3).copied();
    if topic.is_some() && topic == options.direktiv_denies.as_deref() {
        return Err(Refusal::v2("access_token_denied", "not enough permissions"));
    }
    Ok(())
}
