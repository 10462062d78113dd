//! One source's text to one layer: parsed, each value with its origin.
//! Owns which formats there are and what a value may be; which sources there are is `sources.rs`,
//! the merge is `tree.rs`.

mod json;
mod overrides;
mod toml;
mod yaml;

pub(super) use overrides::{Override, SET, overrides};

use super::diagnostic::{Diagnostic, REPORTED};
use super::key;
use super::text::SourceText;
use super::value::{At, Key, Origin, Table, Value, ValueKind};
use std::collections::HashSet;
use std::path::Path;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Toml,
    Yaml,
    Json,
}

/// What became of a source.
pub(super) struct Parsed {
    /// Empty where there is a syntax error: what could be read may not be what was meant.
    pub(super) layer: Table,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Format {
    /// The endings of a file's name, and what each means.
    pub(super) const ENDINGS: [(&str, Format); 4] = [
        ("toml", Format::Toml),
        ("yaml", Format::Yaml),
        ("yml", Format::Yaml),
        ("json", Format::Json),
    ];

    /// By the ending of a file's name.
    pub(super) fn of(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_str()?;
        let known = Format::ENDINGS.iter().find(|(known, _)| *known == ending);
        known.map(|(_, format)| *format)
    }
}

/// Parses a file.
pub(super) fn parse(source: usize, text: &SourceText, format: Format) -> Parsed {
    match format {
        Format::Toml => toml::parse(source, text),
        Format::Yaml => yaml::parse(source, text),
        Format::Json => json::parse(source, text),
    }
}

/// The parse of one source: its values get their origins, its errors their places.
struct Reading<'a> {
    source: usize,
    text: &'a str,
    /// As many as are told.
    errors: Vec<Wrong>,
    /// Keys that there have been, [`KEYS`] at the most.
    keys: HashSet<Key>,
}

/// Keys that are looked for when one is read: most tables have the same few.
const KEYS: usize = 256;

/// A syntax error.
struct Wrong {
    offset: usize,
    message: String,
    /// Of a key that is there twice, the offset of the first.
    first: Option<usize>,
}

impl Wrong {
    fn new(offset: usize, message: String) -> Self {
        Wrong {
            offset,
            message,
            first: None,
        }
    }

    fn duplicate(offset: usize, key: &str, first: Option<usize>) -> Self {
        Wrong {
            first,
            ..Wrong::new(offset, format!("duplicate key `{}`", key::shorten(key)))
        }
    }

    fn diagnostic(self, text: &SourceText) -> Diagnostic {
        let message = match self.first {
            Some(first) => format!("{}: the first is at {}", self.message, text.place(first)),
            None => self.message,
        };
        Diagnostic::settings::<&str>(Some(text.place(self.offset)), &[], message)
    }
}

impl<'a> Reading<'a> {
    fn new(source: usize, text: &'a str) -> Self {
        Reading {
            source,
            text,
            errors: Vec::new(),
            keys: HashSet::new(),
        }
    }

    /// A key as tables have it.
    fn key(&mut self, text: &str) -> Key {
        if let Some(known) = self.keys.get(text) {
            return known.clone();
        }
        let key = Key::from(text);
        if self.keys.len() < KEYS {
            self.keys.insert(key.clone());
        }
        key
    }

    fn tag(&self, kind: impl Into<ValueKind>, key: usize, value: usize) -> Value {
        Origin::new(self.source, key, value).tag(kind)
    }

    /// A table of what has been read, in its order; a key that is there twice is an error.
    fn table(&mut self, entries: Vec<(Key, Value)>) -> Table {
        Table::new(entries, |key, first, later| {
            let [first, at] =
                [first, later].map(|value| value.origin.map(|origin| origin.offset(At::Key)));
            self.add(Wrong::duplicate(at.unwrap_or_default(), key, first));
        })
    }

    /// What cannot be kept exactly, in its own digits.
    fn refuse(&mut self, offset: usize, message: &str) -> Option<Value> {
        self.error(offset, message.to_owned());
        None
    }

    fn error(&mut self, offset: usize, message: String) {
        self.add(Wrong::new(offset, message));
    }

    fn add(&mut self, wrong: Wrong) {
        if self.errors.len() <= REPORTED {
            self.errors.push(wrong);
        }
    }

    fn is_sound(&self) -> bool {
        self.errors.is_empty()
    }

    fn parsed(self, table: Table, text: &SourceText) -> Parsed {
        let is_sound = self.is_sound();
        let errors = self.errors.into_iter();
        Parsed {
            layer: if is_sound { table } else { Table::default() },
            diagnostics: errors.map(|wrong| wrong.diagnostic(text)).collect(),
        }
    }
}
