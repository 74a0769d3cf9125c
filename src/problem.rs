//! Why something can't be made: what is wrong with a variable, or that nothing happened that could be told.

use std::fmt;

/// A variable that can't be used, and what to do about it. Ends a destination, or the run, as `misconfigured`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable at fault, or the first of those that could mend it.
    pub variable: String,
    /// What is wrong and what to do, without the variable's name in front.
    pub message: String,
}

impl Problem {
    /// `variable` is wrong in the way that `message` says.
    pub fn new(variable: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            variable: variable.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.variable, self.message)
    }
}

/// Why a value, an event or a plan could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmade {
    /// These variables are wrong: it ends as `misconfigured`.
    Wrong(Vec<Problem>),
    /// It needs to know what happened, and nothing did that could be told, for this reason: it ends as `skipped`.
    Nothing(String),
}

impl From<Problem> for Unmade {
    fn from(problem: Problem) -> Self {
        Self::Wrong(vec![problem])
    }
}

impl From<Vec<Problem>> for Unmade {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Wrong(problems)
    }
}

impl Unmade {
    /// Everything that several reasons say: all problems where there is one, else the first reason.
    pub fn all(reasons: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut problems = Vec::new();
        let mut nothing = None;
        for reason in reasons {
            match reason {
                Self::Wrong(more) => problems.extend(more),
                Self::Nothing(why) => nothing = nothing.or(Some(why)),
            }
        }
        if problems.is_empty() {
            nothing.map(Self::Nothing)
        } else {
            Some(Self::Wrong(problems))
        }
    }

    /// The variables at fault.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let problems = match self {
            Self::Wrong(problems) => problems.as_slice(),
            Self::Nothing(_) => &[],
        };
        problems.iter().map(|problem| problem.variable.as_str())
    }
}

impl fmt::Display for Unmade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                formatter.write_str(&problems.join("; "))
            }
            Self::Nothing(why) => formatter.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_outweigh_that_nothing_happened() {
        let nothing = || Unmade::Nothing("skipped".to_owned());
        let wrong = |name: &str| Unmade::from(Problem::new(name, "is wrong"));
        assert_eq!(Unmade::all([]), None);
        assert_eq!(Unmade::all([nothing(), nothing()]), Some(nothing()));
        let all = Unmade::all([nothing(), wrong("A"), wrong("B")]).unwrap();
        assert_eq!(all.to_string(), "A is wrong; B is wrong");
        assert_eq!(all.variables().collect::<Vec<_>>(), ["A", "B"]);
    }
}
