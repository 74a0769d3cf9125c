//! No credential, and no form of one, in anything that the program prints or writes.

use std::{fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sandbox::{Credentials, Fault, Options, Sandbox, Service};
use serde_json::json;

use crate::support::{
    Ran, Run, at_once,
    faults::{fail, reply},
    folder, gitlab_file,
    held::cto_events,
    json_of, notify,
    operations::{LOGIN, OPERATIONS, prepared, ready, ready_with, service_of},
    secrets::{credentials, echoes, forms},
};

/// Characters that every encoding writes in its own way.
const UGLY: &str = "s3cr\"t/+ü& <p@ss>'\\w0rd%";

/// A run whose every trace is looked through.
struct Watched {
    run: Run,
    folder: std::path::PathBuf,
    secrets: Vec<String>,
}

/// Lets the credentials of a call not show up anywhere, at the most talkative level.
fn watched(name: &str, run: Run) -> Watched {
    let folder = folder(&format!("redaction-{name}").replace([':', '?', ' '], "-"));
    Watched {
        run: run.var("NOTIFY_LOG", "debug").var("NOTIFY_OUTPUT_DIR", &folder),
        folder,
        secrets: credentials()
            .into_iter()
            .map(|credential| credential.value)
            .chain(["glcbt-64_job-token-value".to_owned()])
            .collect(),
    }
}

impl Watched {
    /// Another secret not to show.
    fn and(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// Runs it and looks through its outputs and its folder.
    #[track_caller]
    fn run(self) -> Ran {
        let ran = self.run.run();
        let mut traces = vec![
            ("standard output".to_owned(), ran.stdout.clone()),
            ("standard error".to_owned(), ran.stderr.clone()),
        ];
        collect(&self.folder, &mut traces);
        for (place, text) in &traces {
            for secret in &self.secrets {
                for form in forms(secret) {
                    assert!(form.len() > 5, "{form} would be found anywhere");
                    assert!(
                        !text.contains(&form),
                        "{place} holds {form}, which is {secret}:\n{text}"
                    );
                }
            }
        }
        ran
    }
}

fn collect(folder: &Path, traces: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the folder is there").flatten() {
        let path = entry.path();
        traces.push(("a file's name".to_owned(), path.display().to_string()));
        if path.is_dir() {
            collect(&path, traces);
        } else {
            let text = fs::read(&path).expect("a file can be read");
            traces.push((path.display().to_string(), String::from_utf8_lossy(&text).into_owned()));
        }
    }
}

#[test]
fn a_service_that_echoes_credentials_and_body_is_quoted_without_them() {
    at_once(OPERATIONS.iter().copied(), |(operation, service)| {
        let sandbox = ready();
        fail(&sandbox, service, 9, &Fault::EchoSecrets);
        let token = "token-of-the-webhook-7c1e";
        let run = prepared(&sandbox, &[operation]).var(
            "WEBHOOK_HEADERS",
            json!({"Authorization": format!("Bearer {token}")}).to_string(),
        );
        watched(operation, run).and(token).run().exits(76).says("[hidden]");
    });
}

#[test]
fn what_is_kept_to_be_sent_again_holds_no_credential() {
    at_once(OPERATIONS.iter().copied(), |(operation, service)| {
        let sandbox = ready();
        fail(&sandbox, service, 9, &Fault::status(503));
        let token = Credentials::default().direktiv_token;
        let run = prepared(&sandbox, &[operation])
            .var("NOTIFY_ATTEMPTS", "1")
            .var("DIREKTIV_HEADER", format!("Direktiv-Api-Key: {token}"))
            .var(
                "EVENT_PROPERTIES",
                json!({"pasted": "glcbt-64_job-token-value"}).to_string(),
            );
        let watched = watched(&format!("kept-{operation}"), run);
        let kept = watched.folder.join("undelivered");
        watched.run().exits(75);
        let is_read = [":get", ":search", ":list"]
            .iter()
            .any(|read| operation.ends_with(read));
        let count = fs::read_dir(&kept).map_or(0, Iterator::count);
        assert!(is_read || count > 0, "{operation} leaves nothing in {}", kept.display());
    });
}

#[test]
fn a_login_that_echoes_its_credentials_is_quoted_without_them() {
    let sandbox = ready();
    sandbox.fail_on(Service::Port, LOGIN, 9, Fault::EchoSecrets);
    watched("login", prepared(&sandbox, &["port"]))
        .run()
        .exits(76)
        .says("[hidden]");
}

#[test]
fn a_token_that_a_login_yields_is_hidden_too() {
    let sandbox = ready();
    let token = "eyJhbGciOi.JIUzI1NiJ9eyJ.zYW5kYm94";
    let login = json!({"ok": true, "accessToken": token, "expiresIn": 10800, "tokenType": "Bearer"});
    sandbox.fail_on(Service::Port, LOGIN, 9, reply(200, &[], &login.to_string()));
    let echo = json!({"ok": false, "error": "no", "message": format!("bad token {token}")});
    sandbox.fail_on(Service::Port, "/v1/blueprints", 9, reply(403, &[], &echo.to_string()));
    watched("learned", prepared(&sandbox, &["port"]))
        .and(token)
        .run()
        .exits(76);
}

#[test]
fn every_form_in_every_part_of_a_refusal_is_hidden() {
    // The header can't carry the ugliest; the body of the login can.
    for secret in [UGLY.replace(['ü'], "u"), "plain-token-123456".to_owned()] {
        at_once(echoes(&secret).into_iter().enumerate(), |(index, form)| {
            let bodies = [
                json!({"detail": form}).to_string(),
                json!({"detail": [{"loc": ["body", form], "msg": form}]}).to_string(),
                json!({"message": format!("before {form} after"), "error": {"code": form}}).to_string(),
                format!("plain {form}"),
                format!("<html><p>{form}</p>"),
            ];
            for (number, body) in bodies.iter().enumerate() {
                let sandbox = Sandbox::start();
                sandbox.fail(Service::Rely, 1, reply(400, &[], body));
                let name = format!("form-{index}-{number}-{}", secret.len());
                watched(&name, prepared(&sandbox, &["rely"]).var("RELY_API_TOKEN", &secret))
                    .and(&secret)
                    .run()
                    .exits(76);
            }
        });
    }
}

#[test]
fn every_form_in_headers_that_are_shown_is_hidden() {
    let secret = "plain-token/12+3456";
    for (index, form) in echoes(secret).into_iter().enumerate() {
        for (name, fault) in [
            ("id", reply(400, &[("x-request-id", &form)], "{}")),
            ("path", Fault::Redirect(format!("https://elsewhere.invalid/{form}/x"))),
            (
                "query",
                Fault::Redirect(format!("https://elsewhere.invalid/?token={form}")),
            ),
            ("retry", reply(429, &[("retry-after", &form)], &form)),
        ] {
            let sandbox = Sandbox::start();
            sandbox.fail(Service::Rely, 1, fault);
            let run = prepared(&sandbox, &["rely"])
                .var("RELY_API_TOKEN", secret)
                .var("NOTIFY_ATTEMPTS", "1");
            let ran = watched(&format!("header-{name}-{index}"), run).and(secret).run();
            assert_ne!(ran.code, 0);
        }
    }
}

#[test]
fn a_wrong_token_is_hidden_as_well_as_a_right_one() {
    // A webhook's have a form, without which they are not sent (see `webhook`).
    for credential in credentials().into_iter().filter(|one| one.destination != "webhook") {
        let (destination, variable) = (credential.destination, credential.variable);
        let sandbox = ready();
        sandbox.fail(service_of(destination), 9, Fault::EchoSecrets);
        let run = prepared(&sandbox, &[destination]).var(variable, "not-the-right-token");
        watched(&format!("wrong-{variable}"), run)
            .and("not-the-right-token")
            .run()
            .exits(76)
            .says("[hidden]");
    }
}

#[test]
fn what_is_read_is_written_without_credentials_and_stays_json() {
    // A credential of digits alone comes back as a number, and one as the name of a field.
    let digits = "9876543210123";
    for (operation, service, wrap) in [
        ("rely:get", Service::Rely, json!({"id": "acme-shop-8812-production"})),
        ("port:get", Service::Port, json!({"ok": true, "entity": {}})),
        ("port:search", Service::Port, json!({"ok": true, "entities": []})),
    ] {
        let token = Credentials::default().rely_token;
        let mut body = wrap;
        body["token"] = json!(token);
        body["deep"] = json!([{"as text": format!("Bearer {token}"), "number": 9_876_543_210_123_u64}]);
        body[token.as_str()] = json!(BASE64_STANDARD.encode(&token));
        let sandbox = ready();
        fail(&sandbox, service, 1, &reply(200, &[], &body.to_string()));
        let run = prepared(&sandbox, &[operation]).var("DEPLOY_PASSWORD", digits);
        let watched = watched(&format!("read-{operation}"), run).and(digits);
        let file = watched.folder.join(format!("{}.json", service.name()));
        let ran = watched.run().exits(0);
        for json in [ran.json(), json_of(&file)] {
            let name = credentials()
                .into_iter()
                .find(|credential| credential.value == token)
                .expect("a variable")
                .variable;
            assert_eq!(json["token"], format!("[hidden] (it echoes {name})"), "{json}");
            assert_eq!(
                json["deep"][0]["number"], "[hidden] (it echoes DEPLOY_PASSWORD)",
                "{json}"
            );
        }
    }
}

#[test]
fn credentials_in_any_form_are_hidden_in_every_form() {
    let sandbox = || {
        let sandbox = Sandbox::start_with(Options {
            credentials: Credentials {
                rely_token: "rely-own-token-77".to_owned(),
                ..Credentials::default()
            },
            ..Options::default()
        });
        sandbox.fail(Service::Rely, 9, Fault::EchoSecrets);
        sandbox
    };
    let secret = "rely-own-token-77";
    let folder = folder("redaction-given");
    let encoded = format!("@b64@{}", BASE64_STANDARD.encode(secret));
    let file = gitlab_file(&folder, "RELY_API_TOKEN", &format!("{secret}\n"));
    let encoded_file = gitlab_file(&folder, "ENCODED", &encoded);
    for (name, variable, value) in [
        ("file", "RELY_API_TOKEN", file.as_str()),
        ("named-file", "RELY_API_TOKEN_FILE", &file),
        ("b64", "RELY_API_TOKEN", &encoded),
        ("b64-file", "RELY_API_TOKEN", &encoded_file),
    ] {
        for arguments in [&["rely"][..], &["--dry-run", "rely"], &["explain", "rely"]] {
            let sandbox = sandbox();
            let run = prepared(&sandbox, arguments)
                .without("RELY_API_TOKEN")
                .var(variable, value);
            watched(&format!("given-{name}-{}", arguments.len() + arguments[0].len()), run)
                .and(secret)
                .run();
        }
    }
}

#[test]
fn the_credential_in_a_header_line_is_hidden_by_itself() {
    let folder = folder("redaction-line");
    let token = Credentials::default().direktiv_token;
    let file = gitlab_file(&folder, "DIREKTIV_TOKEN", &token);
    let encoded = format!("@b64@{}", BASE64_STANDARD.encode(&token));
    for (index, line) in [
        format!("direktiv-token: {token}"),
        format!("Direktiv-Api-Key:{token}"),
        format!("Authorization: Bearer {token}"),
        format!("Direktiv-Api-Key: {file}"),
        format!("Direktiv-Api-Key: {encoded}"),
    ]
    .into_iter()
    .enumerate()
    {
        for operation in ["direktiv", "direktiv:sync", "direktiv:execute"] {
            let sandbox = ready();
            sandbox.fail(Service::Direktiv, 9, Fault::EchoSecrets);
            let run = prepared(&sandbox, &[operation])
                .without("DIREKTIV_TOKEN")
                .var("DIREKTIV_HEADER", &line);
            watched(&format!("line-{index}-{operation}"), run)
                .run()
                .exits(76)
                .says("[hidden]");
        }
    }
}

#[test]
fn the_official_templates_token_is_hidden() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Cto, 9, Fault::EchoSecrets);
    let run = prepared(&sandbox, &["cto", "--official-names"])
        .without("CTOAI_EVENTS_API_TOKEN")
        .var("TOKEN", "official-token-1234");
    watched("official", run)
        .and("official-token-1234")
        .run()
        .exits(76)
        .says("[hidden]");
}

#[test]
fn credentials_of_others_in_the_environment_are_hidden_too() {
    // A commit's title, or a property, that holds the job's token; a registry's password; another destination's token.
    let others = [
        ("CI_JOB_TOKEN", "glcbt-64_job-token-value"),
        ("CI_REGISTRY_PASSWORD", "registry-password-9"),
        ("CI_DEPLOY_PASSWORD", "deploy-password-9"),
        ("SOME_API_KEY", "another-tools-key-9"),
        (
            "CI_REPOSITORY_URL",
            "https://gitlab-ci-token:64_x-y-z@gitlab.example.com/acme/shop.git",
        ),
    ];
    for (name, secret) in others {
        let sandbox = ready();
        let run = prepared(&sandbox, &["rely", "cto", "port", "rely:get"])
            .vars(others)
            .var("EVENT_TITLE", format!("title with {secret} in it"))
            .var("EVENT_PROPERTIES", json!({"triggeredBy": secret}).to_string());
        watched(&format!("others-{name}"), run).and(secret).run().exits(0);
    }
}

#[test]
fn a_dry_run_and_an_explanation_name_credentials_and_show_none() {
    let all: Vec<&str> = OPERATIONS.iter().map(|(operation, _)| *operation).collect();
    let sandbox = ready();
    let run = prepared(&sandbox, &[&["--dry-run"], &all[..]].concat()).var("PORT_RUN_LOG", "a line");
    let ran = watched("dry", run).run().exits(0);
    let variables = credentials().into_iter().map(|credential| credential.variable);
    for variable in variables.chain(["PORT_ACCESS_TOKEN"]) {
        assert!(
            ran.stdout.contains(&format!("${variable}")),
            "{variable}: {}",
            ran.stdout
        );
    }
    assert!(!ran.stdout.contains(&Credentials::default().port_client_id));
    let ran = watched("explained", prepared(&sandbox, &["explain"])).run().exits(0);
    assert!(ran.stdout.contains("RELY_API_TOKEN"));
    assert!(!ran.stdout.contains(&Credentials::default().port_client_id));
}

#[test]
fn a_credential_where_a_destination_should_be_is_not_repeated() {
    for secret in [UGLY, "plain-token-123456"] {
        for argument in [
            secret.to_owned(),
            format!("rely:{secret}"),
            format!("--{secret}"),
            format!("--dry-run={secret}"),
        ] {
            let run = notify(&["cto", &argument]).var("RELY_API_TOKEN", secret);
            watched("usage", run).and(secret).run().exits(2);
        }
        let run = notify(&[])
            .var("NOTIFY_DESTINATIONS", secret)
            .var("RELY_API_TOKEN", secret);
        watched("usage", run).and(secret).run().exits(78);
    }
}

#[test]
fn a_credential_in_a_malformed_value_is_not_quoted() {
    let secret = Credentials::default().rely_token;
    for (name, value) in [
        ("RELY_PROPERTIES", format!("{{\"token\": \"{secret}\"")),
        ("RELY_PROPERTIES", secret.clone()),
        ("RELY_API_URL", format!("https://{secret}@api.example.com")),
        ("RELY_API_URL", secret.clone()),
        ("RELY_BLUEPRINT", format!("Not A Blueprint {secret}")),
        ("NOTIFY_TIMEOUT", secret.clone()),
        ("NOTIFY_ON_ERROR", secret.clone()),
        ("NOTIFY_ONLY", secret.clone()),
        ("RELY_ENTITY_TITLE", format!("{{{{ {secret} }}}}")),
        ("NOTIFY_CA_FILE", secret.clone()),
    ] {
        let sandbox = Sandbox::start();
        let run = prepared(&sandbox, &["rely"]).var(name, value);
        watched(&format!("malformed-{name}"), run).run().exits(78);
    }
}

#[test]
fn lines_of_a_long_secret_are_hidden_one_by_one() {
    let secret = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----";
    let sandbox = Sandbox::start();
    sandbox.fail(
        Service::Rely,
        1,
        reply(400, &[], r#"{"detail":"line hkiG9w0BAQEFAASC is bad"}"#),
    );
    let run = prepared(&sandbox, &["rely"]).var("DEPLOY_PRIVATE_KEY", secret);
    watched("lines", run).and("hkiG9w0BAQEFAASC").run().exits(76);
}

#[test]
fn a_long_message_is_cut_after_it_was_cleaned() {
    // Cut before, a half of the secret would be left at the end.
    for padding in 270..300 {
        let secret = "plain-token-123456";
        let sandbox = Sandbox::start();
        let body = format!("{}{secret}", "x".repeat(padding));
        sandbox.fail(Service::Rely, 1, reply(400, &[], &json!({"detail": body}).to_string()));
        let run = prepared(&sandbox, &["rely"]).var("RELY_API_TOKEN", secret);
        watched("cut", run).run().exits(76).hides("plain-tok");
    }
}

#[test]
fn a_word_that_is_no_credential_is_shown() {
    // Hiding too much would hide the report.
    let sandbox = ready();
    sandbox.fail(
        Service::Rely,
        1,
        reply(400, &[], r#"{"detail":"the title is true, deployment of main"}"#),
    );
    prepared(&sandbox, &["rely"])
        .var("SKIP_TOKEN", "true")
        .var("USE_SECRET", "main")
        .run()
        .exits(76)
        .says("the title is true, deployment of main");
}

#[test]
fn what_is_sent_is_not_cleaned() {
    // The filter is for outputs: a service gets what the user wrote.
    let sandbox = ready_with(Options::default());
    prepared(&sandbox, &["cto"])
        .var("EVENT_IMAGE", "glcbt-64_job-token-value")
        .run()
        .exits(0);
    assert_eq!(cto_events(&sandbox)[0]["image"], "glcbt-64_job-token-value");
}

#[test]
fn what_basic_credentials_say_is_hidden_too() {
    let sandbox = Sandbox::start();
    sandbox.fail(
        Service::Direktiv,
        1,
        reply(
            403,
            &[],
            r#"{"error":{"code":"access_token_invalid","message":"no user:dk-SECRET-tok, bad dk-SECRET-tok"}}"#,
        ),
    );
    notify(&["direktiv:sync"])
        .at(&sandbox)
        .var("DIREKTIV_HEADER", "Authorization: Basic dXNlcjpkay1TRUNSRVQtdG9r")
        .var("NOTIFY_LOG", "debug")
        .run()
        .exits(76)
        .hides("dk-SECRET-tok")
        .hides("dXNlcjpkay1TRUNSRVQtdG9r");
}

#[test]
fn a_copy_of_a_credential_is_out_of_a_templates_reach() {
    let sandbox = Sandbox::start();
    let (_, token) = sandbox
        .variables()
        .into_iter()
        .find(|(name, _)| name == "RELY_API_TOKEN")
        .expect("a token");
    notify(&["rely"])
        .at(&sandbox)
        .var("COPY", &token)
        .var("NOTIFY_TEMPLATE_ENV", "*")
        .var("RELY_ENTITY_TITLE", "{{ env.COPY }}")
        .run()
        .exits(78)
        .says("env.COPY")
        .hides(&token);
    assert!(sandbox.requests().is_empty());
}

/// A run of `rely` against a service that refuses with `detail`.
fn refused(sandbox: &Sandbox, detail: &str) -> Run {
    sandbox.fail(
        Service::Rely,
        1,
        reply(400, &[], &json!({"detail": detail}).to_string()),
    );
    prepared(sandbox, &["rely"])
}

#[test]
fn what_gateways_make_of_a_token_is_dropped_with_the_text_around_it() {
    let token = "rely_pat/9fKq+Zw81LmB/Xy77==";
    let utf_16: String = token.chars().flat_map(|character| [character, '\0']).collect();
    let encoded = BASE64_STANDARD.encode(format!("user:{token}?>?>"));
    let forms = [
        r"rely_pat\\/9fKq\\u002BZw81LmB\\/Xy77==".to_owned(),
        "rely_pat%252F9fKq%252BZw81LmB%252FXy77%253D%253D".to_owned(),
        "rely_pat&amp;amp;#x2F;9fKq&amp;amp;plus;Zw81LmB&amp;sol;Xy77".to_owned(),
        "rely_pat/9fKq\r\n +Zw81\r\n LmB/X\r\n y77==".to_owned(),
        "RELY_PAT/9FKQ+ZW81LMB/XY77==".to_owned(),
        r"\u0072\u0065\u006c\u0079\u005f\u0070\u0061\u0074\u002f\u0039\u0066\u004b".to_owned(),
        "9fKq+Zw81LmB".to_owned(),
        encoded.replace('+', "%2B").replace('/', "%2F"),
        utf_16,
    ];
    at_once(forms, |form| {
        let ran = refused(&Sandbox::start(), &format!("the token {form} is bad"))
            .var("RELY_API_TOKEN", token)
            .var("NOTIFY_LOG", "debug")
            .run()
            .exits(76)
            .says("[hidden] (it echoes RELY_API_TOKEN)");
        assert!(!ran.stderr.contains("is bad"), "{form}: {}", ran.stderr);
    });
}

#[test]
fn a_token_of_a_service_that_is_not_sent_to_is_hidden_too() {
    let file = gitlab_file(&folder("redaction-unplanned"), "OTHER", "x");
    for (name, line, echo) in [
        (
            "DIREKTIV_HEADER",
            "Direktiv-Api-Key: dk-12345-secret",
            "dk-12345-secret",
        ),
        (
            "DIREKTIV_HEADER",
            "Authorization: basic dXNlcjpkay0xMjM0NS1zZWNyZXQ=",
            "dk-12345-secret",
        ),
        ("DIREKTIV_HEADER_DEFAULT", "X-Key: dk-12345-secret", "dk-12345-secret"),
        (
            "CI_JOB_JWT_V2",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzaG9wLTEifQ.c2lnbmF0dXJlLW9mLWl0",
            "c2lnbmF0dXJlLW9m",
        ),
        (
            "PROXY_TOKEN",
            "https://proxy.example.com/?key=abc%26amp%3Bdef%2525gh",
            "abc&amp;def%25gh",
        ),
    ] {
        refused(&Sandbox::start(), &format!("bad {echo}, it is"))
            .without("DIREKTIV_TOKEN")
            .var(name, line)
            // Both are set, which is wrong: neither can be used, and it is a credential all the same.
            .var("DIREKTIV_HEADER_FILE", &file)
            .run()
            .says(&format!("[hidden] (it echoes {name})"))
            .hides(echo);
    }
}

#[test]
fn an_ordinary_error_comes_through_untouched() {
    for error in [
        "404 Project acme/shop.git Not Found",
        "see https://gitlab.example.com/acme/shop/-/pipelines/8812?a=b&c=%20d, it's «100 %» \\ fine",
        "Invalid or expired JSON Web Token: eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
    ] {
        refused(&Sandbox::start(), error)
            .var(
                "CI_REPOSITORY_URL",
                "https://gitlab-ci-token:64_x-y-z-abcdef@gitlab.example.com/acme/shop.git",
            )
            .var(
                "OIDC_TOKEN",
                "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzaG9wLTEifQ.c2lnbmF0dXJl",
            )
            .run()
            .exits(76)
            .says(error);
    }
}

#[test]
fn our_own_words_stay_around_what_is_dropped() {
    let token = Credentials::default().rely_token;
    let ran = refused(&Sandbox::start(), &format!("bad {token}, sorry"))
        .run()
        .exits(76);
    let line = ran.stderr.lines().find(|line| line.contains("rely")).expect("a line");
    assert!(line.contains("rejected") && line.contains("HTTP 400"), "{line}");
    assert!(
        line.ends_with("answered 400: [hidden] (it echoes RELY_API_TOKEN)"),
        "{line}"
    );
    assert!(
        ran.last_line().starts_with("notify-event: 1 rejected; exit 76"),
        "{}",
        ran.last_line()
    );
}

#[test]
fn a_service_can_not_rename_what_later_jobs_read() {
    let output = folder("redaction-dotenv");
    for token in ["NOTIFY_PORT_RESULT", "destinations", "operation", "rejected", "port"] {
        let sandbox = ready();
        let login = json!({"ok": true, "accessToken": token, "expiresIn": 10800, "tokenType": "Bearer"});
        sandbox.fail_on(Service::Port, LOGIN, 9, reply(200, &[], &login.to_string()));
        let echo = json!({"ok": false, "error": token, "message": format!("bad {token}")});
        sandbox.fail_on(Service::Port, "/v1/blueprints", 9, reply(403, &[], &echo.to_string()));
        prepared(&sandbox, &["port"])
            .var("NOTIFY_OUTPUT_DIR", &output)
            .run()
            .exits(76);
        let dotenv = fs::read_to_string(output.join("receipt.env")).expect("a dotenv");
        assert!(dotenv.contains("\nNOTIFY_PORT_RESULT=rejected\n"), "{token}: {dotenv}");
        assert!(!dotenv.contains("[hidden]"), "{token}: {dotenv}");
        let receipt = json_of(&output.join("receipt.json"));
        assert_eq!(receipt["destinations"][0]["class"], "rejected", "{token}: {receipt}");
        assert_eq!(receipt["destinations"][0]["operation"], "upsert", "{token}: {receipt}");
    }
}

#[test]
fn what_gitlab_would_expand_is_not_handed_to_later_jobs() {
    let output = folder("redaction-expanded");
    let sandbox = ready();
    prepared(&sandbox, &["cto"])
        .var("EVENT_ID", "shop-$CI_JOB_TOKEN")
        .var("NOTIFY_OUTPUT_DIR", &output)
        .run()
        .exits(0);
    let dotenv = fs::read_to_string(output.join("receipt.env")).expect("a dotenv");
    assert!(dotenv.contains("NOTIFY_CTO_RESULT=sent\n"), "{dotenv}");
    assert!(!dotenv.contains('$'), "{dotenv}");
}

#[test]
fn foreign_text_can_not_forge_the_log() {
    let forged = "x\r\u{1b}[0Ksection_start:1:evil\r\u{1b}[0K\n\u{202e}\u{200b}notify-event: forged";
    let is_plain = |text: &str| {
        let is_harmful = |character: char| {
            (character.is_control() && character != '\n') || "\u{202e}\u{200b}\u{2066}".contains(character)
        };
        assert!(!text.contains(is_harmful), "{text:?}");
        let forged = text.lines().filter(|line| line.starts_with("notify-event: forged"));
        assert_eq!(forged.count(), 0, "{text}");
    };
    let ran = refused(&Sandbox::start(), forged)
        .run()
        .exits(76)
        .says("\\u{d}\\u{1b}[0Ksection_start:1:evil");
    is_plain(&ran.stderr);
    for name in [
        "NOTIFY_LOG",
        "NOTIFY_ON_ERROR",
        "NOTIFY_DESTINATIONS",
        "NOTIFY_TIMEOUT",
        "RELY_BLUEPRINT",
        "EVENT_TITLE",
    ] {
        let sandbox = ready();
        let ran = prepared(&sandbox, &[])
            .var("NOTIFY_DESTINATIONS", "rely")
            .var(name, forged)
            .run();
        is_plain(&ran.stderr);
        let ran = prepared(&sandbox, &["explain", "rely"]).var(name, forged).run();
        is_plain(&ran.stderr);
        is_plain(&ran.stdout);
    }
    is_plain(&notify(&[forged]).run().exits(2).stderr);
}

#[test]
fn a_dry_run_stays_runnable_and_what_is_read_stays_json() {
    let sandbox = ready();
    let title = "it's 100 % «fine» \u{202e}";
    let ran = prepared(&sandbox, &["--dry-run", "rely"])
        .var("EVENT_TITLE", title)
        .run()
        .exits(0);
    assert!(ran.stdout.contains("100 % «fine» \u{202e}"), "{}", ran.stdout);
    let entity =
        json!({"id": "acme-shop-8812-production", "note": "a\u{1b}b\u{202e}", "password": 98_765_432_101_234_u64});
    fail(&sandbox, Service::Rely, 1, &reply(200, &[], &entity.to_string()));
    let ran = prepared(&sandbox, &["rely:get"])
        .var("SOME_API_KEY", "98765432101234")
        .var("OTHER_SECRET", r#"","note":"a"#)
        .run()
        .exits(0);
    assert_eq!(ran.json()["note"], "a\u{1b}b\u{202e}");
    assert_eq!(ran.json()["password"], "[hidden] (it echoes SOME_API_KEY)");
}
