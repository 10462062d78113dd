//! YAML: with `serde-saphyr`, which knows where each key and value stands, and whose budget no bomb
//! exceeds.

use super::super::key::{self, DEPTH};
use super::super::text::SourceText;
use super::super::value::{Table, Value, ValueKind};
use super::{Parsed, Reading};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{
    Error, Location, MessageFormatter as _, Options, Spanned, UserMessageFormatter,
};
use std::borrow::Cow;
use std::fmt;
use std::thread;

/// Values that aliases may stand for, in all: a bomb of 300 bytes would be billions.
const REPLAYED: usize = 100_000;

/// Nodes and events of a file of the largest size, and then some: its size is bounded already.
const NODES: usize = 32 * 1024 * 1024;

/// Bytes of stack for each level of nesting, several times what one takes.
const STACK: usize = 256 * 1024;

/// Parses a file.
pub(super) fn parse(source: usize, text: &SourceText) -> Parsed {
    let mut reading = Reading::new(source, text.text());
    let table = document(&mut reading, text);
    reading.parsed(table, text)
}

fn document(reading: &mut Reading<'_>, text: &SourceText) -> Table {
    let nodes = with_stack(|| {
        serde_saphyr::from_str_with_options(text.text(), options()).map_err(|error| {
            let at = error.location().map(|location| {
                let (line, column) = (location.line(), location.column());
                text.offset_of_character(line as usize, column as usize)
            });
            (at.unwrap_or(text.text().len()), message(&error))
        })
    });
    let root: Option<Spanned<Node<'_>>> = match nodes {
        Ok(root) => root,
        Err((at, message)) => {
            reading.error(at, message);
            return Table::default();
        }
    };
    match root.map(|root| (root.value, root.referenced)) {
        // Nothing but comments.
        None | Some((Node::Null, _)) => Table::default(),
        Some((Node::Table(entries), _)) => table(reading, entries),
        Some((_, at)) => {
            reading.error(offset(&at), "expected a table".to_owned());
            Table::default()
        }
    }
}

/// Runs what takes up to 40 KiB of stack for each level of nesting, on as much as all levels take:
/// the caller's own may be a thread's 2 MiB.
fn with_stack<T: Send>(
    parse: impl FnOnce() -> Result<T, (usize, String)> + Send,
) -> Result<T, (usize, String)> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("everup-yaml".into());
        let thread = thread.stack_size(DEPTH * STACK).spawn_scoped(scope, parse);
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(parsed)) => parsed,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err((0, format!("no thread to read it with: {error}"))),
        }
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
            max_nodes: NODES,
            max_events: NODES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED,
        },
        // Told where the tables are made: there it is known where the first one is.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        // YAML 1.2: `no` is a text, and so is what no other format takes for a number.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

/// What a file holds, before it has its origins.
enum Node<'t> {
    Null,
    Boolean(bool),
    Whole(i128),
    /// Read again from the text, where it may be a whole number too large for serde's own.
    Float(f64),
    Text(Cow<'t, str>),
    List(Vec<Spanned<Node<'t>>>),
    Table(Entries<'t>),
}

type Entries<'t> = Vec<(Spanned<Key<'t>>, Spanned<Node<'t>>)>;

struct Key<'t>(Cow<'t, str>);

fn table(reading: &mut Reading<'_>, entries: Entries<'_>) -> Table {
    let mut table = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        let at = offset(&key.referenced);
        if let Some(value) = value(reading, node, at) {
            table.push((reading.key(&key.value.0), value));
        }
    }
    reading.table(table)
}

fn value(reading: &mut Reading<'_>, node: Spanned<Node<'_>>, key: usize) -> Option<Value> {
    let at = offset(&node.referenced);
    let kind = match node.value {
        Node::Null => {
            let written = raw(reading.text, &node.defined);
            let is_blank = written.is_none_or(str::is_empty);
            return Some(reading.tag(ValueKind::Nil, key, if is_blank { key } else { at }));
        }
        Node::Boolean(value) => ValueKind::Boolean(value),
        Node::Whole(number) => number.into(),
        Node::Float(number) => {
            let written = raw(reading.text, &node.defined).unwrap_or_default();
            let digits = written.strip_prefix(['+', '-']).unwrap_or(written);
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                match written.parse::<i128>() {
                    Ok(number) => number.into(),
                    Err(_) => return reading.refuse(at, "a number that is too large"),
                }
            } else {
                ValueKind::Float(number)
            }
        }
        Node::Text(text) => (*text).into(),
        Node::List(list) => ValueKind::Array(
            list.into_iter()
                .filter_map(|node| {
                    let at = offset(&node.referenced);
                    value(reading, node, at)
                })
                .collect(),
        ),
        Node::Table(entries) => ValueKind::Table(self::table(reading, entries)),
    };
    Some(reading.tag(kind, key, at))
}

fn offset(location: &Location) -> usize {
    let offset = location.span().byte_offset();
    offset
        .and_then(|offset| usize::try_from(offset).ok())
        .unwrap_or(0)
}

/// A scalar as it is written.
fn raw<'t>(text: &'t str, location: &Location) -> Option<&'t str> {
    let start = offset(location);
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    Some(text.get(start..start + length)?.trim())
}

/// A syntax error in few words; serde-saphyr's own speak of its options.
fn message(error: &Error) -> String {
    match error {
        Error::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => format!("nested deeper than {DEPTH} levels"),
        Error::Budget { .. } => "more than settings may hold".to_owned(),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            format!("aliases that stand for more than {REPLAYED} values")
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias within what it stands for".to_owned()
        }
        Error::MultipleDocuments { .. } => "a second document in one file".to_owned(),
        Error::NonFiniteFloat { .. } => "a number that is not finite".to_owned(),
        Error::NullIntoString { .. } => "expected a key, found nothing".to_owned(),
        Error::Unexpected { .. } => "expected a key that is a text".to_owned(),
        other => {
            let message = UserMessageFormatter.format_message(other);
            let line = message.lines().next().unwrap_or_default();
            key::shorten(line.trim_end_matches('.'))
        }
    }
}

impl<'t> Deserialize<'t> for Key<'t> {
    fn deserialize<D: Deserializer<'t>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'t> Visitor<'t> for KeyVisitor {
    type Value = Key<'t>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'t str) -> Result<Key<'t>, E> {
        Ok(Key(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Key<'t>, E> {
        Ok(Key(Cow::Owned(text.to_owned())))
    }
}

impl<'t> Deserialize<'t> for Node<'t> {
    fn deserialize<D: Deserializer<'t>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'t> Visitor<'t> for NodeVisitor {
    type Value = Node<'t>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node<'t>, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node<'t>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'t>, E> {
        Ok(Node::Boolean(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node<'t>, E> {
        Ok(Node::Whole(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node<'t>, E> {
        Ok(Node::Whole(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node<'t>, E> {
        Ok(Node::Float(number))
    }

    fn visit_borrowed_str<E>(self, text: &'t str) -> Result<Node<'t>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'t>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut elements: A) -> Result<Node<'t>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'t>>(self, mut entries: A) -> Result<Node<'t>, A::Error> {
        let mut table = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            table.push(entry);
        }
        Ok(Node::Table(table))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Node<'t>, E> {
        Err(E::custom("expected a text, found bytes"))
    }
}
