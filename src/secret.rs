//! A credential as a type that can't be formatted: its only way out is [`Secret::expose`], which the delivery calls when
//! it builds the bytes for the wire.

use std::{fmt, rc::Rc};

use serde::Deserialize;

/// A credential, and the name of the variable that it came from.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret {
    value: Rc<str>,
    variable: Rc<str>,
}

impl Secret {
    /// A credential read from `variable`, which is the name shown in its place.
    pub fn new(value: &str, variable: &str) -> Self {
        Self {
            value: value.into(),
            variable: variable.into(),
        }
    }

    /// The credential itself: for the wire, never for a person.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// The variable that holds it.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// Names the variable that this secret was read from.
    pub fn came_from(&mut self, variable: &str) {
        self.variable = variable.into();
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(&value, "")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret(${})", self.variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_cannot_be_formatted() {
        let secret = Secret::new("s3cret-value", "RELY_API_TOKEN");
        assert_eq!(format!("{secret:?}"), "Secret($RELY_API_TOKEN)");
    }
}
