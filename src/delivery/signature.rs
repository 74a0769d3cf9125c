//! Signatures of requests by the Standard Webhooks specification, version 1.0.0 (docs/vendors/webhook.md 3): made for each
//! attempt anew, since the time of the attempt is part of them.

use std::{fmt, rc::Rc, time::SystemTime};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use ring::hmac;

use crate::{problem::Problem, secret::Secret, text::shape, time};

/// The header that names the event.
pub const ID: &str = "webhook-id";
/// The header with the time of the attempt, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";

/// What a serialized secret starts with.
const PREFIX: &str = "whsec_";
/// What the two halves of the other kind of key start with.
const ASYMMETRIC: &[&str] = &["whsk_", "whpk_"];
/// How many bytes a secret has.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// Says that each attempt is signed, by whom, and as what.
#[derive(Clone)]
pub struct Signing {
    /// The event's id: without dots.
    pub id: String,
    /// The variable that holds the secrets.
    pub variable: String,
    keys: Rc<[hmac::Key]>,
}

impl fmt::Debug for Signing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signing({} by ${})", self.id, self.variable)
    }
}

impl PartialEq for Signing {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.variable == other.variable
    }
}

impl Eq for Signing {}

impl Signing {
    /// Signs as `id` by each of the secrets that a variable holds, with white space or commas between: during a rotation
    /// there are two.
    ///
    /// # Errors
    /// A secret that is none by its shape.
    pub fn new(id: String, secrets: &Secret) -> Result<Self, Problem> {
        let words = secrets.expose().split([',', ' ', '\n', '\t', '\r']);
        let keys: Result<Rc<[hmac::Key]>, String> = words.filter(|word| !word.is_empty()).map(key).collect();
        let variable = secrets.variable().to_owned();
        match keys {
            Ok(keys) if keys.is_empty() => Err(Problem::new(variable, "has commas and spaces, but no secret")),
            Ok(keys) => Ok(Self { id, variable, keys }),
            Err(why) => Err(Problem::new(variable, why)),
        }
    }

    /// The headers of an attempt at `now` to send `body`.
    pub fn headers(&self, now: SystemTime, body: &str) -> [(&'static str, String); 2] {
        let timestamp = time::unix(now);
        let signed = format!("{}.{timestamp}.{body}", self.id);
        let of_key = |key: &hmac::Key| format!("v1,{}", STANDARD.encode(hmac::sign(key, signed.as_bytes())));
        let signatures: Vec<String> = self.keys.iter().map(of_key).collect();
        [(TIMESTAMP, timestamp.to_string()), (SIGNATURE, signatures.join(" "))]
    }
}

/// One secret.
fn key(word: &str) -> Result<hmac::Key, String> {
    if ASYMMETRIC.iter().any(|prefix| word.starts_with(prefix)) {
        return Err("is a key of ed25519; a secret starts with whsec_".to_owned());
    }
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&alphabet::STANDARD, lenient)
        .decode(word.strip_prefix(PREFIX).unwrap_or(word))
        .map_err(|_| {
            format!(
                "has a secret of {} that is not whsec_ and base64; paste it anew",
                shape(word)
            )
        })?;
    if !LENGTHS.contains(&decoded.len()) {
        return Err(format!(
            "has a secret of {} bytes; it has to have {} to {}",
            decoded.len(),
            LENGTHS.start(),
            LENGTHS.end()
        ));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &decoded))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn signing(secrets: &str) -> Result<Signing, String> {
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned();
        Signing::new(id, &Secret::new(secrets, "WEBHOOK_SECRET")).map_err(|problem| problem.to_string())
    }

    /// The vector of the specification's reference libraries (docs/vendors/webhook.md 3).
    #[test]
    fn the_reference_librarys_vector() {
        const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_614_265_330_999);
        let of = |secrets: &str| signing(secrets).unwrap().headers(now, r#"{"test": 2432232314}"#);
        let [timestamp, signature] = of(SECRET);
        assert_eq!(timestamp, ("webhook-timestamp", "1614265330".to_owned()));
        assert_eq!(signature, ("webhook-signature", SIGNED.to_owned()));
        for secrets in [
            format!("{SECRET} {OTHER}"),
            format!("{SECRET},{OTHER}"),
            format!("\n{SECRET}\n, {OTHER}\n"),
        ] {
            let [_, (_, signatures)] = of(&secrets);
            let signatures: Vec<&str> = signatures.split(' ').collect();
            assert_eq!((signatures.len(), signatures[0]), (2, SIGNED));
            assert!(signatures[1].starts_with("v1,") && signatures[1] != SIGNED);
        }
    }

    #[test]
    fn what_is_no_secret_is_named_and_not_quoted() {
        for (secrets, says) in [
            (
                "whsec_s3cr3t!",
                "has a secret of 13 characters that is not whsec_ and base64",
            ),
            ("whsec_c2VjcmV0", "has a secret of 6 bytes; it has to have 24 to 64"),
            (&"AAAA".repeat(22), "has a secret of 66 bytes"),
            ("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "is a key of ed25519"),
            (" , ", "has commas and spaces, but no secret"),
            (&format!("{SECRET} s3cr3t"), "has a secret of"),
        ] {
            let why = signing(secrets).unwrap_err();
            assert!(why.starts_with(&format!("WEBHOOK_SECRET {says}")), "{why}");
            assert!(!why.contains("s3cr3t") && !why.contains("MfKQ"), "{why}");
        }
        assert!(!format!("{:?}", signing(SECRET).unwrap()).contains("MfKQ"));
    }
}
