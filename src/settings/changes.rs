//! What differs between two effective settings, and what does not although a file says so.
//! Does no I/O, and shows no secret.

use super::canonical;
use super::effective::Effective;
use super::key;
use super::secret::REDACTED;
use super::tree::Hidden;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::cmp::Ordering;
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
    path: Vec<Cow<'a, str>>,
    to: &'a Effective,
    found: Vec<Change>,
}

impl<'a> Comparison<'a> {
    /// Compares two values, either of which may not be there.
    fn between(&mut self, from: Option<&'a str>, to: Option<&'a str>) {
        if from == to {
            return;
        }
        let [old, new] = [from, to].map(|value| value.and_then(canonical::entries));
        // A table that comes or goes is told by what is in it, unless that is nothing.
        let tables = match (&old, &new) {
            (Some(_), Some(_)) => true,
            (Some(table), None) => to.is_none() && !table.is_empty(),
            (None, Some(table)) => from.is_none() && !table.is_empty(),
            (None, None) => false,
        };
        if !tables {
            self.leaf(from, to);
            return;
        }
        let [mut old, mut new] =
            [old, new].map(|table| table.unwrap_or_default().into_iter().peekable());
        loop {
            // Both are in the order of their keys.
            let order = match (old.peek(), new.peek()) {
                (Some((old, _)), Some((new, _))) => old.cmp(new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let from = old.next_if(|_| order.is_le());
            let to = new.next_if(|_| order.is_ge());
            let values = [&from, &to].map(|entry| entry.as_ref().map(|(_, value)| *value));
            let (key, _) = from.or(to).expect("one of the two was there");
            self.path.push(key);
            self.between(values[0], values[1]);
            self.path.pop();
        }
    }

    fn leaf(&mut self, from: Option<&str>, to: Option<&str>) {
        let place = to.and_then(|_| self.to.place(&self.path));
        let [from, to] = [from, to].map(|value| value.map(canonical::read).unwrap_or_default());
        self.found.push(Change {
            key: key::join(&self.path),
            from,
            to,
            origin: place.map(|place| place.to_string()),
        });
    }
}
