//! A plan as curl commands, for `--dry-run`: a pure rendering of the requests that would be sent, with `$VARIABLE` in
//! place of each credential. What is printed can be run in a shell once those variables are set.

use super::{
    plan::{Login, Plan},
    request::{Form, Method, Part, Request, Text},
    signature::{self, Signing},
};

/// A longer body is handed to curl on its standard input: an argument has a limit of 128 KiB on Linux.
const LONGEST_ARGUMENT: usize = 100_000;

/// The word that ends such a body.
const END_OF_BODY: &str = "END_OF_BODY";

/// The commands for `plan`, with a comment before each. `with_login` is false where an earlier plan of the same
/// destination has logged in already.
pub fn render(label: &str, plan: &Plan, with_login: bool) -> String {
    let mut lines = Vec::new();
    if let Some(login) = plan.login.as_ref().filter(|_| with_login) {
        lines.push(format!("# {label}: login"));
        lines.push(log_in(login));
    }
    for step in &plan.steps {
        lines.push(format!("# {label}: {}", step.name));
        lines.push(command(&step.request));
    }
    for (when, request) in &plan.otherwise {
        lines.push(format!("# {label}: only if {when}:"));
        lines.extend(command(request).lines().map(|line| format!("#   {line}")));
    }
    lines.join("\n")
}

fn log_in(login: &Login) -> String {
    format!(
        "{}=$({} |\n  sed -n 's/.*\"{}\" *: *\"\\([^\"]*\\)\".*/\\1/p')",
        login.name,
        command(&login.request),
        login.pointer.trim_start_matches('/')
    )
}

/// One request as one command; one that is signed, as the commands that sign it and one that sends it.
pub fn command(request: &Request) -> String {
    let mut words = vec![
        "curl --fail-with-body --silent --show-error".to_owned(),
        format!("--request {}", request.method.name()),
    ];
    for (name, value) in &request.headers {
        // A header whose name is part of the credential: the variable holds the whole line.
        let line = if name.is_empty() {
            value.clone()
        } else {
            value.clone().after(&format!("{name}: "))
        };
        words.push(format!("--header {}", quoted(&line)));
    }
    let mut here = String::new();
    let mut before = String::new();
    if let Some(signing) = &request.signing {
        let nothing = Text::default();
        before = sign(signing, request.body.as_ref().unwrap_or(&nothing));
        words.push(format!("--header \"{}: $webhook_timestamp\"", signature::TIMESTAMP));
        words.push(format!("--header \"{}: $webhook_signature\"", signature::SIGNATURE));
    }
    match &request.body {
        Some(_) if request.signing.is_some() => words.push("--data-binary @-".to_owned()),
        Some(Text(parts))
            if parts.iter().all(|part| matches!(part, Part::Known(_))) && length(parts) > LONGEST_ARGUMENT =>
        {
            let body: String = parts.iter().map(known).collect();
            words.push("--data-binary @-".to_owned());
            here = format!(" <<'{END_OF_BODY}'\n{body}\n{END_OF_BODY}");
        }
        Some(body) => words.push(format!("--data-raw {}", quoted(body))),
        None if request.method == Method::Get => {}
        None => words.push("--header 'Content-Length: 0'".to_owned()),
    }
    words.push(quoted(&request.url));
    before + &words.join(" \\\n  ") + &here
}

/// The commands that sign a body, as of the moment when they run, and hand it to what follows.
fn sign(signing: &Signing, body: &Text) -> String {
    let Signing { id, variable, .. } = signing;
    let body = quoted(body);
    let body = if body.is_empty() { "''" } else { &body };
    format!(
        "webhook_body={body}\n\
         webhook_timestamp=$(date +%s)\n\
         webhook_signature=$(for secret in $(printf %s \"${variable}\" | tr ',' ' '); do\n  \
         key=$(printf %s \"${{secret#whsec_}}\" | base64 -d | od -An -v -tx1 | tr -d ' \\n')\n  \
         printf 'v1,%s ' \"$(printf %s \"{id}.$webhook_timestamp.$webhook_body\" |\n    \
         openssl dgst -sha256 -mac HMAC -macopt \"hexkey:$key\" -binary | base64)\"\n\
         done)\n\
         printf %s \"$webhook_body\" |\n"
    )
}

fn known(part: &Part) -> &str {
    match part {
        Part::Known(text) => text,
        Part::Secret(..) | Part::Learned(_) => "",
    }
}

fn length(parts: &[Part]) -> usize {
    parts.iter().map(|part| known(part).len()).sum()
}

/// The text as one word of a shell command: all in double quotes where it ends in a variable and holds nothing that
/// these would change, else with each known part in single quotes.
fn quoted(text: &Text) -> String {
    let is_simple = |text: &str| !text.contains(['"', '$', '`', '\\', '!', '\n']);
    if let [Part::Known(before), last] = &text.0[..]
        && let Some(name) = variable(last)
        && !matches!(last, Part::Secret(_, Form::Member(_) | Form::MemberInJson(_)))
        && is_simple(before)
    {
        return format!("\"{before}${name}\"");
    }
    text.0
        .iter()
        .map(|part| match (variable(part), part) {
            // Inside a JSON string the credential's own quotes and backslashes have to be escaped.
            (Some(name), Part::Secret(_, Form::InJson)) => {
                format!("\"$(printf %s \"${name}\" | sed 's/[\\\\\"]/\\\\&/g')\"")
            }
            (Some(name), Part::Secret(_, Form::Member(member) | Form::MemberInJson(member))) => {
                format!("\"$({})\"", member_of(name, member))
            }
            (Some(name), _) => format!("\"${name}\""),
            (None, part) => format!("'{}'", known(part).replace('\'', "'\\''")),
        })
        .collect()
}

/// What prints a member of the JSON that a variable holds, as it stands there.
fn member_of(variable: &str, member: &str) -> String {
    let name: String = member
        .chars()
        .flat_map(|character| {
            let is_special = matches!(character, '\\' | '.' | '*' | '[' | ']' | '^' | '$' | '/');
            is_special.then_some('\\').into_iter().chain([character])
        })
        .collect();
    let name = name.replace('\'', "'\\''");
    format!("printf %s \"${variable}\" | tr -d '\\n' | sed -n 's/.*\"{name}\" *: *\"\\([^\"]*\\)\".*/\\1/p'")
}

fn variable(part: &Part) -> Option<&str> {
    match part {
        Part::Known(_) => None,
        Part::Secret(secret, _) => Some(secret.variable()),
        Part::Learned(name) => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use serde_json::json;

    fn secret() -> Secret {
        Secret::new("s3cret-value", "RELY_API_TOKEN")
    }

    /// What a shell runs in place of curl, which prints the body that curl would send.
    const PRINT_BODY: &str =
        "curl() { while [ $# -gt 0 ]; do [ \"$1\" = --data-raw ] && printf %s \"$2\"; shift; done; }";

    fn body_of(script: &str) -> String {
        let script = format!("{PRINT_BODY}\n{script}");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn quotes_backslashes_and_newlines_survive_a_shell() {
        let body = json!({"branch": "fix/\"quoted\" \\ ünï'code'\n$HOME `id` !x"});
        let request = Request::new(Method::Put, "https://example.com/a?b=c")
            .bearer(&secret())
            .json(&body);
        let rendered = command(&request);
        assert!(
            rendered.contains("--header \"Authorization: Bearer $RELY_API_TOKEN\""),
            "{rendered}"
        );
        assert!(!rendered.contains("s3cret"));
        assert_eq!(body_of(&rendered), body.to_string());
    }

    #[test]
    fn credentials_in_a_body_and_whole_header_lines() {
        let request = Request::new(Method::Post, "https://example.com/")
            .header("", Text::default().secret(&secret(), Form::Plain))
            .body(
                "application/json",
                Text::from("{\"id\":\"").secret(&secret(), Form::InJson).known("\"}"),
            );
        let rendered = command(&request);
        assert!(rendered.contains("--header \"$RELY_API_TOKEN\""), "{rendered}");
        let body: serde_json::Value =
            serde_json::from_str(&body_of(&format!("RELY_API_TOKEN='a\"b\\c'\n{rendered}"))).unwrap();
        assert_eq!(body, json!({"id": "a\"b\\c"}));
    }

    #[test]
    fn a_long_body_goes_by_standard_input() {
        let body = json!({"message": "x".repeat(LONGEST_ARGUMENT)});
        let rendered = command(&Request::new(Method::Post, "https://example.com/").json(&body));
        assert!(rendered.contains("--data-binary @-"));
        assert!(rendered.ends_with(&format!("<<'END_OF_BODY'\n{body}\nEND_OF_BODY")));
    }

    #[test]
    fn a_login_fills_a_variable() {
        let login = Login {
            name: "PORT_ACCESS_TOKEN",
            request: Request::new(Method::Post, "https://example.com/auth"),
            pointer: "/accessToken",
        };
        let rendered = log_in(&login);
        assert!(rendered.starts_with("PORT_ACCESS_TOKEN=$(curl "), "{rendered}");
        let script = format!(
            "curl() {{ printf '{{\"ok\":true,\"accessToken\":\"abc\",\"x\":1}}'; }}\n{rendered}\nprintf %s \"$PORT_ACCESS_TOKEN\""
        );
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "abc");
    }
}
