//! Settings that nobody is shown: [`Secret`] for authors, and where its text comes from.

use super::build::{Sum, sum};
use super::environment::Environment;
use super::file;
use super::tree::live;
use super::value::{Value, ValueKind};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;

/// What is shown in a secret's place.
pub(super) const REDACTED: &str = "[redacted]";

/// The name by which the deserializer knows that a secret is wanted.
pub(super) const MARK: &str = "$everup::Secret";

/// A setting that is redacted wherever settings are shown: a password, a token.
///
/// It is written as the text itself, as `{ env = "NAME" }`, a variable, or as
/// `{ file = "PATH" }`, a file whose last line's end is left away; a relative path starts at the
/// settings directory. Another text under the same name is a change of the settings.
///
/// Beneath `#[serde(flatten)]`, and in enums that are untagged or have their tag within, it is
/// always the text itself.
#[derive(Clone, Default)]
pub struct Secret(SecretString);

impl Secret {
    /// A secret made by code, such as a default.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(SecretString::from(text.into()))
    }

    /// The text itself. Whoever calls this keeps it out of logs and answers.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Secret({REDACTED})")
    }
}

/// Takes as long whatever the texts are, their lengths aside.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.expose()
            .as_bytes()
            .ct_eq(other.expose().as_bytes())
            .into()
    }
}

impl Eq for Secret {}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_newtype_struct(MARK, SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(WANTED)
    }

    // The formats of a test of an author's go this way, with a text.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Secret, D::Error> {
        from.deserialize_str(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let reference = |key: &str, description: &str| {
            json_schema!({
                "type": "object",
                "description": description,
                "properties": { (key): { "type": "string" } },
                "required": [key],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "A text that is redacted wherever settings are shown.",
            "writeOnly": true,
            "anyOf": [
                { "type": "string" },
                reference("env", "The variable that holds it."),
                reference("file", "The file that holds it; a relative path starts at the settings directory."),
            ],
        })
    }
}

const WANTED: &str = "a secret: a text, `{ env = \"NAME\" }` or `{ file = \"PATH\" }`";

/// Where secrets are looked up.
pub(super) struct Vault<'s> {
    pub(super) environment: &'s Environment,
    /// Where relative paths start.
    pub(super) base: PathBuf,
    /// Files that were looked into, whatever came of it.
    pub(super) files: RefCell<BTreeSet<PathBuf>>,
    /// Secrets that were looked up earlier, by their paths, and are not looked up again.
    pub(super) known: Option<&'s BTreeMap<Vec<String>, Kept>>,
}

/// A secret that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    text: Secret,
    pub(super) sum: Sum,
    /// The file that it is in.
    file: Option<PathBuf>,
}

impl Vault<'_> {
    /// The text that the value at a path gives or names, or what is wrong with it, in words that hold
    /// no part of it.
    pub(super) fn open(
        &self,
        path: &[String],
        value: &Value,
        structure: &Value,
    ) -> Result<(String, Kept), String> {
        if let Some(kept) = self.known.and_then(|known| known.get(path)) {
            return Ok((kept.text.expose().to_owned(), kept.clone()));
        }
        let (text, file) = match (reference(structure), &value.kind) {
            (Some(Reference::Variable(name)), _) => (self.variable(name)?, None),
            (Some(Reference::File(path)), _) => {
                let path = self.base.join(path);
                self.files.borrow_mut().insert(path.clone());
                (read(&path)?, Some(path))
            }
            (None, ValueKind::String(text)) => (text.to_string(), None),
            _ => return Err(format!("expected {WANTED}")),
        };
        let kept = Kept {
            file,
            ..Kept::plain(&text)
        };
        Ok((text, kept))
    }

    fn variable(&self, name: &str) -> Result<String, String> {
        let value = self.environment.get(name);
        let value = value.ok_or_else(|| format!("the variable `{name}` is not set"))?;
        let text = value.to_str();
        text.map(str::to_owned)
            .ok_or_else(|| format!("the variable `{name}` is not UTF-8"))
    }
}

impl Kept {
    /// One that stands in the settings as it is.
    pub(super) fn plain(text: &str) -> Self {
        Kept {
            text: Secret::new(text),
            sum: sum(text.as_bytes()),
            file: None,
        }
    }

    /// The file that it is in, where it is in one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads its file again: whether it still holds the same.
    pub(super) fn is_unchanged(&self) -> bool {
        self.file
            .as_ref()
            .is_none_or(|path| read(path).is_ok_and(|text| sum(text.as_bytes()) == self.sum))
    }
}

/// Where a secret's text is instead.
enum Reference<'t> {
    Variable(&'t str),
    File(&'t str),
}

fn reference(value: &Value) -> Option<Reference<'_>> {
    let ValueKind::Table(table) = &value.kind else {
        return None;
    };
    let mut live = live(table);
    let (key, value) = live.next().filter(|_| live.next().is_none())?;
    match (key, &value.kind) {
        ("env", ValueKind::String(name)) => Some(Reference::Variable(name)),
        ("file", ValueKind::String(path)) => Some(Reference::File(path)),
        _ => None,
    }
}

/// A secret's file, without the end of its last line.
fn read(path: &Path) -> Result<String, String> {
    let name = file::absolute(path);
    let name = name.display();
    let bytes = file::read(path)
        .map_err(|error| format!("cannot read `{name}`: {}", file::reason(&error)))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("`{name}` is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
