//! Reads the settings of an attempt and compares them with what is served. It blocks, so it runs on a
//! thread beside the control arbiter.

use std::time::Instant;

use super::{
    content::{Read, SharedSettings},
    prepare::{Current, Job, Rejected},
    rollback::RolledBack,
};
use crate::settings::{Baseline, Recipe, Shadowed, Sources, shadowed};

/// What the load of an attempt has found.
pub(super) enum Found {
    New(Read),
    /// Nothing differs from what is served, but perhaps where it stands.
    Same {
        settings: SharedSettings,
        shadowed: Vec<Shadowed>,
    },
    /// The sources have not changed since a rollback, and no file has that its settings name.
    RolledBack,
    /// The sources have not changed since a rollback to this generation, but a file that its settings
    /// name has.
    Renewed {
        to: u64,
        settings: Read,
    },
}

/// Makes the settings of an earlier generation again.
pub(super) fn load_again(
    job: &Job,
    settings: Recipe,
    deadline: Instant,
) -> impl FnOnce() -> Result<Read, Rejected> + Send + 'static {
    let (author, sources, drop_thread) = (
        job.author.clone(),
        job.sources.clone(),
        job.drop_thread.clone(),
    );
    move || {
        let (settings, app) = author.load(&sources, Baseline::Again(&settings), deadline)?;
        Ok(Read::new(settings, app, &drop_thread))
    }
}

/// Reads and checks the settings.
pub(super) fn load(
    job: &Job,
    is_forced: bool,
    deadline: Instant,
) -> impl FnOnce() -> Result<Found, Rejected> + Send + 'static {
    let (author, sources) = (job.author.clone(), job.sources.clone());
    let (current, drop_thread) = (job.current.clone(), job.drop_thread.clone());
    move || {
        if let Some(watching) = current.as_ref().and_then(|it| it.watching.as_ref()) {
            watching.follow();
        }
        let served = current.as_ref().filter(|_| !is_forced);
        if let Some(found) = served.and_then(|served| unchanged(served, &sources)) {
            return Ok(found);
        }
        let baseline = match &current {
            Some(_) if is_forced => Baseline::Forced,
            Some(current) => Baseline::After(&current.facts),
            None => Baseline::Start,
        };
        let (settings, app) = author.load(&sources, baseline, deadline)?;
        let read = Read::new(settings, app, &drop_thread);
        let Some(current) = current.filter(|_| !is_forced) else {
            return Ok(Found::New(read));
        };
        let content = &current.content;
        let (was, is) = (&content.settings.effective, &read.settings.effective);
        let is_same = || is.digest(&content.files) == *content.digest && is.has_secrets_of(was);
        let still = || still(&current);
        if is_same() && still() {
            let shadowed = shadowed(was, is);
            // Twice in memory only where it differs: values may stand elsewhere now.
            let settings = match is.has_texts_of(&content.shown.effective) {
                true => content.shown.clone(),
                false => read.settings,
            };
            return Ok(Found::Same { settings, shadowed });
        }
        let rollback = current.rollback.as_ref();
        let rollback = rollback.filter(|rollback| rollback.stays(&read.settings));
        Ok(match rollback {
            None => Found::New(read),
            Some(rollback) => rolled_back(&current, rollback, still()),
        })
    }
}

/// What there is to do where no file of the settings has changed; `None` where they must be loaded.
fn unchanged(current: &Current, sources: &Sources) -> Option<Found> {
    let content = &current.content;
    if let Some(rollback) = &current.rollback {
        let is_there = rollback.stands_still(sources);
        return is_there.then(|| rolled_back(current, rollback, still(current)));
    }
    let is_same = content.shown.stands_still(sources) && still(current);
    is_same.then(|| Found::Same {
        settings: content.shown.clone(),
        shadowed: shadowed(&content.settings.effective, &content.shown.effective),
    })
}

/// What there is to do where a rollback stays.
fn rolled_back(current: &Current, rollback: &RolledBack, is_still: bool) -> Found {
    match is_still {
        true => Found::RolledBack,
        false => Found::Renewed {
            to: rollback.to,
            settings: current.content.to_settings(),
        },
    }
}

/// Whether all that the settings name is as it was: no file has changed, and each socket can still be
/// connected to; one that nobody can connect to any more is made anew, though no setting differs.
fn still(current: &Current) -> bool {
    let mut listeners = current.snapshot.all_listeners();
    current.content.files.unchanged() && listeners.all(|it| it.has_file())
}
