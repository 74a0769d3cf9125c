//! What `cdevents` reads that has a grammar of its own: types, package URLs and sources.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IntoDeserializer as _},
};

use super::vocabulary::Type;
use crate::{
    text::truncate,
    variables::{FromVariable, Kind},
};

/// A type's name, short or in full: `pipelinerun.finished`, `dev.cdevents.pipelinerun.finished.0.3.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeName(pub Type);

impl<'de> Deserialize<'de> for TypeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?.trim().to_lowercase();
        let short = text.strip_prefix(Type::PREFIX).unwrap_or(&text);
        let short = short.strip_suffix(Type::VERSION).unwrap_or(short);
        Type::deserialize(short.into_deserializer()).map(Self)
    }
}

impl FromVariable for TypeName {
    const KIND: Kind = Kind::Choice(Type::WORDS);
}

/// A package URL (docs/vendors/cdevents.md 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purl(pub String);

impl<'de> Deserialize<'de> for Purl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?.trim().to_owned();
        match purl(&text) {
            Ok(()) => Ok(Self(text)),
            Err(why) => Err(D::Error::custom(format!(
                "is `{}`, which is no package URL: {why}. Write it as pkg:type/namespace/name@version, as in \
                 pkg:oci/shop@sha256%3A0b31b1c0?repository_url=registry.example.com/acme/shop or \
                 pkg:generic/acme/shop@1.4.2",
                truncate(&text, 60)
            ))),
        }
    }
}

impl FromVariable for Purl {
    const KIND: Kind = Kind::Text;
}

/// Reads a package URL from its ends, as its specification does: subpath, qualifiers, type, version, name, namespace.
fn purl(text: &str) -> Result<(), &'static str> {
    let rest = match text.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("pkg") => rest.trim_start_matches('/'),
        _ => return Err("it does not begin with `pkg:`"),
    };
    is_encoded(text, b"-._~%/@?=&#:+,")?;
    let (rest, subpath) = rest.split_once('#').unwrap_or((rest, "x"));
    let (rest, qualifiers) = rest.split_once('?').unwrap_or((rest, "x=x"));
    let (kind, rest) = rest.split_once('/').ok_or("it has no name behind its type")?;
    let (path, version) = rest.rsplit_once('@').unwrap_or((rest, "x"));
    let is_kind = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let begins_with_letter = |word: &str| word.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_key = |byte: u8| is_kind(byte) || byte == b'_';
    let is_pair = |pair: &str| {
        pair.split_once('=')
            .is_some_and(|(key, value)| begins_with_letter(key) && key.bytes().all(is_key) && !value.is_empty())
    };
    if !begins_with_letter(kind) || !kind.bytes().all(is_kind) {
        Err("its type has to be of letters, digits, dots and dashes, and begin with a letter")
    } else if path.contains('@') || version.contains('/') {
        Err("an `@` that does not begin the version has to be written as %40")
    } else if path.split('/').any(str::is_empty) {
        Err("it has no name, or an empty part before it")
    } else if version.is_empty() {
        Err("it has no version behind its `@`")
    } else if !qualifiers.split('&').all(is_pair) {
        Err("what follows its `?` has to be key=value, with `&` between")
    } else if subpath.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Err("what follows its `#` has to be a path without empty parts, `.` and `..`")
    } else {
        Ok(())
    }
}

/// Where events come from, as a URI-reference (RFC 3986).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(pub String);

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?.trim().to_owned();
        match reference(&text) {
            Ok(()) => Ok(Self(text)),
            Err(why) => Err(D::Error::custom(format!(
                "is `{}`, which is no URI: {why}. Write it as in https://gitlab.example.com/acme/shop or /acme/shop",
                truncate(&text, 60)
            ))),
        }
    }
}

impl FromVariable for Source {
    const KIND: Kind = Kind::Text;
}

fn reference(text: &str) -> Result<(), &'static str> {
    is_encoded(text, b"-._~%/@?=&#:+,;!$'()*")?;
    if text.matches('#').count() > 1 {
        return Err("it has more than one `#`");
    }
    let first = text.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((scheme, _)) = first.split_once(':') else {
        return Ok(());
    };
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(is_sign) {
        Ok(())
    } else {
        Err("what is before its colon can't be a scheme")
    }
}

/// Whether a text has only letters, digits and `signs`, and whatever else as `%` and two digits.
fn is_encoded(text: &str, signs: &[u8]) -> Result<(), &'static str> {
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || signs.contains(&byte))
    {
        return Err("it has characters in it that have to be percent-encoded");
    }
    let is_whole = |after: &str| {
        let digits = after.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    };
    if text.split('%').skip(1).all(is_whole) {
        Ok(())
    } else {
        Err("it has a `%` without two hexadecimal digits behind it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::check;

    #[test]
    fn package_urls() {
        // The first are the examples of the package URL's and of CDEvents' own specification.
        for good in [
            "pkg:bitbucket/birkenfeld/pygments-main@244fd47e07d1014f0aed9c",
            "pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=jessie",
            "pkg:docker/customer/dockerimage@sha256:244fd47e07d1004f0aed9c?repository_url=gcr.io",
            "pkg:golang/google.golang.org/genproto#googleapis/api/annotations",
            "pkg:npm/%40angular/animation@12.3.1",
            "pkg:oci/myapp@sha256%3A0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427",
            "pkg:golang/mygit.com/myorg/myapp@234fd47e07d1004f0aed9c",
            "pkg:generic/shop",
            "PKG:generic/shop@1.4.2+5",
        ] {
            assert_eq!(check::<Purl>(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("registry.example.com/acme/shop:1.4.2", "does not begin with `pkg:`"),
            ("shop", "does not begin with `pkg:`"),
            ("pkg:oci", "no name behind its type"),
            ("pkg:/shop@1", "no name behind its type"),
            ("pkg:0ci/shop@1", "its type has to be"),
            ("pkg:oci/@1.4.2", "no name"),
            ("pkg:oci/acme//shop@1", "an empty part"),
            ("pkg:oci/shop@", "no version behind its `@`"),
            ("pkg:npm/@angular/animation@1", "%40"),
            ("pkg:npm/@angular/animation", "%40"),
            ("pkg:oci/my shop@1", "percent-encoded"),
            ("pkg:oci/shöp@1", "percent-encoded"),
            ("pkg:oci/shop@1%zz", "two hexadecimal digits"),
            ("pkg:oci/shop@1%", "two hexadecimal digits"),
            ("pkg:oci/shop@1?arch", "key=value"),
            ("pkg:oci/shop@1?1st=x", "key=value"),
            ("pkg:oci/shop@1#a/../b", "`.` and `..`"),
        ] {
            let said = check::<Purl>(bad).expect_err(bad);
            assert!(said.contains(why) && said.contains(bad), "{bad}: {said}");
        }
    }

    #[test]
    fn sources() {
        for good in [
            "https://gitlab.example.com/acme/shop",
            "/acme/shop",
            "acme",
            "urn:acme:shop",
            "//x/y?z#a",
            "a/b:c",
        ] {
            assert_eq!(check::<Source>(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("acme shop", "percent-encoded"),
            ("https://x/ünï", "percent-encoded"),
            ("a<b>", "percent-encoded"),
            ("/a%2", "two hexadecimal digits"),
            ("a#b#c", "more than one `#`"),
            ("1st:thing", "scheme"),
            (":x", "scheme"),
        ] {
            let said = check::<Source>(bad).expect_err(bad);
            assert!(said.contains(why) && said.contains("is no URI"), "{bad}: {said}");
        }
    }

    #[test]
    fn types_are_known_by_their_short_and_their_full_names() {
        for good in [
            "pipelinerun.finished",
            " PipelineRun.Finished ",
            "dev.cdevents.pipelinerun.finished",
            "dev.cdevents.pipelinerun.finished.0.3.0",
        ] {
            assert_eq!(check::<TypeName>(good), Ok(()), "{good}");
        }
        for bad in [
            "pipelinerun.finishd",
            "dev.cdevents.pipelinerun.finished.0.2.0",
            "com.example.pipelinerun.finished",
        ] {
            let said = check::<TypeName>(bad).expect_err(bad);
            assert!(said.contains("it can be taskrun.started, "), "{said}");
        }
        let near = check::<TypeName>("dev.cdevents.pipelinerun.finishd.0.3.0").unwrap_err();
        assert!(near.ends_with("did you mean `pipelinerun.finished`?"), "{near}");
    }
}
