//! What a value is not, in words, and where.

use super::super::diagnostic::{Diagnostic, found, found_text};
use super::super::key;
use super::super::value::{At, Value, ValueKind};
use super::node::{Node, Step};
use serde::de::{self, Expected, Unexpected};
use std::fmt;

/// A value that is not what its type expects.
#[derive(Debug)]
pub(in super::super) struct Problem {
    pub(in super::super) diagnostic: Diagnostic,
    /// Whether something lacks, rather than being wrong.
    pub(in super::super) missing: bool,
}

/// What serde's machinery passes on; it has no place until it leaves the value that it is about.
#[derive(Debug)]
pub(super) struct Error<'t> {
    what: What,
    located: Option<Box<(&'t Value, Problem)>>,
}

#[derive(Debug)]
enum What {
    /// What was expected.
    Expected(String),
    /// A list or a table was expected: a text in its place is not quoted, since it may be what is
    /// secret within it.
    Structure(String),
    /// A key that must be there.
    Missing(&'static str),
    /// In somebody else's words.
    Said(String),
}

impl Problem {
    pub(super) fn new(node: Node<'_, '_>, at: At, message: String) -> Problem {
        let tree = node.pass.tree;
        Problem {
            diagnostic: Diagnostic::settings(
                tree.place(node.value, at),
                &node.step.path(),
                message,
            ),
            missing: false,
        }
    }

    /// A key that must be there, and is not or has been removed.
    fn missing(node: Node<'_, '_>, key: &str) -> Problem {
        let step = Step::Key(node.step, key);
        let removed = match &node.structure().kind {
            ValueKind::Table(table) => table.get(key),
            _ => None,
        };
        let (value, at, what) = match removed {
            Some(removed) => (removed, At::Key, "removed"),
            None => (node.value, At::Value, "missing"),
        };
        let lacking = Node {
            value,
            step: &step,
            pass: node.pass,
        };
        Problem {
            missing: true,
            ..Problem::new(lacking, at, format!("{what}, and there is no default"))
        }
    }
}

impl<'t> Error<'t> {
    /// What a visitor expects.
    pub(super) fn expected(expected: &dyn Expected) -> Self {
        let what = plain(&expected.to_string());
        Error::new(match &*what {
            "a list" | "a table" => What::Structure(what),
            _ => What::Expected(what),
        })
    }

    /// What a visitor expects, a list or a table.
    pub(super) fn structure(expected: &dyn Expected) -> Self {
        Error::new(What::Structure(plain(&expected.to_string())))
    }

    /// What was expected, in our own words.
    pub(super) fn wanted(what: impl Into<String>) -> Self {
        Error::new(What::Expected(what.into()))
    }

    /// Ties the error to a value or its key, unless one within it has it already.
    pub(super) fn locate(mut self, node: Node<'t, '_>, at: At) -> Self {
        if self.located.is_none() {
            let problem = self.problem(node, at);
            self.located = Some(Box::new((node.value, problem)));
        }
        self
    }

    /// The value that failed, and why.
    pub(super) fn located(self) -> Option<(&'t Value, Problem)> {
        self.located.map(|located| *located)
    }

    fn new(what: What) -> Self {
        Error {
            what,
            located: None,
        }
    }

    fn problem(&self, node: Node<'_, '_>, at: At) -> Problem {
        let found = match (at, node.step) {
            (At::Key, Step::Key(_, key)) => found_text(key),
            _ => match node.pass.tree.bare_text(node.value) {
                // A number, which only has no type yet.
                Some(text) if text.parse().is_ok_and(f64::is_finite) => key::shorten(text),
                _ => found(node.value),
            },
        };
        let is_secret = at == At::Value && node.pass.is_secret(node.value);
        match &self.what {
            // The key's place, since the value's would be shown with the value.
            What::Expected(what) if is_secret => {
                Problem::new(node, At::Key, format!("expected {what}"))
            }
            What::Said(words) if is_secret => Problem::new(node, At::Key, words.clone()),
            What::Expected(what) => {
                Problem::new(node, at, format!("expected {what}, found {found}"))
            }
            What::Structure(what) => {
                let (found, at) = match &node.value.kind {
                    ValueKind::String(_) if node.pass.tree.bare_text(node.value).is_some() => {
                        ("a text that is no table or list in TOML", at)
                    }
                    // The key's place: a secret may be within.
                    ValueKind::String(_) => ("a text", At::Key),
                    _ => (&*found, at),
                };
                Problem::new(node, at, format!("expected {what}, found {found}"))
            }
            What::Missing(key) => Problem::missing(node, key),
            // What was found says something of a single value only.
            What::Said(words) => match &node.value.kind {
                ValueKind::Table(_) | ValueKind::Array(_) if at == At::Value => {
                    Problem::new(node, at, words.clone())
                }
                _ => Problem::new(node, at, format!("{words}, found {found}")),
            },
        }
    }
}

impl de::Error for Error<'_> {
    fn custom<T: fmt::Display>(words: T) -> Self {
        let words = words.to_string();
        let is_of_enum = words.starts_with("data did not match any variant of untagged enum");
        Error::new(match is_of_enum {
            true => What::Structure("one of the forms that the schema tells".to_owned()),
            false => What::Said(words),
        })
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error::expected(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error::expected(expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Error::new(What::Said(format!(
            "expected {}, found {length} of them",
            plain(&expected.to_string())
        )))
    }

    fn missing_field(key: &'static str) -> Self {
        Error::new(What::Missing(key))
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Error::wanted(one_of(known))
    }
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Expected(what) | What::Structure(what) => write!(out, "expected {what}"),
            What::Missing(key) => write!(out, "missing `{key}`"),
            What::Said(words) => out.write_str(words),
        }
    }
}

impl std::error::Error for Error<'_> {}

/// The names that an enum knows.
pub(super) fn one_of(known: &[&str]) -> String {
    match known {
        [only] => format!("{only:?}"),
        [others @ .., last] => {
            let others: Vec<String> = others.iter().map(|name| format!("{name:?}")).collect();
            format!("{} or {last:?}", others.join(", "))
        }
        [] => "nothing".to_owned(),
    }
}

/// How serde's own visitors begin that expect a table.
const TABLES: [&str; 4] = [
    "struct ",
    "unit struct ",
    "internally tagged enum ",
    "adjacently tagged enum ",
];

/// What serde's own visitors expect, in an operator's words; all others speak for themselves.
fn plain(expected: &str) -> String {
    let words = match expected {
        "u8" => "a number from 0 to 255",
        "u16" => "a number from 0 to 65535",
        "u32" => "a number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a number, whole and not negative",
        "i8" => "a number from -128 to 127",
        "i16" => "a number from -32768 to 32767",
        "i32" => "a number from -2147483648 to 2147483647",
        "i64" | "i128" | "isize" => "a whole number",
        "a nonzero u8" | "a nonzero u16" | "a nonzero u32" | "a nonzero u64"
        | "a nonzero usize" => "a number above zero",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" => "a text",
        "a sequence" => "a list",
        "a map" | "unit" => "a table",
        other if TABLES.iter().any(|table| other.starts_with(table)) => "a table",
        other => other,
    };
    words.to_owned()
}
