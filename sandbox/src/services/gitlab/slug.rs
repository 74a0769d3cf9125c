//! The short names of environments.

use ring::digest;

/// `lib/gitlab/slug/environment.rb`: what isn't its own slug, or is longer than 24 characters, gets the last six
/// digits, to the base 36, of its name's SHA-256.
pub(super) fn environment(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.to_lowercase().chars() {
        let letter = if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
            letter
        } else {
            '-'
        };
        if slug.is_empty() && !letter.is_ascii_lowercase() {
            slug.push_str("env-");
        }
        if letter != '-' || !slug.ends_with('-') {
            slug.push(letter);
        }
    }
    if slug == name && slug.len() <= 24 {
        return slug.strip_suffix('-').unwrap_or(&slug).to_owned();
    }
    slug.truncate(17);
    if !slug.ends_with('-') {
        slug.push('-');
    }
    let digest = digest::digest(&digest::SHA256, name.as_bytes());
    let mut rest = digest
        .as_ref()
        .iter()
        .fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % 36_u64.pow(6));
    let mut digits = Vec::new();
    for _ in 0..6 {
        let digit = u32::try_from(rest % 36).expect("below 36");
        digits.push(char::from_digit(digit, 36).expect("below 36"));
        rest /= 36;
    }
    slug.extend(digits.iter().rev());
    slug
}
