//! `webhook`: signatures, what may be sent twice, and what of its variables nobody may see.

use sandbox::{Fault, Recorded, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{OWN, in_job, seed_only},
    support::{
        Ran, Run, at_once,
        faults::{reply, status},
        folder, json_of, notify,
        operations::prepared,
    },
};

/// An address that takes anything, signed or not.
fn open(sandbox: &Sandbox) -> String {
    format!("{}/open/wh-sandbox-3f9c51a7e2d84b60", sandbox.url(Service::Webhook))
}

/// A webhook that nobody signs.
fn unsigned(sandbox: &Sandbox) -> Run {
    in_job(&["webhook"], sandbox)
        .var("EVENT_ACTION", "success")
        .var("WEBHOOK_URL", open(sandbox))
        .var("WEBHOOK_SECRET", "")
}

fn sent(sandbox: &Sandbox) -> Vec<Recorded> {
    sandbox.requests_to(Service::Webhook)
}

fn events(sandbox: &Sandbox) -> Vec<Value> {
    let state = sandbox.state(Service::Webhook);
    state["events"].as_array().expect("a list").clone()
}

fn header<'r>(request: &'r Recorded, name: &str) -> &'r str {
    let mut named = request.headers.iter().filter(|(known, _)| known == name);
    named.next().map_or("", |(_, value)| value)
}

// Signatures: the sandbox checks them with the specification's reference library

#[test]
fn each_attempt_is_signed_anew_and_is_the_same_event() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Webhook, 1, Fault::status_with(503, "retry-after", "1"));
    sandbox.fail(Service::Webhook, 1, Fault::ProcessThenReset);
    let call = || prepared(&sandbox, &["webhook"]);
    call().run().exits(0).says_of("webhook", "3 attempts");
    // The job is run again, the report repeated: it is still the same one.
    call().var("CI_JOB_ID", "992").run().exits(0);
    let requests = sent(&sandbox);
    assert_eq!(
        requests.iter().map(|one| one.status).collect::<Vec<_>>()[2..],
        [Some(200), Some(200)]
    );
    let of = |name: &str| requests.iter().map(|one| header(one, name)).collect::<Vec<_>>();
    let ids = of("webhook-id");
    assert!(ids.iter().all(|id| *id == ids[0] && !id.contains('.')), "{ids:?}");
    assert_ne!(of("webhook-timestamp")[0], of("webhook-timestamp")[1]);
    assert_ne!(of("webhook-signature")[0], of("webhook-signature")[1]);
    assert_eq!(events(&sandbox).len(), 1, "and it is taken once");
    assert_eq!(events(&sandbox)[0]["body"]["schema_version"], 1);
    call().var("EVENT_ACTION", "failure").run().exits(0);
    assert_eq!(events(&sandbox).len(), 2, "another action is another event");
}

#[test]
fn several_secrets_sign_side_by_side() {
    let sandbox = Sandbox::start();
    let variables = sandbox.variables();
    let (_, secret) = variables.iter().find(|(name, _)| name == "WEBHOOK_SECRET").unwrap();
    let old = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for secrets in [format!("{old} {secret}"), format!("{secret},{old}")] {
        let ran = prepared(&sandbox, &["webhook"])
            .var("WEBHOOK_SECRET", &secrets)
            .run()
            .exits(0);
        ran.hides(old).hides(secret);
    }
    for request in sent(&sandbox) {
        assert_eq!(header(&request, "webhook-signature").split(' ').count(), 2);
    }
    prepared(&sandbox, &["webhook"])
        .var("WEBHOOK_SECRET", old)
        .run()
        .exits(76)
        .says_of("webhook", "signature invalid");
}

// What may be sent twice

#[test]
fn what_nobody_signed_is_not_sent_again_when_it_may_have_arrived() {
    at_once(
        [
            status(500),
            status(503),
            Fault::Reset,
            Fault::ProcessThenReset,
            Fault::Truncate,
        ],
        |fault| {
            let sandbox = Sandbox::start();
            sandbox.fail(Service::Webhook, 1, fault);
            unsigned(&sandbox)
                .run()
                .exits(75)
                .says_of("webhook", "it was not sent again")
                .says("In doubt");
            assert_eq!(sent(&sandbox).len(), 1);
        },
    );
    for code in [408, 425, 429] {
        let sandbox = Sandbox::start();
        sandbox.fail(Service::Webhook, 1, status(code));
        unsigned(&sandbox).run().exits(0).says_of("webhook", "2 attempts");
    }
}

/// A job and then the same job again, with the receipts of the first.
fn twice(sandbox: &Sandbox, make: impl Fn() -> Run, more: &[(&str, &str)]) -> Ran {
    let output = folder("webhook");
    make().var("NOTIFY_OUTPUT_DIR", &output).run();
    let first = json!({
        "id": OWN, "name": "notify", "status": "failed", "started_at": "2025-03-01T10:59:00.000Z",
        "artifacts": {"receipts/receipt.json": json_of(&output.join("receipt.json"))},
    });
    seed_only(
        sandbox,
        &[first, json!({"id": OWN + 1, "name": "notify", "status": "running"})],
    );
    let project = folder("project");
    make()
        .vars(more.iter().copied())
        .var("CI_JOB_ID", (OWN + 1).to_string())
        .var("CI_PROJECT_DIR", &project)
        .var("NOTIFY_OUTPUT_DIR", project.join("receipts"))
        .run()
}

#[test]
fn a_job_that_is_run_again_repeats_what_is_signed_and_holds_back_what_is_not() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Webhook, 1, Fault::ProcessThenReset);
    twice(&sandbox, || unsigned(&sandbox), &[])
        .exits(75)
        .says("NOTIFY_ON_DOUBT=send");
    assert_eq!(sent(&sandbox).len(), 1);
    sandbox.reset();
    sandbox.fail(Service::Webhook, 1, Fault::ProcessThenReset);
    twice(&sandbox, || unsigned(&sandbox), &[("NOTIFY_ON_DOUBT", "send")]).exits(0);
    assert_eq!(sent(&sandbox).len(), 2);
    sandbox.reset();
    sandbox.fail(Service::Webhook, 1, Fault::ProcessThenReset);
    let signed = || {
        in_job(&["webhook"], &sandbox)
            .var("EVENT_ACTION", "success")
            .var("NOTIFY_ATTEMPTS", "1")
    };
    twice(&sandbox, signed, &[]).exits(0);
    assert_eq!((sent(&sandbox).len(), events(&sandbox).len()), (2, 1));
}

#[test]
fn what_one_webhook_got_another_one_still_gets() {
    let sandbox = Sandbox::start();
    let other = format!(
        "{}/recipes/mattermost/hooks/qwertyuiopasdfghjklzxcvbnm",
        sandbox.url(Service::Webhook)
    );
    let body = r#"{"text": "{{ event.title }}"}"#;
    // The first call was answered, the second one refused; the same job again: only the refused one is made again.
    let output = folder("two-webhooks");
    unsigned(&sandbox).var("NOTIFY_OUTPUT_DIR", &output).run().exits(0);
    sandbox.fail(Service::Webhook, 1, status(403));
    let to_other = || unsigned(&sandbox).var("WEBHOOK_URL", &other).var("WEBHOOK_BODY", body);
    to_other().var("NOTIFY_OUTPUT_DIR", &output).run().exits(76);
    let first = json!({
        "id": OWN, "name": "notify", "status": "failed", "started_at": "2025-03-01T10:59:00.000Z",
        "artifacts": {"receipts/receipt.json": json_of(&output.join("receipt.json"))},
    });
    seed_only(
        &sandbox,
        &[first, json!({"id": OWN + 1, "name": "notify", "status": "running"})],
    );
    let project = folder("project");
    let again = |run: Run| {
        run.var("CI_JOB_ID", (OWN + 1).to_string())
            .var("CI_PROJECT_DIR", &project)
            .var("NOTIFY_OUTPUT_DIR", project.join("receipts"))
            .run()
            .exits(0)
    };
    again(unsigned(&sandbox)).says_of("webhook", "skipped");
    again(to_other()).says_of("webhook", "sent");
}

#[test]
fn a_replay_sends_to_the_address_that_it_was_kept_for_and_reads_all_credentials_anew() {
    let sandbox = Sandbox::start();
    let output = folder("kept-webhook");
    sandbox.fail(Service::Webhook, 1, status(403));
    let headers = r#"{"X-Api-Key": "k3y-of-the-receiver", "X-Env": "{{ event.environment | default('none') }}"}"#;
    let body = r#"{"token": "t0ken-in-the-body", "text": "{{ event.title }}"}"#;
    unsigned(&sandbox)
        .var("WEBHOOK_HEADERS", headers)
        .var("WEBHOOK_BODY", body)
        .var("EVENT_TITLE", "As it was")
        .var("NOTIFY_OUTPUT_DIR", &output)
        .run()
        .exits(76);
    let kept = output.join("undelivered");
    let file = std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
    for name in [&file, &output.join("receipt.json")] {
        let text = std::fs::read_to_string(name).unwrap();
        for secret in ["wh-sandbox-3f9c", "k3y-of", "t0ken-in"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
    let replay = || {
        notify(&["replay", kept.to_str().unwrap()])
            .at(&sandbox)
            .var("NOTIFY_DESTINATIONS", "webhook")
            .var("WEBHOOK_SECRET", "")
            .var("WEBHOOK_HEADERS", headers)
            .var("WEBHOOK_BODY", body)
    };
    replay()
        .run()
        .exits(0)
        .says("it was kept for another address than WEBHOOK_URL is here");
    // Without the body it would send another one.
    for hidden in ["WEBHOOK_BODY", "WEBHOOK_HEADERS"] {
        replay()
            .var("WEBHOOK_URL", open(&sandbox))
            .without(hidden)
            .run()
            .exits(78)
            .says(&format!("{hidden} is not set: it was when this was kept"));
    }
    assert_eq!(sent(&sandbox).len(), 1);
    replay()
        .var("WEBHOOK_URL", open(&sandbox))
        .run()
        .exits(0)
        .says_of("webhook", "sent");
    let last = sent(&sandbox).pop().unwrap();
    assert_eq!(last.json(), json!({"token": "t0ken-in-the-body", "text": "As it was"}));
    assert_eq!(
        (header(&last, "x-api-key"), header(&last, "x-env")),
        ("k3y-of-the-receiver", "none")
    );
}

// What the receiver says

#[test]
fn any_success_is_one_but_a_page() {
    for (answer, code, says) in [
        (
            reply(202, &[], "{\"error\": \"what a webhook answers is its own affair\"}"),
            0,
            "sent",
        ),
        (reply(204, &[], ""), 0, "sent"),
        (
            reply(200, &[("content-type", "text/html")], "<!DOCTYPE html><p>Log in"),
            76,
            "an HTML page",
        ),
        (reply(410, &[], "gone"), 76, "wants no more events there"),
        (
            reply(302, &[("location", "https://elsewhere.example.com/")], ""),
            76,
            "redirects are not followed",
        ),
        (reply(401, &[], "no"), 76, "Check WEBHOOK_URL"),
    ] {
        let sandbox = Sandbox::start();
        sandbox.fail(Service::Webhook, 1, answer);
        unsigned(&sandbox).run().exits(code).says_of("webhook", says);
        assert_eq!(sent(&sandbox).len(), 1);
    }
}

// What is sent

#[test]
fn method_headers_and_text_are_as_they_are_given() {
    let sandbox = Sandbox::start();
    unsigned(&sandbox)
        .var("WEBHOOK_METHOD", "put")
        .var(
            "WEBHOOK_HEADERS",
            r#"{"content-type": "text/markdown", "X-Title": "{{ event.name | upper }}"}"#,
        )
        .var(
            "WEBHOOK_BODY",
            "{% if event.action == 'success' %}# Done{% endif %}\n{{ event.title }} \"🚀\"",
        )
        .var("EVENT_TITLE", "A title")
        .run()
        .exits(0);
    let request = &sent(&sandbox)[0];
    assert_eq!(
        (request.method.as_str(), request.text()),
        ("PUT", "# Done\nA title \"🚀\"".into())
    );
    assert_eq!(
        (header(request, "content-type"), header(request, "x-title")),
        ("text/markdown", "DEPLOYMENT")
    );
    assert_eq!(header(request, "webhook-signature"), "");
    // JSON that a text comes to is JSON too, and has to be some.
    let made = "{% if true %}{\"title\": {{ event.title | json }}}{% endif %}";
    unsigned(&sandbox)
        .var("WEBHOOK_BODY", made)
        .var("EVENT_TITLE", "a \"quote\"")
        .run()
        .exits(0);
    assert_eq!(sent(&sandbox)[1].json(), json!({"title": "a \"quote\""}));
    // A message for a failure alone is none of a success.
    unsigned(&sandbox)
        .var(
            "WEBHOOK_BODY",
            "{% if event.action == 'failure' %}It failed{% endif %}\n",
        )
        .run()
        .exits(0)
        .says_of("webhook", "skipped: WEBHOOK_BODY makes no message of this event");
    assert_eq!(sent(&sandbox).len(), 2);
}

#[test]
fn what_can_not_be_sent_is_named_before_anything_is() {
    for (name, value, says) in [
        ("WEBHOOK_URL", "", "WEBHOOK_URL is not set"),
        (
            "WEBHOOK_URL",
            "hooks.example.com/s3cr3t-path",
            "WEBHOOK_URL has no scheme",
        ),
        (
            "WEBHOOK_URL",
            "http://hooks.example.com/s3cr3t-path",
            "WEBHOOK_URL is http://",
        ),
        ("WEBHOOK_URL", "$SLACK_WEBHOOK_URL", "WEBHOOK_URL"),
        ("WEBHOOK_SECRET", "whsec_s3cr3t", "WEBHOOK_SECRET has a secret of"),
        (
            "WEBHOOK_SECRET",
            "whsec_c2hvcnQ=",
            "WEBHOOK_SECRET has a secret of 5 bytes; it has to have 24 to 64",
        ),
        (
            "WEBHOOK_METHOD",
            "GET",
            "WEBHOOK_METHOD is `GET`; it can be POST, PUT, PATCH",
        ),
        ("WEBHOOK_HEADERS", "s3cr3t: x", "WEBHOOK_HEADERS is not JSON"),
        ("WEBHOOK_HEADERS", r#"{"Host": "s3cr3t"}"#, "WEBHOOK_HEADERS sets Host"),
        (
            "WEBHOOK_HEADERS",
            r#"{"X-Key": "$S3CR3T"}"#,
            "the header X-Key: GitLab had nothing to put there",
        ),
        (
            "WEBHOOK_BODY",
            "{\"a\": 1,\n\"b\": s3cr3t}",
            "WEBHOOK_BODY is not JSON: expected value at line 2, column 6",
        ),
        (
            "WEBHOOK_BODY",
            "{% if true %}{\"text\": \"{{ event.title }}\"}{% endif %}",
            "WEBHOOK_BODY is not JSON",
        ),
        (
            "WEBHOOK_BODY",
            "{\"a\": \"{{ event.nope }}\"}",
            "there is no `event.nope`",
        ),
        (
            "WEBHOOK_BODY",
            "{\"a\": \"{{ env.WEBHOOK_URL }}\"}",
            "is a credential, which templates can't reach",
        ),
    ] {
        let sandbox = Sandbox::start();
        let ran = unsigned(&sandbox)
            .var("EVENT_TITLE", "a \"quote\"")
            .var(name, value)
            .run();
        ran.exits(78).says(says).hides("s3cr3t").hides("S3CR3T");
        assert_eq!(sent(&sandbox).len(), 0, "{name}={value}");
    }
}

#[test]
fn it_is_sent_to_only_where_it_is_named() {
    let sandbox = Sandbox::start();
    notify(&[]).at(&sandbox).run().says_of("rely", "sent");
    assert_eq!(sent(&sandbox).len(), 0);
    notify(&[])
        .var("WEBHOOK_URL", open(&sandbox))
        .run()
        .exits(78)
        .says("RELY_API_TOKEN (rely)")
        .hides("(webhook)");
    notify(&[])
        .at(&sandbox)
        .var("NOTIFY_DESTINATIONS", "webhook")
        .run()
        .exits(0);
    assert_eq!(sent(&sandbox).len(), 1);
}

#[test]
fn a_preflight_asks_nothing_of_the_address_but_of_its_host() {
    let sandbox = Sandbox::start();
    notify(&["check", "webhook"])
        .at(&sandbox)
        .run()
        .exits(0)
        .says_of("webhook", "its host answers")
        .hides("wh-sandbox");
    assert_eq!(sent(&sandbox).len(), 0, "nothing of the credential goes there");
    notify(&["check", "webhook"])
        .at(&sandbox)
        .var("WEBHOOK_URL", "https://localhost:1/hooks/wh-sandbox-3f9c51a7e2d84b60")
        .run()
        .exits(75)
        .hides("wh-sandbox");
}

// What nobody may see

#[test]
fn the_address_the_headers_and_the_body_are_hidden_whoever_echoes_them() {
    let sandbox = Sandbox::start();
    let user = format!(
        "{}?key=que-ry-val-ue&x=1",
        open(&sandbox).replace("http://", "http://us-er-na-me:pa-ss-wo-rd@")
    );
    let body = r#"{"routing_key": "r0uting-key-of-a-service", "auth": {"apiToken": "t0ken-in-the-body"},
                   "fields": [{"name": "api_key", "value": "k3y-as-a-field"}], "text": "{{ event.title }}"}"#;
    let headers = r#"{"Authorization": "Basic dXNlcjpiYXNpYy1wYXNz", "X-Custom": "cust0m-value-1"}"#;
    let secrets = [
        "wh-sandbox-3f9c51a7e2d84b60",
        "que-ry-val-ue",
        "us-er-na-me",
        "pa-ss-wo-rd",
        "r0uting-key-of-a-service",
        "t0ken-in-the-body",
        "k3y-as-a-field",
        "dXNlcjpiYXNpYy1wYXNz",
        "basic-pass",
        "cust0m-value-1",
    ];
    for secret in secrets {
        sandbox.fail(Service::Webhook, 1, reply(400, &[], &format!("no: {secret}")));
        let run = |arguments: &[&str]| {
            in_job(arguments, &sandbox)
                .var("EVENT_ACTION", "success")
                .var("EVENT_TITLE", "A public title of the release")
                .var("WEBHOOK_URL", &user)
                .var("WEBHOOK_SECRET", "")
                .var("WEBHOOK_BODY", body)
                .var("WEBHOOK_HEADERS", headers)
                .var("NOTIFY_LOG", "debug")
                .run()
        };
        let mut ran = run(&["webhook"]).exits(76).says("[hidden]");
        for other in secrets {
            ran = ran.hides(other);
        }
        if secret == secrets[0] {
            for arguments in [
                &["--dry-run", "webhook"][..],
                &["explain", "webhook"],
                &["check", "webhook"],
            ] {
                let mut ran = run(arguments).exits(0);
                for other in secrets {
                    ran = ran.hides(other);
                }
            }
        }
    }
    let public = "A public title of the release, at 127.0.0.1, Authorization, X-Custom, api_key";
    sandbox.fail(Service::Webhook, 1, reply(400, &[], public));
    let ran = unsigned(&sandbox)
        .var("WEBHOOK_BODY", body)
        .var("WEBHOOK_HEADERS", headers)
        .var("EVENT_TITLE", "A public title of the release")
        .run();
    ran.says_of("webhook", public);
}
