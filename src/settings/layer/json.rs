//! JSON: with `serde_json`, which is given the text byte by byte, so that it is known where each key
//! and value stands. Not as YAML: that refuses characters and keys that JSON allows.

use super::super::key::DEPTH;
use super::super::text::SourceText;
use super::super::value::{Key as Name, Table, Value, ValueKind};
use super::{Parsed, Reading};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};

/// Parses a file.
pub(super) fn parse(source: usize, text: &SourceText) -> Parsed {
    let mut reading = Reading::new(source, text.text());
    // A byte order mark is no error in the other formats either.
    let whole = text.text();
    let mark = whole.len() - whole.trim_start_matches('\u{feff}').len();
    let given = Cell::new(mark);
    let bytes = Bytes {
        text: whole.as_bytes(),
        given: &given,
    };
    let mut parser = serde_json::Deserializer::from_reader(bytes);
    let root = Place {
        reading: &mut reading,
        given: &given,
        key: None,
        begun: None,
        depth: 0,
    };
    let root = root.deserialize(&mut parser);
    let root = root.and_then(|root| parser.end().map(|()| root));
    let table = match root {
        Ok(Some(Value {
            kind: ValueKind::Table(table),
            ..
        })) => table,
        Ok(Some(_)) => {
            reading.error(0, "expected a table".to_owned());
            Table::default()
        }
        // Refused, and that has been told.
        Ok(None) => Table::default(),
        Err(error) => {
            let offset = text.offset_of_byte(error.line(), error.column());
            let shift = if error.line() == 1 { mark } else { 0 };
            reading.error(offset + shift, message(&error));
            Table::default()
        }
    };
    reading.parsed(table, text)
}

/// `serde_json`'s message without the place that it ends with.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// A text that counts how much of it has been taken.
struct Bytes<'t> {
    text: &'t [u8],
    given: &'t Cell<usize>,
}

impl Read for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.text.get(self.given.get()..).unwrap_or_default();
        // One at a time, so that the count is where the parser is.
        let one = into.len().min(1);
        let read = rest.read(&mut into[..one])?;
        self.given.set(self.given.get() + read);
        Ok(read)
    }
}

/// A value that is about to be read.
struct Place<'r, 't> {
    reading: &'r mut Reading<'t>,
    given: &'r Cell<usize>,
    /// The offset of its key; `None` for an element, and for the whole.
    key: Option<usize>,
    /// Its own offset, where the parser has looked at its first byte already.
    begun: Option<usize>,
    depth: usize,
}

impl<'t> Place<'_, 't> {
    fn offset(&self) -> usize {
        self.begun.unwrap_or_else(|| {
            let given = self.given.get();
            let rest = self.reading.text.as_bytes().get(given..);
            let blanks = rest.unwrap_or_default().iter();
            given + blanks.take_while(|byte| byte.is_ascii_whitespace()).count()
        })
    }

    fn within(&mut self) -> Place<'_, 't> {
        Place {
            reading: self.reading,
            given: self.given,
            key: None,
            begun: None,
            depth: self.depth + 1,
        }
    }

    /// The offset of the byte that the parser has looked at.
    fn peeked(&self) -> usize {
        self.given.get().saturating_sub(1)
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    /// `None` where it cannot be a value, which has been told.
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<Value>, D::Error> {
        let offset = self.offset();
        let first = self.reading.text.as_bytes().get(offset);
        let is_number = first.is_some_and(|byte| matches!(byte, b'-' | b'0'..=b'9'));
        let found = Found {
            place: self,
            offset,
            is_number,
        };
        // Its digits are read from the text: as serde has them they would be rounded.
        match is_number {
            true => from.deserialize_ignored_any(found),
            false => from.deserialize_any(found),
        }
    }
}

/// A value whose offset is known.
struct Found<'r, 't> {
    place: Place<'r, 't>,
    offset: usize,
    is_number: bool,
}

impl Found<'_, '_> {
    fn tag(&self, kind: impl Into<ValueKind>) -> Option<Value> {
        let key = self.place.key.unwrap_or(self.offset);
        Some(self.place.reading.tag(kind, key, self.offset))
    }

    fn number(&mut self) -> Option<Value> {
        let rest = &self.place.reading.text[self.offset..];
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        let written = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        let refused = match written.contains(['.', 'e', 'E']) {
            false => match written.parse::<i128>() {
                Ok(number) => return self.tag(number),
                Err(_) => "a number that is too large",
            },
            true => match written.parse::<f64>() {
                Ok(number) if number.is_finite() => return self.tag(number),
                _ => "a number that is not finite",
            },
        };
        self.place.reading.refuse(self.offset, refused)
    }
}

impl<'de> Visitor<'de> for Found<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(mut self) -> Result<Option<Value>, E> {
        match self.is_number {
            true => Ok(self.number()),
            false => Ok(self.tag(ValueKind::Nil)),
        }
    }

    fn visit_bool<E>(self, value: bool) -> Result<Option<Value>, E> {
        Ok(self.tag(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<Value>, E> {
        Ok(self.tag(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Option<Value>, E> {
        Ok(self.tag(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Option<Value>, A::Error> {
        if self.place.depth >= DEPTH {
            return Err(A::Error::custom(format!(
                "nested deeper than {DEPTH} levels"
            )));
        }
        let mut values = Vec::new();
        loop {
            let element = Peeked(self.place.within());
            match list.next_element_seed(element)? {
                Some(value) => values.extend(value),
                None => return Ok(self.tag(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Option<Value>, A::Error> {
        if self.place.depth >= DEPTH {
            return Err(A::Error::custom(format!(
                "nested deeper than {DEPTH} levels"
            )));
        }
        let mut table = Vec::new();
        while let Some((key, at)) = entries.next_key_seed(Key(&mut self.place))? {
            let mut place = self.place.within();
            place.key = Some(at);
            let value = entries.next_value_seed(place)?;
            table.extend(value.map(|value| (key, value)));
        }
        let table = self.place.reading.table(table);
        Ok(self.tag(table))
    }
}

/// An element of a list, at whose first byte the parser has looked.
struct Peeked<'r, 't>(Place<'r, 't>);

impl<'de> DeserializeSeed<'de> for Peeked<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(mut self, from: D) -> Result<Option<Value>, D::Error> {
        self.0.begun = Some(self.0.peeked());
        self.0.deserialize(from)
    }
}

/// A key with its offset.
struct Key<'p, 'r, 't>(&'p mut Place<'r, 't>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_, '_> {
    type Value = (Name, usize);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        let at = self.0.peeked();
        let key = <String as serde::Deserialize>::deserialize(from)?;
        Ok((self.0.reading.key(&key), at))
    }
}
