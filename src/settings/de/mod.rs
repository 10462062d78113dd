//! A strict serde deserializer over the merged tree that finds all errors, not only the first.
//! Owns what a value may become; knows no setting by name.
//!
//! Strict: `2.6` is no whole number, a number no text, nothing is rounded or wrapped. Only a text
//! from a source that knows nothing else (`--set`, a variable) is read as a number, a list or the
//! like where one is wanted. A value that fails is hidden and the whole is read again, so that the
//! next one is found.

mod access;
mod key;
mod node;
mod problem;

pub(super) use problem::Problem;

use super::diagnostic::{REPORTED, unknown_key};
use super::secret::{Kept, Vault};
use super::tree::{At, Tree};
use config::{Value, ValueKind};
use node::Node;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

/// What became of a tree.
pub(super) struct Typed<T> {
    /// Without the values that failed; `None` where nothing could be made of the rest.
    pub(super) value: Option<T>,
    pub(super) problems: Vec<Problem>,
    /// Where secrets are, without their texts.
    pub(super) secrets: BTreeMap<Vec<String>, Kept>,
}

/// Reads a tree as a type.
pub(super) fn typed<T: DeserializeOwned>(tree: &Tree, vault: &Vault<'_>) -> Typed<T> {
    let mut pass = Pass {
        tree,
        vault,
        failed: HashSet::new(),
        unknown: RefCell::default(),
        secret: RefCell::default(),
    };
    let mut problems = Vec::new();
    let value = loop {
        let root = Node::root(&pass);
        let error = match T::deserialize(root) {
            Ok(value) => break Some(value),
            Err(error) => error.locate(root, At::Value),
        };
        let Some((failed, problem)) = error.located() else {
            break None;
        };
        // What holds a value that failed fails for want of it: that is no news.
        if !pass.hides_within(failed) {
            problems.push(problem);
        }
        let ended = std::ptr::eq(failed, &tree.root) || problems.len() > REPORTED;
        if !pass.failed.insert(failed) || ended {
            break None;
        }
    };
    problems.extend(pass.unknown.into_inner().problems);
    Typed {
        value,
        problems,
        secrets: pass.secret.into_inner().kept,
    }
}

/// One reading of the tree.
struct Pass<'t> {
    tree: &'t Tree,
    vault: &'t Vault<'t>,
    /// Values that failed in earlier passes, by address: the tree stays where it is.
    failed: HashSet<*const Value>,
    unknown: RefCell<Unknown>,
    secret: RefCell<Secrets>,
}

/// Values that a type took for a secret: no message quotes them.
#[derive(Default)]
struct Secrets {
    seen: HashSet<*const Value>,
    kept: BTreeMap<Vec<String>, Kept>,
}

/// Keys that no type knows; collected in passing, since they make nothing fail.
#[derive(Default)]
struct Unknown {
    seen: HashSet<*const Value>,
    problems: Vec<Problem>,
}

impl Pass<'_> {
    /// The text of a secret; an error says nothing of it.
    fn open(&self, node: Node<'_, '_>) -> Result<String, String> {
        let mut secret = self.secret.borrow_mut();
        secret.seen.insert(node.value);
        let structure = self.tree.structure(node.value);
        let (text, kept) = self.vault.open(node.value, structure)?;
        secret.kept.insert(node.step.path(), kept);
        Ok(text)
    }

    fn is_secret(&self, value: &Value) -> bool {
        let secret = self.secret.borrow();
        !secret.seen.is_empty() && secret.seen.contains(&std::ptr::from_ref(value))
    }

    /// Whether a value failed in an earlier pass, and is left out of this one.
    fn hides(&self, value: &Value) -> bool {
        !self.failed.is_empty() && self.failed.contains(&std::ptr::from_ref(value))
    }

    /// Whether a value holds one that failed.
    fn hides_within(&self, value: &Value) -> bool {
        match &self.tree.structure(value).kind {
            ValueKind::Table(table) => table.values().any(|value| self.hides(value)),
            ValueKind::Array(list) => list.iter().any(|value| self.hides(value)),
            _ => false,
        }
    }

    /// Takes down a key that is none of those known; once, however often it is read.
    fn unknown(&self, node: Node<'_, '_>, key: &str, known: &[&str]) {
        let mut unknown = self.unknown.borrow_mut();
        if unknown.problems.len() <= REPORTED && unknown.seen.insert(node.value) {
            let message = unknown_key(key, known);
            unknown.problems.push(Problem::new(node, At::Key, message));
        }
    }
}
