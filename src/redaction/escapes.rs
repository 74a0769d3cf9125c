//! A text on its way through gateways is escaped again and again, as JSON, for an address, as HTML, in any mix. Here
//! one layer of that is taken off, whatever it is, and each byte remembers where in the original text it comes from.

use std::{borrow::Cow, ops::Range};

/// What a text was cut with, see [`text::truncate`](crate::text::truncate).
pub const CUT: &str = "…";

/// No escape that was cut in two leaves more than this before the cut, in bytes.
const LONGEST_REST: usize = 10;

/// Named entities of characters that stand in credentials; letters have none.
const ENTITIES: &[(&str, char)] = &[
    ("amp", '&'),
    ("AMP", '&'),
    ("lt", '<'),
    ("LT", '<'),
    ("gt", '>'),
    ("GT", '>'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("apos", '\''),
    ("sol", '/'),
    ("bsol", '\\'),
    ("plus", '+'),
    ("equals", '='),
    ("percnt", '%'),
    ("num", '#'),
    ("colon", ':'),
    ("semi", ';'),
    ("comma", ','),
    ("period", '.'),
    ("excl", '!'),
    ("quest", '?'),
    ("commat", '@'),
    ("dollar", '$'),
    ("lowbar", '_'),
    ("hyphen", '-'),
    ("dash", '-'),
    ("lpar", '('),
    ("rpar", ')'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("rcub", '}'),
    ("rbrace", '}'),
    ("ast", '*'),
    ("midast", '*'),
    ("grave", '`'),
    ("Hat", '^'),
    ("vert", '|'),
    ("verbar", '|'),
    ("tilde", '~'),
    ("nbsp", ' '),
    ("Tab", '\t'),
    ("NewLine", '\n'),
];

/// A text with some layers of escapes taken off.
pub struct Layer<'a> {
    /// What is left; it need not be UTF-8, for percent escapes write any byte.
    pub bytes: Cow<'a, [u8]>,
    /// For each byte where it comes from in the original; none where that is where it stands, or nobody asks.
    spans: Option<Vec<Range<usize>>>,
    is_tracked: bool,
}

/// What an escape stands for.
enum Meaning {
    Byte(u8),
    Character(char),
    /// An escape that was cut in two.
    Nothing,
}

impl<'a> Layer<'a> {
    /// The text as it came. Where `is_tracked` is false, [`Layer::origin`] will not be asked.
    pub fn of(text: &'a str, is_tracked: bool) -> Self {
        Self {
            bytes: Cow::Borrowed(text.as_bytes()),
            spans: None,
            is_tracked,
        }
    }

    /// Where in the original the bytes of `range` come from.
    pub fn origin(&self, range: Range<usize>) -> Range<usize> {
        match &self.spans {
            Some(spans) => spans[range.start].start..spans[range.end - 1].end,
            None => range,
        }
    }

    /// The text with one more layer taken off; none where it holds no escape.
    pub fn unescaped(&self) -> Option<Layer<'static>> {
        let bytes = &self.bytes;
        let mut next = Vec::new();
        let mut spans = Vec::new();
        let mut copied = 0;
        let mut at = 0;
        while at < bytes.len() {
            let Some((length, meaning)) = escape(&bytes[at..]) else {
                at += 1;
                continue;
            };
            self.copy(copied..at, &mut next, &mut spans);
            let before = next.len();
            match meaning {
                Meaning::Byte(byte) => next.push(byte),
                Meaning::Character(character) => {
                    next.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Meaning::Nothing => {}
            }
            if self.is_tracked {
                let origin = self.origin(at..at + length);
                spans.resize(spans.len() + next.len() - before, origin);
            }
            at += length;
            copied = at;
        }
        if copied == 0 {
            return None;
        }
        self.copy(copied..bytes.len(), &mut next, &mut spans);
        Some(Layer {
            bytes: Cow::Owned(next),
            spans: self.is_tracked.then_some(spans),
            is_tracked: self.is_tracked,
        })
    }

    /// The text, of which only the ranges are left that `each` hands over, one behind the other.
    pub fn only(&self, each: impl FnOnce(&mut dyn FnMut(Range<usize>))) -> Self {
        let mut next = Vec::new();
        let mut spans = Vec::new();
        each(&mut |range| self.copy(range, &mut next, &mut spans));
        Self {
            bytes: Cow::Owned(next),
            spans: self.is_tracked.then_some(spans),
            is_tracked: self.is_tracked,
        }
    }

    fn copy(&self, range: Range<usize>, next: &mut Vec<u8>, spans: &mut Vec<Range<usize>>) {
        next.extend_from_slice(&self.bytes[range.clone()]);
        if self.is_tracked {
            spans.extend(range.map(|at| self.origin(at..at + 1)));
        }
    }
}

/// The escape that `rest` begins with: how long it is, and what it means.
fn escape(rest: &[u8]) -> Option<(usize, Meaning)> {
    let found = match rest.first()? {
        b'%' => percent(rest),
        b'\\' => backslash(rest),
        b'&' => entity(rest),
        // What a shell makes of a quote within quotes.
        b'\'' if rest.starts_with(b"'\\''") => Some((4, Meaning::Byte(b'\''))),
        _ => return None,
    };
    found.or_else(|| cut_in_two(rest))
}

/// The rest of an escape before a cut says nothing, but it would part the cut from what stands before it.
fn cut_in_two(rest: &[u8]) -> Option<(usize, Meaning)> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"%\\&#{".contains(&byte);
    let length = rest
        .iter()
        .take(LONGEST_REST)
        .take_while(|byte| is_part(**byte))
        .count();
    rest[length..]
        .starts_with(CUT.as_bytes())
        .then_some((length, Meaning::Nothing))
}

fn percent(rest: &[u8]) -> Option<(usize, Meaning)> {
    if rest.get(1) == Some(&b'u') {
        return Some((6, unit(hexadecimal(rest, 2..6)?)));
    }
    let byte = hexadecimal(rest, 1..3)?;
    Some((3, Meaning::Byte(u8::try_from(byte).ok()?)))
}

fn backslash(rest: &[u8]) -> Option<(usize, Meaning)> {
    let meaning = match rest.get(1)? {
        byte @ (b'/' | b'"' | b'\'' | b'\\') => Meaning::Byte(*byte),
        b'n' => Meaning::Byte(b'\n'),
        b'r' => Meaning::Byte(b'\r'),
        b't' => Meaning::Byte(b'\t'),
        b'b' | b'f' => Meaning::Byte(0),
        b'x' => return Some((4, Meaning::Byte(u8::try_from(hexadecimal(rest, 2..4)?).ok()?))),
        b'U' => return Some((10, unit(hexadecimal(rest, 2..10)?))),
        b'u' if rest.get(2) == Some(&b'{') => {
            let digits = rest[3..]
                .iter()
                .take(8)
                .take_while(|byte| byte.is_ascii_hexdigit())
                .count();
            let number = hexadecimal(rest, 3..3 + digits)?;
            return (rest.get(3 + digits) == Some(&b'}')).then(|| (4 + digits, unit(number)));
        }
        b'u' => {
            let first = hexadecimal(rest, 2..6)?;
            let second = rest[6..]
                .starts_with(b"\\u")
                .then(|| hexadecimal(rest, 8..12))
                .flatten();
            return match (first, second) {
                (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
                    let number = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    Some((12, unit(number)))
                }
                _ => Some((6, unit(first))),
            };
        }
        _ => return None,
    };
    Some((2, meaning))
}

fn entity(rest: &[u8]) -> Option<(usize, Meaning)> {
    let behind = &rest[1..];
    let (length, character) = if behind.first() == Some(&b'#') {
        let is_hexadecimal = matches!(behind.get(1), Some(b'x' | b'X'));
        let (start, radix) = if is_hexadecimal { (2, 16) } else { (1, 10) };
        let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
        let digits = behind[start..].iter().take(12).take_while(is_digit).count();
        let text = std::str::from_utf8(&behind[start..start + digits]).ok()?;
        let number = u32::from_str_radix(text, radix).ok()?;
        (
            start + digits,
            char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER),
        )
    } else {
        let is_letter = |byte: &&u8| byte.is_ascii_alphabetic();
        let letters = behind.iter().take(8).take_while(is_letter).count();
        let is_here = |(name, _): &&(&str, char)| behind[..letters] == *name.as_bytes();
        (letters, ENTITIES.iter().find(is_here)?.1)
    };
    // The semicolon may be missing: browsers don't need it either.
    let end = usize::from(behind.get(length) == Some(&b';'));
    Some((1 + length + end, Meaning::Character(character)))
}

/// A character by its number; half of a pair without the other half is none.
fn unit(number: u32) -> Meaning {
    Meaning::Character(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER))
}

fn hexadecimal(rest: &[u8], digits: Range<usize>) -> Option<u32> {
    let digits = rest.get(digits)?;
    // The parser itself would take a sign.
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(text: &str) -> String {
        let layer = Layer::of(text, false).unescaped();
        layer.map_or(text.to_owned(), |layer| {
            String::from_utf8_lossy(&layer.bytes).into_owned()
        })
    }

    #[test]
    fn every_escape_is_taken_off() {
        for (escaped, plain) in [
            ("%41%c3%BC%u0042", "AüB"),
            (r"\u0041\ud83d\ude80\u{1F680}\x41\U0001F680\/\\", "A🚀🚀A🚀/\\"),
            ("&amp;&lt;&#65;&#065&#x41;&#X0041;&sol;", "&<AAAA/"),
            ("it'\\''s", "it's"),
            ("%2541 &amp;amp; \\\\/", "%41 &amp; \\/"),
        ] {
            assert_eq!(once(escaped), plain);
        }
        for plain in [
            "100 % of a&b",
            "%zz %+1 \\q \\u12 &unknown; &#; &#xg;",
            "\\u{110000000}",
            "%",
            "&",
            "\\",
        ] {
            assert_eq!(once(plain), plain);
        }
    }

    #[test]
    fn what_was_cut_in_two_is_nothing() {
        for cut in ["a%…b", "a%2…b", "a\\u00…b", "a&am…b", "a&#…b", "a\\…b"] {
            assert_eq!(once(cut), "a…b");
        }
    }

    #[test]
    fn each_byte_knows_where_it_comes_from() {
        let text = "x%2526y\\u0026amp;z";
        let first = Layer::of(text, true).unescaped().unwrap();
        let second = first.unescaped().unwrap();
        assert_eq!(&*second.bytes, b"x&y&z");
        assert_eq!(&text[second.origin(1..2)], "%2526");
        assert_eq!(&text[second.origin(3..4)], "\\u0026amp;");
        assert_eq!(&text[second.origin(0..5)], text);
    }
}
