//! A strict serde deserializer over the merged tree that finds all errors, not only the first.
//! Owns what a value may become; knows no setting by name.
//!
//! Strict: `2.6` is no whole number, a number no text, nothing is rounded or wrapped. Only a text
//! from a source that knows nothing else (`--set`, a variable) is read as a number, a list or the
//! like where one is wanted. A value that fails is hidden and the whole is read again, so that the
//! next one is found; of a table with free keys what has been read is left out then, or 20 errors
//! among 100,000 routes would take 20 times as long.

mod access;
mod key;
mod node;
mod problem;

pub(super) use problem::Problem;

use super::diagnostic::{REPORTED, unknown_key};
use super::secret::{Kept, Vault};
use super::tree::Tree;
use super::value::{At, Value, ValueKind};
use node::Node;
use serde::de::DeserializeOwned;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What became of a tree.
pub(super) struct Typed<T> {
    /// Without the values that failed; `None` where nothing could be made of the rest.
    pub(super) value: Option<T>,
    pub(super) problems: Vec<Problem>,
    /// The values that failed, by address in the tree: defaults stand in for them.
    pub(super) failed: HashSet<*const Value>,
    /// Where secrets are.
    pub(super) secrets: BTreeMap<Vec<String>, Kept>,
    /// Whether serde has read values before it knew what was wanted, as it does for
    /// `#[serde(flatten)]` and enums that are told apart by what is in them: there may be secrets
    /// among those.
    pub(super) reads_ahead: bool,
}

/// Reads a tree as a type.
pub(super) fn typed<T: DeserializeOwned>(tree: &Tree, vault: &Vault<'_>) -> Typed<T> {
    let mut pass = Pass {
        tree,
        vault,
        failed: HashSet::new(),
        is_partial: true,
        read: RefCell::default(),
        unknown: RefCell::default(),
        secret: RefCell::default(),
        reads_ahead: Cell::default(),
    };
    let mut problems = Vec::new();
    let value = loop {
        let root = Node::root(&pass);
        let error = match T::deserialize(root) {
            Ok(_) if pass.leaves_out_any() => {
                pass.is_partial = false;
                continue;
            }
            Ok(value) => break Some(value),
            Err(error) => error.locate(root, At::Value),
        };
        let Some((failed, problem)) = error.located() else {
            break None;
        };
        // It may fail for want of what was left out.
        if pass.left_out(failed) > 0 {
            pass.is_partial = false;
            continue;
        }
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
        failed: pass.failed,
        secrets: pass.secret.into_inner().kept,
        reads_ahead: pass.reads_ahead.get(),
    }
}

/// One reading of the tree.
struct Pass<'t> {
    tree: &'t Tree,
    vault: &'t Vault<'t>,
    /// Values that failed in earlier passes, by address: the tree stays where it is.
    failed: HashSet<*const Value>,
    /// Whether what earlier passes have read is left out.
    is_partial: bool,
    /// How many of its first entries an earlier pass has read of a table with free keys.
    read: RefCell<HashMap<*const Value, usize>>,
    unknown: RefCell<Unknown>,
    secret: RefCell<Secrets>,
    reads_ahead: Cell<bool>,
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
    /// How many of a table's first entries this pass leaves out.
    fn left_out(&self, table: *const Value) -> usize {
        match self.is_partial {
            true => self.read.borrow().get(&table).copied().unwrap_or(0),
            false => 0,
        }
    }

    fn leaves_out_any(&self) -> bool {
        self.is_partial && self.read.borrow().values().any(|count| *count > 0)
    }

    /// Takes down that a table has been read until an entry that fails.
    fn has_read(&self, table: *const Value, entries: usize) {
        self.read.borrow_mut().insert(table, entries);
    }

    /// The text of a secret; an error says nothing of it.
    fn open(&self, node: Node<'_, '_>) -> Result<String, String> {
        let mut secret = self.secret.borrow_mut();
        secret.seen.insert(node.value);
        let structure = self.tree.structure(node.value);
        let path = node.step.path();
        let (text, kept) = self.vault.open(&path, node.value, structure)?;
        secret.kept.insert(path, kept);
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
