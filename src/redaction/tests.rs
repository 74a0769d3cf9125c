use std::time::Instant;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use fastrand::Rng;
use serde_json::json;

use super::*;

const UGLY: &str = "s3cr\"t/\\ +ü&pass";
const TOKEN: &str = "rely_pat/9fKq+Zw81LmB/Xy77==";
const NAME: &str = "RELY_API_TOKEN";

fn hiding(secret: &str) -> Redactor {
    let redactor = Redactor::new(["https://gitlab.example.com/acme/shop", "acme/shop"]);
    redactor.hide(secret, NAME);
    redactor
}

fn note() -> String {
    format!("{HIDDEN} (it echoes {NAME})")
}

fn cleaned(redactor: &Redactor, answer: &Value) -> Value {
    serde_json::from_str(&redactor.json(answer).to_string()).expect("it stays JSON")
}

/// Both ways: the foreign text is gone, and of our own only the stretch.
#[track_caller]
fn assert_hidden(redactor: &Redactor, form: &str) {
    assert_eq!(redactor.foreign(&format!("before {form} after")), note(), "{form}");
    let clean = redactor.text(&format!("before {form} after"));
    assert!(clean.contains(HIDDEN), "{form} came through");
    assert!(
        clean.starts_with("before ") && clean.ends_with(" after"),
        "too much hidden of {form}: {clean}"
    );
}

#[test]
fn every_form_is_hidden() {
    let redactor = hiding(UGLY);
    let mut forms = vec![
        UGLY.to_owned(),
        "s3cr%22t%2F%5C%20%2B%C3%BC%26pass".to_owned(),
        "s3cr%22t%2f%5c%20%2b%c3%bc%26pass".to_owned(),
        "s3cr%22t%2F%5C+%2B%C3%BC%26pass".to_owned(),
        serde_json::to_string(UGLY).unwrap(),
        r#"s3cr\"t\/\\ +ü&pass"#.to_owned(),
        r#"s3cr\"t/\\ +\u00fc&pass"#.to_owned(),
        "s3cr&quot;t/\\ +ü&amp;pass".to_owned(),
        "s3cr&#34;t/%5C%20+%C3%bc\\u0026pass".to_owned(),
        "7333637222742f5c202bc3bc2670617373".to_owned(),
    ];
    for prefix in ["", "u", "us", "user:"] {
        for suffix in ["", "x", "xy"] {
            let text = format!("{prefix}{UGLY}{suffix}");
            forms.push(BASE64_STANDARD.encode(&text));
            forms.push(BASE64_URL_SAFE_NO_PAD.encode(&text));
        }
    }
    for form in forms {
        assert_hidden(&redactor, &form);
        let clean = redactor.text(&format!("before {form} after"));
        assert!(!clean.contains("pass"), "a rest of {form} came through: {clean}");
    }
}

#[test]
fn what_gateways_make_of_it_is_hidden() {
    let redactor = hiding(TOKEN);
    for form in [
        r"rely_pat\\/9fKq\\u002BZw81LmB\\/Xy77==",
        "rely_pat%252F9fKq%252BZw81LmB%252FXy77%253D%253D",
        "rely_pat%25252525252F9fKq%2BZw81LmB",
        "rely_pat&amp;amp;#x2F;9fKq&amp;amp;plus;Zw81LmB&amp;sol;Xy77",
        "rely_pat\\u0026sol;9fKq%26%23%34%33%3bZw81LmB%5C/Xy77",
        "rely_pat/9fKq Zw81LmB/Xy77==",
        "rely_pat/9f\r\n  Kq+Zw8\r\n  1LmB/Xy77==",
        "rely_\u{200b}pat/9fKq\u{ad}+Zw81\u{feff}LmB/Xy77==",
        "RELY_PAT/9FKQ+ZW81LMB/XY77==",
        r"\u0072\u0065\u006c\u0079\u005f\u0070\u0061\u0074\u002f\u0039\u0066\u004b\u0071",
        "&#114;&#101;&#x6c;&#x79;_pat&#47;9fKq",
        "9fKq+Zw81LmB",
    ] {
        assert_hidden(&redactor, form);
    }
    let utf_16: String = TOKEN.chars().flat_map(|character| ['\0', character]).collect();
    assert_hidden(&redactor, &utf_16);
    let lossy =
        String::from_utf8_lossy(&TOKEN.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()).into_owned();
    assert_hidden(&redactor, &lossy);
    let encoded = BASE64_STANDARD.encode(format!("user:{TOKEN}>>>???"));
    assert!(encoded.contains('+') || encoded.contains('/'), "{encoded}");
    assert_hidden(
        &redactor,
        &encoded.replace('+', "%2B").replace('/', "\\/").replace('=', "\\u003d"),
    );
    assert_eq!(
        redactor.foreign("rely_pat/9f"),
        "rely_pat/9f",
        "eleven characters are no trace"
    );
}

#[test]
fn a_secret_that_looks_escaped_is_found_as_it_is_and_escaped() {
    for secret in [
        "abc&amp;def%25ghi%41jkl",
        "a\\u0041b\\/c%2Fd&#65;e",
        "x%2525y&amp;amp;z-and-more",
    ] {
        let redactor = hiding(secret);
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let html = secret.replace('&', "&amp;");
        let json = Value::from(secret).to_string();
        for form in [
            secret,
            &percent,
            &html,
            &json,
            &Value::from(percent.as_str()).to_string(),
        ] {
            assert_hidden(&redactor, form);
        }
    }
}

#[test]
fn ordinary_texts_come_through_untouched() {
    let redactor = Redactor::new(["https://gitlab.example.com/acme/shop", "acme/shop", "production"]);
    for (secret, name) in [
        (TOKEN, NAME),
        ("https://gitlab.example.com/acme/shop", "ODD_TOKEN"),
        ("production", "WORD_TOKEN"),
        (
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzaG9wLTEifQ.c2lnbmF0dXJlLW9mLWl0",
            "JWT",
        ),
        ("bca", "SHORT_TOKEN"),
    ] {
        redactor.hide(secret, name);
    }
    for text in [
        "404 Project acme/shop.git Not Found",
        "an entity links https://gitlab.example.com/acme/shop/-/pipelines/8812 (production)",
        "100 % of a&b; it\\'s «fine» \\u00fc %41 &amp;…",
        "bad header eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "another one: eyJhbGciOiJSUzI1NiIsImtpZCI6",
        "grab case, a bc a",
        "",
    ] {
        assert_eq!(redactor.foreign(text), text);
        assert_eq!(redactor.text(text), text);
    }
    let event =
        json!({"title": "acme/shop v1 (production)", "n": 1, "url": "https://gitlab.example.com/acme/shop", "x": null});
    assert_eq!(cleaned(&redactor, &event), event);
    assert_eq!(redactor.record(&event), event);
}

#[test]
fn each_part_of_a_web_token_is_hidden_and_its_header_is_none() {
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzaG9wLTEifQ.c2ln";
    let redactor = hiding("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzaG9wLTEifQ.c2lnbmF0");
    assert_hidden(&redactor, "eyJzdWIiOiJzaG9wLTEifQ");
    assert_hidden(&redactor, "c2lnbmF0");
    assert_hidden(&redactor, token);
    assert_eq!(
        redactor.foreign("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"),
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    );
}

#[test]
fn a_line_of_a_secret_of_several_lines_is_hidden() {
    let redactor = hiding("-----BEGIN\nabcdefgh\n");
    assert_eq!(redactor.text("got abcdefgh"), format!("got {}", note()));
}

#[test]
fn secrets_beside_and_inside_each_other_leave_no_rest() {
    let redactor = Redactor::default();
    redactor.hide("inner1", "A");
    redactor.hide("outer-inner1-outer", "B");
    assert_eq!(
        redactor.text("outer-inner1-outer inner1 inner1outer-inner1-outer."),
        "[hidden] (it echoes B) [hidden] (it echoes A) [hidden] (it echoes A)[hidden] (it echoes B)."
    );
}

#[test]
fn what_a_cut_left_of_a_secret_is_hidden() {
    let redactor = hiding(UGLY);
    for cut in ["s3cr…", "s3cr\"t/\\ +ü&pas…", "s3cr%22t%2F%5C%2…", "S3CR&quo…"] {
        let clean = redactor.text(&format!("before {cut} after"));
        assert_eq!(clean, format!("before {}… after", note()), "{cut}");
    }
    assert_eq!(redactor.text("as… is s3…"), "as… is s3…");
}

#[test]
fn json_stays_json() {
    let redactor = hiding("12345678");
    let clean = cleaned(
        &redactor,
        &json!({"n": 12_345_678, "12345678": ["x12345678", 1, null, true], "a12345678": 2}),
    );
    let expected = json!({"n": note(), note(): [note(), 1, null, true], format!("{} 2", note()): 2});
    assert_eq!(clean, expected);
    let own = json!({
        "12345678": 12_345_678, "why": "no x12345678, sorry", "event": {"properties": {"12345678": 12_345_678}},
    });
    let expected = json!({
        "12345678": 12_345_678, "why": format!("no x{}, sorry", note()), "event": {"properties": {note(): note()}},
    });
    assert_eq!(redactor.record(&own), expected);
}

#[test]
fn what_the_services_really_say_comes_through_untouched() {
    let redactor = Redactor::new(["https://gitlab.example.com/acme/shop"]);
    let mut rng = Rng::with_seed(11);
    for number in 0..30 {
        redactor.hide(&secret(&mut rng), &format!("TOKEN_{number}"));
    }
    redactor.hide("glcbt-64_job-token-value", "CI_JOB_TOKEN");
    redactor.hide(
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzaG9wLTEifQ.c2lnbmF0dXJlLW9mLWl0",
        "JWT",
    );
    let mut count = 0;
    for notes in [
        include_str!("../../docs/vendors/aviator.md"),
        include_str!("../../docs/vendors/cto.md"),
        include_str!("../../docs/vendors/direktiv.md"),
        include_str!("../../docs/vendors/port.md"),
        include_str!("../../docs/vendors/rely.md"),
        include_str!("../../docs/gitlab.md"),
    ] {
        for line in notes.lines() {
            assert_eq!(redactor.foreign(line), line);
            count += 1;
        }
    }
    assert!(count > 500, "{count} lines");
}

#[test]
fn one_letter_is_no_secret_worth_hiding() {
    assert_eq!(hiding("a").text("a banana"), "a banana");
}

#[test]
fn what_is_learned_later_is_hidden_by_every_clone() {
    let redactor = Redactor::default();
    let clone = redactor.clone();
    redactor.hide(TOKEN, NAME);
    assert_eq!(clone.foreign(TOKEN), note());
}

/// Random secrets of several kinds.
fn secret(rng: &mut Rng) -> String {
    let signs: &[u8] = match rng.u8(0..5) {
        0 => b"0123456789abcdef",
        1 => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        2 => b"abcdefghijklmnopqrstuvwxyz0123456789-_.~",
        3 => b"abcdefghijkl0123456789!\"#$%&'()*,/:;<=>?@[\\]^`{|}",
        _ => b"abcxyz019&;%25\\u/amp#x",
    };
    // All of it is compared, but for the plus.
    let length = rng.usize(20..60);
    (0..length)
        .map(|_| char::from(signs[rng.usize(0..signs.len())]))
        .collect()
}

/// One way to write a text, made without the matcher's own tables.
fn written(rng: &mut Rng, text: &str) -> String {
    let of_each = |rng: &mut Rng, way: &dyn Fn(&mut Rng, char) -> String| -> String {
        text.chars().map(|character| way(rng, character)).collect()
    };
    let is_plain = |character: char| character.is_ascii_alphanumeric();
    match rng.u8(0..9) {
        1 => of_each(rng, &|rng, character| {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).bytes();
            if is_plain(character) && rng.u8(0..4) > 0 {
                character.to_string()
            } else if rng.bool() {
                bytes.map(|byte| format!("%{byte:02X}")).collect()
            } else {
                bytes.map(|byte| format!("%{byte:02x}")).collect()
            }
        }),
        2 => {
            let quoted = serde_json::to_string(text).unwrap();
            quoted[1..quoted.len() - 1].replace('/', "\\/")
        }
        3 => of_each(rng, &|rng, character| match character {
            '\\' => "\\\\".to_owned(),
            _ if is_plain(character) && rng.u8(0..4) > 0 => character.to_string(),
            _ => character
                .encode_utf16(&mut [0; 2])
                .iter()
                .map(|unit| format!("\\u{unit:04X}"))
                .collect(),
        }),
        4 => text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
            .replace('/', "&#x2F;"),
        5 => of_each(rng, &|rng, character| {
            let number = u32::from(character);
            match rng.u8(0..3) {
                _ if is_plain(character) && rng.u8(0..4) > 0 => character.to_string(),
                0 => format!("&#{number};"),
                1 => format!("&#x{number:x};"),
                _ => format!("&#0{number};"),
            }
        }),
        6 => of_each(rng, &|rng, character| {
            let more = ["", "", "", "", "\n", "\r\n\t", " ", "\u{200b}", "\u{feff}", "\0"];
            format!("{character}{}", more[rng.usize(0..more.len())])
        }),
        7 if text.is_ascii() && !text.contains(['\\', '%', '&']) => text.to_uppercase(),
        0 | 7 => text.to_owned(),
        _ => text.chars().flat_map(|character| [character, '\0']).collect(),
    }
}

#[test]
fn random_secrets_in_random_forms_at_random_places_are_hidden() {
    let mut rng = Rng::with_seed(20_261_121);
    let mut count = 0;
    for _ in 0..400 {
        let secret = secret(&mut rng);
        let redactor = hiding(&secret);
        for _ in 0..12 {
            let mut form = match rng.u8(0..6) {
                0 => {
                    let before = ["", "u", "us", "user:"][rng.usize(0..4)];
                    BASE64_STANDARD.encode(format!("{before}{secret}xyz"))
                }
                1 => BASE64_URL_SAFE_NO_PAD.encode(format!("Bearer {secret}")),
                2 => secret.bytes().map(|byte| format!("{byte:02X}")).collect(),
                // Two thirds of it, from the start, the middle or the end.
                3 => {
                    let start = rng.usize(0..=secret.len() / 3);
                    secret[start..start + secret.len() * 2 / 3].to_owned()
                }
                _ => secret.clone(),
            };
            if secret.contains(['\\', '%', '&']) && form.len() < secret.len() {
                // A part may begin within what looks like an escape, and then be less than a window.
                form.clone_from(&secret);
            }
            for _ in 0..rng.usize(0..4) {
                form = written(&mut rng, &form);
            }
            let word = ["", "before", "x=", "\"", "it's «ü» "][rng.usize(0..5)];
            let text = format!("{word} {form} {word}");
            assert_eq!(redactor.foreign(&text), note(), "{secret} in {text}");
            let leaf = cleaned(&redactor, &json!({"a": [{form.as_str(): 1}, text]}));
            assert_eq!(leaf, json!({"a": [{note(): 1}, note()]}), "{secret} in {text}");
            let clean = redactor.text(&text);
            assert!(clean.contains(&note()), "{secret} in {text}: {clean}");
            // What is left shows nothing that the filter would still find.
            assert_eq!(
                redactor.foreign(&clean.replace(&note(), "")),
                clean.replace(&note(), ""),
                "{secret} in {text}"
            );
            count += 1;
        }
    }
    assert_eq!(count, 4800);
}

#[test]
fn random_short_secrets_are_hidden_as_a_whole() {
    let mut rng = Rng::with_seed(5);
    for number in 0..1000 {
        let length = rng.usize(SHORTEST_LINE..WINDOW);
        let signs = b"abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789-_./";
        let secret: String = (0..length)
            .map(|_| char::from(signs[rng.usize(0..signs.len())]))
            .collect();
        let redactor = hiding(&secret);
        let mut form = secret.clone();
        for _ in 0..number % 3 {
            form = written(&mut rng, &form);
        }
        let text = format!("(bad {form}, it is)");
        assert_eq!(redactor.foreign(&text), note(), "{secret} in {text}");
        let clean = redactor.text(&text);
        // White space behind its last letter, or what can't be seen, is no part of it.
        assert!(
            clean.starts_with(&format!("(bad {}", note())) && clean.ends_with(", it is)"),
            "{secret} in {text}: {clean}"
        );
        let rest = &secret[1..];
        assert_eq!(redactor.foreign(rest), rest, "a part of a short secret is no trace");
    }
}

#[test]
fn random_texts_that_hold_no_secret_come_through() {
    let mut rng = Rng::with_seed(7);
    let redactor = Redactor::default();
    for number in 0..30 {
        redactor.hide(&secret(&mut rng), &format!("TOKEN_{number}"));
    }
    for _ in 0..2000 {
        let other = secret(&mut rng);
        let text = written(&mut rng, &other);
        assert_eq!(redactor.foreign(&text), text);
        assert_eq!(redactor.text(&text), text);
    }
}

#[test]
fn the_cost_is_linear_in_the_text_whatever_the_secrets_are() {
    let mut rng = Rng::with_seed(3);
    let long: String = (0..5000).map(|_| rng.alphanumeric()).collect();
    let thirty = Redactor::default();
    for number in 0..30 {
        thirty.hide(&secret(&mut rng), &format!("TOKEN_{number}"));
    }
    thirty.hide(&long, "LONG");
    let entity = r#"{"identifier":"shop-8812","title":"acme\/shop 1.2 (production)","team":"a&amp;b","n":1.5}, "#;
    let answer = (0..9000)
        .map(|number| json!({"id": number, "title": entity, "done": true}))
        .collect::<Value>();
    let mut timings = Vec::new();
    let mut timed = |what: &str, work: &dyn Fn()| {
        let begun = Instant::now();
        work();
        timings.push((what.to_owned(), begun.elapsed()));
    };
    timed("1 MB of cuts", &|| {
        let text = "…".repeat(350_000) + &long;
        assert!(thirty.text(&text).ends_with("(it echoes LONG)"));
    });
    timed("1 MB of a secret's first letters", &|| {
        let text = format!("{}… ", &long[..11]).repeat(70_000);
        assert!(!thirty.text(&text).contains(&long[..11]));
    });
    timed("0.9 MB of JSON", &|| assert_eq!(cleaned(&thirty, &answer), answer));
    timed("4 MB of percent signs", &|| {
        let text = "%25".repeat(1_400_000);
        assert_eq!(thirty.foreign(&text), text);
    });
    timed("16 MB of text", &|| {
        let text = entity.repeat(16_000_000 / entity.len());
        assert_eq!(thirty.foreign(&text), text);
    });
    let worst = timings.iter().map(|(_, time)| time.as_secs()).max();
    println!("{timings:?}");
    assert!(worst < Some(120), "it took too long: {timings:?}");
}
