//! What is wrong and where: places, diagnostics and their one-line form, did-you-mean.
//! Decides nothing about settings; it is told what was found.

use super::key;
use config::{Value, ValueKind};
use std::fmt;
use std::io;

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
}

/// Where something stands in a source of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's path as it was given, or `--set`.
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

/// One source's name and, for a file, its text: turns byte offsets into places.
#[derive(Debug)]
pub(super) struct SourceText {
    /// The file's path as it was given, or `--set`.
    pub(super) name: String,
    lines: Option<Lines>,
}

#[derive(Debug)]
struct Lines {
    text: String,
    /// The offset of each line's first byte.
    starts: Vec<usize>,
}

impl Diagnostic {
    /// A fault of no place in the settings.
    pub(crate) fn new(kind: Fault, key: &str, message: impl Into<String>) -> Self {
        Diagnostic {
            place: None,
            key: key.to_owned(),
            message: message.into(),
            kind,
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
        }
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
    /// Whose fault an error of reading is: that descriptors or memory ran out says nothing about
    /// the settings.
    pub(crate) fn of(error: &io::Error) -> Fault {
        use rustix::io::Errno;
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Fault::System,
            _ => Fault::Settings,
        }
    }
}

impl SourceText {
    /// A file and its text.
    pub(super) fn file(name: String, text: String) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        SourceText {
            name,
            lines: Some(Lines { text, starts }),
        }
    }

    /// A source whose values are bare texts without lines, such as `--set`.
    pub(super) fn bare(name: &str) -> Self {
        SourceText {
            name: name.to_owned(),
            lines: None,
        }
    }

    /// Whether values are bare texts, which become numbers and the like where those are wanted.
    pub(super) fn is_bare(&self) -> bool {
        self.lines.is_none()
    }

    /// The text; empty for a bare source.
    pub(super) fn text(&self) -> &str {
        self.lines.as_ref().map_or("", |lines| &lines.text)
    }

    /// The place of the character at a byte offset.
    pub(super) fn place(&self, offset: usize) -> Place {
        let position = self.lines.as_ref().map(|lines| lines.position(offset));
        Place {
            source: self.name.clone(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
        }
    }
}

impl Lines {
    /// Line and column, both from 1.
    fn position(&self, offset: usize) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let before = &self.text.as_bytes()[self.starts[line - 1]..offset.min(self.text.len())];
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        // A file has at most 16 MiB, so neither number can be too large.
        (line as u32, column as u32)
    }
}

/// What was found, short enough for a message.
pub(super) fn found(value: &Value) -> String {
    match &value.kind {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::String(text) => found_text(text),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        // `1.0`, not `1`, which would be a whole number.
        ValueKind::Float(number) => format!("{number:?}"),
        scalar => scalar.to_string(),
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
            format!("unknown key (did you mean {name}?)")
        }
        _ if known.is_empty() => "unknown key (there are none here)".to_owned(),
        _ => format!("unknown key (known are {})", known.join(", ")),
    }
}

/// First what concerns no source or one that could not be read, then in the order of the sources
/// and within each from top to bottom; at most [`REPORTED`], then one that says that there are more.
pub(super) fn report(mut all: Vec<Diagnostic>, sources: &[SourceText]) -> Vec<Diagnostic> {
    all.sort_by_cached_key(|diagnostic| {
        let place = diagnostic.place.as_ref();
        let source = place.map(|place| sources.iter().position(|known| known.name == place.source));
        (source, place.map(|place| (place.line, place.column)))
    });
    if all.len() > REPORTED {
        all.truncate(REPORTED);
        all.push(Diagnostic {
            place: None,
            key: String::new(),
            message: "and more".to_owned(),
            kind: Fault::Settings,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = SourceText::file("a.toml".into(), "x = 1\nä = \"ü\" # é".into());
        let at = |text: &str| source.text().find(text).expect("in the text");
        assert_eq!(source.place(0).to_string(), "a.toml:1:1");
        assert_eq!(source.place(at("ä")).to_string(), "a.toml:2:1");
        assert_eq!(source.place(at("\"ü")).to_string(), "a.toml:2:5");
        assert_eq!(source.place(at("é")).to_string(), "a.toml:2:11");
        assert_eq!(source.place(source.text().len()).to_string(), "a.toml:2:12");
        assert_eq!(source.place(usize::MAX).to_string(), "a.toml:2:12");
        assert_eq!(SourceText::bare("--set").place(7).to_string(), "--set");
    }

    #[test]
    fn a_near_key_is_named_and_a_far_one_lists_what_there_is() {
        let known = ["workers", "keep_alive"];
        let message = unknown_key("keepalive", &known);
        assert_eq!(message, "unknown key (did you mean keep_alive?)");
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
