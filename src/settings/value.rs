//! A value as a source sets it, and where it stands there.
//! Compact, and shared where it has not changed: settings have hundreds of thousands of them.

use std::fmt;
use std::sync::Arc;

/// A table's key. One text in memory for all tables of a file that have it, as far as possible.
pub(super) type Key = Arc<str>;

/// What a source sets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) kind: ValueKind,
    /// `None` where no source sets it, such as the root.
    pub(super) origin: Option<Origin>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ValueKind {
    Nil,
    Boolean(bool),
    I64(i64),
    /// A whole number that is no `i64`.
    I128(Box<i128>),
    Float(f64),
    String(Box<str>),
    Array(Arc<[Value]>),
    Table(Table),
}

/// Where a value stands: its source and the byte offsets of its key and of itself. Lines and columns
/// are worked out only where they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    source: u32,
    key: u32,
    value: u32,
}

/// Which of the two ends of an entry a message points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The key: it is unknown or misspelt.
    Key,
    /// The value: it is not what was expected.
    Value,
}

/// A table in the order of its keys. Clones share their entries until one of them changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table(Arc<[(Key, Value)]>);

impl Origin {
    /// By the source's index and the offsets of the first byte of the key and of the value.
    pub(super) fn new(source: usize, key: usize, value: usize) -> Origin {
        // Sources have at most 16 MiB each, and there are not billions of them.
        let [source, key, value] =
            [source, key, value].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        Origin { source, key, value }
    }

    /// Of a bare text, which is all that its source holds.
    pub(super) fn bare(source: usize) -> Origin {
        Origin::new(source, 0, 0)
    }

    /// A value that stands here.
    pub(super) fn tag(self, kind: impl Into<ValueKind>) -> Value {
        Value {
            kind: kind.into(),
            origin: Some(self),
        }
    }

    /// Of a key with nothing behind it: that stands where its key does.
    pub(super) fn is_blank(self) -> bool {
        self.key == self.value
    }

    /// The index of the source.
    pub(super) fn source(self) -> usize {
        self.source as usize
    }

    /// The byte offset of the key or of the value.
    pub(super) fn offset(self, at: At) -> usize {
        match at {
            At::Key => self.key as usize,
            At::Value => self.value as usize,
        }
    }
}

impl Value {
    /// A table that no source sets.
    pub(super) fn unset(table: Table) -> Value {
        Value {
            kind: ValueKind::Table(table),
            origin: None,
        }
    }
}

impl Table {
    /// Of entries in any order. `known` is told of each key that is there already, with the value that
    /// stays, the first one, and the one that is dropped.
    pub(super) fn new(
        mut entries: Vec<(Key, Value)>,
        mut known: impl FnMut(&str, &Value, &Value),
    ) -> Table {
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        entries.dedup_by(|(key, later), (other, first)| {
            let is_known = key == other;
            if is_known {
                known(key, first, later);
            }
            is_known
        });
        Table(entries.into())
    }

    pub(super) fn one(key: &str, value: Value) -> Table {
        Table([(key.into(), value)].into())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|(_, value)| value)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&(Key, Value)> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(key));
        Some(&self.0[at.ok()?])
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, (Key, Value)> {
        self.0.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Sets a key, whether or not it is there.
    pub(super) fn put(&mut self, key: &str, value: Value) {
        let others = self.iter().filter(|(known, _)| **known != *key).cloned();
        let all = others.chain([(key.into(), value)]);
        *self = Table::new(all.collect(), |_, _, _| {});
    }
}

impl From<bool> for ValueKind {
    fn from(value: bool) -> Self {
        ValueKind::Boolean(value)
    }
}

impl From<i64> for ValueKind {
    fn from(number: i64) -> Self {
        ValueKind::I64(number)
    }
}

/// The smallest kind that holds it.
impl From<i128> for ValueKind {
    fn from(number: i128) -> Self {
        match i64::try_from(number) {
            Ok(number) => ValueKind::I64(number),
            Err(_) => ValueKind::I128(number.into()),
        }
    }
}

impl From<f64> for ValueKind {
    fn from(number: f64) -> Self {
        ValueKind::Float(number)
    }
}

impl From<&str> for ValueKind {
    fn from(text: &str) -> Self {
        ValueKind::String(text.into())
    }
}

impl From<String> for ValueKind {
    fn from(text: String) -> Self {
        ValueKind::String(text.into())
    }
}

impl From<Vec<Value>> for ValueKind {
    fn from(list: Vec<Value>) -> Self {
        ValueKind::Array(list.into())
    }
}

impl From<Table> for ValueKind {
    fn from(table: Table) -> Self {
        ValueKind::Table(table)
    }
}

/// What was found, in few words: nothing of a list or a table but that it is one.
impl fmt::Display for ValueKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueKind::Nil => out.write_str("nothing"),
            ValueKind::Boolean(value) => value.fmt(out),
            ValueKind::I64(number) => number.fmt(out),
            ValueKind::I128(number) => number.fmt(out),
            // `1.0`, not `1`, which would be a whole number.
            ValueKind::Float(number) => write!(out, "{number:?}"),
            ValueKind::String(text) => out.write_str(text),
            ValueKind::Array(_) => out.write_str("a list"),
            ValueKind::Table(_) => out.write_str("a table"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: i64) -> Value {
        Origin::bare(0).tag(number)
    }

    #[test]
    fn a_table_is_in_the_order_of_its_keys_and_keeps_the_first_of_two() {
        let entries = [("b", 1), ("a", 2), ("b", 3)];
        let entries = entries.map(|(key, value)| (Key::from(key), number(value)));
        let mut known = Vec::new();
        let mut table = Table::new(entries.to_vec(), |key, first, later| {
            known.push((key.to_owned(), first.clone(), later.clone()));
        });
        assert_eq!(known, [("b".to_owned(), number(1), number(3))]);
        let shared = table.clone();
        table.put("aa", number(4));
        table.put("b", number(5));
        let keys = |table: &Table| {
            table
                .iter()
                .map(|(key, _)| key.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(&table), ["a", "aa", "b"]);
        assert_eq!((table.get("b"), table.len()), (Some(&number(5)), 3));
        assert_eq!(keys(&shared), ["a", "b"]);
        assert_eq!(shared.get("b"), Some(&number(1)));
    }

    #[test]
    fn a_value_is_no_larger_than_it_must_be() {
        assert!(size_of::<Value>() <= 40);
    }
}
