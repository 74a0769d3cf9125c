//! The sandbox's credentials, and every form in which a secret could stand in a text.

use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use sandbox::Sandbox;
use serde_json::Value;

use super::catalog;

/// A credential that the sandbox accepts.
pub struct Credential {
    pub destination: &'static str,
    pub variable: &'static str,
    pub value: String,
}

/// The credentials of every destination, by default: those of its variables that are secret, as the catalog has them,
/// and that the sandbox wants.
pub fn credentials() -> Vec<Credential> {
    let given = Sandbox::start().variables();
    let secret = catalog::of_destinations(|variable| variable.is_secret).into_iter();
    let credential = |variable: &'static catalog::Variable| {
        let (_, value) = given.iter().find(|(name, _)| *name == variable.name)?;
        Some(Credential {
            destination: &variable.destination,
            variable: &variable.name,
            value: value.clone(),
        })
    };
    secret.filter_map(credential).collect()
}

/// What services make of a secret that they echo, written without the program's own code.
pub fn echoes(secret: &str) -> Vec<String> {
    let percent = |keep: &str, lower: bool| -> String {
        let encode = |byte: u8| match char::from(byte) {
            character if character.is_ascii_alphanumeric() || keep.contains(character) => character.to_string(),
            _ if lower => format!("%{byte:02x}"),
            _ => format!("%{byte:02X}"),
        };
        secret.bytes().map(encode).collect()
    };
    let json = Value::from(secret).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let ascii = |character: char| match character {
        _ if character.is_ascii() => character.to_string(),
        _ => format!("\\u{:04x}", u32::from(character)),
    };
    let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut forms = vec![
        secret.to_owned(),
        percent("-._~", false),
        percent("-._~", true),
        // Python's quote, JavaScript's encodeURIComponent and encodeURI, a form's.
        percent("-._~/", false),
        percent("-._~!*'()", false),
        percent("-._~!*'();/?:@&=+$,#", false),
        percent("-._*", false).replace("%20", "+"),
        json.chars().map(ascii).collect(),
        json.replace('/', "\\/"),
        json,
        hexadecimal.to_uppercase(),
        hexadecimal,
        BASE64_STANDARD.encode(secret),
        BASE64_URL_SAFE_NO_PAD.encode(secret),
        BASE64_STANDARD.encode(format!("user:{secret}x")),
        BASE64_STANDARD.encode(format!("Bearer {secret}")),
    ];
    // PHP, Go, Python, Ruby and JavaScript differ in the quotes.
    for quote in ["\"", "&quot;", "&#34;"] {
        for apostrophe in ["'", "&#39;", "&#x27;", "&#039;", "&apos;"] {
            forms.push(html.replace('"', quote).replace('\'', apostrophe));
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

/// What must not be found: every echo, and of those in base64 what does not depend on the neighbours.
pub fn forms(secret: &str) -> Vec<String> {
    let mut forms = echoes(secret);
    // What somebody wrote as JSON into a text that is written as JSON.
    let in_json = Value::from(Value::from(secret).to_string()).to_string();
    forms.push(in_json[3..in_json.len() - 3].to_owned());
    for before in ["u", "us", "user:"] {
        let text = format!("{before}{secret}xyz");
        let (first, last) = ((before.len() * 8).div_ceil(6), (before.len() + secret.len()) * 8 / 6);
        forms.push(BASE64_STANDARD.encode(&text)[first..last].to_owned());
        forms.push(BASE64_URL_SAFE_NO_PAD.encode(&text)[first..last].to_owned());
    }
    forms
}
