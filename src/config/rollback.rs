//! A rollback in force: it ends when the settings change in content or a reload is forced.

use std::{collections::BTreeSet, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{content::SharedSettings, prepare::Current, watch::named};
use crate::settings::{Loaded, Sources};

/// What is served instead of what the sources say.
#[derive(Clone)]
pub(crate) struct RolledBack {
    /// The generation whose settings are served again.
    pub(super) to: u64,
    /// What the sources said when they were applied last.
    newest: SharedSettings,
    /// The files that they named.
    pub(super) named: BTreeSet<PathBuf>,
}

impl RolledBack {
    /// After a rollback to generation `to`, whose settings are `next`; `None` where the sources say the
    /// same.
    pub(super) fn after(current: &Current, to: u64, next: &Loaded<()>) -> Option<Self> {
        let content = &current.content;
        let newest = current.rollback.clone().unwrap_or_else(|| Self {
            to,
            newest: content.settings.clone(),
            named: named(&content.settings.effective, &content.files),
        });
        let differs = !newest.newest.effective.is_same_as(&next.effective);
        differs.then_some(Self { to, ..newest })
    }

    /// The generation of the rollback that is over once the next generation is served.
    pub(super) fn ended(before: Option<&Current>, next: &Current) -> Option<u64> {
        let rollback = before?.rollback.as_ref()?;
        next.rollback.is_none().then_some(rollback.to)
    }

    /// Whether the sources hold what they held when they were applied last. Blocks on files.
    pub(super) fn stands_still(&self, sources: &Sources) -> bool {
        self.newest.stands_still(sources)
    }

    /// Whether the sources say the same as when they were applied last.
    pub(super) fn stays(&self, read: &Loaded<()>) -> bool {
        self.newest.effective.is_same_as(&read.effective)
    }
}

/// How an attempt stands to a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rollback {
    /// The generation that was gone back to.
    pub generation: u64,
    /// The attempt has undone it, or would have, were it no dry run; otherwise it is in force.
    #[serde(rename = "undone")]
    pub is_undone: bool,
}

impl Rollback {
    /// After an attempt that has undone one, or has left one in force.
    pub(super) fn after(undone: Option<u64>, current: Option<&Current>) -> Option<Self> {
        let in_force = || Some(current?.rollback.as_ref()?.to);
        Some(Self {
            generation: undone.or_else(in_force)?,
            is_undone: undone.is_some(),
        })
    }
}
