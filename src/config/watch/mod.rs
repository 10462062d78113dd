//! What is watched for a generation: [`Watching`], opened while an attempt prepares and can still fail.
//! `watcher` receives the events, `places` says which names count. WatchActor acts on changes.

mod places;
mod watcher;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    background::{Claim, Undone, bounded},
    content::Content,
    events::ConfigEvent,
    prepare::Job,
    rollback::RolledBack,
};
use crate::{
    generation::DropOnThread,
    http::Deadline,
    settings::{Effective, ReadFiles},
    telemetry::emit,
};
use watcher::{Changed, NotWatched, Watcher};

/// What is watched for the generation that is served, where anything is.
pub(crate) type Watched = Option<Watching>;

/// The watcher of what the sources name, as a generation wants it.
#[derive(Clone)]
pub(crate) struct Watching {
    generation: u64,
    debounce: Duration,
    /// The next generation's too: no change is lost between the two. The kernel takes its time to let
    /// go of one.
    watcher: Arc<DropOnThread<Watcher>>,
}

impl Watching {
    /// The generation that it is watched for.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// How long all must be left alone before a reload.
    pub(crate) fn debounce(&self) -> Duration {
        self.debounce
    }

    /// Waits until something has changed since this was last waited for.
    pub(crate) async fn changed(&self) -> Changed {
        self.watcher.changed().await
    }

    /// Looks anew where everything is, before it is read. Blocks.
    pub(super) fn follow(&self) {
        if let Err(error) = self.watcher.follow() {
            emit(&ConfigEvent::NotWatched(&error.to_string()));
        }
    }
}

/// What these settings, and what was built of them, name beside the sources.
pub(super) fn named(settings: &Effective, files: &ReadFiles) -> BTreeSet<PathBuf> {
    let secrets = settings.secret_files().map(Path::to_owned);
    secrets.chain(files.paths()).collect()
}

/// Watches what the next generation's settings name, from here on, since it is what the sources name,
/// whatever becomes of it; `None` where they want nothing watched.
pub(super) async fn open_watch(
    job: &Job,
    content: &Content,
    rollback: Option<&RolledBack>,
    deadline: &Deadline,
) -> Result<Watched, Undone> {
    let reload = &content.settings.tables.reload;
    if !reload.watch {
        return Ok(None);
    }
    let effective = &content.settings.effective;
    let fail = |error: NotWatched| Undone {
        error: effective.diagnostic(
            error.fault,
            "reload.watch",
            &format!("cannot watch the settings: {error}"),
        ),
        stuck: None,
    };
    let served = job.watching();
    let watcher = match served {
        Some(served) => served.watcher.clone(),
        None => {
            let watcher = Watcher::new(job.sources.clone()).map_err(fail)?;
            Arc::new(DropOnThread::new(watcher, &job.drop_thread))
        }
    };
    let watching = Watching {
        generation: job.next_generation(),
        debounce: reload.debounce,
        watcher,
    };
    let mut named = named(effective, &content.files);
    // A rollback ends when the sources say something else, a secret of theirs in a file included.
    named.extend(rollback.into_iter().flat_map(|it| it.named.iter().cloned()));
    if watching.watcher.watches(&named) {
        return Ok(Some(watching));
    }
    let (watcher, sources) = (watching.watcher.clone(), job.sources.clone());
    let (settings, files) = (content.settings.clone(), content.files.clone());
    let is_rollback = rollback.is_some();
    let opening = job.builder.run(Claim::Full, move || {
        watcher.watch(named)?;
        // P4: what changed before it was watched. The settings of a rollback are not the sources'.
        let stands_still = is_rollback || settings.stands_still(&sources);
        if !(stands_still && files.unchanged()) {
            watcher.mark();
        }
        Ok(())
    });
    let opened: Result<(), NotWatched> = bounded(deadline, WATCHING, opening).await?;
    opened.map_err(fail)?;
    Ok(Some(watching))
}

/// Watches what an attempt has looked for that ends without a generation, a certificate, say, that is
/// not there yet, beside what is served. Whether that is more than before: then it may have changed since
/// it was read.
pub(super) async fn watch_too(
    job: &Job,
    mut looked_for: BTreeSet<PathBuf>,
    deadline: &Deadline,
) -> Result<bool, Undone> {
    let (Some(current), Some(watching)) = (&job.current, job.watching()) else {
        return Ok(false);
    };
    // What a rollback looks for, no reload will.
    if !job.reads_sources() {
        return Ok(false);
    }
    let content = &current.content;
    looked_for.extend(named(&content.settings.effective, &content.files));
    let rollback = current.rollback.iter();
    looked_for.extend(rollback.flat_map(|it| it.named.iter().cloned()));
    if watching.watcher.knows(&looked_for) {
        return Ok(false);
    }
    let watcher = watching.watcher.clone();
    let watching = job
        .builder
        .run(Claim::Full, move || watcher.watch(looked_for));
    let watched = bounded(deadline, WATCHING, watching).await?;
    if let Err(error) = watched {
        emit(&ConfigEvent::NotWatched(&error.to_string()));
    }
    Ok(true)
}

/// What it is that did not end in time.
const WATCHING: &str = "watching the settings";
