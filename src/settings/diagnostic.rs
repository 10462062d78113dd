//! What is wrong and where: places, diagnostics and their one-line form, did-you-mean.
//! Decides nothing about settings; it is told what was found.

use super::build::root_cause;
use super::key;
use super::text::{Discretion, Excerpt, SourceText};
use super::value::{Value, ValueKind};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Errors that one load reports; a last line says that there are more.
pub(super) const REPORTED: usize = 20;

/// Something wrong with the settings or with what they ask of the system.
///
/// Displayed on one line: `settings/local.toml:3:11: server.workers: expected …, found …`.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Where it stands; `None` for what no source says.
    pub place: Option<Place>,
    /// The dotted key that it is about; empty where it is about no single key.
    pub key: String,
    /// What was expected and what was found, in lower case.
    pub message: String,
    /// Who can mend it.
    pub kind: Fault,
    /// The line that it stands in; `None` where there is none, or something secret may be in it.
    pub excerpt: Option<Box<Excerpt>>,
}

/// Where something stands in a source of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's path as it was given, a variable's name, or `--set`.
    pub source: String,
    /// Counted from 1; `None` for a source without lines.
    pub line: Option<u32>,
    /// In characters, counted from 1; `None` for a source without lines.
    pub column: Option<u32>,
}

/// Who can mend what a [`Diagnostic`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The settings: no retry mends them.
    Settings,
    /// The system: a port in use, no descriptors left, files that keep changing.
    System,
    /// The service's author: its build or its types failed.
    Build,
}

impl Diagnostic {
    /// A fault of no place in the settings.
    pub(crate) fn new(kind: Fault, key: &str, message: impl Into<String>) -> Self {
        Diagnostic {
            place: None,
            key: key.to_owned(),
            message: message.into(),
            kind,
            excerpt: None,
        }
    }

    /// A fault of the settings at a key.
    pub(super) fn settings<S: AsRef<str>>(
        place: Option<Place>,
        path: &[S],
        message: impl Into<String>,
    ) -> Self {
        Diagnostic {
            place,
            key: key::shorten(&key::join(path)),
            message: message.into(),
            kind: Fault::Settings,
            excerpt: None,
        }
    }

    /// With the line that it stands in.
    pub(super) fn with_excerpt(
        mut self,
        sources: &[Arc<SourceText>],
        discretion: Discretion,
    ) -> Self {
        // A syntax error is about no key, and a secret may be what it is about.
        let is_shown = !self.key.is_empty() || discretion == Discretion::Open;
        let place = self.place.as_ref().filter(|_| is_shown);
        let source =
            place.and_then(|place| sources.iter().find(|known| known.name == place.source));
        let excerpt = place.zip(source);
        let excerpt = excerpt.and_then(|(place, source)| source.excerpt(place, discretion));
        self.excerpt = excerpt.map(Box::new);
        self
    }

    /// A fault that concerns a whole source.
    pub(super) fn source(name: impl Into<String>, message: impl Into<String>, kind: Fault) -> Self {
        Diagnostic {
            place: Some(Place {
                source: name.into(),
                line: None,
                column: None,
            }),
            key: String::new(),
            message: message.into(),
            kind,
            excerpt: None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(out, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        out.write_str(&self.message)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.source)?;
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(out, ":{column}")?;
        }
        Ok(())
    }
}

impl Fault {
    /// Whose fault an error of reading is: that descriptors or memory ran out, or that the kernel
    /// lacks something, says nothing about the settings.
    pub(crate) fn of(error: &io::Error) -> Fault {
        use rustix::io::Errno;
        match root_cause(error)
            .raw_os_error()
            .map(Errno::from_raw_os_error)
        {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSYS) => Fault::System,
            _ => Fault::Settings,
        }
    }
}

/// What was found, short enough for a message.
pub(super) fn found(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => found_text(text),
        other => other.to_string(),
    }
}

/// A text that was found, quoted, short enough for a message.
pub(super) fn found_text(text: &str) -> String {
    format!("{:?}", key::shorten(text))
}

/// What to say of a key that is not known: the nearest one that is, or all where none is near.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        // The distance costs as much as both lengths multiplied; no known key is that long.
        .filter(|_| key.len() <= 64)
        .map(|name| (strsim::damerau_levenshtein(key, name), name))
        .min();
    match nearest {
        Some((distance, name)) if distance <= key.len().max(3) / 3 => {
            format!("unknown key (did you mean `{name}`?)")
        }
        _ if known.is_empty() => "unknown key (there are none here)".to_owned(),
        _ => format!("unknown key (known are {})", known.join(", ")),
    }
}

/// First what concerns no source or one that could not be read, then in the order of the sources
/// and within each from top to bottom; at most [`REPORTED`], then one that says that there are more.
///
/// Each gets the line that it stands in.
pub(super) fn report(
    mut all: Vec<Diagnostic>,
    sources: &[Arc<SourceText>],
    discretion: Discretion,
) -> Vec<Diagnostic> {
    all.sort_by_cached_key(|diagnostic| {
        let place = diagnostic.place.as_ref();
        let source = place.map(|place| sources.iter().position(|known| known.name == place.source));
        (source, place.map(|place| (place.line, place.column)))
    });
    let with_excerpt = |diagnostic: Diagnostic| diagnostic.with_excerpt(sources, discretion);
    first(all).into_iter().map(with_excerpt).collect()
}

/// At most [`REPORTED`], then one that says that there are more.
pub(crate) fn first(mut all: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if let Some(more) = all.get(REPORTED) {
        let more = Diagnostic::new(more.kind, "", "and more");
        all.truncate(REPORTED);
        all.push(more);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_key_is_named_and_a_far_one_lists_what_there_is() {
        let known = ["workers", "keep_alive"];
        let message = unknown_key("keepalive", &known);
        assert_eq!(message, "unknown key (did you mean `keep_alive`?)");
        let message = unknown_key("zzz", &known);
        assert_eq!(message, "unknown key (known are workers, keep_alive)");
        assert!(unknown_key(&"w".repeat(1 << 20), &known).contains("known are"));
    }

    #[test]
    fn a_long_text_is_cut() {
        assert!(found_text(&"ä".repeat(10_000)).chars().count() < 200);
    }

    #[test]
    fn descriptors_that_ran_out_are_the_systems_fault() {
        let full = io::Error::from(rustix::io::Errno::MFILE);
        assert_eq!(Fault::of(&full), Fault::System);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(Fault::of(&denied), Fault::Settings);
    }
}
