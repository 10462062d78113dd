//! One source's text to one layer: parsed, each value with its origin.
//! Owns what a source may hold; which sources there are is `sources.rs`, the merge is `tree.rs`.

use super::diagnostic::{Diagnostic, REPORTED, SourceText};
use super::key::{self, DEPTH};
use super::tree::{Layer, Origin};
use config::{Map, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::lexer::TokenKind;

/// Bytes of a text of which all syntax errors are told; of a longer one only the first, since
/// the parser keeps them all in memory.
const RECOVERABLE: usize = 256 * 1024;

/// What became of a source.
pub(super) struct Parsed {
    pub(super) layer: Layer,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The offset of the first error: what stands behind it may not be what was meant.
    pub(super) sound_until: Option<usize>,
}

/// Parses a TOML file.
pub(super) fn toml(source: usize, text: &SourceText) -> Parsed {
    let mut reading = Reading {
        source,
        text,
        diagnostics: Vec::new(),
        sound_until: None,
    };
    let table = match endless_key(text.text()) {
        Some(offset) => {
            reading.error(offset, format!("a key of more than {DEPTH} segments"));
            Map::new()
        }
        None => reading.document(),
    };
    Parsed {
        layer: Layer::new(table),
        diagnostics: reading.diagnostics,
        sound_until: reading.sound_until,
    }
}

/// One `--set KEY=VALUE`: a layer with a single text in it.
///
/// # Errors
/// The key cannot be split.
pub(super) fn set(source: usize, name: &str, key: &str, value: &str) -> Result<Layer, Diagnostic> {
    let mut path = key::split(key).ok_or_else(|| {
        let message = format!("expected a dotted key, found {key:?}");
        Diagnostic::source(name, key::shorten(&message), super::Fault::Settings)
    })?;
    let origin = Origin {
        source,
        key: 0,
        value: 0,
    };
    let first = path.remove(0);
    let value = path
        .into_iter()
        .rev()
        .fold(origin.tag(value), |value, segment| {
            origin.tag(Map::from_iter([(segment, value)]))
        });
    Ok(Layer::new(Map::from_iter([(first, value)])))
}

struct Reading<'a> {
    source: usize,
    text: &'a SourceText,
    diagnostics: Vec<Diagnostic>,
    sound_until: Option<usize>,
}

impl Reading<'_> {
    fn document(&mut self) -> Map<String, Value> {
        let text = self.text.text();
        let (table, errors) = if text.len() <= RECOVERABLE {
            DeTable::parse_recoverable(text)
        } else {
            match DeTable::parse(text) {
                Ok(table) => (table, Vec::new()),
                Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
            }
        };
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            let message = match (error.message(), text.get(span.clone())) {
                ("duplicate key", Some(key)) => format!("duplicate key `{}`", key::shorten(key)),
                (message, _) => message.to_owned(),
            };
            self.error(span.start, message);
        }
        self.table(table.into_inner(), 1)
    }

    fn table(&mut self, table: DeTable<'_>, depth: usize) -> Map<String, Value> {
        let mut entries = Map::with_capacity(table.len());
        for (key, value) in table {
            let offset = key.span().start;
            if let Some(value) = self.value(value, offset, depth) {
                entries.insert(key.into_inner().into_owned(), value);
            }
        }
        entries
    }

    /// A value with its origin; `None` where it cannot be one, which is told.
    fn value(&mut self, value: Spanned<DeValue<'_>>, key: usize, depth: usize) -> Option<Value> {
        let offset = value.span().start;
        let kind = match value.into_inner() {
            DeValue::Array(_) | DeValue::Table(_) if depth > DEPTH => {
                self.error(offset, format!("nested deeper than {DEPTH} levels"));
                return None;
            }
            DeValue::Array(list) => ValueKind::Array(
                list.into_iter()
                    .filter_map(|value| {
                        let offset = value.span().start;
                        self.value(value, offset, depth + 1)
                    })
                    .collect(),
            ),
            DeValue::Table(table) => ValueKind::Table(self.table(table, depth + 1)),
            DeValue::String(text) => ValueKind::String(text.into_owned()),
            DeValue::Boolean(value) => ValueKind::Boolean(value),
            DeValue::Datetime(time) => ValueKind::String(time.to_string()),
            DeValue::Integer(number) => {
                match i128::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => i64::try_from(number).map_or(number.into(), ValueKind::I64),
                    Err(_) => return self.refuse(offset, "a number that is too large"),
                }
            }
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                // Neither JSON nor a digest can tell infinities and NaN apart.
                Ok(number) if number.is_finite() => ValueKind::Float(number),
                _ => return self.refuse(offset, "a number that is not finite"),
            },
        };
        let origin = Origin {
            source: self.source,
            key,
            value: offset,
        };
        Some(origin.tag(kind))
    }

    fn refuse(&mut self, offset: usize, message: &str) -> Option<Value> {
        self.error(offset, message.to_owned());
        None
    }

    fn error(&mut self, offset: usize, message: String) {
        self.sound_until = Some(self.sound_until.map_or(offset, |first| first.min(offset)));
        if self.diagnostics.len() <= REPORTED {
            let place = Some(self.text.place(offset));
            self.diagnostics
                .push(Diagnostic::settings::<&str>(place, &[], message));
        }
    }
}

/// The offset at which a dotted key becomes longer than any may be.
///
/// The parser nests a table for every dot, without limit; dropping a million of them, each in the
/// other, would overflow the stack.
fn endless_key(text: &str) -> Option<usize> {
    let mut dots = 0;
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::Atom
            | TokenKind::Whitespace
            | TokenKind::BasicString
            | TokenKind::LiteralString
            | TokenKind::MlBasicString
            | TokenKind::MlLiteralString => {}
            _ => dots = 0,
        }
        if dots >= DEPTH {
            return Some(token.span().start());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let source = SourceText::file("a.toml".into(), text.into());
        let parsed = toml(0, &source);
        parsed.diagnostics.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_syntax_error_is_told_with_its_place() {
        let errors = errors("a = \nb = 1\nb = 2\nc = truth\n");
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].starts_with("a.toml:1:5: "), "{errors:?}");
        assert!(errors.contains(&"a.toml:3:1: duplicate key `b`".to_owned()));
        assert!(errors.iter().any(|error| error.starts_with("a.toml:4:5: ")));
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let levels = 100_000;
        for text in [
            format!("{} = 1", vec!["a"; levels].join(".")),
            format!("{} = 1", vec!["\"a\""; levels].join(" . ")),
            format!("[{}]", vec!["a"; levels].join(".")),
            format!("[[{}]]", vec!["a"; levels].join(".")),
            format!("a = {}", "[".repeat(levels)),
            format!("a = {}", "{ a = ".repeat(levels)),
            format!("a = {}1{}", "[".repeat(70), "]".repeat(70)),
            format!(
                "{} = {}1{}",
                ["a"; 40].join("."),
                "[".repeat(40),
                "]".repeat(40)
            ),
        ] {
            assert!(!errors(&text).is_empty(), "{:.60}", text);
        }
        let just = format!("{} = 1.5", ["a"; DEPTH].join("."));
        assert_eq!(errors(&just), [""; 0]);
    }

    #[test]
    fn numbers_that_cannot_be_kept_exactly_are_errors() {
        assert_eq!(errors("a = 9223372036854775808"), [""; 0]);
        for text in [
            "a = inf",
            "a = nan",
            "a = 1e999",
            "a = 99999999999999999999999999999999999999999",
        ] {
            assert_eq!(errors(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_set_is_a_text_at_its_path() {
        let layer = set(0, "--set", "app.routes.\"/a.b\".status", "200").expect("a good key");
        let tree = super::super::tree::Tree::new(vec![layer], vec![SourceText::bare("--set")]);
        let value = tree.get(&["app", "routes", "/a.b", "status"]).expect("set");
        assert_eq!(tree.bare_text(value), Some("200"));
        let error = set(0, "--set", "a..b", "1").expect_err("a bad key");
        assert_eq!(
            error.to_string(),
            "--set: expected a dotted key, found \"a..b\""
        );
    }
}
