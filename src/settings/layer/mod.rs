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
use super::tree::{Layer, Origin};
use config::{Map, Value, ValueKind};
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
    pub(super) layer: Layer,
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
}

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
        }
    }

    fn tag(&self, kind: impl Into<ValueKind>, key: usize, value: usize) -> Value {
        let origin = Origin {
            source: self.source,
            key,
            value,
        };
        origin.tag(kind)
    }

    /// A whole number as the tree has it, the smallest kind that holds it.
    fn whole(number: i128) -> ValueKind {
        i64::try_from(number).map_or(number.into(), ValueKind::I64)
    }

    /// What cannot be kept exactly, in its own digits.
    fn refuse(&mut self, offset: usize, message: &str) -> Option<Value> {
        self.error(offset, message.to_owned());
        None
    }

    fn error(&mut self, offset: usize, message: String) {
        self.add(Wrong::new(offset, message));
    }

    /// Takes down a key that is there already, with that value.
    fn duplicate(&mut self, offset: usize, key: &str, known: &Value) {
        let first = Origin::of(known).map(|origin| origin.key);
        self.add(Wrong::duplicate(offset, key, first));
    }

    fn add(&mut self, wrong: Wrong) {
        if self.errors.len() <= REPORTED {
            self.errors.push(wrong);
        }
    }

    fn is_sound(&self) -> bool {
        self.errors.is_empty()
    }

    fn parsed(self, table: Map<String, Value>, text: &SourceText) -> Parsed {
        let is_sound = self.is_sound();
        let errors = self.errors.into_iter();
        Parsed {
            layer: Layer::new(if is_sound { table } else { Map::new() }),
            diagnostics: errors.map(|wrong| wrong.diagnostic(text)).collect(),
        }
    }
}
