//! The only reader of the process's environment: it takes everything once, and cleans what is asked for.
//!
//! GitLab hands variables over with quirks of its own (docs/gitlab.md 2.1 to 2.3), which end here: an empty value is no
//! value; a variable of the *file* type arrives as a path; a reference that GitLab could not resolve arrives as the
//! literal `$NAME`; a value that can't be masked arrives as `@b64@…`; what a group sets beats what a job sets, so that
//! what a job may override comes as `NAME_DEFAULT`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{
    files::{self, Links},
    problem::Problem,
};

/// Base64 as people paste it: either alphabet is tried, padded or not.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The prefix of a value in base64, as the to-be-continuous templates introduced it (docs/gitlab.md 7).
pub const BASE64_PREFIX: &str = "@b64@";

/// The end of the name under which a group sets what its projects' jobs may override.
pub const DEFAULT_SUFFIX: &str = "_DEFAULT";
/// The end of the name of a variable that names a file.
pub const FILE_SUFFIX: &str = "_FILE";

/// The name without the end that makes it a form of another variable: `NAME` of `NAME_FILE` and of `NAME_DEFAULT`.
pub fn base(name: &str) -> &str {
    let base = name.strip_suffix(FILE_SUFFIX).or(name.strip_suffix(DEFAULT_SUFFIX));
    base.unwrap_or(name)
}

/// Where a value came from, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The variable itself.
    Variable(String),
    /// A file, named by the value of the variable (GitLab's *file* type) or by `NAME_FILE`.
    File(String, PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(formatter, "variable {name}"),
            Self::File(name, path) => write!(formatter, "file {}, named by {name}", path.display()),
        }
    }
}

/// A cleaned value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The value: not empty, decoded, no file's path.
    pub value: String,
    /// The variable that holds it or names its file.
    pub name: String,
    /// Where it came from.
    pub origin: Origin,
}

/// The process's variables, as they were when the program started.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, Result<String, ()>>,
    /// For names that may be mistyped: the one that is set in their place.
    mistaken: BTreeMap<String, String>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self::from_variables(std::env::vars_os())
    }

    /// An environment made of `variables`. A value that is not UTF-8 is kept as such, and is an error once it is read.
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let values = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().map_err(drop))))
            .collect();
        Self {
            values,
            mistaken: BTreeMap::new(),
        }
    }

    /// This environment, in which each of the `mistaken` names, where it is looked for and not set, is an error: the name
    /// that it leads to is set, and looks like a mistake for it.
    pub fn with_mistaken(mut self, mistaken: BTreeMap<String, String>) -> Self {
        self.mistaken = mistaken;
        self
    }

    /// This environment without the variables that `is_left_out`, in whatever form they are given.
    pub fn without(&self, is_left_out: impl Fn(&str) -> bool) -> Self {
        let mut environment = self.clone();
        environment
            .values
            .retain(|name, _| !is_left_out(name) && !is_left_out(base(name)));
        environment.mistaken.retain(|_, name| !is_left_out(name));
        environment
    }

    /// This environment with these variables in place of its own.
    pub fn with(&self, variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let mut environment = self.clone();
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), Ok(value)));
        environment.values.extend(variables);
        environment
    }

    /// The value of one of GitLab's predefined variables, taken as it is: a commit's title may well be `$HOME`.
    /// Empty is unset.
    pub fn predefined(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Ok(value)) if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    /// The names of everything that is set: what is empty is not.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let set = self
            .values
            .iter()
            .filter(|(_, value)| !matches!(value, Ok(text) if text.is_empty()));
        set.map(|(name, _)| name.as_str())
    }

    /// Names and values of everything that is set and readable.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_deref().ok()?)))
    }

    /// The cleaned value of `name`, or of the file that `NAME_FILE` names.
    ///
    /// # Errors
    /// A value that GitLab left as a reference, a file that can't be read, base64 that isn't, both forms at once,
    /// something that is not UTF-8, or nothing under this name where a mistyped one is set. `secret` says that the message
    /// may not quote the value.
    pub fn find(&self, name: &str, secret: bool) -> Result<Option<Found>, Problem> {
        let file_name = format!("{name}{FILE_SUFFIX}");
        match (self.text(name)?, self.text(&file_name)?) {
            (Some(_), Some(_)) => Err(Problem::new(
                name,
                format!("and {file_name} are both set; keep one of them"),
            )),
            (None, None) => self
                .not_mistaken(name)
                .and(self.not_mistaken(&file_name))
                .map(|()| None),
            (Some(_), None) => self.find_itself(name, secret),
            (None, Some(path)) => {
                reject_reference(&file_name, path, false)?;
                let found = Found {
                    value: content(&file_name, Path::new(path))?,
                    name: name.to_owned(),
                    origin: Origin::File(file_name, path.into()),
                };
                cleaned(found, secret)
            }
        }
    }

    /// The same, and where there is nothing of it, the cleaned value of `NAME_DEFAULT`.
    ///
    /// # Errors
    /// As above, of the one that is read.
    pub fn find_or_default(&self, name: &str, secret: bool) -> Result<Option<Found>, Problem> {
        match self.find(name, secret)? {
            None => {
                let default = format!("{name}{DEFAULT_SUFFIX}");
                match self.find_itself(&default, secret)? {
                    None => self.not_mistaken(&default).map(|()| None),
                    found => Ok(found),
                }
            }
            found => Ok(found),
        }
    }

    /// Makes sure that no mistyped name is set in the place of `name`, which is not.
    fn not_mistaken(&self, name: &str) -> Result<(), Problem> {
        let Some(mistaken) = self.mistaken.get(name) else {
            return Ok(());
        };
        Err(Problem::new(
            mistaken,
            format!(
                "is set, which nothing reads: did you mean {name}, which is not set? If it is another tool's, list it in \
                 NOTIFY_IGNORE"
            ),
        ))
    }

    /// The cleaned value of the variable itself.
    fn find_itself(&self, name: &str, secret: bool) -> Result<Option<Found>, Problem> {
        let Some(value) = self.text(name)? else {
            return Ok(None);
        };
        let (value, origin) = match gitlab_file(name, value, secret) {
            Some(path) => (content(name, &path)?, Origin::File(name.to_owned(), path)),
            None => (value.to_owned(), Origin::Variable(name.to_owned())),
        };
        let name = name.to_owned();
        cleaned(Found { value, name, origin }, secret)
    }

    /// The cleaned value of `name`, or of `NAME_DEFAULT`, which is the path of a file and stays one: of a variable of
    /// GitLab's *file* type that of GitLab's temporary file.
    ///
    /// # Errors
    /// As [`find`](Self::find), but that no file is read, and so none is named by `NAME_FILE`.
    pub fn find_path(&self, name: &str) -> Result<Option<Found>, Problem> {
        let file_name = format!("{name}{FILE_SUFFIX}");
        if self.text(&file_name)?.is_some() {
            let why = format!("is set, but {name} is the path of a file itself; give the path as {name}");
            return Err(Problem::new(file_name, why));
        }
        for name in [name.to_owned(), format!("{name}{DEFAULT_SUFFIX}")] {
            let Some(value) = self.text(&name)? else {
                self.not_mistaken(&name)?;
                continue;
            };
            reject_reference(&name, value, false)?;
            let value = decoded(&name, value.to_owned())?;
            if !value.is_empty() {
                let origin = Origin::Variable(name.clone());
                return Ok(Some(Found { value, name, origin }));
            }
        }
        Ok(None)
    }

    fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Ok(value)) => Ok((!value.is_empty()).then_some(value.as_str())),
            Some(Err(())) => Err(Problem::new(
                name,
                "is not UTF-8 text; encode it as @b64@… if it has to be binary",
            )),
        }
    }
}

/// A value as it was found, decoded; nothing where it is empty.
fn cleaned(found: Found, secret: bool) -> Result<Option<Found>, Problem> {
    reject_reference(&found.name, &found.value, secret)?;
    let value = decoded(&found.name, found.value)?;
    Ok((!value.is_empty()).then_some(Found { value, ..found }))
}

/// A value that stands inside the value of `name`, where GitLab pasted it (`Name: ${TOKEN}`), cleaned as one of its own:
/// the content of GitLab's temporary file instead of its path, and `@b64@` decoded. References are the caller's to find.
///
/// # Errors
/// A file that can't be read, or base64 that isn't.
pub fn pasted(name: &str, value: &str) -> Result<String, Problem> {
    let value = match gitlab_file(name, value, true) {
        Some(path) => content(name, &path)?,
        None => value.to_owned(),
    };
    decoded(name, value)
}

/// The path of the temporary file in which the runner keeps a variable of the file type, if `value` is one: an
/// absolute path of an existing file, named after the variable. A credential may also be any file of the job's
/// `<project>.tmp` folder, where `T: "$FILE_VARIABLE"` points (docs/gitlab.md 2.2, 2.3); any other value may have come from a
/// commit's text, which must not be able to name another variable's file. Any other path is a value like any other.
fn gitlab_file(name: &str, value: &str, secret: bool) -> Option<PathBuf> {
    let path = Path::new(value);
    let is_named = path.file_name()?.to_str()? == name;
    let is_temporary = path.parent()?.extension().is_some_and(|extension| extension == "tmp");
    if !path.is_absolute() || value.contains('\n') {
        return None;
    }
    // Named after the variable and in the temporary folder, but gone: better a clear error than a path as a token.
    let is_ours = is_named || (secret && is_temporary);
    ((is_named && is_temporary) || (is_ours && path.is_file())).then(|| path.to_owned())
}

/// A file's content, less one final newline. It may stand behind a link, as Kubernetes mounts secrets.
fn content(name: &str, path: &Path) -> Result<String, Problem> {
    let fail = |why: String| Problem::new(name, format!("names the file {}, which {why}", path.display()));
    let bytes = files::read(path, Links::Followed).map_err(|error| fail(format!("can't be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| fail("is not UTF-8 text".to_owned()))?;
    Ok(less_one_newline(text))
}

/// Files end in a line break, and so does what `echo` hands to `base64`.
fn less_one_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

fn decoded(name: &str, value: String) -> Result<String, Problem> {
    let Some(encoded) = value.strip_prefix(BASE64_PREFIX) else {
        return Ok(value);
    };
    let encoded: String = encoded.split_ascii_whitespace().collect();
    [&alphabet::STANDARD, &alphabet::URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(&encoded).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(less_one_newline)
        .ok_or_else(|| {
            let shape = format!("{} characters", encoded.chars().count());
            Problem::new(
                name,
                format!("starts with {BASE64_PREFIX}, but the {shape} behind it are no base64 of UTF-8 text"),
            )
        })
}

/// The variable that a literal `$NAME` or `${NAME}` refers to.
pub fn reference(value: &str) -> Option<&str> {
    let name = value.strip_prefix('$')?;
    let name = match name.strip_prefix('{') {
        Some(braced) => braced.strip_suffix('}')?,
        None => name,
    };
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(name)
}

fn reject_reference(name: &str, value: &str, secret: bool) -> Result<(), Problem> {
    let Some(referred) = reference(value) else {
        return Ok(());
    };
    // A password may look like a reference; one in capitals is the name of a variable for all we can tell.
    let is_conventional = !referred.bytes().any(|byte| byte.is_ascii_lowercase());
    let what = if secret && !is_conventional {
        "a literal reference to a variable".to_owned()
    } else {
        format!("literally `{value}`")
    };
    Err(Problem::new(
        name,
        format!(
            "is {what}: GitLab had nothing to put there. The variable is undefined, or protected and this branch or \
             tag is not, or masked away or scoped to another environment on this ref. See Settings > CI/CD > Variables"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::from_variables(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn value(variables: &[(&str, &str)], name: &str) -> Option<String> {
        environment(variables)
            .find(name, false)
            .unwrap()
            .map(|found| found.value)
    }

    fn problem(variables: &[(&str, &str)], name: &str, secret: bool) -> String {
        environment(variables).find(name, secret).unwrap_err().to_string()
    }

    #[test]
    fn empty_is_unset() {
        assert_eq!(value(&[("A", "")], "A"), None);
        assert_eq!(value(&[], "A"), None);
        assert_eq!(value(&[("A", "x"), ("A_FILE", "")], "A"), Some("x".into()));
        assert_eq!(value(&[("A", "@b64@")], "A"), None);
    }

    #[test]
    fn a_default_is_read_where_nothing_else_is() {
        let folder = std::env::temp_dir().join(format!("notify-event-{}-default", std::process::id()));
        let project = folder.join("shop.tmp");
        fs::create_dir_all(&project).unwrap();
        let path = |name: &str, text: &str| {
            let path = project.join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let own = path("A", "own\n");
        let of_default = path("A_DEFAULT", "of a file\n");
        let empty = path("EMPTY", "\n");
        for (variables, expected) in [
            (&[("A_DEFAULT", "d")][..], Some(("d", "A_DEFAULT"))),
            (&[("A_DEFAULT", "d"), ("A", "x")], Some(("x", "A"))),
            (&[("A_DEFAULT", "d"), ("A_FILE", &own)], Some(("own", "A"))),
            (
                &[("A_DEFAULT", "d"), ("A", ""), ("A_FILE", "")],
                Some(("d", "A_DEFAULT")),
            ),
            (&[("A_DEFAULT", "d"), ("A", "@b64@")], Some(("d", "A_DEFAULT"))),
            (&[("A_DEFAULT", "d"), ("A_FILE", &empty)], Some(("d", "A_DEFAULT"))),
            (&[("A_DEFAULT", &of_default)], Some(("of a file", "A_DEFAULT"))),
            (&[("A_DEFAULT", "@b64@ZA==")], Some(("d", "A_DEFAULT"))),
            (&[("A_DEFAULT", "")], None),
            (&[("A_DEFAULT_FILE", &own)], None),
        ] {
            let found = environment(variables).find_or_default("A", false).unwrap();
            let found = found.as_ref().map(|found| (found.value.as_str(), found.name.as_str()));
            assert_eq!(found, expected, "{variables:?}");
            if !variables.iter().any(|(name, _)| *name == "A" || *name == "A_FILE") {
                assert_eq!(value(variables, "A"), None, "what is not ours has no default");
            }
        }
        fs::remove_dir_all(folder).unwrap();
        for (variables, start) in [
            (&[("A", "$A"), ("A_DEFAULT", "d")][..], "A is literally"),
            (&[("A_DEFAULT", "$A_DEFAULT")], "A_DEFAULT is literally"),
            (&[("A_DEFAULT", "@b64@!")], "A_DEFAULT starts with"),
        ] {
            let problem = environment(variables).find_or_default("A", true).unwrap_err();
            assert!(problem.to_string().starts_with(start), "{problem}");
        }
    }

    #[test]
    fn a_reference_that_gitlab_left_is_caught() {
        for literal in ["$A", "${A}", "$OTHER_1", "$5"] {
            let message = problem(&[("A", literal)], "A", true);
            assert!(
                message.starts_with(&format!("A is literally `{literal}`"))
                    && message.contains("undefined, or protected"),
                "{message}"
            );
        }
        assert!(!problem(&[("A", "$ecret123")], "A", true).contains("ecret"));
        for text in ["$A and more", "a$A", "$", "${A", "$$A", "$A-B"] {
            assert_eq!(value(&[("A", text)], "A"), Some(text.into()));
        }
    }

    #[test]
    fn base64_is_decoded() {
        assert_eq!(value(&[("A", "@b64@c8O8w58=")], "A"), Some("süß".into()));
        assert_eq!(value(&[("A", "@b64@c8O8w58")], "A"), Some("süß".into()));
        assert_eq!(value(&[("A", "@b64@Pz8_")], "A"), Some("???".into()));
        assert_eq!(value(&[("A", "@b64@dG9rCg==")], "A"), Some("tok".into()));
        let message = problem(&[("A", "@b64@s3cr*t")], "A", true);
        assert!(
            message.contains("6 characters") && !message.contains("s3cr"),
            "{message}"
        );
        assert!(problem(&[("A", "@b64@/w==")], "A", true).contains("no base64 of UTF-8"));
    }

    #[test]
    fn files_of_gitlab_are_read() {
        let folder = std::env::temp_dir().join(format!("notify-event-{}-environment", std::process::id()));
        let project = folder.join("shop.tmp");
        fs::create_dir_all(&project).unwrap();
        let path = |name: &str, text: &str| {
            let path = project.join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let token = path("RELY_API_TOKEN", "first\nlast\n\n");
        assert_eq!(
            value(&[("RELY_API_TOKEN", &token)], "RELY_API_TOKEN"),
            Some("first\nlast\n".into())
        );
        let by_another_variable = environment(&[("TOKEN", &token), ("EVENT_TITLE", &token)]);
        assert_eq!(
            by_another_variable.find("TOKEN", true).unwrap().unwrap().value,
            "first\nlast\n"
        );
        assert_eq!(
            by_another_variable.find("EVENT_TITLE", false).unwrap().unwrap().value,
            token,
            "a commit's title must not reach another variable's file"
        );
        let windows = path("W", "x\r\n");
        assert_eq!(value(&[("A_FILE", &windows)], "A"), Some("x".into()));
        assert_eq!(value(&[("A_FILE", &path("E", "\n"))], "A"), None);
        assert!(
            problem(&[("A_FILE", "/does/not/exist")], "A", true).starts_with("A_FILE names the file /does/not/exist")
        );
        assert!(problem(&[("A_FILE", "$A_FILE")], "A", true).starts_with("A_FILE is literally"));
        assert!(problem(&[("A_FILE", &windows), ("A", "x")], "A", true).contains("A and A_FILE are both set"));
        let plain = folder.join("elsewhere");
        fs::write(&plain, "content").unwrap();
        let plain = plain.to_str().unwrap();
        assert_eq!(
            value(&[("A", plain)], "A"),
            Some(plain.into()),
            "a path that is not GitLab's is a value"
        );
        let gone = project.join("GONE");
        assert!(problem(&[("GONE", gone.to_str().unwrap())], "GONE", true).contains("can't be read"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_path_stays_a_path() {
        let environment = environment(&[
            ("PLAIN", "a/b.ndjson"),
            ("ENCODED", "@b64@L3RtcC9h"),
            ("GONE", "$GONE"),
            ("EMPTY", ""),
        ]);
        let value = |name: &str| environment.find_path(name).unwrap().map(|found| found.value);
        assert_eq!(value("PLAIN").as_deref(), Some("a/b.ndjson"));
        assert_eq!(value("ENCODED").as_deref(), Some("/tmp/a"));
        assert_eq!((value("EMPTY"), value("UNSET")), (None, None));
        // It would hold a path, or what is at the path: nobody can tell which is meant.
        let named = super::tests::environment(&[("A", "a.ndjson"), ("A_FILE", "b.ndjson")]);
        let problem = named.find_path("A").unwrap_err().to_string();
        assert!(problem.starts_with("A_FILE is set, but A is the path"), "{problem}");
        assert!(
            environment
                .find_path("GONE")
                .unwrap_err()
                .to_string()
                .contains("nothing to put there")
        );
        let file = std::env::temp_dir()
            .join(format!("notify-event-{}-path", std::process::id()))
            .join("shop.tmp/SERVICES");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "[]").unwrap();
        let environment = super::tests::environment(&[("SERVICES", file.to_str().unwrap())]);
        assert_eq!(
            environment.find_path("SERVICES").unwrap().unwrap().value,
            file.to_str().unwrap()
        );
        assert_eq!(environment.find("SERVICES", false).unwrap().unwrap().value, "[]");
        fs::remove_dir_all(file.ancestors().nth(2).unwrap()).unwrap();
    }

    #[test]
    fn what_is_not_text_is_an_error_only_when_read() {
        use std::os::unix::ffi::OsStringExt;
        let environment = Environment::from_variables([("A".into(), OsString::from_vec(vec![0xff]))]);
        assert_eq!(environment.predefined("A"), None);
        assert!(environment.find("A", true).unwrap_err().message.contains("not UTF-8"));
        assert_eq!(environment.find("B", true), Ok(None));
    }
}
