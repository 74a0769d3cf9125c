//! What can be seen of a template's source without understanding it.

/// What names start with.
const ROOTS: &[&str] = &["event", "pipeline", "changes", "job", "env"];

/// The longest expression or statement, in bytes. What reads it is recursive, so that a longer one could exhaust the
/// stack.
const LONGEST_TAG: usize = 4096;

/// The most statements in one text, for the same reason: they can stand inside each other.
const MOST_STATEMENTS: usize = 500;

/// What is inside the braces of a text that starts and ends with some, and where it starts.
pub fn inside(source: &str) -> Option<(&str, usize)> {
    let start = source.len() - source.trim_start().len();
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let marked = inner.strip_prefix('-').unwrap_or(inner);
    let start = start + 2 + (inner.len() - marked.len());
    Some((marked.strip_suffix('-').unwrap_or(marked), start))
}

/// Whether a template may compare or calculate: then `1.50` is the number 1.5 to it; in all others it is as it was
/// written.
pub fn calculates(source: &str) -> bool {
    let signs = ['<', '>', '=', '+', '*', '/', '%'];
    let words = [" - ", " in ", " is ", "float", "int", "attr("];
    tags(source).any(|(_, tag)| tag.contains(signs) || words.iter().any(|word| tag.contains(word)))
}

/// The expression in the braces around `offset`, else in the first ones, without its filters.
pub fn expression_at(source: &str, offset: usize) -> &str {
    let around = tags(source)
        .filter(|(start, _)| *start <= offset)
        .max_by_key(|(start, _)| *start);
    let tag = around.or_else(|| tags(source).next()).map_or(source, |(_, tag)| tag);
    let inner = tag.trim_matches('-').trim();
    inner.split('|').next().unwrap_or(inner).trim()
}

/// What stands between braces, and where it starts: up to the closing ones that stand in no quotes, or to the end.
fn tags(source: &str) -> impl Iterator<Item = (usize, &str)> {
    [("{{", "}}"), ("{%", "%}")].into_iter().flat_map(move |(open, close)| {
        source.match_indices(open).map(move |(offset, _)| {
            let rest = &source[offset + open.len()..];
            (offset, &rest[..end_of_tag(rest, close)])
        })
    })
}

fn end_of_tag(rest: &str, close: &str) -> usize {
    let mut quote = None;
    let mut is_escaped = false;
    for (index, character) in rest.char_indices() {
        match (quote, character) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), _) if character == open => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, _) if rest[index..].starts_with(close) => return index,
            _ => {}
        }
    }
    rest.len()
}

/// The names that a source slices: those with a bracket behind them.
pub fn sliced(source: &str) -> impl Iterator<Item = &str> {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '.');
    tags(source).flat_map(move |(_, tag)| {
        tag.match_indices('[').filter_map(move |(end, _)| {
            let before = &tag[..end];
            let start = before
                .rfind(|character| !is_part(character))
                .map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8));
            let name = &before[start..];
            let root = name.split('.').next().unwrap_or_default();
            (ROOTS.contains(&root) && name.contains('.')).then_some(name)
        })
    })
}

/// The names in expressions with brackets, those in quotes too: the engine overlooks what stands before a slice
/// (`(changes.merge_requests | default([]))[:3]`).
pub fn bracketed(source: &str) -> impl Iterator<Item = &str> {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '.');
    let with_brackets = tags(source).filter(|(_, tag)| tag.contains('['));
    let words = with_brackets.flat_map(move |(_, tag)| tag.split(move |character| !is_part(character)));
    words.filter(|word| word.split_once('.').is_some_and(|(root, _)| ROOTS.contains(&root)))
}

/// Refuses what could exhaust the stack, and tells where.
///
/// # Errors
/// Where in the source it starts, and what it is.
pub fn check_size(source: &str) -> Result<(), (usize, String)> {
    if let Some((offset, _)) = tags(source).find(|(_, tag)| tag.len() > LONGEST_TAG) {
        let message = format!("an expression is longer than {LONGEST_TAG} characters");
        return Err((offset, message));
    }
    if source.matches("{%").count() > MOST_STATEMENTS {
        let message = format!("there are more than {MOST_STATEMENTS} statements");
        return Err((0, message));
    }
    Ok(())
}
