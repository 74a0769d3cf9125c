//! `PORT_INCLUDE`, in the words of the route that it is for: the search in one blueprint names what an entity has in
//! another way than every other read does (docs/vendors/port.md 2).

use crate::problem::Problem;

/// What an entity has besides properties and relations.
const META: &[&str] = &[
    "identifier",
    "title",
    "icon",
    "team",
    "blueprint",
    "createdAt",
    "createdBy",
    "updatedAt",
    "updatedBy",
];

/// Something that an entity has.
enum Part<'a> {
    Meta(&'a str),
    Property(&'a str),
    Relation(&'a str),
    /// A word of the general vocabulary that the other one lacks: all properties, a scorecard.
    General(&'a str),
}

/// What the words mean, whichever vocabulary they are of. A list with a `$` in it is of the search in one blueprint: there
/// `title` is a property of that name.
fn parts(words: &[String]) -> impl Iterator<Item = Part<'_>> {
    let is_of_one = words.iter().any(|word| word.starts_with('$'));
    words.iter().map(move |word| {
        if let Some(meta) = word.strip_prefix('$') {
            Part::Meta(meta)
        } else if let Some(property) = word.strip_prefix("properties.") {
            Part::Property(property)
        } else if let Some(relation) = word.strip_prefix("relations.") {
            Part::Relation(relation)
        } else if !is_of_one && META.contains(&word.as_str()) {
            Part::Meta(word)
        } else if matches!(word.split('.').next(), Some("properties" | "relations" | "scorecards")) {
            Part::General(word)
        } else {
            Part::Property(word)
        }
    })
}

/// The words for reading one entity, and for the search in all blueprints.
pub(super) fn general(words: &[String]) -> Vec<String> {
    let word = |part| match part {
        Part::Meta(word) | Part::General(word) => word.to_owned(),
        Part::Property(name) => format!("properties.{name}"),
        Part::Relation(name) => format!("relations.{name}"),
    };
    parts(words).map(word).collect()
}

/// The words for the search in one blueprint.
///
/// # Errors
/// A word for which it has none.
pub(super) fn of_one(words: &[String]) -> Result<Vec<String>, Problem> {
    let word = |part| match part {
        Part::Meta(word) => Ok(format!("${word}")),
        Part::Property(name) | Part::Relation(name) => Ok(name.to_owned()),
        Part::General(word) => Err(Problem::new(
            "PORT_INCLUDE",
            format!(
                "names `{word}`, which Port's search in one blueprint (PORT_BLUEPRINT) does not know: name each property \
                 and relation, or leave PORT_INCLUDE unset for everything"
            ),
        )),
    };
    parts(words).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_vocabulary_is_understood_for_either_route() {
        for (given, expected, of_one_blueprint) in [
            (
                "identifier title properties.version relations.service",
                "identifier title properties.version relations.service",
                "$identifier $title version service",
            ),
            (
                "$identifier $updatedAt version",
                "identifier updatedAt properties.version",
                "$identifier $updatedAt version",
            ),
            ("version", "properties.version", "version"),
            // A property that is called as a part of every entity.
            ("$title createdAt", "title properties.createdAt", "$title createdAt"),
            ("properties.title", "properties.title", "title"),
        ] {
            let words: Vec<String> = given.split(' ').map(str::to_owned).collect();
            assert_eq!(general(&words).join(" "), expected, "{given}");
            assert_eq!(of_one(&words).unwrap().join(" "), of_one_blueprint, "{given}");
        }
        for word in ["properties", "relations", "scorecards.ready"] {
            let words = [word.to_owned()];
            assert_eq!(general(&words), words);
            let problem = of_one(&words).unwrap_err().to_string();
            assert!(
                problem.starts_with(&format!("PORT_INCLUDE names `{word}`")),
                "{problem}"
            );
        }
    }
}
