//! Files that the settings name: which of them have another content than before, and which setting
//! names them. Shows no secret.

use super::build::{Identity, ReadFiles, Sum};
use super::changes::Change;
use super::effective::Effective;
use super::key;
use super::secret::REDACTED;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The keys of settings, by the path that each has for a value.
type Keys<'j> = HashMap<&'j Path, Vec<Vec<String>>>;

/// The files that a build read and whose content differs, and directories in whose place another has
/// come: one change for each setting that names it, else one for the author's table. A file that is not
/// read any more and that no setting names is left out: the setting that named it differs itself.
pub(crate) fn file_changes(from: &ReadFiles, to: &ReadFiles, settings: &Effective) -> Vec<Change> {
    let secret = |_: &Sum| REDACTED.to_owned();
    let mut differing = differing(&from.files, &to.files, fingerprint);
    differing.extend(self::differing(&from.secrets, &to.secrets, secret));
    differing.extend(self::differing(&from.directories, &to.directories, inode));
    let keys = keys_naming(settings, differing.iter().map(|(path, _)| *path));
    let changes = differing.iter().flat_map(|(path, prints)| {
        let named = match nearest(path, &keys) {
            Some(keys) => keys.to_vec(),
            None if to.includes(path) => vec![vec!["app".to_owned()]],
            None => Vec::new(),
        };
        named.into_iter().map(|key| {
            let shown = |print: &Option<String>| match print {
                Some(print) => json!({ "path": to.resolve(path), "fingerprint": print }),
                None => Json::Null,
            };
            let place = settings.place(&key);
            Change {
                key: key::join(&key),
                from: shown(&prints.0),
                to: shown(&prints.1),
                origin: place.map(|place| place.to_string()),
            }
        })
    });
    changes.collect()
}

impl Effective {
    /// The key of the setting that names a file, as it was asked for.
    pub(crate) fn key_naming(&self, path: &Path) -> Option<String> {
        let keys = keys_naming(self, std::iter::once(path));
        Some(key::join(nearest(path, &keys)?.first()?))
    }
}

/// Fingerprints before and now; `None` where there was nothing to read.
type Prints = (Option<String>, Option<String>);

/// What differs, by its path, with its fingerprints.
fn differing<'p, T: PartialEq>(
    from: &'p BTreeMap<PathBuf, Option<T>>,
    to: &'p BTreeMap<PathBuf, Option<T>>,
    print: impl Fn(&T) -> String,
) -> Vec<(&'p Path, Prints)> {
    let gone = from.keys().filter(|path| !to.contains_key(*path));
    let paths = to.keys().chain(gone);
    let prints = paths.filter_map(|path| {
        let [was, is] = [from, to].map(|files| files.get(path).and_then(Option::as_ref));
        let prints = (was.map(&print), is.map(&print));
        (was != is).then_some((path.as_path(), prints))
    });
    prints.collect()
}

fn fingerprint(sum: &Sum) -> String {
    let digits = sum.iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", digits.collect::<String>())
}

fn inode(&(device, inode): &Identity) -> String {
    format!("device {device}, inode {inode}")
}

/// The settings whose value is one of these paths, or a directory above one.
fn keys_naming<'p>(settings: &Effective, paths: impl Iterator<Item = &'p Path>) -> Keys<'p> {
    let above = paths.flat_map(Path::ancestors);
    let mut keys: Keys<'_> = above
        .filter(|path| is_name(path))
        .map(|path| (path, Vec::new()))
        .collect();
    if !keys.is_empty() {
        find(&settings.to_json(), &mut Vec::new(), &mut keys);
    }
    keys
}

/// `/` and `..` are above a great many, and name none of them.
fn is_name(path: &Path) -> bool {
    path.file_name().is_some()
}

/// Adds the keys of all texts that are one of the paths.
fn find(value: &Json, path: &mut Vec<String>, keys: &mut Keys<'_>) {
    let mut within = |key: String, value| {
        path.push(key);
        find(value, path, keys);
        path.pop();
    };
    match value {
        Json::String(text) => {
            if let Some(named) = keys.get_mut(Path::new(text)) {
                named.push(path.clone());
            }
        }
        Json::Object(table) => {
            for (key, value) in table {
                within(key.clone(), value);
            }
        }
        Json::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                within(index.to_string(), value);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// The keys that name a path, else the nearest directory above it.
fn nearest<'k>(path: &Path, keys: &'k Keys<'_>) -> Option<&'k [Vec<String>]> {
    let mut named = path.ancestors().filter_map(|path| keys.get(path));
    named.find(|keys| !keys.is_empty()).map(Vec::as_slice)
}
