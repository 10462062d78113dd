//! Layers merged to one tree; each value keeps where it came from.
//! Owns the merge; how a source becomes a layer is `layer`, types are `de`.

use super::diagnostic::{Diagnostic, Place};
use super::layer::SET;
use super::shape::Shape;
use super::text::SourceText;
use super::value::{At, Key, Origin, Table, Value, ValueKind};
use serde_json::Value as Json;
use std::ops::Deref;
use std::sync::Arc;

/// The key of a table that has it alone, with `true`: it removes what earlier layers set in its
/// place, as `null` does.
pub(super) const UNSET: &str = "unset";

/// The merged layers and the sources that they came from.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Value,
    pub(super) sources: Vec<Arc<SourceText>>,
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

impl Tree {
    /// Merges layers: tables key by key, all else is replaced, later layers win. Of keys that exclude
    /// each other, by the schema, those of the latest layer stay.
    pub(super) fn new(
        layers: Vec<Table>,
        sources: Vec<Arc<SourceText>>,
        schema: &dyn Deref<Target = Json>,
    ) -> Tree {
        let mut merge = Merge {
            sources: &sources,
            schema,
            path: Vec::new(),
            hidden: Vec::new(),
            warnings: Vec::new(),
        };
        let mut root = Value::unset(Table::default());
        for layer in layers {
            merge.value(&mut root, Value::unset(layer));
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
            table.remove(key);
            table.add(vec![(key.into(), Value::unset(Table::default()))]);
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
        let origin = value.origin?;
        Some(self.sources.get(origin.source())?.place(origin.offset(at)))
    }

    /// The text of a value that is all that its source says (`--set`, a variable), and may stand
    /// for a number or the like.
    pub(super) fn bare_text<'t>(&'t self, value: &'t Value) -> Option<&'t str> {
        match &value.kind {
            ValueKind::String(text) => self.bare_source(value).map(|_| &**text),
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
fn bare_source<'s>(sources: &'s [Arc<SourceText>], value: &Value) -> Option<&'s SourceText> {
    let origin = value.origin?;
    let source = sources.get(origin.source())?;
    // What is within a list or a table that such a text stands for is quoted there.
    (source.is_bare() && origin == Origin::bare(origin.source())).then_some(source)
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
pub(super) fn live(table: &Table) -> impl Iterator<Item = (&str, &Value)> {
    let live = table.iter().filter(|(_, value)| !is_removal(value));
    live.map(|(key, value)| (&**key, value))
}

/// The merge of one layer after the other.
struct Merge<'s> {
    sources: &'s [Arc<SourceText>],
    /// Made only where layers meet in a table.
    schema: &'s dyn Deref<Target = Json>,
    path: Vec<Key>,
    hidden: Vec<Hidden>,
    warnings: Vec<Diagnostic>,
}

impl Merge<'_> {
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
            // An empty table makes room for the other, which is then shared with its layer.
            (
                ValueKind::Table(known),
                Value {
                    kind: ValueKind::Table(new),
                    ..
                },
            ) if !known.is_empty() => self.table(known, &new),
            (_, from) => self.replace(into, from),
        }
    }

    fn table(&mut self, known: &mut Table, new: &Table) {
        self.drop_excluded(known, new);
        let mut added = Vec::new();
        for (key, value) in new.iter() {
            match known.get_mut(key) {
                Some(old) => {
                    self.path.push(key.clone());
                    self.value(old, value.clone());
                    self.path.pop();
                }
                None => added.push((key.clone(), value.clone())),
            }
        }
        known.add(added);
    }

    /// Where either of the two removes.
    fn remove(&mut self, into: &mut Value, from: Value) {
        let is_table = matches!(&into.kind, ValueKind::Table(table) if !table.is_empty());
        let is_blank =
            matches!(from.kind, ValueKind::Nil) && from.origin.is_some_and(Origin::is_blank);
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
    fn drop_excluded(&mut self, known: &mut Table, new: &Table) {
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
            known.remove(key);
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
        if value.origin.is_none() || self.override_of(&value).is_some() {
            return;
        }
        let mut path = self.path();
        path.push(key.to_owned());
        self.hidden.push(Hidden { path, value, by });
    }

    fn place(&self, value: &Value) -> Option<Place> {
        let origin = value.origin?;
        Some(
            self.sources
                .get(origin.source())?
                .place(origin.offset(At::Value)),
        )
    }

    fn path(&self) -> Vec<String> {
        self.path.iter().map(|key| key.to_string()).collect()
    }

    fn replace(&mut self, into: &mut Value, from: Value) {
        let by = self.override_of(&from);
        let is_a_files = into.origin.is_some() && self.override_of(into).is_none();
        let old = std::mem::replace(into, from);
        let is_empty = matches!(&old.kind, ValueKind::Table(table) if table.is_empty());
        if let Some(by) = by.filter(|_| is_a_files && !is_empty) {
            self.hidden.push(Hidden {
                path: self.path(),
                value: old,
                by,
            });
        }
    }

    /// The index of the override that a value comes from.
    fn override_of(&self, value: &Value) -> Option<usize> {
        let source = value.origin?.source();
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
    use super::*;
    use crate::settings::layer;

    fn tree(texts: &[&str]) -> Tree {
        let mut sources = Vec::new();
        let mut layers = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let source = SourceText::file(format!("{index}.toml"), (*text).to_owned());
            let parsed = layer::parse(index, &source, layer::Format::Toml);
            assert_eq!(parsed.diagnostics, []);
            layers.push(parsed.layer);
            sources.push(Arc::new(source));
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
        let value = |path: &[&str]| tree.get(path).map(|it| it.kind.to_string());
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
        let value = |path: &[&str]| tree.get(path).map(|it| it.kind.to_string());
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
}
