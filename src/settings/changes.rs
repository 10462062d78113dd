//! What differs between two effective settings, and what does not although a file says so.
//! Does no I/O, and shows no secret.

use super::effective::Effective;
use super::key;
use super::secret::REDACTED;
use super::tree::Hidden;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeSet;

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

/// The settings that differ, as far as they are told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// In the order of their keys, [`TOLD`] at the most.
    pub(crate) told: Vec<Change>,
    /// How many more there are.
    pub(crate) omitted: usize,
}

/// Changes that are told of one reload: its record is kept, and every status repeats it.
const TOLD: usize = 1000;

/// A file's value that differs from the one before and is not in force: the environment or `--set`
/// hides it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadowed {
    /// Dotted, as of a [`Change`].
    pub key: String,
    /// Where the file says so.
    pub origin: String,
    /// What hides it: a variable's name, or `--set`.
    pub by: String,
}

/// The settings that differ; a list is one setting. A secret that differs is told, and neither of
/// its texts.
pub(crate) fn changes(from: &Effective, to: &Effective) -> Changes {
    let mut comparison = Comparison {
        path: Vec::new(),
        to,
        found: Vec::new(),
    };
    comparison.between(Some(from.json()), Some(to.json()));
    let mut found = comparison.found;
    for path in to.other_secrets(from).chain(from.other_secrets(to)) {
        found.push(Change {
            key: key::join(path),
            from: REDACTED.into(),
            to: REDACTED.into(),
            origin: to.place(path).map(|place| place.to_string()),
        });
    }
    found.sort_by(|one, other| one.key.cmp(&other.key));
    // A secret that came or went may have been told by the table that it is in.
    found.dedup_by(|one, other| one.key == other.key);
    let omitted = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    Changes {
        told: found,
        omitted,
    }
}

impl Changes {
    /// Adds changes of files, except where the setting that names the file differs itself.
    pub(crate) fn with_files(mut self, files: Vec<Change>) -> Self {
        let keys = self.told.iter().map(|change| change.key.clone());
        let keys: BTreeSet<String> = keys.collect();
        let files = files.into_iter().filter(|file| !keys.contains(&file.key));
        self.told.extend(files);
        self.told.sort_by(|one, other| one.key.cmp(&other.key));
        self.omitted += self.told.len().saturating_sub(TOLD);
        self.told.truncate(TOLD);
        self
    }
}

/// What files say anew and the environment or `--set` hides.
pub(crate) fn shadowed(from: &Effective, to: &Effective) -> Vec<Shadowed> {
    let before = from.hidden();
    let is_news = |hidden: &&Hidden| {
        let known = before.iter().find(|known| known.path == hidden.path);
        known.is_none_or(|known| known.value != hidden.value)
    };
    let news = to.hidden().iter().filter(is_news);
    news.map(|hidden| Shadowed {
        key: key::join(&hidden.path),
        origin: to.origin(&hidden.value).unwrap_or_default(),
        by: to.source_name(hidden.by).to_owned(),
    })
    .collect()
}

struct Comparison<'a> {
    path: Vec<&'a str>,
    to: &'a Effective,
    found: Vec<Change>,
}

impl<'a> Comparison<'a> {
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
