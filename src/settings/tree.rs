//! Layers merged to one tree; each value keeps where it came from.
//! How layers are merged is `merge`, how a source becomes a layer `layer`, types are `de`.

use super::diagnostic::{Diagnostic, Place};
use super::text::SourceText;
use super::value::{At, Origin, Table, Value, ValueKind};
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
    /// Puts an empty table at the root's key, so that what is required in it is missing.
    pub(super) fn require_table(&mut self, key: &str) {
        if let ValueKind::Table(table) = &mut self.root.kind {
            table.put(key, Value::unset(Table::default()));
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
        place(&self.sources, value, at)
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
        structure(&self.sources, value)
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

/// The list or table that a bare text stands for; any other value as it is.
pub(super) fn structure<'t>(sources: &'t [Arc<SourceText>], value: &'t Value) -> &'t Value {
    let inline = match &value.kind {
        ValueKind::String(_) => bare_source(sources, value).and_then(SourceText::inline),
        _ => None,
    };
    inline.unwrap_or(value)
}

/// The place of a value or of its key.
pub(super) fn place(sources: &[Arc<SourceText>], value: &Value, at: At) -> Option<Place> {
    let origin = value.origin?;
    Some(sources.get(origin.source())?.place(origin.offset(at)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::layer;
    use serde_json::Value as Json;
    use std::sync::LazyLock;

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
        Tree::new(layers, sources, &Arc::new(LazyLock::new(|| Json::Null)))
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
