//! TOML, and single values in it: with `toml`'s own parser, which knows where each key and value
//! stands and goes on after an error.

mod direct;
mod faults;

use super::super::key::DEPTH;
use super::super::text::SourceText;
use super::super::value::{Table, Value, ValueKind};
use super::{Parsed, Reading};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::lexer::TokenKind;

/// Bytes of a text of which all syntax errors are told; of a longer one only the first, since
/// the parser keeps them all in memory.
const RECOVERABLE: usize = 256 * 1024;

/// Parses a file.
pub(super) fn parse(source: usize, text: &SourceText) -> Parsed {
    let mut reading = Reading::new(source, text.text());
    let table = direct::table(&mut reading).unwrap_or_else(|| match endless_key(text.text()) {
        Some(offset) => {
            reading.error(offset, format!("a key of more than {DEPTH} segments"));
            Table::default()
        }
        None => reading.document(),
    });
    reading.parsed(table, text)
}

/// Parses a list or a table on its own, as `--set` and variables have them; `None` for all else.
///
/// Where each part of it stands is no more than that it is not the bare text itself.
pub(super) fn inline(source: usize, text: &str) -> Option<Value> {
    let is_structure = text.trim_start().starts_with(['[', '{']);
    if !is_structure || endless_key(text).is_some() {
        return None;
    }
    let value = DeValue::parse(text).ok()?;
    let mut reading = Reading::new(source, text);
    let value = reading.value(value, 0, 1)?;
    reading.is_sound().then_some(value)
}

impl Reading<'_> {
    fn document(&mut self) -> Table {
        let text = self.text;
        let (table, errors) = if text.len() <= RECOVERABLE {
            DeTable::parse_recoverable(text)
        } else {
            match DeTable::parse(text) {
                Ok(table) => (table, Vec::new()),
                Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
            }
        };
        if !errors.is_empty() {
            let wrong = faults::explain(text, errors);
            wrong.into_iter().for_each(|wrong| self.add(wrong));
            return Table::default();
        }
        self.entries(table.into_inner(), 1)
    }

    fn entries(&mut self, table: DeTable<'_>, depth: usize) -> Table {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let offset = key.span().start;
            if let Some(value) = self.value(value, offset, depth) {
                entries.push((self.key(key.get_ref()), value));
            }
        }
        self.table(entries)
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
            DeValue::Table(table) => ValueKind::Table(self.entries(table, depth + 1)),
            DeValue::String(text) => (*text).into(),
            DeValue::Boolean(value) => ValueKind::Boolean(value),
            DeValue::Datetime(time) => time.to_string().into(),
            DeValue::Integer(number) => {
                match i128::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => number.into(),
                    Err(_) => return self.refuse(offset, "a number that is too large"),
                }
            }
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                // Neither JSON nor a digest can tell infinities and NaN apart.
                Ok(number) if number.is_finite() => ValueKind::Float(number),
                _ => return self.refuse(offset, "a number that is not finite"),
            },
        };
        Some(self.tag(kind, key, offset))
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
        let parsed = parse(0, &source);
        parsed.diagnostics.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_syntax_error_is_told_with_its_place() {
        let errors = errors("a = \nb = 1\nb = 2\nc = truth\n");
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].starts_with("a.toml:1:5: "), "{errors:?}");
        let duplicate = "a.toml:3:1: duplicate key `b`: the first is at a.toml:2:1";
        assert!(errors.contains(&duplicate.to_owned()), "{errors:?}");
        assert!(errors.iter().any(|error| error.starts_with("a.toml:4:5: ")));
    }

    #[test]
    fn a_string_without_quotes_is_explained_once() {
        for (value, found) in [
            ("info", "info"),
            ("two", "two"),
            ("none # as it was", "none"),
            ("fast", "fast"),
            ("hello world", "hello world"),
            ("hello, world", "hello"),
            ("/var/log/x.log", "/var/log/x.log"),
            ("75s", "75s"),
            ("10MiB", "10MiB"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[info]", "info"),
            ("{ b = info }", "info"),
            ("[\n  1,\n  info,\n]", "info"),
        ] {
            let errors = errors(&format!("a = {value}\nb = 1\n"));
            let quotes = format!("expected a value; a string needs quotes: \"{found}\"");
            assert_eq!(errors.len(), 1, "{value}: {errors:?}");
            assert!(errors[0].ends_with(&quotes), "{value}: {errors:?}");
        }
        for (value, meant) in [("True", "true"), ("FALSE", "false")] {
            let lower = format!("a.toml:1:5: expected a value; booleans are lower case: `{meant}`");
            assert_eq!(errors(&format!("a = {value}")), [lower]);
        }
        for number in [
            "1__0",
            "0xZZ",
            "1.2e",
            "1979-13-01",
            "12:61:00",
            "007",
            "+_1",
        ] {
            let errors = errors(&format!("a = {number}"));
            assert!(!errors.is_empty(), "{number}");
            assert!(!errors[0].contains("quotes"), "{number}: {errors:?}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_names_the_first() {
        for (text, first, second) in [
            ("a = 1\n[t]\na = 2\na = 3", "3:1", "4:1"),
            ("[a]\nx = 1\n[b]\n[a]\n", "1:2", "4:2"),
            ("[a.b]\n[a]\n[c]\n[a]\n", "2:2", "4:2"),
            ("[a]\n\"b\" = 1\n'b' = 2", "2:1", "3:1"),
            ("[a]\nb.c = 1\nb.d = 1\nb.c = 2", "2:3", "4:3"),
            (
                "[[l]]\nx = 1\n[[l]]\nx = 1\n[l.t]\ny = 1\ny = 2",
                "6:1",
                "7:1",
            ),
            ("a = { b = 1, c = 2, b = 3 }", "1:7", "1:21"),
            ("a = [{ b = 1 }, { b = 1, b = 2 }]", "1:19", "1:26"),
            ("[r.\"/a.b\"]\nx = 1\n[r.\"/a.b\"]\nx = 1", "1:4", "3:4"),
        ] {
            let errors = errors(text);
            let (start, end) = (
                format!("a.toml:{second}: duplicate key "),
                format!("a.toml:{first}"),
            );
            let names = |error: &String| error.starts_with(&start) && error.ends_with(&end);
            assert!(errors.iter().any(names), "{text:?}: {errors:?}");
        }
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
}
