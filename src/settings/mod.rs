//! The settings: sources to typed settings, or diagnostics.
//!
//! The door is [`load`]: it reads all [`Sources`] until two passes agree (`sources.rs`), parses
//! each to a layer (`layer.rs`), merges the layers to a tree whose values know where they came
//! from (`tree.rs`), reads the tree as [`Tables`] (`de.rs`, `schema.rs`, `units.rs`) and lets the
//! author check theirs (`author.rs`). All that is wrong is told at once (`diagnostic.rs`); what is
//! right comes with its [`Effective`] form, for digests and differences (`changes.rs`).
//!
//! Knows nothing of actors, and nothing ambient: [`Sources`] carries paths and arguments as values.

mod author;
mod changes;
mod de;
mod diagnostic;
mod file;
mod key;
mod layer;
mod schema;
mod sources;
mod tree;
mod units;

pub use author::{Build, Findings, Settings};
pub use changes::Change;
pub use diagnostic::{Diagnostic, Fault, Place};
pub use schema::{Admin, Listener, Logging, Reload, Server, Shutdown, Tables};
pub use sources::Sources;
pub use units::{Address, AdminAddress, duration};

pub(crate) use author::ReadFiles;
pub(crate) use changes::{Effective, changes};
pub(crate) use sources::Facts;

use author::Finding;
use de::{Problem, Typed};
use diagnostic::{SourceText, report};
use sources::Gathered;
use std::path::Path;
use std::time::Instant;
use tree::{Layer, Tree};

/// The source name of overrides.
const SET: &str = "--set";

/// Settings that are right.
#[derive(Debug)]
pub(crate) struct Loaded<A> {
    pub(crate) tables: Tables<A>,
    pub(crate) effective: Effective,
    /// For the next load: which sources there were, and how much was in each.
    pub(crate) facts: Facts,
}

impl<A> Loaded<A> {
    /// The same with the author's table apart.
    pub(crate) fn split(self) -> (Loaded<()>, A) {
        let (tables, app) = self.tables.split();
        let rest = Loaded {
            tables,
            effective: self.effective,
            facts: self.facts,
        };
        (rest, app)
    }
}

/// Reads, merges, types and checks; blocks on files, until the deadline at most where they keep
/// changing.
///
/// # Errors
/// All that is wrong: 20 at most, then one that says that there are more.
pub(crate) fn load<S: Settings>(
    sources: &Sources,
    previous: Option<&Facts>,
    deadline: Instant,
) -> Result<Loaded<S>, Vec<Diagnostic>> {
    let gathered = sources.gather(previous, deadline);
    let facts = gathered.facts.clone();
    let Merged {
        tree,
        sound_until,
        mut diagnostics,
    } = merge(gathered, sources.sets());

    let Typed { value, problems } = de::typed::<Tables<S>>(&tree);
    // What stands behind a syntax error may be misread, and what lacks may stand there.
    let sound = diagnostics.is_empty();
    let credible = |problem: &Problem| match problem.at {
        Some((source, offset)) => sound_until[source].is_none_or(|until| offset < until),
        None => true,
    };
    let credible = problems
        .into_iter()
        .filter(|problem| (sound || !problem.missing) && credible(problem))
        .map(|problem| problem.diagnostic);
    diagnostics.extend(credible);
    let Some(tables) = value else {
        return Err(report(diagnostics, &tree.sources));
    };

    let json = match serde_json::to_value(&tables) {
        Ok(json) => json,
        Err(error) => {
            diagnostics.push(unserializable(&error));
            return Err(report(diagnostics, &tree.sources));
        }
    };
    let effective = Effective::new(json, tree);
    check(&tables.app, &effective, &mut diagnostics);
    if diagnostics.is_empty() {
        Ok(Loaded {
            tables,
            effective,
            facts,
        })
    } else {
        Err(report(diagnostics, effective.sources()))
    }
}

/// All layers in one tree, and what was wrong with them.
struct Merged {
    tree: Tree,
    /// For each source, the offset of its first syntax error.
    sound_until: Vec<Option<usize>>,
    diagnostics: Vec<Diagnostic>,
}

fn merge(gathered: Gathered, sets: &[(String, String)]) -> Merged {
    let mut diagnostics = gathered.diagnostics;
    let mut texts = Vec::new();
    let mut layers: Vec<Layer> = Vec::new();
    let mut sound_until = Vec::new();
    for (path, bytes) in gathered.files {
        let text = match decode(&path, bytes) {
            Ok(text) => text,
            Err(diagnostic) => {
                diagnostics.push(diagnostic);
                continue;
            }
        };
        let parsed = layer::toml(texts.len(), &text);
        layers.push(parsed.layer);
        sound_until.push(parsed.sound_until);
        diagnostics.extend(parsed.diagnostics);
        texts.push(text);
    }
    for (key, value) in sets {
        match layer::set(texts.len(), SET, key, value) {
            Ok(layer) => layers.push(layer),
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    texts.push(SourceText::bare(SET));
    sound_until.push(None);
    Merged {
        tree: Tree::new(layers, texts),
        sound_until,
        diagnostics,
    }
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<SourceText, Diagnostic> {
    let name = path.display().to_string();
    String::from_utf8(bytes)
        .map(|text| SourceText::file(name.clone(), text))
        .map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let byte = error.as_bytes()[valid];
            // The place needs only what is before it, which is valid.
            let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
            let place = SourceText::file(name, text).place(valid);
            let message = format!("expected UTF-8, found the byte 0x{byte:02x}");
            Diagnostic::settings::<&str>(Some(place), &[], message)
        })
}

/// Runs the author's check and adds what it finds.
fn check(app: &impl Settings, effective: &Effective, diagnostics: &mut Vec<Diagnostic>) {
    let mut findings = Findings::default();
    app.check(&mut findings);
    let sound = diagnostics.is_empty();
    for Finding { key, expected } in findings.findings {
        let mut path = vec!["app".to_owned()];
        // A key that cannot be split is shown as it is: better than nothing.
        path.extend(key::split(&key).unwrap_or_else(|| vec![key]));
        let place = effective.place(&path);
        let message = match effective.found(&path) {
            Some(found) => format!("expected {expected}, found {found}"),
            None => format!("expected {expected}"),
        };
        let diagnostic = Diagnostic::settings(place, &path, message);
        // Where a value was left out because it is wrong, its default is none of the author's
        // concern.
        let known = diagnostics.iter().any(|known| known.key == diagnostic.key);
        if sound || (diagnostic.place.is_some() && !known) {
            diagnostics.push(diagnostic);
        }
    }
}

fn unserializable(error: &serde_json::Error) -> Diagnostic {
    Diagnostic {
        place: None,
        key: "app".to_owned(),
        message: format!("the service's settings cannot be serialized: {error}"),
        kind: Fault::Build,
    }
}

#[cfg(test)]
mod tests;
