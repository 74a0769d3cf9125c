//! Finds the entities in a file, one at a time, whatever its length: a JSON array of objects, or objects one after the
//! other, as NDJSON has them on a line each.

use std::io::BufRead;

use serde_json::{Map, Value};

use crate::text::{count_of_values, grouped};

/// No entity may hold more values, as [`count_of_values`] counts them: a small text can be a large tree.
const MOST_VALUES: usize = 50_000;

/// Where something stands in the file; both count from 1, columns in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    line: u64,
    column: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)
    }
}

/// What kind of file it is, and where in it the scanner is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before anything was seen.
    Beginning,
    /// Between the lines of NDJSON.
    Lines,
    /// Behind the `[` of an array.
    FirstItem,
    /// Behind an item of an array.
    BehindItem,
    /// Behind the `]`.
    End,
}

/// Reads the objects of a file.
pub struct Scanner<R> {
    input: R,
    at: At,
    /// Of the next byte.
    place: Place,
    /// How many objects were found.
    count: u64,
    /// The most bytes that one may have.
    most_bytes: usize,
}

/// An object of the file.
pub struct Found {
    /// Its members.
    pub members: Map<String, Value>,
    /// Its number, from 1, and where it begins, for messages.
    pub name: String,
}

impl<R: BufRead> Scanner<R> {
    /// A scanner of what `input` holds.
    pub fn new(input: R, most_bytes: usize) -> Self {
        Self {
            input,
            at: At::Beginning,
            place: Place { line: 1, column: 1 },
            count: 0,
            most_bytes,
        }
    }

    /// The next object; none at the end of the file.
    ///
    /// # Errors
    /// What is there instead, and where.
    pub fn next(&mut self) -> Result<Option<Found>, String> {
        let Some(first) = self.find_item()? else {
            return Ok(None);
        };
        self.count += 1;
        let begin = self.place;
        let name = format!("entity {} in {begin}", grouped(self.count));
        if first != b'{' {
            let what = match first {
                b'[' => "an array",
                b'"' => "a string",
                b'0'..=b'9' | b'-' => "a number",
                b'}' | b']' | b',' | b':' => "a sign too many",
                _ => "no JSON",
            };
            return Err(format!(
                "{name} is {what}, and has to be an object: the file is a JSON array of objects, or one object a line"
            ));
        }
        let text = self.object(&name)?;
        if self.at != At::Lines {
            self.at = At::BehindItem;
        }
        let wrong = |error: serde_json::Error| {
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default().to_owned();
            let (line, column) = (error.line() as u64, error.column() as u64);
            let place = Place {
                line: begin.line + line.saturating_sub(1),
                column: if line <= 1 {
                    begin.column + column.saturating_sub(1)
                } else {
                    column
                },
            };
            format!("{name} is not JSON: {what} in {place}")
        };
        let text = std::str::from_utf8(&text).map_err(|error| {
            let before = &text[..error.valid_up_to()];
            let line = before.split(|byte| *byte == b'\n').count() as u64 - 1;
            format!(
                "{name} is not UTF-8: the first wrong byte is in line {}",
                begin.line + line
            )
        })?;
        if count_of_values(text) > MOST_VALUES {
            return Err(format!("{name} holds more than {} values", grouped(MOST_VALUES as u64)));
        }
        let members = serde_json::from_str(text).map_err(wrong)?;
        Ok(Some(Found { members, name }))
    }

    /// Goes to the next item, and gives its first byte.
    fn find_item(&mut self) -> Result<Option<u8>, String> {
        loop {
            let Some(byte) = self.blank()? else {
                return match self.at {
                    At::FirstItem | At::BehindItem => Err(format!(
                        "it ends in the middle, in {}, behind {}: the array is not closed by `]`",
                        self.place,
                        entities(self.count)
                    )),
                    At::Beginning | At::Lines | At::End => Ok(None),
                };
            };
            match (self.at, byte) {
                (At::Beginning, b'[') => self.at = At::FirstItem,
                (At::Beginning, _) => {
                    self.at = At::Lines;
                    return Ok(Some(byte));
                }
                (At::FirstItem | At::BehindItem, b']') => self.at = At::End,
                (At::BehindItem, b',') => {
                    self.skip()?;
                    return match self.blank()? {
                        Some(byte) => Ok(Some(byte)),
                        None => self.find_item(),
                    };
                }
                (At::FirstItem | At::Lines, _) => return Ok(Some(byte)),
                (At::BehindItem, _) => {
                    return Err(format!(
                        "it lacks a comma or `]` in {}, behind {}",
                        self.place,
                        entities(self.count)
                    ));
                }
                (At::End, _) => return Err(format!("it goes on behind the array's `]`, in {}", self.place)),
            }
            self.skip()?;
        }
    }

    /// The bytes of the object that begins here.
    fn object(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        let mut depth = 0_u32;
        let (mut is_string, mut is_escaped) = (false, false);
        loop {
            let bytes = self.input.fill_buf().map_err(|error| unreadable(&error))?;
            if bytes.is_empty() {
                return Err(format!(
                    "it ends in the middle of {name}: the file's last byte is in line {}",
                    self.place.line
                ));
            }
            let mut end = None;
            for (index, byte) in bytes.iter().enumerate() {
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' if is_string => is_escaped = true,
                    b'"' => is_string = !is_string,
                    b'{' | b'[' if !is_string => depth += 1,
                    b'}' | b']' if !is_string => {
                        depth -= 1;
                        if depth == 0 {
                            end = Some(index + 1);
                            break;
                        }
                    }
                    _ => {}
                }
            }
            let taken = end.unwrap_or(bytes.len());
            let bytes = &bytes[..taken];
            if text.len() + taken > self.most_bytes {
                return Err(format!(
                    "{name} has more than {} bytes",
                    grouped(self.most_bytes as u64)
                ));
            }
            text.extend_from_slice(bytes);
            for byte in bytes {
                self.place.pass(*byte);
            }
            self.input.consume(taken);
            if end.is_some() {
                return Ok(text);
            }
        }
    }

    /// Goes over blanks, and tells the next byte, which stays. A byte order mark at the file's beginning is blank too.
    fn blank(&mut self) -> Result<Option<u8>, String> {
        loop {
            let bytes = self.input.fill_buf().map_err(|error| unreadable(&error))?;
            match bytes.first() {
                None => return Ok(None),
                Some(b' ' | b'\t' | b'\r' | b'\n') => {}
                Some(b'\xef' | b'\xbb' | b'\xbf') if self.at == At::Beginning => {}
                Some(&byte) => return Ok(Some(byte)),
            }
            self.skip()?;
        }
    }

    /// Goes over a byte.
    fn skip(&mut self) -> Result<(), String> {
        let bytes = self.input.fill_buf().map_err(|error| unreadable(&error))?;
        if let Some(&byte) = bytes.first() {
            self.place.pass(byte);
            self.input.consume(1);
        }
        Ok(())
    }
}

impl Place {
    fn pass(&mut self, byte: u8) {
        if byte == b'\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
    }
}

fn unreadable(error: &std::io::Error) -> String {
    format!("it can't be read: {error}")
}

fn entities(count: u64) -> String {
    match count {
        1 => "1 entity".to_owned(),
        _ => format!("{} entities", grouped(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything in `text`, through a buffer so small that everything is cut somewhere.
    fn scan(text: &[u8], buffer: usize) -> Result<Vec<String>, String> {
        let mut scanner = Scanner::new(std::io::BufReader::with_capacity(buffer, text), 60);
        let mut all = Vec::new();
        while let Some(found) = scanner.next()? {
            all.push(Value::Object(found.members).to_string());
        }
        Ok(all)
    }

    #[test]
    fn arrays_and_lines_are_read_however_they_are_written() {
        for text in [
            r#"[{"id":"a"},{"id":"}]\\\" {"},{"id":1.50}]"#,
            " [ {\"id\":\"a\"}\n,\n{\"id\" : \"}]\\\\\\\" {\"} , {\"id\":1.50}\r\n] \n",
            "{\"id\":\"a\"}\n\n{\"id\":\"}]\\\\\\\" {\"}\r\n{\"id\":1.50}",
            "\u{feff}{\n \"id\": \"a\"\n}\n{\"id\":\"}]\\\\\\\" {\"}{\"id\":1.50}\n",
        ] {
            for buffer in [1, 2, 7, 4096] {
                assert_eq!(
                    scan(text.as_bytes(), buffer).unwrap(),
                    [r#"{"id":"a"}"#, r#"{"id":"}]\\\" {"}"#, r#"{"id":1.50}"#],
                    "{text}"
                );
            }
        }
        for text in ["", " \n", "[]", "[ \n]\n"] {
            assert!(scan(text.as_bytes(), 4096).unwrap().is_empty(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let long = format!("{{\"id\":\"{}\"}}", "x".repeat(60));
        let broken: Vec<u8> = [b"{}\n{\"a\":\n\"".as_slice(), b"\xff\"}"].concat();
        let cases: &[(&[u8], &str)] = &[
            (
                b"{}\n{}\n[]",
                "entity 3 in line 3, column 1 is an array, and has to be an object",
            ),
            (b"[{}, 7]", "entity 2 in line 1, column 6 is a number"),
            (b"[{}, \"x\"]", "entity 2 in line 1, column 6 is a string"),
            (b"nothing", "entity 1 in line 1, column 1 is no JSON"),
            (b"{},\n{}", "entity 2 in line 1, column 3 is a sign too many"),
            (b"[{},]", "entity 2 in line 1, column 5 is a sign too many"),
            (
                b"{}\n {\"a\" 1}",
                "entity 2 in line 2, column 2 is not JSON: expected `:` in line 2, column 7",
            ),
            (
                b"{}\n{\"a\":\n 1,}",
                "entity 2 in line 2, column 1 is not JSON: trailing comma in line 3, column 4",
            ),
            (b"{\"a\": 1]", "entity 1 in line 1, column 1 is not JSON"),
            (
                b"{}\n{\"id\": \"a",
                "ends in the middle of entity 2 in line 2, column 1: the file's last byte is in line 2",
            ),
            (
                b"[{},\n{}",
                "ends in the middle, in line 2, column 3, behind 2 entities: the array is not closed by `]`",
            ),
            (b"[{},", "ends in the middle, in line 1, column 5, behind 1 entity"),
            (b"[", "ends in the middle"),
            (
                b"[{} {}]",
                "it lacks a comma or `]` in line 1, column 5, behind 1 entity",
            ),
            (b"[{}]\n{}", "it goes on behind the array's `]`, in line 2, column 1"),
            (long.as_bytes(), "entity 1 in line 1, column 1 has more than 60 bytes"),
            (
                &broken,
                "entity 2 in line 2, column 1 is not UTF-8: the first wrong byte is in line 3",
            ),
        ];
        for (text, why) in cases {
            for buffer in [1, 4096] {
                let told = scan(text, buffer).unwrap_err();
                assert!(told.contains(why), "{:?}: {told}", String::from_utf8_lossy(text));
            }
        }
    }

    #[test]
    fn a_small_text_that_is_a_large_tree_is_not_read() {
        let text = format!("{{\"a\":[{}0]}}", "{},".repeat(20_000));
        let mut scanner = Scanner::new(text.as_bytes(), 1 << 20);
        let Err(why) = scanner.next() else { panic!("it is read") };
        assert!(why.contains("holds more than 50,000 values"), "{why}");
    }
}
