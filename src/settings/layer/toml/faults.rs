//! Syntax errors of TOML in an operator's words: a string without quotes is explained as such, and a
//! key that is there twice names the first.

use super::super::super::diagnostic::REPORTED;
use super::super::super::key::{self, DEPTH};
use super::super::Wrong;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use toml::de::Error;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{ParseError, Source};

/// What the parser says of a key that is there twice.
const DUPLICATE: &str = "duplicate key";

/// How the parser says that a string has no quotes, also where there is nothing at all.
const NO_QUOTES: &str = "string values must be quoted";

/// How the parser's errors begin that the text may explain.
const EXPLAINED: [&str; 9] = [
    DUPLICATE,
    NO_QUOTES,
    "invalid boolean",
    "invalid date-time",
    "invalid exponent",
    "invalid float",
    "invalid fraction",
    "invalid integer",
    "invalid mantissa",
];

/// The parser's errors, explained.
pub(super) fn explain(text: &str, errors: Vec<Error>) -> Vec<Wrong> {
    let may_explain = |error: &Error| EXPLAINED.iter().any(|it| error.message().starts_with(it));
    let mut walk = Walk::new(text);
    // Else there is nothing to look for, and the text may be large.
    if errors.iter().any(may_explain) {
        let tokens = Source::new(text).lex().into_vec();
        let mut take = |event: Event| walk.take(&event);
        let nested = u32::try_from(DEPTH).expect("it is small");
        parse_document(
            &tokens,
            &mut RecursionGuard::new(&mut take, nested),
            &mut (),
        );
    }
    let mut wrong = Vec::new();
    for scalar in &walk.unquoted {
        let message = without_quotes(&text[scalar.clone()]);
        wrong.push(Wrong::new(scalar.start, message));
    }
    let mut last = None;
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        // What follows an error in its line comes of it.
        let follows = last.is_some_and(|last| is_one_line(text, last, span.start));
        if follows || walk.has_explained(span.start) {
            continue;
        }
        if error.message() != DUPLICATE {
            last = Some(span.start);
        }
        wrong.push(match (error.message(), text.get(span.clone())) {
            (DUPLICATE, Some(key)) => {
                let first = walk.duplicates.get(&span.start);
                Wrong::duplicate(span.start, key, first.copied())
            }
            (message, _) if message.starts_with(NO_QUOTES) => {
                Wrong::new(span.start, "expected a value behind `=`".to_owned())
            }
            (message, _) => Wrong::new(span.start, message.to_owned()),
        });
    }
    wrong.sort_by_key(|wrong| wrong.offset);
    wrong
}

/// Whether the second offset is in the line of the first, and not before it.
fn is_one_line(text: &str, first: usize, second: usize) -> bool {
    let between = text.get(first..second);
    between.is_some_and(|between| !between.contains('\n'))
}

fn without_quotes(scalar: &str) -> String {
    let lower = scalar.to_ascii_lowercase();
    match &*lower {
        "true" | "false" => format!("expected a value; booleans are lower case: `{lower}`"),
        _ => {
            let quoted = key::shorten(&serde_json::Value::from(scalar).to_string());
            format!("expected a value; a string needs quotes: {quoted}")
        }
    }
}

/// Whether a scalar was meant as a number or a time, by its looks.
fn is_nearly_number(scalar: &str) -> bool {
    let digits = scalar.trim_start_matches(['+', '-']);
    let has_radix = ["0x", "0o", "0b"].iter().any(|it| digits.starts_with(it));
    let is_part = |byte: u8| byte.is_ascii_digit() || b"+-_.eE".contains(&byte);
    let is_plain = digits.bytes().all(is_part) && digits.matches('.').count() <= 1;
    let is_time = {
        let parts = |separator| digits.split(separator).next().map(str::len);
        let is_part = |byte: u8| byte.is_ascii_digit() || b"-:.TtZz+ ".contains(&byte);
        digits.bytes().all(is_part) && (parts('-') == Some(4) || parts(':') == Some(2))
    };
    digits.starts_with(|c: char| c.is_ascii_digit()) && (has_radix || is_plain || is_time)
}

/// A table or a list that the walk is in.
enum Within {
    Table(u64),
    List { path: u64, index: usize },
}

/// The walk through a document: which scalars are no values, and where each key is first.
///
/// A path is its hash: an error names another place where two collide, which is no matter.
struct Walk<'t> {
    text: &'t str,
    /// Strings without quotes, as many as are told.
    unquoted: Vec<Range<usize>>,
    firsts: HashMap<u64, usize>,
    /// The offset of a key that was there before, and of the first, as many as are told.
    duplicates: BTreeMap<usize, usize>,
    /// The table whose header was the last.
    table: u64,
    within: Vec<Within>,
    /// The key that is being read, so far.
    key: Option<u64>,
    /// In a header, the offset of its last key.
    header: Option<usize>,
    /// How many elements a list of tables has.
    lists: HashMap<u64, usize>,
}

impl<'t> Walk<'t> {
    fn new(text: &'t str) -> Self {
        Walk {
            text,
            unquoted: Vec::new(),
            firsts: HashMap::new(),
            duplicates: BTreeMap::new(),
            table: 0,
            within: Vec::new(),
            key: None,
            header: None,
            lists: HashMap::new(),
        }
    }

    /// Whether an error at an offset comes of a string without quotes: it is in it, or behind it in
    /// its line.
    fn has_explained(&self, offset: usize) -> bool {
        let mut scalars = self.unquoted.iter();
        scalars.any(|scalar| is_one_line(self.text, scalar.start, offset))
    }

    fn take(&mut self, event: &Event) {
        let start = event.span().start();
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.within.clear();
                self.key = None;
                self.header = Some(start);
            }
            EventKind::StdTableClose => self.open_table(false),
            EventKind::ArrayTableClose => self.open_table(true),
            EventKind::SimpleKey => self.take_key(event),
            EventKind::Scalar => {
                self.take_scalar(event);
                self.key = None;
            }
            EventKind::InlineTableOpen => {
                let path = self.value_path();
                self.within.push(Within::Table(path));
            }
            EventKind::ArrayOpen => {
                let path = self.value_path();
                self.within.push(Within::List { path, index: 0 });
            }
            EventKind::InlineTableClose | EventKind::ArrayClose => {
                self.within.pop();
                self.key = None;
            }
            EventKind::ValueSep => {
                if let Some(Within::List { index, .. }) = self.within.last_mut() {
                    *index += 1;
                }
                self.key = None;
            }
            EventKind::Newline if self.header.is_none() => self.key = None,
            _ => {}
        }
    }

    fn take_key(&mut self, event: &Event) {
        let mut decoded = Cow::Borrowed("");
        if let Some(raw) = Source::new(self.text).get(event) {
            raw.decode_key(&mut decoded, &mut ());
        }
        let start = event.span().start();
        let above = match (self.key, self.within.last()) {
            // The tables of a list have keys of their own each.
            (Some(above), _) if self.header.is_some() => self.newest(above),
            (Some(above), _) => above,
            (None, _) if self.header.is_some() => 0,
            (None, Some(Within::Table(path) | Within::List { path, .. })) => *path,
            (None, None) => self.table,
        };
        let path = child(above, &*decoded);
        self.key = Some(path);
        match &mut self.header {
            // Only the last key of a header defines a table.
            Some(last) => *last = start,
            None => self.define(path, start),
        }
    }

    fn define(&mut self, path: u64, start: usize) {
        let first = *self.firsts.entry(path).or_insert(start);
        if first != start && self.duplicates.len() <= REPORTED {
            self.duplicates.insert(start, first);
        }
    }

    /// The header is complete.
    fn open_table(&mut self, is_of_list: bool) {
        let (Some(path), Some(start)) = (self.key.take(), self.header.take()) else {
            return;
        };
        if is_of_list {
            self.firsts.entry(path).or_insert(start);
            *self.lists.entry(path).or_default() += 1;
            self.table = self.newest(path);
        } else {
            self.define(path, start);
            self.table = path;
        }
    }

    /// The newest table of a list of tables; any other path as it is.
    fn newest(&self, path: u64) -> u64 {
        let count = self.lists.get(&path);
        count.map_or(path, |count| child(path, count))
    }

    fn value_path(&mut self) -> u64 {
        match (self.key.take(), self.within.last()) {
            (Some(path), _) => path,
            (None, Some(Within::List { path, index })) => child(*path, index),
            (None, Some(Within::Table(path))) => *path,
            (None, None) => self.table,
        }
    }

    fn take_scalar(&mut self, event: &Event) {
        let Some(raw) = Source::new(self.text).get(event) else {
            return;
        };
        let (mut decoded, mut wrong) = (Cow::Borrowed(""), None::<ParseError>);
        if event.encoding().is_none() && self.unquoted.len() <= REPORTED {
            // Which kind it would be says nothing here.
            let _ = raw.decode_scalar(&mut decoded, &mut wrong);
        }
        if wrong.is_some() && !raw.is_empty() && !is_nearly_number(raw.as_str()) {
            self.unquoted.push(event.span().start()..event.span().end());
        }
    }
}

fn child(path: u64, key: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    key.hash(&mut hasher);
    hasher.finish()
}
