//! What is watched for a generation: [`Watching`], made while an attempt prepares, where it can still
//! fail. `places` says which names count. What comes of a change is WatchActor's.

mod places;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use places::Places;

use super::{
    background::{Undone, blocking, bounded},
    content::Content,
    prepare::Job,
};
use crate::{
    server::Deadline,
    settings::{Fault, Sources},
};

/// What is watched for the generation that is served, where anything is.
pub(crate) type Watched = Option<Arc<Watching>>;

/// The watcher of what a generation was read from.
pub(crate) struct Watching {
    named: Vec<PathBuf>,
    sources: Arc<Sources>,
    debounce: Duration,
    /// One mark is enough, since a reload reads everything. The next watcher's too: none is lost
    /// between the two.
    changed: Arc<Notify>,
    watcher: Mutex<RecommendedWatcher>,
}

impl Watching {
    fn new(
        sources: Arc<Sources>,
        named: Vec<PathBuf>,
        debounce: Duration,
        changed: Arc<Notify>,
    ) -> io::Result<Self> {
        let watcher = watcher(&sources, &named, &changed)?;
        Ok(Self {
            named,
            sources,
            debounce,
            changed,
            watcher: Mutex::new(watcher),
        })
    }

    /// How long it must be left alone before a reload.
    pub(crate) fn debounce(&self) -> Duration {
        self.debounce
    }

    /// Waits until something has changed since this was last waited for.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Looks anew where the links lead: a swap of one may change nothing else. Blocks.
    pub(crate) fn follow_links(&self) -> io::Result<()> {
        let next = watcher(&self.sources, &self.named, &self.changed)?;
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        *watcher = next;
        Ok(())
    }
}

/// The watcher of these settings, made and not yet heeded; `None` where they want none.
pub(super) async fn open_watch(
    job: &Job,
    content: &Content,
    deadline: &Deadline,
) -> Result<Watched, Undone> {
    let reload = &content.settings.tables.reload;
    if !reload.watch {
        return Ok(None);
    }
    let secrets = content.settings.effective.secret_files();
    let named: Vec<PathBuf> = secrets
        .map(Path::to_owned)
        .chain(content.files.paths())
        .collect();
    let served = job.current.as_ref().and_then(|it| it.watching.as_ref());
    if let Some(served) = served
        && (&served.named, served.debounce) == (&named, reload.debounce)
    {
        return Ok(Some(served.clone()));
    }
    let changed = served.map_or_else(Arc::default, |served| served.changed.clone());
    let (sources, debounce) = (job.sources.clone(), reload.debounce);
    let (settings, files) = (content.settings.clone(), content.files.clone());
    let is_read = job.reads_sources();
    let making = blocking(move || {
        let watching = Watching::new(sources.clone(), named, debounce, changed)?;
        // P4: what changed before it was watched; a rollback was not read from there at all.
        if is_read && !(settings.stands_still(&sources) && files.unchanged()) {
            watching.changed.notify_one();
        }
        Ok(Arc::new(watching))
    });
    let made: io::Result<_> = bounded(deadline, "watching the settings", making).await?;
    made.map(Some).map_err(|error| Undone {
        error: content.settings.effective.diagnostic(
            Fault::of(&error),
            "reload.watch",
            &format!("cannot watch the settings: {error}"),
        ),
        stuck: None,
    })
}

/// Watches the folders on the way to all sources, and marks what happens to those names.
fn watcher(
    sources: &Sources,
    named: &[PathBuf],
    changed: &Arc<Notify>,
) -> io::Result<RecommendedWatcher> {
    let find = || {
        let files = sources.candidates();
        Places::of(files.iter().chain(named).map(PathBuf::as_path))
    };
    let places = Arc::new(find()?);
    let (heeded, mark) = (places.clone(), changed.clone());
    let on_event = move |event: notify::Result<notify::Event>| {
        // An error here is of one folder, which the folder above it tells of.
        let Ok(event) = event else { return };
        let is_read = matches!(event.kind, EventKind::Access(_));
        let counts = || event.paths.iter().any(|path| heeded.names.contains(path));
        if event.need_rescan() || !is_read && counts() {
            mark.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(on_event).map_err(reason)?;
    for folder in places.folders() {
        let holds_source = places.holders.contains(folder);
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Err(error) if !can_do_without(&error.kind, holds_source) => return Err(reason(error)),
            Ok(()) | Err(_) => {}
        }
    }
    if find()? != *places {
        changed.notify_one();
    }
    Ok(watcher)
}

/// Whether a folder that cannot be watched may be left out: one that is not there yet, which the
/// folder above tells of, or one above that may be passed through and not be read.
fn can_do_without(error: &ErrorKind, holds_source: bool) -> bool {
    match error {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
            io::ErrorKind::PermissionDenied => !holds_source,
            _ => false,
        },
        _ => false,
    }
}

fn reason(error: notify::Error) -> io::Error {
    match error.kind {
        ErrorKind::Io(error) => error,
        ErrorKind::MaxFilesWatch => {
            io::Error::other("too many watches (see `fs.inotify.max_user_watches`)")
        }
        _ => io::Error::other(error.to_string()),
    }
}

/// Names and folders, in order.
type Paths = BTreeSet<PathBuf>;
