//! The settings: sources to typed settings, or diagnostics.
//!
//! The door is [`load`]: it reads all [`Sources`] until two passes agree (`gather.rs`), parses each
//! to a layer (`layer`), merges the layers (`merge.rs`) to a tree whose values know where they came
//! from (`tree.rs`), reads the tree as [`Tables`] (`de`, `schema.rs`, `units.rs`, `secret.rs`), and
//! lets the author check theirs (`check.rs`, `author.rs`). All that is wrong is told at once (`diagnostic.rs`,
//! `text.rs`), and so is what probably was meant otherwise (`near_miss.rs`); what is right comes with its [`Effective`] form, for digests, differences and all
//! that shows settings (`effective.rs`, `changes.rs`, `show.rs`).
//!
//! Knows nothing of actors, and nothing ambient: [`Sources`] carries paths, variables and arguments
//! as values.

mod address;
mod author;
mod build;
mod canonical;
mod changes;
mod check;
mod de;
mod diagnostic;
mod effective;
mod environment;
mod file;
mod file_changes;
mod gather;
mod key;
mod layer;
mod merge;
mod near_miss;
mod schema;
mod secret;
mod shape;
mod show;
mod sources;
mod text;
mod tree;
mod units;
mod value;

pub use address::{Address, AdminAddress};
pub use author::{Findings, Settings};
pub use build::Build;
pub use changes::{Change, Shadowed};
pub use diagnostic::{Diagnostic, Fault, Place};
pub use effective::Effective;
pub use environment::Written;
pub use schema::{Admin, Listener, LogFormat, Logging, Reload, Server, Shutdown, Tables, Tls};
pub(crate) use schema::{LIVEZ, READYZ};
pub use secret::Secret;
pub use shape::schema;
pub use sources::Sources;
pub use text::Excerpt;
pub use units::duration;

pub(crate) use author::Probe;
pub(crate) use build::{ReadFiles, unreadable_file};
pub(crate) use changes::{Changes, changes, shadowed};
pub(crate) use check::{found_by_build, warned_by_build};
pub(crate) use diagnostic::first;
pub(crate) use file::{absolute, reason};
pub(crate) use file_changes::file_changes;
pub(crate) use gather::{Baseline, Facts, Recipe};

use de::Typed;
use diagnostic::report;
use gather::{Content, File, Gathered};
use secret::Vault;
use serde_json::Value as Json;
use shape::Shape;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use text::{Discretion, SourceText};
use tree::{Tree, is_removal};
use value::Table;

/// Settings that are right.
#[derive(Debug)]
pub(crate) struct Loaded<A> {
    pub(crate) tables: Tables<A>,
    pub(crate) effective: Effective,
    /// What is valid and probably not what was meant: 20 at most, then one that says that there are
    /// more.
    pub(crate) warnings: Vec<Diagnostic>,
    /// For the next load: which sources there were, and what each held.
    pub(crate) facts: Facts,
}

impl<A> Loaded<A> {
    /// Reads the files again, and those that secrets are in: whether each still holds what was
    /// loaded.
    pub(crate) fn stands_still(&self, sources: &Sources) -> bool {
        let texts = self.effective.sources().iter();
        let files = texts.filter(|text| !text.is_bare());
        sources.hold(files.map(|file| (file.name.as_str(), file.text())))
            && self.effective.secrets_stand_still()
    }

    /// What it takes to load the same again, whatever the sources hold by then: little beside what is
    /// made of it.
    pub(crate) fn recipe(&self) -> Recipe {
        self.effective.recipe(&self.facts)
    }

    /// The same with the author's table apart.
    pub(crate) fn split(self) -> (Loaded<()>, A) {
        let (tables, app) = self.tables.split();
        let rest = Loaded {
            tables,
            effective: self.effective,
            warnings: self.warnings,
            facts: self.facts,
        };
        (rest, app)
    }
}

/// Settings that are not right.
#[derive(Debug)]
pub(crate) struct NotLoaded {
    pub(crate) errors: Vec<Diagnostic>,
    /// The files that secrets were looked for in: one of them may be what lacks.
    pub(crate) secret_files: BTreeSet<PathBuf>,
}

/// How long [`read`] waits for files that keep changing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads and checks settings as a start would, and opens nothing: for a test that a service's own
/// files are right, or to look at what they come to.
///
/// # Errors
/// All that is wrong: 20 at most, then one that says that there are more.
pub fn read<S: Settings>(sources: &Sources) -> Result<(Tables<S>, Effective), Vec<Diagnostic>> {
    let loaded =
        load(sources, Baseline::Start, Instant::now() + PATIENCE).map_err(|not| not.errors)?;
    Ok((loaded.tables, loaded.effective))
}

/// Whether a file of this name may be one of the settings.
pub(crate) fn may_be_settings(path: &Path) -> bool {
    layer::Format::of(path).is_some()
}

/// Reads, merges, types and checks; blocks on files, until the deadline at most where they keep
/// changing.
///
/// # Errors
/// All that is wrong: 20 at most, then one that says that there are more.
pub(crate) fn load<S: Settings>(
    sources: &Sources,
    baseline: Baseline<'_>,
    deadline: Instant,
) -> Result<Loaded<S>, NotLoaded> {
    let gathered = sources.gather(baseline, deadline);
    // Made only where it is asked: by variables, and by errors.
    let schema: Arc<LazyLock<Json>> = Arc::new(LazyLock::new(schema::<S>));
    let Merged {
        mut tree,
        facts,
        is_whole,
        mut diagnostics,
    } = merge(gathered, sources, &schema);

    let vault = Vault {
        environment: sources.environment(),
        base: sources.base(),
        files: RefCell::default(),
        known: match baseline {
            Baseline::Again(recipe) => Some(&recipe.secrets),
            _ => None,
        },
    };
    let Typed {
        value,
        problems,
        failed,
        secrets,
        reads_ahead,
    } = de::typed::<Tables<S>>(&tree, &vault);
    // What lacks may stand in a file that could not be read.
    let sound = diagnostics.is_empty();
    let credible = problems
        .into_iter()
        .filter(|problem| sound || !problem.missing)
        .map(|problem| problem.diagnostic);
    diagnostics.extend(credible);
    let fail = |diagnostics, sources: &[Arc<SourceText>]| {
        let discretion = match shape::has_secrets(&schema) {
            true => Discretion::Secretive,
            false => Discretion::Open,
        };
        Err(NotLoaded {
            errors: report(diagnostics, sources, discretion),
            secret_files: vault.files.take(),
        })
    };
    let Some(tables) = value else {
        return fail(diagnostics, &tree.sources);
    };

    let json = match canonical::write(&tables) {
        Ok(json) => json,
        Err(error) => {
            diagnostics.push(unserializable(&error));
            return fail(diagnostics, &tree.sources);
        }
    };
    let mut warnings = near_miss::near_misses(sources.environment(), &schema);
    warnings.append(&mut tree.warnings);
    let mut effective = Effective::new(json, tree, secrets);
    if reads_ahead {
        effective.find_secrets();
    }
    // How settings stand to each other is not known where a file could not be read whole.
    if is_whole {
        check::check(
            &tables,
            &effective,
            &failed,
            &mut diagnostics,
            &mut warnings,
        );
    }
    if diagnostics.is_empty() {
        Ok(Loaded {
            warnings: report(warnings, effective.sources(), effective.discretion()),
            tables,
            effective,
            facts,
        })
    } else {
        fail(diagnostics, effective.sources())
    }
}

/// All layers in one tree, and what was wrong with them.
struct Merged {
    tree: Tree,
    facts: Facts,
    /// Whether all files could be read.
    is_whole: bool,
    diagnostics: Vec<Diagnostic>,
}

fn merge(gathered: Gathered, sources: &Sources, schema: &Arc<LazyLock<Json>>) -> Merged {
    let mut diagnostics = gathered.diagnostics;
    let mut texts = Vec::new();
    let mut layers: Vec<Table> = Vec::new();
    let mut facts = gathered.facts;
    for (path, format, content) in gathered.files {
        let (text, layer) = match content {
            Content::Known(File { text, layer, .. }) => (text, layer),
            Content::Bytes(bytes) => match decode(&path, bytes) {
                Ok(text) => (Arc::new(text), None),
                Err(diagnostic) => {
                    diagnostics.push(diagnostic);
                    continue;
                }
            },
        };
        let layer = layer.unwrap_or_else(|| {
            let parsed = layer::parse(texts.len(), &text, format);
            diagnostics.extend(parsed.diagnostics);
            parsed.layer
        });
        layers.push(layer.clone());
        texts.push(text.clone());
        facts.files.push(File {
            path,
            format,
            text,
            layer: Some(layer),
        });
    }
    let is_whole = diagnostics.is_empty();
    let (overrides, wrong) = layer::overrides(sources, schema, texts.len());
    diagnostics.extend(wrong);
    for layer::Override { layer, text } in overrides {
        layers.push(layer);
        texts.push(Arc::new(text));
    }
    let mut tree = Tree::new(layers, texts, schema);
    // A key without a default is required whether or not its table is there.
    let is_there = tree.get(&["app"]).is_some_and(|app| !is_removal(app));
    if !is_there
        && Shape::new(schema)
            .within("app")
            .is_some_and(|app| app.is_table())
    {
        tree.require_table("app");
    }
    Merged {
        tree,
        facts,
        is_whole,
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

fn unserializable(error: &serde_json::Error) -> Diagnostic {
    let message = format!("the service's settings cannot be serialized: {error}");
    Diagnostic::new(Fault::Build, "app", message)
}

#[cfg(test)]
mod tests;
