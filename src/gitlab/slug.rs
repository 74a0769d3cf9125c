//! The short names that GitLab derives from paths and environments, worked out the way GitLab does, so that a job
//! without `environment:` comes to the same id as the deploy job that has one.

use ring::digest;

/// The longest slug of an environment, in characters.
const ENVIRONMENT_LENGTH: usize = 24;
/// How much of a slug is kept before the suffix that makes it unique again.
const ENVIRONMENT_KEPT: usize = 17;
/// The longest slug of a project's path or of a ref, in characters.
const PATH_LENGTH: usize = 63;

/// `CI_ENVIRONMENT_SLUG` of the environment `name` (GitLab's `lib/gitlab/slug/environment.rb`): a name that is not
/// its own slug gets a suffix from its SHA-256.
pub fn environment(name: &str) -> String {
    let mut slug = String::new();
    for character in name.to_lowercase().chars() {
        let character = if character.is_ascii_lowercase() || character.is_ascii_digit() {
            character
        } else {
            '-'
        };
        slug.push(character);
    }
    if !slug.starts_with(|first: char| first.is_ascii_lowercase()) {
        slug.insert_str(0, "env-");
    }
    while slug.contains("--") {
        slug = slug.replace("--", "-");
    }
    if slug.len() <= ENVIRONMENT_LENGTH && slug == name {
        return slug.strip_suffix('-').unwrap_or(&slug).to_owned();
    }
    slug.truncate(ENVIRONMENT_KEPT);
    if !slug.ends_with('-') {
        slug.push('-');
    }
    slug + &suffix(name)
}

/// The short name of a job or a service within a pipeline: made as an environment's, except that a final dash, which
/// GitLab takes off without a trace, counts as lost too. So two of them that differ never become the same.
pub fn part(name: &str) -> String {
    let slug = environment(name);
    if slug.len() < name.len() && name.strip_suffix('-') == Some(&slug) {
        return format!(
            "{}-{}",
            &slug[..slug.len().min(ENVIRONMENT_KEPT)].trim_end_matches('-'),
            suffix(name)
        );
    }
    slug
}

/// The id of an event: of a pipeline of the project with this slug, of the environment with this slug if there is one, and of
/// the job or service that is called so, if there is one.
pub fn id(project: &str, pipeline: &str, environment: Option<&str>, part: Option<&str>) -> String {
    let environment = environment.map(|slug| format!("-{slug}")).unwrap_or_default();
    let part = part.map(|name| format!("--{}", self::part(name))).unwrap_or_default();
    format!("{project}-{pipeline}{environment}{part}")
}

/// The last six digits, to the base 36, of the name's SHA-256 taken as one number.
fn suffix(name: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let modulus = 36_u64.pow(6);
    let mut rest = digest::digest(&digest::SHA256, name.as_bytes())
        .as_ref()
        .iter()
        .fold(0, |rest, &byte| (rest * 256 + u64::from(byte)) % modulus);
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(rest % 36).unwrap_or_default()];
        rest /= 36;
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}

/// `CI_PROJECT_PATH_SLUG` of a project's path: lower case, everything but letters and digits as dashes, at most 63
/// characters, no dash at either end.
pub fn path(path: &str) -> String {
    let slug: String = path
        .to_lowercase()
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '-'
            }
        })
        .take(PATH_LENGTH)
        .collect();
    slug.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_are_named_as_gitlab_names_them() {
        // The first two are unchanged; the suffixes of the others were computed with Ruby's formula in Python.
        for (name, slug) in [
            ("production", "production"),
            ("staging-1234567890123456", "staging-1234567890123456"),
            ("production-", "production"),
            ("PRODUCTION", "production-vl4voz"),
            ("review/fix-\"quoted\"-ünï", "review-fix-quoted-o34m2u"),
            ("1-foo", "env-1-foo-1k46wz"),
            ("staging-12345678901234567", "staging-123456789-s729ne"),
        ] {
            assert_eq!(environment(name), slug, "{name}");
        }
    }

    #[test]
    fn jobs_and_services_that_differ_have_slugs_that_differ() {
        let names = [
            "deploy",
            "deploy-",
            "Deploy",
            "deploy: [shop]",
            "deploy: [shop, eu]",
            "deploy [shop]",
            "deploy 1/3",
            "deploy--",
            "-deploy",
            "d-e-p-l-o-y-s-h-o-p-1-a-",
            "d-e-p-l-o-y-s-h-o-p-1-a",
            "1",
            "🚀",
            "größe",
            "",
        ];
        let slugs: Vec<String> = names.iter().map(|name| part(name)).collect();
        let mut distinct = slugs.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), names.len(), "{slugs:?}");
        for slug in &slugs {
            assert!(slug.len() <= ENVIRONMENT_LENGTH && !slug.contains("--"), "{slug}");
            assert!(slug.starts_with(|first: char| first.is_ascii_lowercase()), "{slug}");
        }
        assert_eq!(part("deploy"), "deploy", "what is its own slug stays");
    }

    #[test]
    fn paths_are_cut_to_63() {
        assert_eq!(path("Acme/Web_Shop.v2"), "acme-web-shop-v2");
        assert_eq!(path(&"a".repeat(70)).len(), 63);
        assert_eq!(path("/a/"), "a");
    }
}
