//! The JSON Schema of all settings, and what it says of a key: whether it is known, which keys are
//! within it, whether anything is secret.

use super::author::Settings;
use super::schema::Tables;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value as Json;
use std::collections::BTreeSet;

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
    /// Lists of which one element holds.
    choices: Vec<&'s [Json]>,
}

/// One element of a choice.
struct Choice<'s> {
    required: Vec<&'s str>,
    /// All keys that it speaks of.
    keys: BTreeSet<&'s str>,
}

impl<'s> Shape<'s> {
    pub(super) fn new(schema: &'s Json) -> Self {
        let mut shape = Shape {
            root: schema,
            alternatives: Vec::new(),
            choices: Vec::new(),
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
            choices: Vec::new(),
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

    /// The keys that cannot stand beside those that are set, where keys exclude each other: of
    /// `oneOf` and `anyOf`, all but the element of which a key is set that no other one has, and what
    /// depends on them.
    pub(super) fn excluded_by(&self, is_set: impl Fn(&str) -> bool) -> Vec<&'s str> {
        let mut excluded = Vec::new();
        for choice in &self.choices {
            let choices: Vec<Choice<'s>> = choice.iter().map(|it| self.choice(it)).collect();
            let is_chosen = |index: &usize| {
                let mut required = choices[*index].required.iter();
                required.any(|key| {
                    let mut others = choices.iter().enumerate();
                    is_set(key)
                        && others.all(|(it, other)| it == *index || !other.keys.contains(key))
                })
            };
            let mut chosen = (0..choices.len()).filter(is_chosen);
            let (Some(chosen), None) = (chosen.next(), chosen.next()) else {
                continue;
            };
            let keys = choices.iter().flat_map(|choice| &choice.keys);
            excluded.extend(keys.filter(|key| !choices[chosen].keys.contains(*key)));
        }
        let dependents = self.alternatives.iter().filter_map(|schema| {
            let dependents = schema.get("dependentRequired")?.as_object()?;
            let is_excluded = |needed: &Json| excluded.iter().any(|key| needed == key);
            let excluded = dependents.iter().filter(move |(_, needed)| {
                let mut needed = needed.as_array().into_iter().flatten();
                needed.any(is_excluded)
            });
            Some(excluded.map(|(key, _)| key.as_str()).collect::<Vec<_>>())
        });
        let dependents: Vec<&str> = dependents.flatten().collect();
        excluded.extend(dependents);
        excluded
    }

    fn choice(&self, schema: &'s Json) -> Choice<'s> {
        let schema = self.target(schema).unwrap_or(schema);
        let required = schema.get("required").and_then(Json::as_array);
        let required = required.into_iter().flatten().filter_map(Json::as_str);
        let required: Vec<&str> = required.collect();
        let properties = schema.get("properties").and_then(Json::as_object);
        let keys = properties
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str());
        Choice {
            keys: keys.chain(required.iter().copied()).collect(),
            required,
        }
    }

    /// What a reference leads to.
    fn target(&self, schema: &'s Json) -> Option<&'s Json> {
        let reference = schema.get("$ref")?.as_str()?;
        self.root.pointer(reference.strip_prefix('#')?)
    }

    fn add(&mut self, schema: &'s Json) {
        let mut waiting = vec![schema];
        for _ in 0..STEPS {
            let Some(schema) = waiting.pop() else {
                return;
            };
            waiting.extend(self.target(schema));
            for key in ["anyOf", "oneOf", "allOf"] {
                let alternatives = schema.get(key).and_then(Json::as_array);
                let alternatives = alternatives.map_or(&[][..], Vec::as_slice);
                waiting.extend(alternatives);
                if key != "allOf" {
                    self.choices.push(alternatives);
                }
            }
            self.alternatives.push(schema);
        }
    }
}
