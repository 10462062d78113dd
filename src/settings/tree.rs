//! Layers merged to one tree; each value keeps where it came from.
//! Owns origins and the merge; how a source becomes a layer is `layer`, types are `de`.

use super::diagnostic::{Diagnostic, Place};
use super::layer::SET;
use super::shape::Shape;
use super::text::SourceText;
use config::{Config, Map, Value, ValueKind};
use serde_json::Value as Json;
use std::fmt::Write;
use std::ops::Deref;

/// A parsed source: later ones win over earlier ones.
#[derive(Debug)]
pub(super) struct Layer {
    table: Value,
}

/// The key of a table that has it alone, with `true`: it removes what earlier layers set in its
/// place, as `null` does.
pub(super) const UNSET: &str = "unset";

/// Where a value stands: its source and the byte offsets of its key and of itself.
///
/// A place is worked out only when it is asked for; the tree carries this, as the text that
/// `config` calls a value's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The source's index.
    pub(super) source: usize,
    /// Offset of the key's first byte.
    pub(super) key: usize,
    /// Offset of the value's first byte.
    pub(super) value: usize,
}

/// Which of the two ends of an entry a message points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The key: it is unknown or misspelt.
    Key,
    /// The value: it is not what was expected.
    Value,
}

/// The merged layers and the sources that they came from.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Value,
    pub(super) sources: Vec<SourceText>,
    pub(super) hidden: Vec<Hidden>,
    /// What layers say without effect.
    pub(super) warnings: Vec<Diagnostic>,
}

/// A file's value that the environment or `--set` hides.
#[derive(Debug)]
pub(super) struct Hidden {
    pub(super) path: Vec<String>,
    /// What the file says.
    pub(super) value: Value,
    /// The index of the source that hides it.
    pub(super) by: usize,
}

impl Layer {
    pub(super) fn new(table: Map<String, Value>) -> Self {
        Layer {
            table: Value::new(None, table),
        }
    }
}

impl Origin {
    /// Of a bare text, which is all that its source holds.
    pub(super) fn bare(source: usize) -> Origin {
        Origin {
            source,
            key: 0,
            value: 0,
        }
    }

    /// A value that carries this as its origin.
    pub(super) fn tag(self, kind: impl Into<ValueKind>) -> Value {
        // Room for what it mostly takes: it is written for each value of every file.
        let mut origin = String::with_capacity(24);
        write!(origin, "{} {} {}", self.source, self.key, self.value)
            .expect("a text takes all that is written");
        Value::new(Some(&origin), kind)
    }

    /// Of a key with nothing behind it: that stands where its key does.
    pub(super) fn is_blank(self) -> bool {
        self.key == self.value
    }

    /// The byte offset of the key or of the value.
    pub(super) fn offset(self, at: At) -> usize {
        match at {
            At::Key => self.key,
            At::Value => self.value,
        }
    }

    /// The origin of a value; `None` for the root, which stands nowhere.
    pub(super) fn of(value: &Value) -> Option<Origin> {
        let mut numbers = value.origin()?.split(' ').map(|part| part.parse().ok());
        Some(Origin {
            source: numbers.next()??,
            key: numbers.next()??,
            value: numbers.next()??,
        })
    }
}

impl Tree {
    /// Merges layers: tables key by key, all else is replaced, later layers win. Of keys that exclude
    /// each other, by the schema, those of the latest layer stay.
    pub(super) fn new(
        layers: Vec<Layer>,
        sources: Vec<SourceText>,
        schema: &dyn Deref<Target = Json>,
    ) -> Tree {
        let mut merge = Merge {
            sources: &sources,
            schema,
            path: Vec::new(),
            hidden: Vec::new(),
            warnings: Vec::new(),
        };
        let mut root = Config::default().cache;
        for layer in layers {
            merge.value(&mut root, layer.table);
        }
        let Merge {
            hidden, warnings, ..
        } = merge;
        Tree {
            root,
            sources,
            hidden,
            warnings,
        }
    }

    /// Puts an empty table at the root's key, so that what is required in it is missing.
    pub(super) fn require_table(&mut self, key: &str) {
        if let ValueKind::Table(table) = &mut self.root.kind {
            let empty = Value::new(None, Map::<String, Value>::new());
            table.insert(key.to_owned(), empty);
        }
    }

    /// The value at a path; a list's elements are counted from 0.
    pub(super) fn get<S: AsRef<str>>(&self, path: &[S]) -> Option<&Value> {
        path.iter().try_fold(&self.root, |value, segment| {
            match &self.structure(value).kind {
                ValueKind::Table(table) => table.get(segment.as_ref()),
                ValueKind::Array(list) => list.get(segment.as_ref().parse::<usize>().ok()?),
                _ => None,
            }
        })
    }

    /// The place of a value or of its key.
    pub(super) fn place(&self, value: &Value, at: At) -> Option<Place> {
        let origin = Origin::of(value)?;
        Some(self.sources.get(origin.source)?.place(origin.offset(at)))
    }

    /// The text of a value that is all that its source says (`--set`, a variable), and may stand
    /// for a number or the like.
    pub(super) fn bare_text<'t>(&'t self, value: &'t Value) -> Option<&'t str> {
        match &value.kind {
            ValueKind::String(text) => self.bare_source(value).map(|_| text.as_str()),
            _ => None,
        }
    }

    /// The list or table that a bare text stands for; any other value as it is.
    pub(super) fn structure<'t>(&'t self, value: &'t Value) -> &'t Value {
        match &value.kind {
            ValueKind::String(_) => self
                .bare_source(value)
                .and_then(SourceText::inline)
                .unwrap_or(value),
            _ => value,
        }
    }

    fn bare_source(&self, value: &Value) -> Option<&SourceText> {
        bare_source(&self.sources, value)
    }
}

/// The source whose one bare text a value is.
fn bare_source<'s>(sources: &'s [SourceText], value: &Value) -> Option<&'s SourceText> {
    let origin = Origin::of(value)?;
    let source = sources.get(origin.source)?;
    // What is within a list or a table that such a text stands for is quoted there.
    (source.is_bare() && origin == Origin::bare(origin.source)).then_some(source)
}

/// Whether a value removes what earlier layers set in its place: `null`, or `{ unset = true }`.
pub(super) fn is_removal(value: &Value) -> bool {
    match &value.kind {
        ValueKind::Nil => true,
        ValueKind::Table(table) => {
            let is_true = |value: &Value| matches!(value.kind, ValueKind::Boolean(true));
            table.len() == 1 && table.get(UNSET).is_some_and(is_true)
        }
        _ => false,
    }
}

/// The entries of a table without those that are removed.
pub(super) fn live(table: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    table.iter().filter(|(_, value)| !is_removal(value))
}

/// The merge of one layer after the other.
struct Merge<'s> {
    sources: &'s [SourceText],
    /// Made only where layers meet in a table.
    schema: &'s dyn Deref<Target = Json>,
    path: Vec<String>,
    hidden: Vec<Hidden>,
    warnings: Vec<Diagnostic>,
}

impl Merge<'_> {
    /// Not as `config::Source::collect_to` does it: that reads keys as paths (`"a[4000000000]" = 1`
    /// would allocate as much), forgets where tables stand, and copies each value once for every
    /// level above it.
    fn value(&mut self, into: &mut Value, mut from: Value) {
        // A bare text is what it meets: a table where there is one, or one comes.
        if matches!(into.kind, ValueKind::Table(_)) {
            self.open(&mut from);
        } else if matches!(from.kind, ValueKind::Table(_)) {
            self.open(into);
        }
        if is_removal(into) || is_removal(&from) {
            return self.remove(into, from);
        }
        match (&mut into.kind, from) {
            // An empty table makes room for the other, which is then not copied entry by entry.
            (
                ValueKind::Table(known),
                Value {
                    kind: ValueKind::Table(new),
                    ..
                },
            ) if !known.is_empty() => self.table(known, new),
            (_, from) => self.replace(into, from),
        }
    }

    fn table(&mut self, known: &mut Map<String, Value>, new: Map<String, Value>) {
        self.drop_excluded(known, &new);
        for (key, value) in new {
            match known.get_mut(&key) {
                Some(old) => {
                    self.path.push(key);
                    self.value(old, value);
                    self.path.pop();
                }
                None => {
                    known.insert(key, value);
                }
            }
        }
    }

    /// Where either of the two removes.
    fn remove(&mut self, into: &mut Value, from: Value) {
        let is_table = matches!(&into.kind, ValueKind::Table(table) if !table.is_empty());
        let is_blank =
            matches!(from.kind, ValueKind::Nil) && Origin::of(&from).is_some_and(Origin::is_blank);
        // `server:` in YAML, with all within it commented out, sets nothing.
        if is_table && is_blank && !is_removal(into) {
            let message = "nothing stands behind this key, so it sets nothing (`null` removes what \
                           earlier layers set)";
            let place = self.place(&from);
            self.warnings
                .push(Diagnostic::settings(place, &self.path, message));
            return;
        }
        self.replace(into, from);
    }

    /// Drops the keys of a table that those of a later layer exclude.
    fn drop_excluded(&mut self, known: &mut Map<String, Value>, new: &Map<String, Value>) {
        if live(new).all(|(key, _)| known.contains_key(key)) {
            return;
        }
        let mut keys = self.path.iter();
        let shape = keys.try_fold(Shape::new(self.schema), |shape, key| shape.within(key));
        let is_set = |key: &str| new.get(key).is_some_and(|value| !is_removal(value));
        for key in shape
            .map(|shape| shape.excluded_by(is_set))
            .into_iter()
            .flatten()
        {
            let by = live(new).next().map(|(_, value)| value);
            let is_rival = |old: &Value| by.is_some_and(|by| self.is_of_one_layer(old, by));
            let Some(old) = known.get(key).filter(|old| !is_rival(old)) else {
                continue;
            };
            if let Some(by) = by.and_then(|by| self.override_of(by)) {
                self.hide(key, old.clone(), by);
            }
            known.shift_remove(key);
        }
    }

    /// Whether both are variables: neither is the later one.
    fn is_of_one_layer(&self, one: &Value, other: &Value) -> bool {
        let is_variable = |value| {
            let source = self.override_of(value).and_then(|it| self.sources.get(it));
            source.is_some_and(|source| source.name != SET)
        };
        is_variable(one) && is_variable(other)
    }

    fn hide(&mut self, key: &str, value: Value, by: usize) {
        if Origin::of(&value).is_none() || self.override_of(&value).is_some() {
            return;
        }
        let mut path = self.path.clone();
        path.push(key.to_owned());
        self.hidden.push(Hidden { path, value, by });
    }

    fn place(&self, value: &Value) -> Option<Place> {
        let origin = Origin::of(value)?;
        Some(self.sources.get(origin.source)?.place(origin.value))
    }

    fn replace(&mut self, into: &mut Value, from: Value) {
        let by = self.override_of(&from);
        let is_a_files = Origin::of(into).is_some() && self.override_of(into).is_none();
        let old = std::mem::replace(into, from);
        let is_empty = matches!(&old.kind, ValueKind::Table(table) if table.is_empty());
        if let Some(by) = by.filter(|_| is_a_files && !is_empty) {
            self.hidden.push(Hidden {
                path: self.path.clone(),
                value: old,
                by,
            });
        }
    }

    /// The index of the override that a value comes from.
    fn override_of(&self, value: &Value) -> Option<usize> {
        let source = Origin::of(value)?.source;
        self.sources.get(source)?.is_bare().then_some(source)
    }

    /// Puts the table that a bare text stands for in its place.
    fn open(&self, value: &mut Value) {
        if !matches!(value.kind, ValueKind::String(_)) {
            return;
        }
        let inline = bare_source(self.sources, value).and_then(SourceText::inline);
        if let Some(table) = inline.filter(|value| matches!(value.kind, ValueKind::Table(_))) {
            *value = table.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layer;
    use super::*;

    fn tree(texts: &[&str]) -> Tree {
        let mut sources = Vec::new();
        let mut layers = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let source = SourceText::file(format!("{index}.toml"), (*text).to_owned());
            let parsed = layer::parse(index, &source, layer::Format::Toml);
            assert_eq!(parsed.diagnostics, []);
            layers.push(parsed.layer);
            sources.push(source);
        }
        Tree::new(layers, sources, &Box::new(Json::Null))
    }

    fn at(tree: &Tree, path: &[&str], at: At) -> String {
        let value = tree.get(path).expect("in the tree");
        tree.place(value, at).expect("from a file").to_string()
    }

    #[test]
    fn tables_merge_lists_are_replaced_and_the_later_layer_wins() {
        let tree = tree(&[
            "[a]\nx = 1\nlist = [1, 2]\n[a.deep]\nk = 1",
            "a.x = 2\na.list = [3]\na.deep.l = 1",
        ]);
        let value = |path: &[&str]| tree.get(path).map(ToString::to_string);
        assert_eq!(value(&["a", "x"]).as_deref(), Some("2"));
        assert_eq!(value(&["a", "list", "0"]).as_deref(), Some("3"));
        assert_eq!(value(&["a", "list", "1"]), None);
        assert_eq!(value(&["a", "deep", "k"]).as_deref(), Some("1"));
        assert_eq!(at(&tree, &["a", "x"], At::Value), "1.toml:1:7");
        assert_eq!(at(&tree, &["a", "deep", "k"], At::Key), "0.toml:5:1");
        assert_eq!(at(&tree, &["a", "deep", "l"], At::Key), "1.toml:3:8");
    }

    #[test]
    fn keys_that_look_like_paths_are_keys_at_any_level() {
        let text = "\"a[4000000000]\" = 1\n\"B.c\" = 2\n[t.u]\n\"a[4000000000]\" = 3\nCase = 4";
        let tree = tree(&[text, text]);
        let value = |path: &[&str]| tree.get(path).map(ToString::to_string);
        assert_eq!(value(&["a[4000000000]"]).as_deref(), Some("1"));
        assert_eq!(value(&["B.c"]).as_deref(), Some("2"));
        assert_eq!(value(&["t", "u", "a[4000000000]"]).as_deref(), Some("3"));
        assert_eq!(value(&["t", "u", "Case"]).as_deref(), Some("4"));
    }

    #[test]
    fn a_table_replaces_a_value_and_a_value_a_table() {
        let tree = tree(&["a = 1\nb.c = 1", "a.x = 1\nb = 2"]);
        assert_eq!(at(&tree, &["a", "x"], At::Value), "1.toml:1:7");
        assert!(tree.get(&["b", "c"]).is_none());
    }

    #[test]
    fn a_value_carries_its_origin() {
        let origin = Origin {
            source: 2,
            key: 0,
            value: usize::MAX,
        };
        let value = origin.tag(1);
        assert_eq!(Origin::of(&value), Some(origin));
        assert_eq!(Origin::of(&Value::new(None, 1)), None);
    }
}
