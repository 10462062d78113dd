//! What the environment and `--set` override: a key, and a bare text that becomes what is wanted
//! there.

use super::super::diagnostic::{Diagnostic, Fault};
use super::super::key::{self, DEPTH};
use super::super::shape::Shape;
use super::super::sources::Sources;
use super::super::text::SourceText;
use super::super::tree::{UNSET, is_removal};
use super::super::value::{Origin, Table, ValueKind};
use super::toml;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// One variable or `--set KEY=VALUE`.
pub(in super::super) struct Override {
    pub(in super::super) layer: Table,
    pub(in super::super) text: SourceText,
}

/// The source name of `--set`.
pub(in super::super) const SET: &str = "--set";

/// All overrides, lowest first, or what is wrong with each; `first` is the index of the first
/// one's source.
pub(in super::super) fn overrides(
    sources: &Sources,
    schema: &LazyLock<Json>,
    first: usize,
) -> (Vec<Override>, Vec<Diagnostic>) {
    let (mut made, mut wrong) = (Vec::new(), Vec::new());
    let mut known: BTreeMap<Vec<String>, &str> = BTreeMap::new();
    let variables: Vec<_> = sources.environment().settings().collect();
    for (name, rest, value) in &variables {
        let read = path(rest, Shape::new(schema)).and_then(|path| {
            let value = value.ok_or("expected UTF-8")?;
            let (path, value) = or_removal(path, value);
            match known.get(&path) {
                Some(other) => Err(format!("sets the same as {other}")),
                None => fits(&path, value, schema).map(|()| (path, value)),
            }
        });
        match read {
            Ok((path, value)) => {
                known.insert(path.clone(), name);
                made.push(one(first + made.len(), name, path, value));
            }
            Err(message) => wrong.push(Diagnostic::source(name.as_ref(), message, Fault::Settings)),
        }
    }
    for (key, value) in sources.sets() {
        let read = match key::split(key) {
            Some(path) => {
                let (path, value) = or_removal(path, value);
                fits(&path, value, schema).map(|()| (path, value))
            }
            None => Err(key::shorten(&format!(
                "expected a dotted key, found {key:?}"
            ))),
        };
        match read {
            Ok((path, value)) => made.push(one(first + made.len(), SET, path, value)),
            Err(message) => wrong.push(Diagnostic::source(SET, message, Fault::Settings)),
        }
    }
    (made, wrong)
}

/// A path and its text; `KEY.unset=true` removes what is at KEY, as a file's `KEY.unset = true` does.
fn or_removal(mut path: Vec<String>, value: &str) -> (Vec<String>, &str) {
    let is_removal = value == "true" && path.last().is_some_and(|key| key == UNSET);
    if !is_removal || path.len() == 1 {
        return (path, value);
    }
    path.pop();
    (path, "{ unset = true }")
}

/// Whether a text may stand at a path. One that stands where a table must would take the table's
/// place, and vanish without a word as soon as another override sets a key within it.
fn fits(path: &[String], value: &str, schema: &Json) -> Result<(), String> {
    let mut keys = path.iter();
    let shape = keys.try_fold(Shape::new(schema), |shape, key| shape.within(key));
    if !shape.is_some_and(|shape| shape.is_table()) {
        return Ok(());
    }
    let found = match toml::inline(0, value).map(|value| value.kind) {
        Some(ValueKind::Table(_)) => return Ok(()),
        Some(_) => "a list",
        None => "a text that is no table in TOML",
    };
    let key = key::shorten(&key::join(path));
    Err(format!("{key}: expected a table, found {found}"))
}

/// A layer with a single text in it.
fn one(source: usize, name: &str, path: Vec<String>, value: &str) -> Override {
    let origin = Origin::bare(source);
    let mut path = path.into_iter().rev();
    let leaf = path.next().expect("a path has a segment");
    let inline = toml::inline(source, value);
    // That is no text, whatever is wanted.
    let removal = inline.clone().filter(is_removal);
    let value = removal.unwrap_or_else(|| origin.tag(value));
    let innermost = Table::one(&leaf, value);
    let layer = path.fold(innermost, |table, segment| {
        Table::one(&segment, origin.tag(table))
    });
    Override {
        layer,
        text: SourceText::bare(name, inline),
    }
}

/// The path that a variable's name stands for, without its prefix: segments between `__`, matched
/// to known keys whatever their case. In a table whose keys are free a segment in upper case is
/// lowered, as variables usually are in upper case; any other is kept as it is.
fn path(rest: &str, whole: Shape<'_>) -> Result<Vec<String>, String> {
    let mut shape = Some(whole);
    let mut path = Vec::new();
    for segment in rest.split("__") {
        if segment.is_empty() || path.len() == DEPTH {
            return Err("expected keys with `__` between them".to_owned());
        }
        let key = shape
            .as_ref()
            .and_then(|shape| shape.known(segment))
            .unwrap_or_else(|| lowered(segment));
        shape = shape.and_then(|shape| shape.within(&key));
        path.push(key);
    }
    Ok(path)
}

fn lowered(segment: &str) -> String {
    let is_upper = |byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
    if segment.bytes().all(is_upper) {
        segment.to_ascii_lowercase()
    } else {
        segment.to_owned()
    }
}
