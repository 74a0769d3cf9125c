//! Long lists, in pages.

use serde_json::Value;

use super::refusal::Refusal;
use crate::wire::{Reply, Request};

/// One page, and the headers that lead to the others.
pub(super) fn page<T>(
    request: &Request,
    scheme: &str,
    all: &[T],
    show: impl Fn(&T) -> Value,
) -> Result<Reply, Refusal> {
    let query = request.query();
    let positive = |name: &str, default: usize| match query.get(name).map(str::parse::<usize>) {
        None => Ok(default),
        Some(Ok(0)) => Err(Refusal::error(400, format!("{name} does not have a valid value"))),
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => Err(Refusal::error(400, format!("{name} is invalid"))),
    };
    let (page, per_page) = (positive("page", 1)?, positive("per_page", 20)?.min(100));
    let pages = all.len().div_ceil(per_page).max(1);
    let shown = all.iter().skip((page - 1).saturating_mul(per_page)).take(per_page);
    let body = shown.map(show).collect::<Value>();
    let (next, previous) = ((page < pages).then_some(page + 1), (page > 1).then(|| page - 1));
    let link = |page: usize, relation: &str| {
        let kept = request.query.split('&').filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !["", "page", "per_page"].contains(&name)
        });
        let kept = kept.flat_map(|pair| [pair, "&"]).collect::<String>();
        let host = request.header("host").unwrap_or("localhost");
        let path = &request.path;
        format!("<{scheme}://{host}/gitlab{path}?{kept}page={page}&per_page={per_page}>; rel=\"{relation}\"")
    };
    let links = [
        previous.map(|page| link(page, "prev")),
        next.map(|page| link(page, "next")),
        Some(link(1, "first")),
        Some(link(pages, "last")),
    ];
    let or_empty = |page: Option<usize>| page.map_or_else(String::new, |page| page.to_string());
    Ok(Reply::json(200, &body)
        .with("x-per-page", &per_page.to_string())
        .with("x-page", &page.to_string())
        .with("x-next-page", &or_empty(next))
        .with("x-prev-page", &or_empty(previous))
        .with("x-total", &all.len().to_string())
        .with("x-total-pages", &pages.to_string())
        .with("link", &links.into_iter().flatten().collect::<Vec<_>>().join(", ")))
}
