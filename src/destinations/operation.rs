//! What an operation of a destination is: what it does, what it tells of what happened and in which words, and what comes
//! of doing it a second time. Each is declared once; delivery, receipts, needs and the catalog follow.

/// Something that a destination can do.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Whether it only reads, and so reports no action.
    pub is_read: bool,
    /// What comes of doing it a second time, see [`Operation::repetition`].
    repetition: Repetition,
    /// What comes of it instead where this variable is set.
    repetition_if_set: Option<(&'static str, Repetition)>,
    /// Whether it deletes something, or has a service act: a replay does that only where its file is named.
    pub is_drastic: bool,
    /// What it tells of what happened.
    pub action: ActionUse,
    /// In which words.
    pub words: Words,
    /// Whether `EVENT_PROPERTIES` go along.
    pub properties: Room,
    /// Where it is about an entity of the service's: the variable that names it; unset, the event's id does.
    pub entity: Option<&'static str>,
    /// The variable that names a file of entities to send instead of the event, if it takes one.
    pub entities_file: Option<&'static str>,
}

/// What comes of doing something a second time, and so what is done where nobody knows whether it was done. Facts: the
/// section of each service's page in docs/vendors about what may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    /// Nothing: it can be repeated at will.
    Harmless,
    /// Nothing, since the service knows it again by its id: it can be repeated at will.
    Deduplicated,
    /// It would count twice, but the service tells whether it was done: by a read, or by refusing what it has.
    Asked,
    /// It would count twice, and nobody can tell whether it was done: it is not repeated unless somebody says so.
    Unasked,
}

impl Repetition {
    /// Its name in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            Self::Harmless => "harmless",
            Self::Deduplicated => "deduplicated",
            Self::Asked => "asked",
            Self::Unasked => "unasked",
        }
    }
}

/// What an operation tells of what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionUse {
    /// Nothing.
    None,
    /// The event's action, without which there is nothing to send.
    Reported,
    /// The same, unless this variable is set, which says it instead.
    UnlessSet(&'static str),
    /// The same, unless the first variable is set, which says it instead, and the second one is not, for which it is needed
    /// whatever the first one says.
    UnlessSetWithout(&'static str, &'static str),
}

/// In which words an operation can tell what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// In the event's, for each of which it has a translation or a reason to tell nothing.
    Events,
    /// In these of the service's own too.
    AndOwn(&'static [&'static str]),
    /// In any.
    Any,
}

/// Whether what an operation sends has room for `EVENT_PROPERTIES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It has none.
    None,
    /// It has.
    Always,
    /// It has, unless this variable is set, which says what is sent.
    UnlessSet(&'static str),
}

impl Operation {
    /// An operation that changes something, whatever happened, and nothing more when it is repeated.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            description,
            is_read: false,
            repetition: Repetition::Harmless,
            repetition_if_set: None,
            is_drastic: false,
            action: ActionUse::None,
            words: Words::Events,
            properties: Room::None,
            entity: None,
            entities_file: None,
        }
    }

    /// Says what comes of doing it a second time.
    pub const fn repeated(mut self, repetition: Repetition) -> Self {
        self.repetition = repetition;
        self
    }

    /// Says what comes of it instead where `variable` is set.
    pub const fn repeated_if_set(mut self, variable: &'static str, repetition: Repetition) -> Self {
        self.repetition_if_set = Some((variable, repetition));
        self
    }

    /// An operation that reads.
    pub const fn reading(name: &'static str, description: &'static str) -> Self {
        Self {
            is_read: true,
            ..Self::new(name, description)
        }
    }

    /// Says that it deletes something, or has a service act.
    pub const fn drastic(mut self) -> Self {
        self.is_drastic = true;
        self
    }

    /// Says that it tells the event's action.
    pub const fn reports_action(mut self) -> Self {
        self.action = ActionUse::Reported;
        self
    }

    /// Says that it tells the event's action, unless `variable` is set, which says it instead.
    pub const fn reports_action_unless_set(mut self, variable: &'static str) -> Self {
        self.action = ActionUse::UnlessSet(variable);
        self
    }

    /// Says that it tells what happened in these words.
    pub const fn in_words(mut self, words: Words) -> Self {
        self.words = words;
        self
    }

    /// Says that `EVENT_PROPERTIES` go along.
    pub const fn carries_properties(mut self) -> Self {
        self.properties = Room::Always;
        self
    }

    /// Says that `EVENT_PROPERTIES` go along, unless `variable` is set, which says what is sent.
    pub const fn carries_properties_unless_set(mut self, variable: &'static str) -> Self {
        self.properties = Room::UnlessSet(variable);
        self
    }

    /// Says that it is about an entity, which `variable` names, and the event's id where it is unset.
    pub const fn of_entity(mut self, variable: &'static str) -> Self {
        self.entity = Some(variable);
        self
    }

    /// Whether it would tell what happened, in whatever words, where `is_given` says which variables are set.
    pub fn tells(&self, is_given: impl Fn(&str) -> bool) -> bool {
        self.action != ActionUse::None && !self.sends_entities(is_given)
    }

    /// Whether it writes one entity, which the service may be asked for.
    pub fn writes_entity(&self) -> bool {
        self.entity.is_some() && !self.is_read
    }

    /// Whether the event makes a difference to it, where `is_given` says which variables are set: it tells what happened,
    /// or is about the event's entity.
    pub fn is_of_event(&self, is_given: impl Fn(&str) -> bool) -> bool {
        !self.sends_entities(is_given) && (self.action != ActionUse::None || self.entity.is_some())
    }

    /// Whether it can tell an action of the user's own, by its `word`.
    pub fn takes_word(&self, word: &str) -> bool {
        match self.words {
            Words::Events => false,
            Words::AndOwn(own) => own.contains(&word.to_lowercase().as_str()),
            Words::Any => true,
        }
    }

    /// Says that it tells the event's action, unless `variable` is set, which says it instead, and `but` is not.
    pub const fn reports_action_unless_set_without(mut self, variable: &'static str, but: &'static str) -> Self {
        self.action = ActionUse::UnlessSetWithout(variable, but);
        self
    }

    /// What comes of doing it a second time, where `is_given` says which variables are set.
    pub fn repetition(&self, is_given: impl Fn(&str) -> bool) -> Repetition {
        match self.repetition_if_set {
            Some((variable, repetition)) if is_given(variable) => repetition,
            _ => self.repetition,
        }
    }

    /// The variables on which that depends, with what comes of it where they are set.
    pub fn repetition_if_set(&self) -> Option<(&'static str, Repetition)> {
        self.repetition_if_set
    }

    /// Says that it sends the entities of the file that `variable` names instead of the event, where that is set.
    pub const fn takes_entities(mut self, variable: &'static str) -> Self {
        self.entities_file = Some(variable);
        self
    }

    /// Whether it sends the entities of a file instead of the event, where `is_given` says which variables are set.
    pub fn sends_entities(&self, is_given: impl Fn(&str) -> bool) -> bool {
        self.entities_file.is_some_and(is_given)
    }

    /// Whether it adds or triggers something, so that doing it twice is not the same as doing it once.
    pub fn counts(&self, is_given: impl Fn(&str) -> bool) -> bool {
        matches!(self.repetition(is_given), Repetition::Asked | Repetition::Unasked)
    }

    /// Whether it tells the event's action, where `is_given` says which variables are set.
    pub fn needs_action(&self, is_given: impl Fn(&str) -> bool) -> bool {
        if self.sends_entities(&is_given) {
            return false;
        }
        match self.action {
            ActionUse::None => false,
            ActionUse::Reported => true,
            ActionUse::UnlessSet(variable) => !is_given(variable),
            ActionUse::UnlessSetWithout(variable, but) => !is_given(variable) || is_given(but),
        }
    }
}
