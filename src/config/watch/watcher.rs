//! One inotify instance: which folders it watches and which events count. Events are read on the control
//! arbiter; looking up folders blocks and runs elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt, io, mem,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::StreamExt as _;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::{
    super::background::lock,
    places::{Folder, Places},
};
use crate::settings::{Fault, Sources};

/// The watcher of sources and of what they name, for as long as there is one.
pub(super) struct Watcher {
    watches: Watches,
    /// WatchActor's alone.
    events: tokio::sync::Mutex<EventStream<[u8; EVENTS]>>,
    sources: Arc<Sources>,
    /// What the sources name, as far as the newest readings tell. Held for a moment only.
    named: Mutex<BTreeSet<PathBuf>>,
    /// What is heeded. Held for a moment only.
    heeded: Mutex<Heeded>,
    /// Whether all of it could be watched when it was last looked for.
    is_whole: AtomicBool,
    /// Something has changed that no event will tell.
    mark: Notify,
    /// One at a time looks for folders, however long that takes.
    looking: Mutex<()>,
}

/// Why something is not watched.
#[derive(Debug)]
pub(crate) struct NotWatched {
    pub(super) fault: Fault,
    why: String,
}

/// What counts in each folder, by the watch on it.
type Heeded = BTreeMap<WatchDescriptor, Names>;

/// The names that count in a folder.
#[derive(Default)]
struct Names {
    folder: PathBuf,
    names: BTreeSet<OsString>,
}

/// Something has changed: where, as far as it is known.
pub(crate) type Changed = Option<PathBuf>;

/// Bytes of events that are read at once: at least one, with the longest name.
const EVENTS: usize = 4096;

impl Watcher {
    /// Watches nothing yet. Needs a runtime's context.
    pub(super) fn new(sources: Arc<Sources>) -> Result<Self, NotWatched> {
        let inotify = Inotify::init()?;
        Ok(Self {
            watches: inotify.watches(),
            events: inotify.into_event_stream([0; EVENTS])?.into(),
            sources,
            named: Mutex::default(),
            heeded: Mutex::default(),
            is_whole: AtomicBool::new(false),
            mark: Notify::new(),
            looking: Mutex::default(),
        })
    }

    /// Whether it watches these beside the sources, and no others.
    pub(super) fn watches(&self, files: &BTreeSet<PathBuf>) -> bool {
        self.is_whole.load(Ordering::Relaxed) && *files == *lock(&self.named)
    }

    /// Whether these are among what it watches, as far as it can.
    pub(super) fn knows(&self, files: &BTreeSet<PathBuf>) -> bool {
        files.is_subset(&lock(&self.named))
    }

    /// Watches these beside the sources, and no others. Blocks.
    pub(super) fn watch(&self, files: BTreeSet<PathBuf>) -> Result<(), NotWatched> {
        *lock(&self.named) = files;
        self.follow()
    }

    /// Looks anew where all of them are now: links may lead elsewhere, folders may have come. Watches
    /// what it can in any case. Blocks.
    ///
    /// Who calls this reads or compares the files afterwards, so that no change falls in between.
    pub(super) fn follow(&self) -> Result<(), NotWatched> {
        let _looking = lock(&self.looking);
        let named = lock(&self.named).clone();
        let find = || {
            let sources = self.sources.candidates();
            Places::of(sources.iter().chain(&named).map(PathBuf::as_path))
        };
        let places = find()?;
        let mut watches = self.watches.clone();
        let mut heeded = Heeded::new();
        let mut wrong = Ok(());
        for (path, folder) in &places.folders {
            match watches.add(path, mask(folder)) {
                // Two paths may lead to one folder.
                Ok(watch) => {
                    let heeded = heeded.entry(watch).or_default();
                    heeded.folder.clone_from(path);
                    heeded.names.extend(folder.names.iter().cloned());
                }
                Err(error) if can_do_without(folder, &error) => {}
                Err(error) => wrong = wrong.and(Err(NotWatched::folder(path, error))),
            }
        }
        let now: BTreeSet<WatchDescriptor> = heeded.keys().cloned().collect();
        let before = mem::replace(&mut *lock(&self.heeded), heeded);
        let rest = before.into_iter().filter(|(watch, _)| !now.contains(watch));
        self.is_whole.store(wrong.is_ok(), Ordering::Relaxed);
        if wrong.is_err() {
            // What cannot be watched anew is watched as it was.
            lock(&self.heeded).extend(rest);
            return wrong;
        }
        for (watch, _) in rest {
            // The kernel has done so where the folder is gone.
            let _gone = watches.remove(watch);
        }
        // A link may have been swapped before its folder was watched.
        if find()? != places {
            self.mark();
        }
        Ok(())
    }

    /// Something has changed.
    pub(super) fn mark(&self) {
        self.mark.notify_one();
    }

    /// Waits until something has changed since this was last waited for.
    pub(super) async fn changed(&self) -> Changed {
        tokio::select! {
            () = self.mark.notified() => None,
            changed = self.event() => changed,
        }
    }

    /// Waits for an event that counts.
    async fn event(&self) -> Changed {
        let mut events = self.events.lock().await;
        // It ends, and fails, only with the runtime.
        while let Some(Ok(event)) = events.next().await {
            if let Some(changed) = self.change(&event) {
                return changed;
            }
        }
        std::future::pending().await
    }

    /// What an event says has changed; `None` where it does not count.
    fn change(&self, event: &EventOwned) -> Option<Changed> {
        // Events were dropped, of which nobody knows what they said.
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return Some(None);
        }
        // The end of a watch follows what has ended it.
        if event.mask.contains(EventMask::IGNORED) {
            return None;
        }
        let heeded = lock(&self.heeded);
        let Names { folder, names } = heeded.get(&event.wd)?;
        match &event.name {
            Some(name) => names.contains(name).then(|| Some(folder.join(name))),
            // Of the folder itself.
            None => Some(Some(folder.clone())),
        }
    }
}

/// What the kernel is to tell of a folder: no reading, since every reload reads.
fn mask(folder: &Folder) -> WatchMask {
    let names = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::ATTRIB;
    let itself = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
    // Closing tells of a writer that maps the file.
    let content = match folder.holds_source {
        true => WatchMask::MODIFY | WatchMask::CLOSE_WRITE,
        false => WatchMask::empty(),
    };
    names | itself | content | WatchMask::ONLYDIR | WatchMask::MASK_ADD
}

/// Whether a folder that cannot be watched may be left out: one that is not there yet, which the
/// folder above tells of, or one above that may be passed through and not be read.
fn can_do_without(folder: &Folder, error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
        io::ErrorKind::PermissionDenied => !folder.holds_source,
        _ => false,
    }
}

impl NotWatched {
    fn folder(folder: &Path, error: io::Error) -> Self {
        let Self { fault, why } = error.into();
        let why = format!("`{}`: {why}", folder.display());
        Self { fault, why }
    }
}

impl From<io::Error> for NotWatched {
    fn from(error: io::Error) -> Self {
        // The system's own words for these are of other things.
        let limit = match Errno::from_io_error(&error) {
            Some(Errno::MFILE) => {
                "too many inotify instances (`fs.inotify.max_user_instances`) or descriptors \
                 (`ulimit -n`)"
            }
            Some(Errno::NOSPC) => "too many watches (`fs.inotify.max_user_watches`)",
            _ => {
                return Self {
                    fault: Fault::of(&error),
                    why: error.to_string(),
                };
            }
        };
        Self {
            fault: Fault::System,
            why: limit.to_owned(),
        }
    }
}

impl fmt::Display for NotWatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn settings() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("default.toml");
        fs::write(&file, "").expect("written");
        (folder, file)
    }

    fn watcher(folder: &Path) -> Watcher {
        let watcher = Watcher::new(Arc::new(Sources::at(folder))).expect("an inotify instance");
        watcher.watch(BTreeSet::new()).expect("watched");
        watcher
    }

    #[tokio::test]
    async fn reading_wakes_nobody() {
        let (folder, file) = settings();
        let watcher = watcher(folder.path());
        assert_eq!(fs::read(&file).expect("read"), b"");
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
        fs::write(folder.path().join("first"), "").expect("written");
        // In the folders above, others are busy.
        let ours = [OsString::from("default.toml"), OsString::from("first")];
        let mut events = watcher.events.lock().await;
        let told = loop {
            let event = events.next().await.expect("events do not end");
            let name = event.expect("read").name;
            if let Some(name) = name.filter(|name| ours.contains(name)) {
                break name;
            }
        };
        assert_eq!(told, "first");
    }

    #[tokio::test]
    async fn what_was_watched_goes_on_where_more_cannot_be() {
        let (folder, file) = settings();
        let watcher = watcher(folder.path());
        // No folder can have this name.
        let named = BTreeSet::from([folder.path().join("a".repeat(300)).join("page")]);
        let error = watcher.watch(named.clone()).expect_err("not watched");
        assert_eq!(error.fault, Fault::Settings);
        assert!(watcher.knows(&named) && !watcher.watches(&named));
        fs::write(&file, "# new").expect("written");
        let file = file.canonicalize().expect("it is there");
        assert_eq!(watcher.changed().await, Some(file));
    }

    #[test]
    fn limits_of_the_system_are_named_and_no_fault_of_the_settings() {
        for (errno, hint) in [
            (Errno::MFILE, "fs.inotify.max_user_instances"),
            (Errno::NOSPC, "fs.inotify.max_user_watches"),
        ] {
            let error = NotWatched::folder(Path::new("/a"), errno.into());
            assert_eq!(error.fault, Fault::System);
            assert!(error.to_string().contains(hint), "{error}");
        }
    }
}
