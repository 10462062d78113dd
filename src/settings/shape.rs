//! The JSON Schema of all settings, and what it says of a key: whether it is known, which keys are
//! within it, whether anything is secret.

use super::author::Settings;
use super::schema::Tables;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value as Json;

/// References and alternatives that one key may lead through.
const STEPS: usize = 32;

/// The JSON Schema of a service's settings, the author's own included. Keys that it does not know
/// are forbidden; what is secret is marked `writeOnly`.
pub fn schema<S: Settings>() -> Json {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(close));
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<Tables<S>>();
    schema.insert(
        "title".to_owned(),
        format!("Settings of {}", S::NAME).into(),
    );
    schema.into()
}

/// Forbids what a table does not know, as loading does.
fn close(schema: &mut Schema) {
    let is_table = schema.get("properties").is_some();
    if is_table && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
}

/// Whether anything is marked secret.
pub(super) fn has_secrets(schema: &Json) -> bool {
    match schema {
        Json::Object(entries) => {
            entries.get("writeOnly") == Some(&Json::Bool(true)) || entries.values().any(has_secrets)
        }
        Json::Array(list) => list.iter().any(has_secrets),
        _ => false,
    }
}

/// What the schema says of one key: all the alternatives that it has there.
pub(super) struct Shape<'s> {
    root: &'s Json,
    alternatives: Vec<&'s Json>,
}

impl<'s> Shape<'s> {
    pub(super) fn new(schema: &'s Json) -> Self {
        let mut shape = Shape {
            root: schema,
            alternatives: Vec::new(),
        };
        shape.add(schema);
        shape
    }

    /// The key that a name stands for, whatever its case.
    pub(super) fn known(&self, name: &str) -> Option<String> {
        let tables = self.alternatives.iter();
        let mut keys = tables
            .filter_map(|schema| schema.get("properties")?.as_object())
            .flat_map(|properties| properties.keys());
        let is_it = |key: &&String| key.eq_ignore_ascii_case(name);
        // The exact one wins where two differ in case alone.
        let exact = keys.clone().find(|key| *key == name);
        exact.or_else(|| keys.find(is_it)).cloned()
    }

    /// What is within a key; `None` where there is nothing that is known.
    pub(super) fn within(&self, key: &str) -> Option<Self> {
        let mut inner = Shape {
            root: self.root,
            alternatives: Vec::new(),
        };
        for schema in &self.alternatives {
            let property = schema.pointer("/properties").and_then(|all| all.get(key));
            let free = schema.get("additionalProperties");
            let free = free.filter(|schema| **schema != Json::Bool(false));
            // Those of keys that are numbers.
            let patterns = schema.get("patternProperties").and_then(Json::as_object);
            let numbered = patterns.and_then(|patterns| patterns.values().next());
            if let Some(schema) = property.or(free).or(numbered) {
                inner.add(schema);
            }
        }
        (!inner.alternatives.is_empty()).then_some(inner)
    }

    /// What is within the key that a variable's segment stands for, whatever its case.
    pub(super) fn under(&self, segment: &str) -> Option<Self> {
        match self.known(segment) {
            Some(key) => self.within(&key),
            None => self.within(segment),
        }
    }

    /// Whether nothing but a table may stand there.
    pub(super) fn is_table(&self) -> bool {
        let mut types = self
            .alternatives
            .iter()
            .filter_map(|schema| schema.get("type"));
        let first = types.next();
        first.is_some_and(|first| first == "object" && types.all(|other| other == "object"))
    }

    fn add(&mut self, schema: &'s Json) {
        let mut waiting = vec![schema];
        for _ in 0..STEPS {
            let Some(schema) = waiting.pop() else {
                return;
            };
            let reference = schema.get("$ref").and_then(Json::as_str);
            let target = reference.and_then(|to| self.root.pointer(to.strip_prefix('#')?));
            waiting.extend(target);
            for key in ["anyOf", "oneOf", "allOf"] {
                let alternatives = schema.get(key).and_then(Json::as_array);
                waiting.extend(alternatives.into_iter().flatten());
            }
            self.alternatives.push(schema);
        }
    }
}
