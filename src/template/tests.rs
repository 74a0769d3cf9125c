//! What templates come to, and what they can't do.

use serde_json::json;

use super::*;

fn scope() -> Scope {
    let event = json!({
        "attempt": 2,
        "title": "it's \"quoted\" {{ event.attempt }} \\ ünïcode\n🚀",
        "properties": {"a": [1, "b"], "price": 1.50, "empty": ""},
        "name": "deployment",
    });
    let mut roots = Map::new();
    roots.insert("event".to_owned(), event);
    roots.insert(
        "changes".to_owned(),
        json!({"merge_requests": [{"iid": 7, "title": "One"}, {"iid": 9, "title": "Two"}]}),
    );
    roots.insert("env".to_owned(), json!({"CI_COMMIT_SHA": "9f2c1e7"}));
    let refusal = |name: &str| {
        let is_out_of_reach = name.starts_with("env.") && name != "env.CI_COMMIT_SHA";
        is_out_of_reach.then(|| format!("`{name}` is out of reach"))
    };
    Scope::new(roots, Box::new(refusal))
}

fn render(text: &str) -> Result<Value, TemplateError> {
    Template::text(text, &[])?.render(&scope())
}

fn ok(text: &str) -> Value {
    render(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> String {
    render(text).expect_err(text).to_string()
}

#[test]
fn a_whole_expression_keeps_its_type() {
    assert_eq!(ok("{{ event.attempt }}"), json!(2));
    assert_eq!(ok("  {{event.attempt}} "), json!(2));
    assert_eq!(ok("{{- event.attempt -}}"), json!(2));
    assert_eq!(ok("{{ event.properties.a }}"), json!([1, "b"]));
    assert_eq!(ok("{{ true }}"), json!(true));
    assert_eq!(ok("{{ event.attempt + 1 }}"), json!(3));
}

#[test]
fn around_other_text_it_becomes_text() {
    assert_eq!(ok("try {{ event.attempt }}!"), json!("try 2!"));
    assert_eq!(ok("{{ event.attempt }}{{ event.attempt }}"), json!("22"));
    assert_eq!(ok("p={{ event.properties.a }}"), json!(r#"p=[1,"b"]"#));
    assert_eq!(ok("no template } here {"), json!("no template } here {"));
    assert_eq!(ok("{{ event.attempt }}\n"), json!(2));
    assert_eq!(ok("a {{ event.attempt }}\n"), json!("a 2\n"));
}

#[test]
fn what_comes_out_is_not_rendered_again() {
    assert_eq!(
        ok("<{{ event.title }}>"),
        json!("<it's \"quoted\" {{ event.attempt }} \\ ünïcode\n🚀>")
    );
}

#[test]
fn numbers_arrive_as_they_were_written() {
    let numbers = [
        "1.50",
        "1e400",
        "12345678901234567890123456789",
        "-0.0",
        "1.0",
        "7",
        "0.1",
    ];
    for number in numbers {
        let value: Value = serde_json::from_str(number).unwrap();
        let mut scope = scope();
        scope.roots["event"]["n"] = value.clone();
        let render = |text: &str| Template::text(text, &[]).unwrap().render(&scope).unwrap();
        assert_eq!(render("{{ event.n }}").to_string(), value.to_string());
        assert_eq!(render("<{{ event.n }}>"), json!(format!("<{value}>")));
        assert_eq!(
            render("{{ event | json }}")
                .as_str()
                .unwrap()
                .matches(&value.to_string())
                .count(),
            1
        );
        assert_eq!(render("{{ event }}")["n"].to_string(), value.to_string());
    }
    assert_eq!(ok("{{ event.properties.price > 1 }}"), json!(true));
    assert_eq!(ok("{{ event.properties.price * 2 }}").to_string(), "3.0");
    assert_eq!(ok("{{ event.properties.price - 1 }}").to_string(), "0.5");
    assert_eq!(ok("{{ 1.5 in [event.properties.price] }}"), json!(true));
    let mut big = scope();
    big.roots["event"]["big"] = serde_json::from_str("12345678901234567890").unwrap();
    let sum = Template::text("{% set n = event.big %}{{ n }}", &[])
        .unwrap()
        .render(&big)
        .unwrap();
    assert_eq!(sum, json!("12345678901234567890"));
}

#[test]
fn filters() {
    assert_eq!(ok("{{ event.version | default(\"none\") }}"), json!("none"));
    assert_eq!(ok("{{ event.version | default(event.attempt) }}"), json!(2));
    assert_eq!(ok("{{ event.properties.empty | default('x') | upper }}"), json!("X"));
    assert_eq!(ok("{{ event.title | truncate(4) }}"), json!("it'…"));
    assert_eq!(ok("{{ \"Größe 5/XL \" | slug }}"), json!("gr-e-5-xl"));
    assert_eq!(ok("{{ 'ABC' | lower }}"), json!("abc"));
    assert_eq!(ok("{{ event.properties.a | json }}"), json!(r#"[1,"b"]"#));
    assert_eq!(ok("{{ \"}}\" }} and {{ \"{{\" }}"), json!("}} and {{"));
    assert_eq!(
        ok("{{ changes.merge_requests | map(attribute='iid') | join(', ') }}"),
        json!("7, 9")
    );
    assert_eq!(
        ok("{{ changes.merge_requests | selectattr('iid', 'eq', 9) | map(attribute='title') | first }}"),
        json!("Two")
    );
    for (usage, _) in FILTERS {
        let name = usage.split('(').next().unwrap();
        assert!(
            !error(&format!("{{{{ none | {name}(1, 2, 3, 4) }}}}")).contains("there is no filter"),
            "{name}"
        );
    }
}

#[test]
fn statements() {
    assert_eq!(
        ok(
            "{% for one in changes.merge_requests %}!{{ one.iid }} {{ one.title }}{% if not loop.last %}, {% endif %}{% endfor %}"
        ),
        json!("!7 One, !9 Two")
    );
    assert_eq!(ok("{% if event.version %}v{% else %}none{% endif %}"), json!("none"));
    assert_eq!(ok("{% set n = event.attempt + 1 %}{{ n }}!"), json!("3!"));
    assert_eq!(ok("a{# a comment #}b"), json!("ab"));
    assert_eq!(ok("{{ range(3) | join('-') }}"), json!("0-1-2"));
    assert_eq!(ok("{{ event.name[:6] }}"), json!("deploy"));
    assert_eq!(
        ok("{% for one in changes.merge_requests[1:] %}{{ one.iid }}{% endfor %}"),
        json!("9")
    );
}

#[test]
fn json_leaves_are_rendered_and_nothing_breaks_out_of_them() {
    let value = json!({"{{ event.attempt }}": ["{{ event.attempt }}", {"t": "{{ event.title }}"}], "n": 1.50});
    let rendered = Template::json(value, &[]).unwrap().render(&scope()).unwrap();
    let title = "it's \"quoted\" {{ event.attempt }} \\ ünïcode\n🚀";
    assert_eq!(rendered, json!({"{{ event.attempt }}": [2, {"t": title}], "n": 1.50}));
}

#[test]
fn names_are_known_before() {
    let names = |text: &str| {
        Template::text(text, &[])
            .unwrap()
            .names()
            .iter()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("{{ event.id }} {% for one in changes.merge_requests %}{{ one.iid }}{{ loop.index }}{% endfor %}"),
        ["changes.merge_requests", "event.id"]
    );
    assert_eq!(names("{{ event | json }}"), ["event"]);
    assert_eq!(
        names("{{ event.properties.team | default(env.CI_COMMIT_SHA) }}"),
        ["env.CI_COMMIT_SHA", "event.properties.team"]
    );
    assert!(names("{{ 'event.id' }}").is_empty());
    assert!(names("{{ range(3) | join }}").is_empty());
    assert_eq!(
        names("{% for one in changes.merge_requests[:2] %}{{ one.iid }}{% endfor %}{{ event.commit[:8] }}"),
        ["changes.merge_requests", "event.commit"]
    );
    assert_eq!(
        names("{% for one in (changes.merge_requests | default([]))[:2] %}{{ one.iid }}{% endfor %}"),
        ["changes.merge_requests"]
    );
}

#[test]
fn what_gitlab_pasted_in_is_text() {
    let title = "Fix {{ .Values.image.tag }} {% if %} and \"quotes\"";
    let literals = [title, "harmless"];
    let render = |text: &str| Template::text(text, &literals).unwrap().render(&scope()).unwrap();
    assert_eq!(render(title), json!(title));
    assert_eq!(
        render(&format!("{{{{ event.attempt }}}}: {title}")),
        json!(format!("2: {title}"))
    );
    assert_eq!(
        render(&format!("{{{{ \"{title}\" | upper }}}}")),
        json!(title.to_uppercase())
    );
    assert_eq!(
        render(&format!("{{{{ \"{title}\" | json }}}}")),
        json!(Value::from(title).to_string())
    );
    let nested = json!({"text": title, "n": "{{ event.attempt }}"});
    let nested = Template::json(nested, &literals).unwrap().render(&scope()).unwrap();
    assert_eq!(nested, json!({"text": title, "n": 2}));
    // Nor does it get out of the author's quotes, or into the author's braces.
    let render_with = |title: &str, text: &str| {
        let template = Template::text(&text.replace("$T", title), &[title]).unwrap();
        template.render(&scope()).unwrap()
    };
    let quoted = "x\" ~ event.name ~ \"y";
    assert_eq!(render_with(quoted, "{{ \"$T\" | lower }}"), json!(quoted));
    assert_eq!(render_with("{ event.attempt }", "{$T}"), json!("{{ event.attempt }}"));
    assert_eq!(render_with("{{", "$T"), json!("{{"));
    assert_eq!(
        Template::text("{{ event.attempt }}", &["{{", "}}"])
            .unwrap()
            .render(&scope())
            .unwrap(),
        json!(2)
    );
    // In JSON, GitLab pastes before it is read.
    for title in [
        "\\u007b\\u007b event.name }}",
        "a \\\" {{ event.name }}",
        "a\", \"c\": \"{{ event.name }}",
    ] {
        let pasted = format!("{{\"t\": \"{title}\"}}");
        let value: Value = serde_json::from_str(&pasted).unwrap();
        let rendered = Template::json(value.clone(), &[title])
            .unwrap()
            .render(&scope())
            .unwrap();
        assert_eq!(rendered, value, "{title}");
    }
    // A message that holds the title is as much text.
    let message = format!("{title}\n\n{{{{ more }}}}");
    let both = Template::text(&message, &[title, &message]).unwrap();
    assert_eq!(both.render(&scope()).unwrap(), json!(message));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_eq!(
        error("{{ event.properties.a[7] }}"),
        "template at character 1: `event.properties.a[7]` has no value here; give it one, or write {{ event.properties.a[7] | default(\"…\") }}"
    );
    assert_eq!(
        error("ü {{ event.version }}"),
        "template at character 3: `event.version` has no value here; give it one, or write {{ event.version | default(\"…\") }}"
    );
    assert!(error("{{ event.version }}").starts_with("template at character 1: `event.version` has no value"));
    assert!(error("{{ event.version | upper }}").contains("`event.version` has no value"));
    assert!(error("{{ event.image[:7] }}").contains("`event.image` has no value"));
    assert!(error("{{ event.attempt }} {{ event.image ~ '!' }}").contains("`event.image` has no value"));
    for item in [
        "{{ event.properties.a[9] }}",
        "{{- event.properties.a[9] | upper -}}",
        "an {{ event.attempt }}, {{ event.properties.a[9] }}",
        "an {{ event.attempt }}, {{ event.properties.a[9] | upper | trim }}.",
    ] {
        let said = error(item);
        let wanted =
            "`event.properties.a[9]` has no value here; give it one, or write {{ event.properties.a[9] | default(";
        assert!(said.contains(wanted), "{item}: {said}");
    }
    assert!(error("a\n  {{ event.version }}").starts_with("template at line 2, column 3: `event.version`"));
    assert!(error("{{ env.TOKEN | default('x') }}").contains("`env.TOKEN` is out of reach"));
    assert!(error("{% if env.TOKEN is defined %}x{% endif %}").contains("`env.TOKEN` is out of reach"));
    assert!(error("{{ event.attempt").contains("two braces as they are"));
    assert!(error("{{ }}").contains("unexpected"));
    assert!(error("{{ event.attempt | shout }}").contains("there is no filter `shout`; there are default(value)"));
    assert!(error("{{ event.attempt | truncate(0) }}").contains("whole number"));
    let nested = Template::json(json!({"a": {"b": "{{ event.version }}"}}), &[]).unwrap();
    let message = nested.render(&scope()).unwrap_err().message;
    assert!(message.starts_with("in \"a\": in \"b\": `event.version`"), "{message}");
    let undefined = Template::text("{{ changes.count }}", &[])
        .unwrap()
        .render(&scope())
        .unwrap_err();
    assert_eq!(undefined.undefined.as_deref(), Some("changes.count"));
}

#[test]
fn nothing_but_the_scope_is_reached() {
    for text in [
        "{{ env['HO' ~ 'ME'] }}",
        "{% include 'x' %}",
        "{% import 'x' as x %}",
        "{% extends 'x' %}",
        "{{ debug() }}",
        "{{ self.x }}",
    ] {
        assert!(render(text).is_err(), "{text}");
    }
}

#[test]
fn everything_is_bounded() {
    for text in [
        "{{ 'x' * 1000000000 }}".to_owned(),
        "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}".to_owned(),
        format!("{{{{ '{}' | json }}}}", "\\\"".repeat(700)) + &"{{ 'x' * 500000 }}".repeat(3),
        "(".repeat(100_000) + "{{" + &"(".repeat(100_000) + "1" + &")".repeat(100_000) + "}}",
        "{{ ".to_owned() + &"1+".repeat(100_000) + "1 }}",
        "{% if true %}".repeat(100_000),
        format!("{{{{ '}}}}' ~ {}1 }}}}", "-".repeat(100_000)),
        "{{ ['x' * 500000, 'x' * 500000, 'x' * 500000] }}".to_owned(),
    ] {
        assert!(render(&text).is_err(), "{}", &text[..40]);
    }
    assert_eq!(ok(&("{{ ".to_owned() + &"not ".repeat(900) + "1 }}")), json!(true));
    // What grows with each step is stopped at the limit, not at the end.
    let growing = format!("{{{{ '{}'{} }}}}", "\\\\\"".repeat(400), " | json".repeat(25));
    assert!(error(&growing).contains("more than 1 MiB"));
}

#[test]
fn no_text_makes_it_panic() {
    let pieces = [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        " event",
        ".attempt",
        " | ",
        "default",
        "(",
        ")",
        "'",
        "\"",
        "if ",
        "endif",
        "for x in ",
        "endfor",
        "[",
        "]",
        "1",
        "-",
        "~",
        "ü",
        "\n",
        "\u{f0000}0\u{f0001}",
        "set x = ",
        "raw",
        "endraw",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let count = random.usize(1..12);
        let text: String = (0..count).map(|_| pieces[random.usize(..pieces.len())]).collect();
        if let Ok(template) = Template::text(&text, &["{{ x", "%}"]) {
            let _ = template.render(&scope());
        }
    }
}
