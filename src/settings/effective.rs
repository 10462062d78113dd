//! The effective settings: what is in force, where each value comes from, and the digest.
//! Does no I/O, and shows no secret: those are redacted before they come here.

use super::build::ReadFiles;
use super::canonical;
use super::diagnostic::{self, Diagnostic, Fault, Place};
use super::gather::{Facts, Recipe};
use super::key;
use super::secret::{Kept, REDACTED};
use super::show;
use super::text::{Discretion, SourceText};
use super::tree::{Hidden, Tree, is_removal, live};
use super::value::{At, Value, ValueKind};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is in force, defaults included, and where each value comes from.
pub struct Effective {
    /// As [`canonical`] writes it.
    json: Box<str>,
    tree: Tree,
    /// Shown to nobody.
    secrets: BTreeMap<Vec<String>, Kept>,
}

/// The origin of a value that no source sets.
const DEFAULT: &str = "default";

/// The settings, secrets redacted, and where they come from, as programs are told.
#[derive(serde::Serialize)]
pub(crate) struct WithOrigins {
    settings: Json,
    origins: BTreeMap<String, String>,
}

impl Effective {
    pub(super) fn new(
        json: Box<str>,
        tree: Tree,
        secrets: BTreeMap<Vec<String>, Kept>,
    ) -> Effective {
        Effective {
            json,
            tree,
            secrets,
        }
    }

    /// Takes down the secrets that were not known for such as they were read. They show themselves
    /// redacted, by which they are found.
    pub(super) fn find_secrets(&mut self) {
        let mut found = Vec::new();
        // Nothing is to be found in most settings, and reading all of it takes long.
        if self.json.contains(REDACTED) {
            redacted(&self.to_json(), &mut Vec::new(), &mut found);
        }
        for path in found {
            let text = match self.tree.get(&path).map(|value| &value.kind) {
                Some(ValueKind::String(text)) if !self.is_secret(&path) => text,
                _ => continue,
            };
            let kept = Kept::plain(text);
            self.secrets.insert(path, kept);
        }
    }

    /// The settings as JSON, keys in order, secrets redacted.
    pub fn to_json(&self) -> Json {
        canonical::read(&self.json)
    }

    /// The settings as TOML, secrets redacted; with `origins`, each value with a comment that says
    /// where it comes from.
    pub fn to_toml(&self, origins: bool) -> String {
        let origin = |path: &[&str]| origins.then(|| self.origin_of(path));
        show::toml(&self.to_json(), &origin)
    }

    /// Where each value comes from, by its dotted key: a place in a file, a variable, `--set` or
    /// `default`.
    pub fn origins(&self) -> BTreeMap<String, String> {
        self.origins_of(&self.to_json())
    }

    fn origins_of(&self, settings: &Json) -> BTreeMap<String, String> {
        let mut origins = BTreeMap::new();
        show::leaves(settings, &mut Vec::new(), &mut |path, _| {
            origins.insert(key::join(path), self.origin_of(path));
        });
        origins
    }

    /// The settings as JSON beside where each value comes from.
    pub(crate) fn with_origins(&self) -> WithOrigins {
        let settings = self.to_json();
        WithOrigins {
            origins: self.origins_of(&settings),
            settings,
        }
    }

    /// A hash of the settings and of the content of the files that they name: `sha256:…`. What is
    /// secret is not in it.
    pub(crate) fn digest(&self, files: &ReadFiles) -> String {
        let mut digest = Sha256::new();
        digest.update(&*self.json);
        files.digest(&mut digest);
        let mut text = "sha256:".to_owned();
        for byte in digest.finalize() {
            write!(text, "{byte:02x}").expect("a text takes all that is written");
        }
        text
    }

    /// Whether all settings are the same, secrets included. What the files hold that they name is not
    /// compared.
    pub(crate) fn is_same_as(&self, other: &Effective) -> bool {
        self.json == other.json && self.has_secrets_of(other)
    }

    /// Whether the secrets are the same; the digest leaves them out.
    pub(crate) fn has_secrets_of(&self, other: &Effective) -> bool {
        self.secrets.len() == other.secrets.len() && self.other_secrets(other).next().is_none()
    }

    /// Secrets that differ from another's, and those that it has not.
    pub(super) fn other_secrets<'e>(
        &'e self,
        other: &'e Effective,
    ) -> impl Iterator<Item = &'e Vec<String>> {
        let differs = |(path, kept): &(&Vec<String>, &Kept)| {
            let known = other.secrets.get(*path);
            known.is_none_or(|known| known.sum != kept.sum)
        };
        self.secrets.iter().filter(differs).map(|(path, _)| path)
    }

    /// Whether all was read from the same texts: then each value stands where it stood.
    pub(crate) fn has_texts_of(&self, other: &Effective) -> bool {
        self.sources() == other.sources()
    }

    /// Reads the secrets' files again: whether each still holds the same.
    pub(super) fn secrets_stand_still(&self) -> bool {
        self.secrets.values().all(Kept::is_unchanged)
    }

    /// The files that secrets are in.
    pub(crate) fn secret_files(&self) -> impl Iterator<Item = &Path> {
        self.secrets.values().filter_map(Kept::file)
    }

    /// The files that the settings were read from.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let texts = self.tree.sources.iter().filter(|text| !text.is_bare());
        texts.map(|text| PathBuf::from(&text.name))
    }

    pub(super) fn recipe(&self, facts: &Facts) -> Recipe {
        Recipe::new(facts, &self.secrets)
    }

    /// A fault at a dotted key, with the place that sets it.
    pub(crate) fn diagnostic(&self, kind: Fault, key: &str, message: &str) -> Diagnostic {
        let place = key::split(key).and_then(|path| self.place(&path));
        let diagnostic = Diagnostic {
            place,
            ..Diagnostic::new(kind, key, message)
        };
        diagnostic.with_excerpt(&self.tree.sources, self.discretion())
    }

    /// Where a setting stands, as the end of a message about another one, by their dotted keys;
    /// empty where both are in one source, or it is a default.
    pub(super) fn elsewhere(&self, key: &str, of: &str) -> String {
        let place = |key| self.place(&key::split(key)?);
        match (place(key), place(of)) {
            (Some(place), of) if of.as_ref().is_none_or(|of| of.source != place.source) => {
                format!(" (`{key}` stands at {place})")
            }
            _ => String::new(),
        }
    }

    /// Where entries of a table stand that another source sets than the table, as the end of a
    /// message about it.
    pub(super) fn parts_elsewhere(&self, path: &[String]) -> String {
        let Some(ValueKind::Table(table)) = self.set(path).map(|value| &value.kind) else {
            return String::new();
        };
        let mut known: Vec<String> = self.place(path).map(|it| it.source).into_iter().collect();
        let mut others = Vec::new();
        for place in live(table).filter_map(|(_, value)| self.tree.place(value, At::Key)) {
            if !known.contains(&place.source) {
                known.push(place.source.clone());
                others.push(place.to_string());
            }
        }
        match others.is_empty() {
            true => String::new(),
            false => format!(" (part of it stands at {})", others.join(" and at ")),
        }
    }

    pub(super) fn discretion(&self) -> Discretion {
        match self.secrets.is_empty() {
            true => Discretion::Open,
            false => Discretion::Secretive,
        }
    }

    pub(super) fn json(&self) -> &str {
        &self.json
    }

    pub(super) fn sources(&self) -> &[Arc<SourceText>] {
        &self.tree.sources
    }

    pub(super) fn hidden(&self) -> &[Hidden] {
        &self.tree.hidden
    }

    /// The name of a source by its index.
    pub(super) fn source_name(&self, index: usize) -> &str {
        self.tree
            .sources
            .get(index)
            .map_or("", |source| &source.name)
    }

    /// The source that sets a value; `None` for a default. A secret's is its key's place, as what
    /// stands there is shown.
    pub(super) fn place<S: AsRef<str>>(&self, path: &[S]) -> Option<Place> {
        self.place_at(path, At::Value)
    }

    /// As [`place`](Self::place), of the key or of the value.
    pub(super) fn place_at<S: AsRef<str>>(&self, path: &[S], at: At) -> Option<Place> {
        let at = if self.is_secret(path) { At::Key } else { at };
        self.tree.place(self.set(path)?, at)
    }

    /// What sources set at a path and is in force; `None` for a default.
    fn set<S: AsRef<str>>(&self, path: &[S]) -> Option<&Value> {
        let value = self.tree.get(path)?;
        // Unless it is data, a `null` has made room for the default.
        let is_default =
            is_removal(value) && canonical::at(&self.json, path).is_some_and(|it| it != "null");
        (!is_default).then_some(value)
    }

    /// Whether a table that holds this path is among these values of the tree.
    pub(super) fn is_within(&self, path: &[String], values: &HashSet<*const Value>) -> bool {
        let mut holders = (1..path.len()).map(|length| &path[..length]);
        holders.any(|holder| {
            let table = self.tree.get(holder);
            table.is_some_and(|table| values.contains(&std::ptr::from_ref(table)))
        })
    }

    /// Where a value of the tree stands, as a text.
    pub(super) fn origin(&self, value: &Value) -> Option<String> {
        let place = self.tree.place(value, At::Value)?;
        Some(place.to_string())
    }

    fn origin_of(&self, path: &[&str]) -> String {
        let place = self.place(path);
        place.map_or_else(|| DEFAULT.to_owned(), |place| place.to_string())
    }

    /// Whether a path leads to a secret, or within one.
    fn is_secret<S: AsRef<str>>(&self, path: &[S]) -> bool {
        if self.secrets.is_empty() {
            return false;
        }
        let path: Vec<String> = path.iter().map(|key| key.as_ref().to_owned()).collect();
        (1..=path.len()).any(|length| self.secrets.contains_key(&path[..length]))
    }

    /// What a message says was found at a path: as written, or the default; nothing of a secret.
    pub(super) fn found<S: AsRef<str>>(&self, path: &[S]) -> Option<String> {
        if self.is_secret(path) {
            return None;
        }
        if let Some(value) = self.set(path) {
            return Some(diagnostic::found(value));
        }
        let value = canonical::at(&self.json, path)?;
        Some(match canonical::read(value) {
            Json::Null => "nothing".to_owned(),
            Json::Object(_) => "a table".to_owned(),
            Json::Array(_) => "a list".to_owned(),
            Json::String(text) => diagnostic::found_text(&text),
            scalar => scalar.to_string(),
        })
    }
}

/// Adds the path of each text that stands in a secret's place.
fn redacted<'j>(json: &'j Json, path: &mut Vec<Cow<'j, str>>, found: &mut Vec<Vec<String>>) {
    let mut within = |key, value| {
        path.push(key);
        redacted(value, path, found);
        path.pop();
    };
    match json {
        Json::String(text) if text == REDACTED => {
            found.push(path.iter().map(|key| key.to_string()).collect());
        }
        Json::Object(table) => {
            for (key, value) in table {
                within(Cow::from(key), value);
            }
        }
        Json::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                within(Cow::from(index.to_string()), value);
            }
        }
        _ => {}
    }
}

/// As it is shown: the sources that it keeps may hold secrets.
impl fmt::Debug for Effective {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Effective").field(&self.json).finish()
    }
}
