//! Finds traces of secrets in a text, in one pass over each of its layers.
//!
//! What is compared is the text without white space, control and zero-width characters, in lower case, byte by byte.
//! The last twelve bytes fit into a number, and so a lookup in one table per byte tells exactly whether a trace ends
//! there: a general matcher (`aho-corasick`) would have to be given every window of every form of a secret, some forty
//! thousand patterns for a token of 5 KB, which costs far more to build than the search.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
    ops::Range,
};

use base64::{Engine as _, engine::general_purpose};

use super::escapes::{CUT, Layer};
use crate::text::is_invisible;

/// The length of a window, in bytes of what is compared.
pub const WINDOW: usize = 12;

/// Shorter secrets than this are not searched for: hiding each `a` of a report would hide the report.
const SHORTEST: usize = 3;

/// Shorter secrets than this are searched for as they are, but not in base64: three letters of a base64 text say
/// nothing, and would match by chance.
const SHORTEST_ENCODED: usize = 6;

/// Secrets shorter than this are not looked for across white space: `grab case` holds no `bca`.
const SHORTEST_ACROSS_SPACE: usize = 8;

/// The shortest beginning of a secret that is looked for right before a cut.
const SHORTEST_BEGINNING: usize = 4;

/// More layers of escapes than this are not taken off.
const DEPTH: usize = 8;

/// These bits keep apart what is of another length, and beginnings from wholes: the bytes of a window leave them free.
const LENGTH_BIT: u32 = 120;
const BEGINNING: u128 = 1 << 112;

type Table<V> = HashMap<u128, V, BuildHasherDefault<Fold>>;

/// What is known of secrets, and of what is none.
#[derive(Default)]
pub struct Matcher {
    /// Every window of every form, every short form as a whole, and every beginning, with whose it is.
    traces: Table<u16>,
    /// The lengths of the forms that are shorter than a window, and whether they are looked for across white space.
    short: Vec<(usize, bool)>,
    /// Windows of public texts.
    public: HashSet<u128, BuildHasherDefault<Fold>>,
    /// The public texts themselves, one behind the other, as they are compared.
    public_text: Vec<u8>,
}

/// A hash of keys that are as good as random: no reply chooses what is in the table.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u128(u128::from(*byte));
        }
    }

    fn write_u128(&mut self, key: u128) {
        let folded = (key ^ (key >> 61)) & u128::from(u64::MAX);
        let folded = u64::try_from(folded).unwrap_or_default();
        let hash = (self.0 ^ folded).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = hash ^ (hash >> 32);
    }
}

/// What a text is made of, for the comparison.
enum Sign {
    Byte(u8),
    Space,
    Cut,
}

fn key(length: usize, bytes: u128) -> u128 {
    let mask = (1 << (8 * length)) - 1;
    ((length as u128) << LENGTH_BIT) | (bytes & mask)
}

fn packed(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |packed, byte| (packed << 8) | u128::from(*byte))
}

fn windows(bytes: &[u8]) -> impl Iterator<Item = u128> {
    bytes.windows(WINDOW).map(|window| key(WINDOW, packed(window)))
}

impl Matcher {
    /// From now on no window of `text` is a trace.
    pub fn make_public(&mut self, text: &str) {
        for layer in layers(text) {
            let text = compared(&layer);
            self.public.extend(windows(&text));
            self.public_text.push(0);
            self.public_text.extend(text);
        }
    }

    /// Searches from now on for every form of `secret`, which is `owner`'s.
    pub fn learn(&mut self, secret: &str, owner: u16) {
        let is_spaced = secret.contains(char::is_whitespace);
        for form in layers(secret) {
            self.learn_form(&compared(&form), SHORTEST, is_spaced, owner);
        }
        if is_spaced {
            // In a form a space is written as `+`.
            let form: String = secret
                .chars()
                .map(|sign| if sign.is_whitespace() { '+' } else { sign })
                .collect();
            self.learn_form(&compared(form.as_bytes()), SHORTEST, false, owner);
        }
        if secret.len() >= SHORTEST_ENCODED {
            for form in encoded(secret.as_bytes()) {
                self.learn_form(&compared(form.as_bytes()), SHORTEST_ENCODED, false, owner);
            }
        }
    }

    fn learn_form(&mut self, form: &[u8], shortest: usize, is_spaced: bool, owner: u16) {
        if form.contains(&b'+') {
            // And who reads one finds a space there.
            let read: Vec<u8> = form.iter().copied().filter(|byte| *byte != b'+').collect();
            self.learn_form(&read, shortest, true, owner);
        }
        let mut keys = Vec::new();
        if form.len() >= WINDOW {
            keys.extend(windows(form).filter(|window| !self.public.contains(window)));
            let longest = form.len().min(WINDOW - 1);
            let beginnings = SHORTEST_BEGINNING..=longest;
            keys.extend(beginnings.map(|length| BEGINNING | key(length, packed(&form[..length]))));
        } else if form.len() >= shortest && !holds(&self.public_text, form) {
            let short = (form.len(), is_spaced || form.len() >= SHORTEST_ACROSS_SPACE);
            if !self.short.contains(&short) {
                self.short.push(short);
            }
            keys.push(key(form.len(), packed(form)));
            let beginnings = SHORTEST_BEGINNING..form.len();
            keys.extend(beginnings.map(|length| BEGINNING | key(length, packed(&form[..length]))));
        }
        for key in keys {
            // What two variables hold is the first one's.
            self.traces.entry(key).or_insert(owner);
        }
    }

    /// Whose trace `text` carries, if it carries any.
    pub fn first(&self, text: &str) -> Option<u16> {
        let mut owner = None;
        self.search(text, false, &mut |_, of| {
            owner = Some(of);
            false
        });
        owner
    }

    /// Every trace in `text`: where it stands, and whose it is. They overlap, and come in no order.
    pub fn all(&self, text: &str) -> Vec<(Range<usize>, u16)> {
        let mut found = Vec::new();
        self.search(text, true, &mut |range, owner| {
            found.push((range, owner));
            true
        });
        found
    }

    /// Hands each trace to `found`, as long as that wants more.
    fn search(&self, text: &str, is_tracked: bool, found: &mut dyn FnMut(Range<usize>, u16) -> bool) {
        if self.traces.is_empty() {
            return;
        }
        let whole = Layer::of(text, is_tracked);
        if !self.search_layer(&whole, true, found) {
            return;
        }
        let mut layer = whole.unescaped();
        for _ in 0..DEPTH {
            let Some(next) = layer else { break };
            if !self.search_layer(&next, true, found) {
                return;
            }
            layer = next.unescaped();
        }
        // White space, or what can't be seen, may stand in the middle of an escape too. Without it there are no words.
        let mut layer = Some(whole);
        let mut had_noise = false;
        for _ in 0..DEPTH {
            let Some(last) = layer else { return };
            let less = without_noise(&last);
            had_noise |= less.bytes.len() < last.bytes.len();
            layer = less.unescaped();
            if had_noise
                && layer
                    .as_ref()
                    .is_some_and(|layer| !self.search_layer(layer, false, found))
            {
                return;
            }
        }
    }

    fn search_layer(&self, layer: &Layer, has_words: bool, found: &mut dyn FnMut(Range<usize>, u16) -> bool) -> bool {
        let mut last: u128 = 0;
        let mut starts = [0; WINDOW];
        // How many bytes there are behind the last cut, and behind the last white space.
        let (mut count, mut in_word) = (0_usize, 0_usize);
        each_sign(&layer.bytes, &mut |sign, range| match sign {
            Sign::Byte(byte) => {
                last = (last << 8) | u128::from(byte);
                starts[count % WINDOW] = range.start;
                count += 1;
                in_word += usize::from(has_words);
                let mut look = |length: usize| match self.traces.get(&key(length, last)) {
                    Some(owner) => found(layer.origin(starts[(count - length) % WINDOW]..range.end), *owner),
                    None => true,
                };
                let is_short_here = |(length, is_across): &&(usize, bool)| {
                    let enough = if *is_across { count } else { in_word };
                    enough >= *length
                };
                (count < WINDOW || look(WINDOW))
                    && self.short.iter().filter(is_short_here).all(|(length, _)| look(*length))
            }
            Sign::Space => {
                in_word = 0;
                true
            }
            Sign::Cut => {
                let mut lengths = (SHORTEST_BEGINNING..WINDOW).rev().filter(|length| *length <= count);
                let beginning =
                    lengths.find_map(|length| Some((length, self.traces.get(&(BEGINNING | key(length, last)))?)));
                let goes_on = beginning.is_none_or(|(length, owner)| {
                    let start = starts[(count - length) % WINDOW];
                    found(layer.origin(start..start + 1).start..layer.origin(range).start, *owner)
                });
                (count, in_word) = (0, 0);
                goes_on
            }
        })
    }
}

/// The text without white space and what can't be seen.
fn without_noise<'a>(layer: &Layer<'a>) -> Layer<'a> {
    layer.only(|keep| {
        let mut end = 0;
        each_sign(&layer.bytes, &mut |sign, range| {
            // Of one character there may be several bytes to compare.
            if !matches!(sign, Sign::Space) && range.start >= end {
                end = range.end;
                keep(range);
            }
            true
        });
    })
}

/// The text as it came, and with one layer of escapes after the other taken off.
fn layers(text: &str) -> Vec<Vec<u8>> {
    let mut layers = Vec::new();
    let mut next = Some(Layer::of(text, false));
    while let Some(layer) = next {
        next = layer.unescaped().filter(|_| layers.len() < DEPTH);
        layers.push(layer.bytes.into_owned());
    }
    layers
}

/// What of a text is compared.
fn compared(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    each_sign(text, &mut |sign, _| {
        if let Sign::Byte(byte) = sign {
            bytes.push(byte);
        }
        true
    });
    bytes
}

/// Hands over what `text` is made of, as long as more is wanted, and tells whether it was to the end.
fn each_sign(text: &[u8], next: &mut dyn FnMut(Sign, Range<usize>) -> bool) -> bool {
    let mut at = 0;
    while at < text.len() {
        let start = at;
        let byte = text[at];
        if byte.is_ascii() {
            at += 1;
            let goes_on = match byte {
                b' ' | b'\t'..=b'\r' => next(Sign::Space, start..at),
                _ if byte.is_ascii_control() => true,
                _ => next(Sign::Byte(byte.to_ascii_lowercase()), start..at),
            };
            if !goes_on {
                return false;
            }
            continue;
        }
        let Some(character) = character_at(&text[at..]) else {
            at += 1;
            continue;
        };
        at += character.len_utf8();
        let goes_on = match character {
            _ if CUT.starts_with(character) => next(Sign::Cut, start..at),
            _ if character.is_whitespace() => next(Sign::Space, start..at),
            char::REPLACEMENT_CHARACTER => true,
            _ if is_invisible(character) => true,
            _ => character.to_lowercase().all(|lower| {
                let mut buffer = [0; 4];
                let bytes = lower.encode_utf8(&mut buffer).bytes();
                bytes.into_iter().all(|byte| next(Sign::Byte(byte), start..at))
            }),
        };
        if !goes_on {
            return false;
        }
    }
    true
}

/// The character that `rest` begins with, if it is UTF-8.
fn character_at(rest: &[u8]) -> Option<char> {
    let length = match rest[0] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    std::str::from_utf8(rest.get(..length)?).ok()?.chars().next()
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// `bytes` in hexadecimal, and in base64 of both alphabets: what of it stands in a base64 text that holds them, and
/// which does not depend on what is before or after, at each of the three places relative to base64's groups.
fn encoded(bytes: &[u8]) -> Vec<String> {
    let mut forms = vec![bytes.iter().map(|byte| format!("{byte:02x}")).collect()];
    for offset in 0..3 {
        let mut padded = vec![0; offset];
        padded.extend_from_slice(bytes);
        // The characters whose six bits lie wholly within the secret's bytes.
        let first = (offset * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        let standard = general_purpose::STANDARD_NO_PAD.encode(&padded);
        let url_safe = general_purpose::URL_SAFE_NO_PAD.encode(&padded);
        forms.push(standard[first..last].to_owned());
        forms.push(url_safe[first..last].to_owned());
    }
    forms
}
