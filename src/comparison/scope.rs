//! Which projects, environments and jobs are compared.

use crate::{problem::Problem, text::matches, variables::List};

/// Names that are wanted, and names that are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    variable: &'static str,
    wanted: Vec<String>,
    unwanted: Vec<String>,
}

impl Patterns {
    /// The patterns of the list in `variable`; none for everything.
    ///
    /// # Errors
    /// A pattern that is nothing but its sign.
    pub fn new(variable: &'static str, list: Option<&List>) -> Result<Self, Problem> {
        let mut patterns = Self {
            variable,
            ..Self::default()
        };
        for word in list.iter().flat_map(|List(words)| words) {
            let (list, pattern) = match word.strip_prefix('!') {
                Some(pattern) => (&mut patterns.unwanted, pattern.trim()),
                None => (&mut patterns.wanted, word.as_str()),
            };
            if pattern.is_empty() {
                let what = "has a `!` with nothing behind it, as in `!review/*`";
                return Err(Problem::new(variable, what));
            }
            list.push(pattern.to_owned());
        }
        Ok(patterns)
    }

    /// Whether a name is wanted: it fits a pattern, if there are any, and none of those that leave out.
    pub fn fit(&self, name: &str) -> bool {
        let is_wanted = self.wanted.is_empty() || self.wanted.iter().any(|pattern| matches(pattern, name));
        is_wanted && !self.leave_out(name)
    }

    /// Whether a name is left out.
    pub fn leave_out(&self, name: &str) -> bool {
        self.unwanted.iter().any(|pattern| matches(pattern, name))
    }

    /// The patterns of what is wanted.
    pub fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// What is said of patterns that none of `names` fits: the names there are, the first few.
    pub fn idle<'n>(&self, names: impl IntoIterator<Item = &'n str> + Clone) -> Option<String> {
        let fits_none = |pattern: &&String| !names.clone().into_iter().any(|name| matches(pattern, name));
        let idle: Vec<String> = self
            .wanted
            .iter()
            .filter(fits_none)
            .map(|pattern| format!("`{pattern}`"))
            .collect();
        if idle.is_empty() {
            return None;
        }
        let mut there: Vec<&str> = names.into_iter().collect();
        there.sort_unstable();
        there.dedup();
        let more = there.len().saturating_sub(SHOWN);
        let mut shown = there.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        if more > 0 {
            shown += &format!(" and {more} more");
        }
        let there = if there.is_empty() {
            "there is none at all".to_owned()
        } else {
            format!("there are {shown}")
        };
        Some(format!("{}: nothing fits {}; {there}", self.variable, idle.join(", ")))
    }
}

/// So many names are listed.
const SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(words: &[&str]) -> Patterns {
        let list = List(words.iter().map(|&word| word.to_owned()).collect());
        Patterns::new("X", Some(&list)).unwrap()
    }

    #[test]
    fn what_fits_is_wanted_unless_it_is_left_out() {
        let all = patterns(&["production", "prod/*", "!prod/test*"]);
        for (name, is_wanted) in [
            ("production", true),
            ("prod/eu", true),
            ("prod/test-1", false),
            ("staging", false),
        ] {
            assert_eq!(all.fit(name), is_wanted, "{name}");
        }
        let but = patterns(&["!review/*"]);
        assert!(but.fit("production") && !but.fit("review/x"));
        assert!(Patterns::default().fit("anything"));
        let empty = List(vec!["!".to_owned()]);
        assert!(Patterns::new("X", Some(&empty)).is_err());
    }

    #[test]
    fn a_pattern_that_fits_nothing_is_told_with_what_there_is() {
        let some = patterns(&["production", "staging", "!review/*"]);
        let told = some.idle(["production", "review/a", "production"]).unwrap();
        assert_eq!(told, "X: nothing fits `staging`; there are production, review/a");
        assert_eq!(some.idle(["production", "staging"]), None);
        assert!(some.idle([]).unwrap().ends_with("there is none at all"));
    }
}
