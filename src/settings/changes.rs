//! The effective settings: what differs between two of them, and their digest.
//! Does no I/O.

use super::author::ReadFiles;
use super::diagnostic::{self, Diagnostic, Fault, Place, SourceText};
use super::key;
use super::tree::{At, Tree};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What is in force, defaults included, and where each value comes from.
#[derive(Debug)]
pub(crate) struct Effective {
    json: Json,
    tree: Tree,
}

/// A setting that differs from the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Dotted; segments that hold dots, slashes or braces are quoted.
    pub key: String,
    /// The value before; null where there was none.
    pub from: Json,
    /// The value now; null where there is none.
    pub to: Json,
    /// Where the value now comes from; `None` for a default, and where there is no value.
    pub origin: Option<String>,
}

impl Effective {
    pub(super) fn new(mut json: Json, tree: Tree) -> Effective {
        // The order of keys must not depend on features that other crates ask of `serde_json`.
        json.sort_all_objects();
        Effective { json, tree }
    }

    /// The settings as JSON, keys in order.
    #[cfg(test)]
    pub(super) fn json(&self) -> &Json {
        &self.json
    }

    /// A hash of the settings and of the content of the files that they name: `sha256:…`.
    pub(crate) fn digest(&self, files: &ReadFiles) -> String {
        let mut digest = Sha256::new();
        digest.update(self.json.to_string());
        files.digest(&mut digest);
        let mut text = "sha256:".to_owned();
        for byte in digest.finalize() {
            write!(text, "{byte:02x}").expect("a text takes all that is written");
        }
        text
    }

    /// A fault at a dotted key, with the place that sets it.
    pub(crate) fn diagnostic(&self, kind: Fault, key: &str, message: &str) -> Diagnostic {
        Diagnostic {
            place: key::split(key).and_then(|path| self.place(&path)),
            ..Diagnostic::new(kind, key, message)
        }
    }

    pub(super) fn sources(&self) -> &[SourceText] {
        &self.tree.sources
    }

    /// The source that sets a value; `None` for a default.
    pub(super) fn place<S: AsRef<str>>(&self, path: &[S]) -> Option<Place> {
        self.tree.place(self.tree.get(path)?, At::Value)
    }

    /// What a message says was found at a path: as written, or the default.
    pub(super) fn found<S: AsRef<str>>(&self, path: &[S]) -> Option<String> {
        if let Some(value) = self.tree.get(path) {
            return Some(diagnostic::found(value));
        }
        let value = path
            .iter()
            .try_fold(&self.json, |value, segment| match value {
                Json::Array(list) => list.get(segment.as_ref().parse::<usize>().ok()?),
                value => value.get(segment.as_ref()),
            })?;
        Some(match value {
            Json::Null => "nothing".to_owned(),
            Json::Object(_) => "a table".to_owned(),
            Json::Array(_) => "a list".to_owned(),
            Json::String(text) => diagnostic::found_text(text),
            scalar => scalar.to_string(),
        })
    }
}

/// The settings that differ, in the order of their keys; a list is one setting.
pub(crate) fn changes(from: &Effective, to: &Effective) -> Vec<Change> {
    let mut changes = Changes {
        path: Vec::new(),
        to,
        found: Vec::new(),
    };
    changes.between(Some(&from.json), Some(&to.json));
    changes.found.sort_by(|one, other| one.key.cmp(&other.key));
    changes.found
}

struct Changes<'a> {
    path: Vec<&'a str>,
    to: &'a Effective,
    found: Vec<Change>,
}

impl<'a> Changes<'a> {
    fn between(&mut self, from: Option<&'a Json>, to: Option<&'a Json>) {
        if from == to {
            return;
        }
        let (old, new) = (entries(from), entries(to));
        // A table that comes or goes is told by what is in it, unless that is nothing.
        let tables = match (old, new) {
            (Some(_), Some(_)) => true,
            (Some(table), None) => to.is_none() && !table.is_empty(),
            (None, Some(table)) => from.is_none() && !table.is_empty(),
            (None, None) => false,
        };
        if !tables {
            self.leaf(from, to);
            return;
        }
        for (key, value) in old.into_iter().flatten() {
            self.path.push(key);
            self.between(Some(value), new.and_then(|table| table.get(key)));
            self.path.pop();
        }
        for (key, value) in new.into_iter().flatten() {
            if old.is_none_or(|table| !table.contains_key(key)) {
                self.path.push(key);
                self.between(None, Some(value));
                self.path.pop();
            }
        }
    }

    fn leaf(&mut self, from: Option<&Json>, to: Option<&Json>) {
        let place = to.and_then(|_| self.to.place(&self.path));
        self.found.push(Change {
            key: key::join(&self.path),
            from: from.cloned().unwrap_or_default(),
            to: to.cloned().unwrap_or_default(),
            origin: place.map(|place| place.to_string()),
        });
    }
}

fn entries(value: Option<&Json>) -> Option<&serde_json::Map<String, Json>> {
    value.and_then(Json::as_object)
}
