//! The house's own rules: who may import whom, who may touch the outside, how long a file may be, and that whatever a
//! comment cites is there. It reads the source as text; nothing here is linked with the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

/// The most lines that a source file may have, its tests left out.
const LONGEST_SOURCE: usize = 500;
/// The most lines that any file of code may have.
const LONGEST_FILE: usize = 999;

/// This repository.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of Rust, by its path in the repository.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The text without its tests: without modules that are compiled for tests alone.
    fn without_tests(&self) -> String {
        let mut kept = String::new();
        let mut lines = self.text.lines().peekable();
        while let Some(line) = lines.next() {
            if line != "#[cfg(test)]" {
                kept += line;
                kept.push('\n');
                continue;
            }
            // `mod tests;` is one line; `mod tests {` ends with the first brace that stands alone.
            if lines.next().is_some_and(|line| line.ends_with('{')) {
                let _ = lines.by_ref().find(|line| *line == "}");
            }
        }
        kept
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.ends_with("/testing.rs")
    }

    /// `delivery::courier` of `src/delivery/courier.rs`.
    fn module(&self) -> String {
        let path = self.path.strip_prefix("src/").expect("a file below src/");
        path.trim_end_matches(".rs").replace('/', "::")
    }
}

/// The files below a folder with one of these endings.
fn files(folder: &str, endings: &[&str]) -> Vec<Source> {
    let mut open = vec![repository().join(folder)];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if endings
            .iter()
            .any(|ending| path.extension().is_some_and(|own| own == *ending))
        {
            let name = path.strip_prefix(repository()).expect("below the repository");
            found.push(Source {
                path: name.display().to_string(),
                text: fs::read_to_string(&path).expect("a text"),
            });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "nothing is found below {folder}");
    found
}

/// The layers, from the bottom to the top, as the documentation of `src/main.rs` lists them.
fn layers() -> Vec<String> {
    let main = fs::read_to_string(repository().join("src/main.rs")).expect("src/main.rs");
    let list: String = main
        .lines()
        .skip_while(|line| *line != "//! ```text")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| line.trim_start_matches("//!").to_owned() + " ")
        .collect();
    let group = Regex::new(r"(\w+)::\{([^}]*)\}").expect("a pattern");
    let list = group.replace_all(&list, |found: &regex::Captures| {
        let of = |name: &str| format!("{}::{name}", &found[1]);
        found[2].split_whitespace().map(of).collect::<Vec<_>>().join(" ")
    });
    let words = list.split_whitespace().filter(|word| *word != "|");
    words.map(str::to_owned).collect()
}

/// The layer that a module is of: the longest name in the list that it starts with.
fn layer(layers: &[String], module: &str) -> Option<usize> {
    let is_of = |name: &str| module == name || module.starts_with(&format!("{name}::"));
    let mut of: Vec<(usize, &String)> = layers.iter().enumerate().filter(|(_, name)| is_of(name)).collect();
    of.sort_by_key(|(_, name)| name.len());
    of.last().map(|(place, _)| *place)
}

/// Every path that a text uses of this crate: of `use crate::{a::b, c}` as well as of `crate::a::b` in between; `super`
/// is resolved by the module's own name.
fn imports(module: &str, text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let mut paths = BTreeSet::new();
    let start = Regex::new(r"\b(crate|(?:super::)*super)::").expect("a pattern");
    for found in start.captures_iter(&code) {
        let whole = found.get(0).expect("a match");
        let root = match &found[1] {
            "crate" => Vec::new(),
            supers => {
                let mut parents: Vec<&str> = module.split("::").collect();
                let up = supers.matches("super").count();
                parents.truncate(parents.len().saturating_sub(up));
                parents
            }
        };
        let prefix: String = root.iter().map(|part| format!("{part}::")).collect();
        expand(&prefix, &code[whole.end()..], &mut paths);
    }
    paths
}

/// Adds the paths of a use tree that starts here to `paths`.
fn expand(prefix: &str, tree: &str, paths: &mut BTreeSet<String>) {
    let tree = tree.trim_start();
    if let Some(inside) = tree.strip_prefix('{') {
        let (mut depth, mut start) = (0, 0);
        for (at, character) in inside.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                '}' => {
                    expand(prefix, &inside[start..at], paths);
                    return;
                }
                ',' if depth == 0 => {
                    expand(prefix, &inside[start..at], paths);
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let word: String = tree
        .chars()
        .take_while(|one| one.is_alphanumeric() || *one == '_')
        .collect();
    if word.is_empty() {
        return;
    }
    let path = format!("{prefix}{word}");
    match tree[word.len()..].strip_prefix("::") {
        // Types and constants are no modules: what is behind them is of no interest.
        Some(rest) if word.chars().all(|one| !one.is_uppercase()) => expand(&format!("{path}::"), rest, paths),
        _ => drop(paths.insert(path)),
    }
}

/// The module of a path: its last part may be a type, a function or a constant.
fn module_of(path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut parts: Vec<&str> = path.split("::").collect();
    while !parts.is_empty() {
        let name = parts.join("::");
        if modules.contains(&name) {
            return Some(name);
        }
        parts.pop();
    }
    None
}

#[test]
fn every_module_imports_from_below_its_own_layer() {
    let layers = layers();
    let sources = files("src", &["rs"]);
    let modules: BTreeSet<String> = sources.iter().map(Source::module).collect();
    for name in &layers {
        assert!(modules.contains(name), "src/main.rs lists {name}, which is no module");
    }
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in sources.iter().filter(|source| !source.is_test()) {
        let module = source.module();
        let imports = imports(&module, &source.without_tests());
        let Some(own) = layer(&layers, &module) else {
            // A file that only names its parts stands nowhere by itself.
            let is_mere_folder = layers.iter().any(|name| name.starts_with(&format!("{module}::")));
            assert!(
                is_mere_folder && imports.is_empty(),
                "{module} is in no layer: add it to the list in src/main.rs"
            );
            continue;
        };
        for path in imports {
            let Some(other) = module_of(&path, &modules).filter(|other| *other != module) else {
                continue;
            };
            seen += 1;
            if layer(&layers, &other).is_none_or(|place| place > own) {
                wrong.push(format!("{module} imports {other}, which stands above it"));
            }
        }
    }
    assert!(
        seen > 200,
        "only {seen} imports are seen: does this test still understand the source?"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_goes_in_a_circle() {
    let sources = files("src", &["rs"]);
    let modules: BTreeSet<String> = sources.iter().map(Source::module).collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let module = source.module();
        for path in imports(&module, &source.without_tests()) {
            let Some(other) = module_of(&path, &modules) else {
                continue;
            };
            // A file and the folder of its own parts are one thing: the parts see what they are parts of.
            let is_own = other == module
                || other.starts_with(&format!("{module}::"))
                || module.starts_with(&format!("{other}::"));
            if !is_own {
                edges.entry(module.clone()).or_default().insert(other);
            }
        }
    }
    // What nothing leads out of is in no circle; nor is what leads to such modules only.
    loop {
        let ends: Vec<String> = edges
            .iter()
            .filter(|(_, to)| to.iter().all(|to| !edges.contains_key(to)))
            .map(|(from, _)| from.clone())
            .collect();
        if ends.is_empty() {
            break;
        }
        for end in ends {
            edges.remove(&end);
        }
    }
    assert!(edges.is_empty(), "these go in a circle, or lead to one: {edges:#?}");
}

/// Checks that a pattern is found in no file but those that may have it.
fn only_in(pattern: &str, allowed: &[&str], why: &str) {
    let pattern = Regex::new(pattern).expect("a pattern");
    let mut wrong = Vec::new();
    let mut is_used = false;
    for source in files("src", &["rs"]).iter().filter(|source| !source.is_test()) {
        let may = allowed.iter().any(|allowed| source.path.starts_with(allowed));
        for line in source
            .without_tests()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            if pattern.is_match(line) {
                is_used = true;
                if !may {
                    wrong.push(format!("{}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert!(
        is_used,
        "{pattern} is found nowhere: does this test still look for the right thing?"
    );
    assert!(wrong.is_empty(), "{why}:\n{}", wrong.join("\n"));
}

#[test]
fn one_file_speaks_http() {
    only_in(r"\breqwest\b", &["src/delivery/client"], "only the client uses reqwest");
}

#[test]
fn the_outside_is_touched_at_the_rim_only() {
    only_in(
        r"\benv::var",
        &["src/environment.rs"],
        "only one file reads the process's environment",
    );
    only_in(
        r"\bfs::|\bFile::",
        &["src/files.rs", "src/receipts/folder"],
        "files are read and written at the rim",
    );
    only_in(
        r"SystemTime::now|Instant::now",
        &["src/commands/", "src/delivery/courier"],
        "the clock is read where a run begins, and where it waits",
    );
    for source in files("src/destinations", &["rs"])
        .iter()
        .filter(|source| !source.is_test())
    {
        let text = source.without_tests();
        for outside in [
            "std::env",
            "std::fs",
            "std::net",
            "std::process",
            "::now(",
            "environment::",
            "tokio",
        ] {
            assert!(
                !text.contains(outside),
                "{}: a destination has no {outside} of its own",
                source.path
            );
        }
    }
}

#[test]
fn state_is_handed_on_and_not_shared() {
    only_in(
        r"\b(Ref)?Cell\b|\bMutex\b|\bRwLock\b|\bstatic mut\b",
        &["src/redaction", "src/delivery/session"],
        "only the list of what is hidden is shared, and what lanes to one service agree on",
    );
}

#[test]
fn a_destination_is_declared_in_one_place() {
    let declared = files("src/destinations", &["rs"]);
    let variable = Regex::new(r#"= "([A-Z]+)_[A-Z_]+""#).expect("a pattern");
    let mut prefixes: BTreeSet<String> = BTreeSet::new();
    for source in declared.iter().filter(|source| !source.is_test()) {
        let found = variable.captures_iter(&source.text).map(|found| found[1].to_owned());
        prefixes.extend(found.filter(|prefix| !["TEAM", "TRIGGER"].contains(&prefix.as_str())));
    }
    assert!(prefixes.len() >= 5, "{prefixes:?}");
    let names = prefixes
        .iter()
        .map(|prefix| format!(r"\b{prefix}_[A-Z]"))
        .collect::<Vec<_>>();
    only_in(
        &names.join("|"),
        &["src/destinations/"],
        "what is a destination's own is said by its declaration",
    );
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut wrong = Vec::new();
    for folder in ["src", "sandbox/src"] {
        for source in files(folder, &["rs"]) {
            let lines = source.without_tests().lines().count();
            if !source.is_test() && lines > LONGEST_SOURCE {
                wrong.push(format!("{} has {lines} lines without its tests", source.path));
            }
        }
    }
    for folder in ["src", "sandbox", "tests"] {
        for source in files(folder, &["rs"]) {
            let lines = source.text.lines().count();
            if lines > LONGEST_FILE {
                wrong.push(format!("{} has {lines} lines", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where code and texts are that may cite something.
fn citing() -> Vec<Source> {
    let mut all = Vec::new();
    for (folder, endings) in [
        ("src", &["rs"] as &[&str]),
        ("sandbox", &["rs", "html"]),
        ("tests", &["rs", "yml"]),
        ("templates", &["yml"]),
        ("docs", &["md"]),
        ("examples", &["json", "yml"]),
    ] {
        all.extend(files(folder, endings));
    }
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "Cargo.toml",
        "Dockerfile",
        ".gitlab-ci.yml",
        "scripts/common.sh",
    ] {
        let text = fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        all.push(Source {
            path: name.to_owned(),
            text,
        });
    }
    all
}

/// What of a text cites `docs/…` and leads nowhere, and how many citations there are.
fn dead_citations(source: &Source, text: &str, citation: &Regex, number: &Regex) -> (Vec<String>, usize) {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for found in citation.captures_iter(text) {
        seen += 1;
        let path: PathBuf = repository().join("docs").join(&found[1]);
        let Ok(cited) = fs::read_to_string(&path) else {
            wrong.push(format!("{}: there is no docs/{}", source.path, &found[1]));
            continue;
        };
        let headings: Vec<&str> = cited
            .lines()
            .filter(|line| line.starts_with("##"))
            .map(|line| line.trim_start_matches('#').trim_start())
            .collect();
        for section in number.find_iter(&found[2]) {
            let is_it = |heading: &&str| {
                let rest = heading.strip_prefix(section.as_str());
                rest.is_some_and(|rest| rest.starts_with(['.', ' ']))
            };
            if !headings.iter().any(is_it) {
                let (path, section) = (&found[1], section.as_str());
                wrong.push(format!("{}: docs/{path} has no section {section}", source.path));
            }
        }
    }
    (wrong, seen)
}

#[test]
fn every_citation_leads_somewhere() {
    let pattern = |text: &str| Regex::new(text).expect("a pattern");
    let citation = pattern(r"docs/([a-z/-]+\.md)((?:,? (?:and )?\d+(?:\.\d+)?)*)");
    let number = pattern(r"\d+(?:\.\d+)?");
    let line_break = pattern(r"\n\s*(?:///|//!|//|#)?\s*");
    let elsewhere = pattern(r"(?:^|[^/\w])(?:vendors/[a-z]+\.md|guides/[a-z]+\.txt|gitlab\.md|contract\.md)");
    let mut wrong = Vec::new();
    let mut all = 0;
    for source in citing() {
        // They cite others' documents, and this file looks for citations.
        if source.path.starts_with("docs/") || source.path == "tests/architecture.rs" {
            continue;
        }
        // A citation may be wrapped at the end of a comment's line.
        let joined = line_break.replace_all(&source.text, " ").into_owned();
        let (dead, seen) = dead_citations(&source, &joined, &citation, &number);
        wrong.extend(dead);
        all += seen;
        for found in elsewhere.find_iter(&joined) {
            let what = found.as_str();
            wrong.push(format!("{}: cites{what}, which is not in the repository", source.path));
        }
    }
    assert!(
        all > 150,
        "only {all} citations are seen: does this test still understand them?"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A page without its fenced code, whose brackets and hashes are no links and no headings.
fn prose(page: &str) -> String {
    let fence = Regex::new(r"(?ms)^```.*?^```").expect("a pattern");
    fence.replace_all(page, "").into_owned()
}

/// What a page's headings are called in links to them, as GitLab and GitHub make it of their texts.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = BTreeSet::new();
    for line in prose(page).lines().filter(|line| line.starts_with('#')) {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|one| one.is_alphanumeric() || [' ', '-', '_'].contains(one));
        let name: String = kept.map(|one| if one == ' ' { '-' } else { one }).collect();
        let next = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone())
            .chain(next)
            .find(|name| !all.contains(name));
        all.extend(free);
    }
    all
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)").expect("a pattern");
    // Within `code` nothing is a link.
    let code = Regex::new(r"`[^`\n]*`").expect("a pattern");
    let mut wrong = Vec::new();
    let mut all = 0;
    let pages = citing();
    let is_page = |page: &&Source| Path::new(&page.path).extension().is_some_and(|ending| ending == "md");
    for page in pages.iter().filter(is_page) {
        let text = prose(&page.text);
        let text = code.replace_all(&text, "code");
        for found in link.captures_iter(&text) {
            let to = &found[1];
            if to.contains("://") {
                continue;
            }
            all += 1;
            let path = repository().join(&page.path);
            let path = if to.is_empty() { path } else { path.with_file_name(to) };
            let leads = match found.get(2) {
                None => path.exists(),
                Some(anchor) => fs::read_to_string(&path).is_ok_and(|text| anchors(&text).contains(anchor.as_str())),
            };
            if !leads {
                wrong.push(format!("{}: {} leads nowhere", page.path, &found[0]));
            }
        }
    }
    assert!(
        all > 80,
        "only {all} links are seen: does this test still understand them?"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
