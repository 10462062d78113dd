//! Makes a [`Snapshot`] from settings beside what is served. Everything that can fail happens here.
//!
//! Unchanged parts are reused, the rest is opened; dropping the candidate undoes it. Slow work runs on
//! blocking threads, under `reload.timeout`.

use std::{
    any::Any,
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::{
    attempt::Took,
    background::{Loader, Undone},
    binding::key_of,
    content::{Content, Made, SharedSettings, Task, make},
    logging::open_log,
    open::{Opened, open},
    rollback::RolledBack,
    watch::{Watched, Watching, open_watch, watch_too},
};
use crate::{
    generation::{DropThread, Generation},
    http::{Deadline, NewServe, Readiness, SuspensionClock},
    net::{Activation, Listener},
    server::{Intake, Snapshot, Threads},
    settings::{
        Baseline, Build, Change, Changes, Diagnostic, Facts, Fault, Findings, Loaded, NotLoaded,
        Shadowed, Sources,
    },
    telemetry::{LogHandle, OpenedLog},
    upgrade::Inheritance,
};

/// The author's service, without its types.
pub(crate) trait Author: Send + Sync {
    /// Reads and checks the settings. Blocks.
    fn load(
        &self,
        sources: &Sources,
        baseline: Baseline<'_>,
        deadline: Instant,
    ) -> Result<(Loaded<()>, AnySettings), NotLoaded>;

    /// Builds the state of a generation, and gives up at the deadline where the build awaits. Blocks;
    /// needs a runtime's context; may panic.
    fn build(
        &self,
        settings: &AnySettings,
        build: &Build,
        deadline: &Deadline,
    ) -> Result<AnyState, Failed>;

    fn name(&self) -> &'static str;

    /// The JSON Schema of all its settings.
    fn schema(&self) -> serde_json::Value;

    fn new_serve(&self) -> NewServe;
}

/// Why an author's build has come to nothing.
pub(crate) enum Failed {
    /// For these settings.
    Found(Findings),
    /// A file could not be read.
    Unreadable {
        fault: Fault,
        path: PathBuf,
        why: String,
    },
    /// For a reason of its own.
    Otherwise(String),
}

/// The author's settings, behind `dyn Any`.
pub(crate) type AnySettings = Box<dyn Any + Send + Sync>;

/// The state that was built from them, likewise.
pub(crate) type AnyState = Box<dyn Any + Send + Sync>;

/// What is served, as the next attempt needs to know it.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) snapshot: Snapshot,
    pub(crate) content: Content,
    /// Of the newest reading of the sources, also where a rollback was made since.
    pub(crate) facts: Facts,
    pub(crate) watching: Watched,
    /// Where it is not what the sources say.
    pub(crate) rollback: Option<RolledBack>,
}

/// What an attempt works with.
pub(crate) struct Job {
    pub(crate) author: Arc<dyn Author>,
    pub(crate) admin: NewServe,
    pub(crate) sources: Arc<Sources>,
    pub(crate) drop_thread: DropThread,
    pub(crate) threads: Arc<Threads>,
    /// Reads and compares settings.
    pub(crate) loader: Loader,
    /// Builds an author's state and opens what the next generation needs: what that starts inherits its
    /// priority.
    pub(crate) builder: Loader,
    pub(crate) readiness: Readiness,
    pub(crate) begun: Instant,
    pub(crate) suspension: SuspensionClock,
    pub(crate) current: Option<Current>,
    pub(crate) task: Task,
    pub(crate) is_dry_run: bool,
    pub(crate) log: LogHandle,
    /// The inheritance from the predecessor, for the first attempt.
    pub(crate) inheritance: Option<Arc<Inheritance>>,
    /// What the service manager has passed.
    pub(crate) activation: Arc<Activation>,
}

impl Job {
    /// What is watched for the generation that is served.
    pub(super) fn watching(&self) -> Option<&Watching> {
        self.current.as_ref()?.watching.as_ref()
    }

    /// Whether the next generation is made of what the sources hold now.
    pub(super) fn reads_sources(&self) -> bool {
        matches!(self.task, Task::Read { .. })
    }

    /// The number of the generation that it prepares: one more than is served now, here or in the process
    /// before.
    pub(super) fn next_generation(&self) -> u64 {
        let newest = match (&self.current, &self.inheritance) {
            (Some(current), _) => current.snapshot.generation.number,
            (None, Some(left)) => left.generation,
            (None, None) => 0,
        };
        newest + 1
    }
}

/// What an attempt has come to, short of publishing.
pub(crate) enum Prepared {
    Ready(Box<Candidate>),
    /// Nothing that is in force differs, but perhaps where it stands: the settings as they were read
    /// this time.
    Unchanged {
        settings: SharedSettings,
        shadowed: Vec<Shadowed>,
    },
    /// A rollback stays: nothing has changed since.
    RolledBack,
    Rejected(Rejected),
}

/// The next snapshot, and what is to be said of it.
pub(crate) struct Candidate {
    pub(crate) current: Current,
    pub(crate) changes: Changes,
    pub(crate) shadowed: Vec<Shadowed>,
    pub(crate) intake: Intake,
    pub(crate) log: OpenedLog,
}

impl Prepared {
    /// The files that were looked for, where no candidate tells of them.
    fn named(&self) -> BTreeSet<PathBuf> {
        match self {
            Self::Ready(_) | Self::RolledBack => BTreeSet::new(),
            Self::Unchanged { settings, .. } => {
                let secrets = settings.effective.secret_files();
                secrets.map(Path::to_owned).collect()
            }
            Self::Rejected(rejected) => rejected.named.clone(),
        }
    }
}

/// What is wrong, the files that were looked for, and a thread that did not come back in time.
#[derive(Default)]
pub(crate) struct Rejected {
    pub(super) errors: Vec<Diagnostic>,
    pub(super) named: BTreeSet<PathBuf>,
    pub(super) stuck: Option<JoinHandle<()>>,
}

impl From<Undone> for Rejected {
    fn from(Undone { error, stuck }: Undone) -> Self {
        Self {
            errors: vec![error],
            stuck,
            ..Self::default()
        }
    }
}

impl From<Vec<Diagnostic>> for Rejected {
    fn from(errors: Vec<Diagnostic>) -> Self {
        Self {
            errors,
            ..Self::default()
        }
    }
}

impl From<NotLoaded> for Rejected {
    fn from(
        NotLoaded {
            errors,
            secret_files,
        }: NotLoaded,
    ) -> Self {
        Self {
            errors,
            named: secret_files,
            ..Self::default()
        }
    }
}

impl From<Rejected> for Prepared {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

/// Until the settings say otherwise.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Loads and prepares. Runs on the control arbiter; what is slow does not.
pub(crate) async fn prepare(job: Job, took: &mut Took) -> Prepared {
    let timeout = job.current.as_ref().map_or(START_TIMEOUT, |current| {
        current.content.settings.tables.reload.timeout
    });
    let deadline = job.suspension.deadline(timeout);
    let made = loop {
        let prepared = match make(&job, &deadline, took).await {
            Ok(made) => break made,
            Err(prepared) => prepared,
        };
        match watch_too(&job, prepared.named(), &deadline).await {
            // P4: what is watched only now is read again.
            Ok(true) => {}
            Ok(false) => return prepared,
            Err(undone) => return Rejected::from(undone).into(),
        }
    };
    let begun = Instant::now();
    let settings = made.content.settings.clone();
    let deadline = deadline.after(settings.tables.reload.timeout);
    let opened = async {
        wait_for_predecessor(&job, &deadline).await?;
        let log = open_log(&job.log, &job.builder, &job.sources, &settings, &deadline).await?;
        let watching = open_watch(&job, &made.content, made.rollback.as_ref(), &deadline).await?;
        let opened = deadline.bound(candidate(&job, made, log, watching)).await;
        // An App that is never made is dropped, with the workers that waited for it.
        let late = "the App was not made within `reload.timeout`";
        let opened = opened.unwrap_or_else(|_| Err(vec![Diagnostic::new(Fault::Build, "", late)]));
        opened.map_err(Rejected::from)
    };
    let opened = opened.await;
    took.prepare += begun.elapsed();
    match opened {
        Ok(candidate) => Prepared::Ready(Box::new(candidate)),
        Err(rejected) => Prepared::Rejected(rejected),
    }
}

/// A new process that serves already waits for the commit of its predecessor before it changes listeners:
/// until then both may hold the sockets.
async fn wait_for_predecessor(job: &Job, deadline: &Deadline) -> Result<(), Rejected> {
    let (Some(_), Some(inheritance)) = (&job.current, &job.inheritance) else {
        return Ok(());
    };
    let settled = deadline.bound(inheritance.wait_until_settled()).await;
    settled.map_err(|_| {
        let late = "the process before has not let go within `reload.timeout`";
        vec![Diagnostic::new(Fault::System, "", late)].into()
    })
}

/// The next snapshot, with what it needs and does not have yet opened.
async fn candidate(
    job: &Job,
    made: Made,
    log: OpenedLog,
    watching: Watched,
) -> Result<Candidate, Vec<Diagnostic>> {
    let Made {
        content,
        facts,
        changes,
        shadowed,
        rollback,
    } = made;
    let tables = &content.settings.tables;
    let generation = Arc::new(Generation::new(
        job.next_generation(),
        tables,
        content.token.clone(),
        content.certificates.clone(),
        content.author_data.clone(),
    ));
    let Opened {
        snapshot,
        intake,
        replaced,
    } = open(job, generation, &content.settings).await?;
    let replaced = replaced.iter();
    let replaced = replaced.map(|listener| made_anew(&content.settings, listener));
    let changes = changes.with_files(replaced.collect());
    Ok(Candidate {
        current: Current {
            snapshot,
            content,
            facts,
            watching,
            rollback,
        },
        changes,
        shadowed,
        intake,
        log,
    })
}

/// Reports a listener whose socket's file was gone, although no setting differs.
fn made_anew(settings: &Loaded<()>, listener: &Listener) -> Change {
    let key = key_of(listener.name());
    let address = listener.address().to_string();
    let place = settings.effective.diagnostic(Fault::System, &key, "").place;
    Change {
        from: format!("{address} (its file was gone)").into(),
        to: address.into(),
        origin: place.map(|place| place.to_string()),
        key,
    }
}
