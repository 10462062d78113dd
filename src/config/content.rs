//! Makes the content of a generation: reads, builds and compares it with what is served. All of it runs
//! on threads beside the control arbiter, because signals and probes wait for that. `open` opens the sockets.

use std::{io, path::Path, sync::Arc, time::Instant};

use jiff::Timestamp;
use tokio::runtime::Handle;

use super::{
    attempt::Took,
    background::{Claim, Loader, bounded},
    comparison::compare,
    load::{Found, load, load_again},
    prepare::{AnySettings, AnyState, Author, Failed, Job, Prepared, Rejected, START_TIMEOUT},
    rollback::RolledBack,
    watch::named,
};
use crate::{
    generation::{AuthorData, Certificates, DropOnThread, DropThread, Token},
    http::Deadline,
    settings::{
        Baseline, Build, Changes, Diagnostic, Effective, Facts, Fault, Loaded, ReadFiles, Recipe,
        Shadowed, Sources, first, found_by_build, shadowed, warned_by_build,
    },
};

/// everup's own tables as they were read, and all that is known of every setting.
pub(crate) type SharedSettings = Arc<DropOnThread<Loaded<()>>>;

/// What a generation is made of, whatever its number.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) settings: SharedSettings,
    /// The same as it was read last: nothing that is in force differs, but perhaps where it stands.
    pub(crate) shown: SharedSettings,
    pub(crate) author_data: Arc<AuthorData>,
    pub(crate) token: Option<Token>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) files: Arc<DropOnThread<ReadFiles>>,
    /// What the author's build has warned of.
    pub(crate) warnings: Arc<[Diagnostic]>,
    pub(crate) digest: Arc<str>,
}

impl Content {
    /// What is valid and probably not what was meant; of certificates, as of now.
    pub(super) fn warnings(&self) -> Vec<Diagnostic> {
        let settings = self.shown.warnings.iter().chain(&*self.warnings).cloned();
        let certificates = self.certificates.warnings(&self.shown, Timestamp::now());
        first(settings.chain(certificates).collect())
    }

    /// The settings alone, to build from again: neither the state nor what was read from files.
    pub(super) fn to_settings(&self) -> Read {
        Read {
            settings: self.settings.clone(),
            app: self.author_data.settings.clone(),
        }
    }
}

/// What an attempt is to make its generation of.
pub(crate) enum Task {
    /// The sources; if it is forced, also where nothing in them has changed, or nothing is left
    /// of them.
    Read { is_forced: bool },
    /// The settings of an earlier generation: its state and what its files hold are made anew.
    TakeUp { number: u64, settings: Recipe },
}

/// The next generation's content, and how it stands to what is served.
pub(super) struct Made {
    pub(super) content: Content,
    pub(super) facts: Facts,
    pub(super) changes: Changes,
    pub(super) shadowed: Vec<Shadowed>,
    pub(super) rollback: Option<RolledBack>,
}

/// What the sources hold, or held: everup's own tables, and the author's.
#[derive(Clone)]
pub(crate) struct Read {
    pub(super) settings: SharedSettings,
    app: Arc<DropOnThread<AnySettings>>,
}

impl Read {
    pub(super) fn new(settings: Loaded<()>, app: AnySettings, drop_thread: &DropThread) -> Self {
        Self {
            settings: Arc::new(DropOnThread::new(settings, drop_thread)),
            app: Arc::new(DropOnThread::new(app, drop_thread)),
        }
    }
}

/// A generation's content, but for its digest.
struct Built {
    settings: SharedSettings,
    author_data: AuthorData,
    token: Option<Token>,
    certificates: Arc<Certificates>,
    files: ReadFiles,
    warnings: Vec<Diagnostic>,
}

impl Built {
    fn into_content(self, drop_thread: &DropThread) -> Content {
        Content {
            digest: self.settings.effective.digest(&self.files).into(),
            shown: self.settings.clone(),
            settings: self.settings,
            author_data: Arc::new(self.author_data),
            token: self.token,
            certificates: self.certificates,
            files: Arc::new(DropOnThread::new(self.files, drop_thread)),
            warnings: self.warnings.into(),
        }
    }
}

/// Makes the content of the next generation, within `reload.timeout`. `Err` where there will be
/// none.
pub(super) async fn make(
    job: &Job,
    deadline: &Deadline,
    took: &mut Took,
) -> Result<Made, Prepared> {
    loop {
        let (read, rolled_back_to) = match &job.task {
            Task::TakeUp { number, settings } => {
                let loading = load_again(job, settings.clone(), deadline.moment());
                (loaded(job, deadline, took, loading).await?, Some(*number))
            }
            &Task::Read { is_forced } => {
                let loading = load(job, is_forced, deadline.moment());
                match loaded(job, deadline, took, loading).await? {
                    Found::New(read) => (read, None),
                    Found::Renewed { to, settings } => (settings, Some(to)),
                    Found::RolledBack => return Err(Prepared::RolledBack),
                    Found::Same { settings, shadowed } => {
                        return Err(Prepared::Unchanged { settings, shadowed });
                    }
                }
            }
        };
        let begun = Instant::now();
        let deadline = deadline.after(read.settings.tables.reload.timeout);
        let made = finish(job, read, rolled_back_to, &deadline).await;
        took.prepare += begun.elapsed();
        // P3: otherwise what was read is not what is there any more.
        if let Some(made) = made? {
            return Ok(made);
        }
    }
}

/// Waits for a load.
async fn loaded<T: Send + 'static>(
    job: &Job,
    deadline: &Deadline,
    took: &mut Took,
    load: impl FnOnce() -> Result<T, Rejected> + Send + 'static,
) -> Result<T, Rejected> {
    let claim = Claim::beside(job.current.as_ref());
    let loading = job.loader.run(claim, load);
    let loaded = bounded(deadline, "reading the settings", loading).await;
    took.load = job.begun.elapsed().saturating_sub(took.prepare);
    loaded?
}

/// Loads and builds as a start would, opens nothing, and keeps nothing. Comes back with warnings.
pub(crate) async fn rehearse(
    author: Arc<dyn Author>,
    sources: Arc<Sources>,
) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let no_thread = |error: io::Error| vec![Diagnostic::new(Fault::System, "", error.to_string())];
    let drop_thread = DropThread::start().map_err(no_thread)?;
    let loader = Loader::new("everup-load");
    let deadline = Deadline::fixed(START_TIMEOUT);
    loop {
        let (reader, from, moment) = (author.clone(), sources.clone(), deadline.moment());
        let load = move || reader.load(&from, Baseline::Start, moment);
        let loading = loader.run(Claim::Full, load);
        let loaded = bounded(&deadline, "reading the settings", loading).await;
        let loaded = loaded.map_err(|undone| vec![undone.error])?;
        let (settings, app) = loaded.map_err(|not| not.errors)?;
        let read = Read::new(settings, app, &drop_thread);
        let deadline = deadline.after(read.settings.tables.reload.timeout);
        let building = Building {
            author: author.clone(),
            sources: sources.clone(),
            drop_thread: drop_thread.clone(),
            builder: loader.clone(),
            served: Arc::default(),
            is_kept: false,
        };
        match building.build(read, &deadline).await {
            Ok(Some(built)) => return Ok(built.into_content(&drop_thread).warnings()),
            Ok(None) => {}
            Err(rejected) => return Err(rejected.errors),
        }
    }
}

/// Builds what the settings ask for, and compares it with what is served. `None` where the settings
/// have changed meanwhile, unless they are those of an earlier generation.
async fn finish(
    job: &Job,
    read: Read,
    rolled_back_to: Option<u64>,
    deadline: &Deadline,
) -> Result<Option<Made>, Rejected> {
    let current = job.current.as_ref();
    let is_kept = rolled_back_to.is_some();
    let building = Building {
        author: job.author.clone(),
        sources: job.sources.clone(),
        drop_thread: job.drop_thread.clone(),
        builder: job.builder.clone(),
        served: current.map_or_else(Arc::default, |it| it.content.certificates.clone()),
        is_kept,
    };
    let Some(built) = building.build(read, deadline).await? else {
        return Ok(None);
    };
    let (current, drop_thread) = (job.current.clone(), job.drop_thread.clone());
    let claim = Claim::beside(current.as_ref());
    let comparing = job.loader.run(claim, move || {
        let content = built.into_content(&drop_thread);
        let is = &content.settings.effective;
        Made {
            changes: compare(current.as_ref(), &content),
            // An earlier generation's settings say nothing of what the files say now.
            shadowed: match current.as_ref().filter(|_| !is_kept) {
                None => Vec::new(),
                Some(current) => shadowed(&current.content.settings.effective, is),
            },
            rollback: current
                .as_ref()
                .zip(rolled_back_to)
                .and_then(|(current, to)| RolledBack::after(current, to, &content.settings)),
            facts: match current.filter(|_| is_kept) {
                None => content.settings.facts.clone(),
                Some(current) => current.facts,
            },
            content,
        }
    });
    let made = bounded(deadline, "comparing the settings", comparing).await?;
    Ok(Some(made))
}

/// What a build works with.
struct Building {
    author: Arc<dyn Author>,
    sources: Arc<Sources>,
    drop_thread: DropThread,
    builder: Loader,
    /// The certificates that are served.
    served: Arc<Certificates>,
    /// The settings are an earlier generation's, whatever the sources hold now.
    is_kept: bool,
}

/// What one pass of a build has come to.
struct Pass {
    made: Result<(Secrets, DropOnThread<AnyState>), Vec<Diagnostic>>,
    files: ReadFiles,
    warnings: Vec<Diagnostic>,
    /// No file that it has read has changed since.
    is_stable: bool,
    /// Nor have the settings.
    stands_still: bool,
}

/// The admin API's token and the listeners' certificates.
type Secrets = (Option<Token>, Arc<Certificates>);

impl Building {
    /// Reads the token and the certificates and builds the author's state, again where a file that was
    /// read has changed meanwhile (P3). `None` where the settings themselves have: they and the files that
    /// they name belong together.
    async fn build(&self, read: Read, deadline: &Deadline) -> Result<Option<Built>, Rejected> {
        loop {
            let pass = self.pass(&read, deadline);
            let pass = self.builder.run(Claim::Full, pass);
            let pass = bounded(deadline, "the build", pass).await?;
            let is_late = Instant::now() >= deadline.moment();
            if !pass.stands_still && !is_late {
                return Ok(None);
            }
            let ((token, certificates), state) = pass.made.map_err(|errors| Rejected {
                errors,
                named: named(&read.settings.effective, &pass.files),
                ..Rejected::default()
            })?;
            if pass.is_stable && pass.stands_still {
                return Ok(Some(Built {
                    settings: read.settings,
                    author_data: AuthorData {
                        settings: read.app,
                        state,
                    },
                    token,
                    certificates,
                    files: pass.files,
                    warnings: pass.warnings,
                }));
            }
            if is_late {
                let error = "the settings and the files that the build reads do not stand still";
                return Err(vec![Diagnostic::new(Fault::Build, "app", error)].into());
            }
        }
    }

    fn pass(&self, read: &Read, until: &Deadline) -> impl FnOnce() -> Pass + Send + 'static {
        let (author, sources, drop_thread) = (
            self.author.clone(),
            self.sources.clone(),
            self.drop_thread.clone(),
        );
        let (served, is_kept) = (self.served.clone(), self.is_kept);
        let (Read { settings, app }, until) = (read.clone(), until.clone());
        let runtime = Handle::current();
        move || {
            let _context = runtime.enter();
            let known = settings.effective.secret_files().map(Path::to_owned);
            let with = Build::new(sources.base())
                .with_secrets(known)
                .with_settings(settings.effective.files());
            // First, so that nothing that the author's build opens can show them.
            let secrets = secrets(&settings, &with, &served);
            let state = author.build(&app, &with, &until);
            let state = state.map(|state| DropOnThread::new(state, &drop_thread));
            let state = state.map_err(|failed| errors_of(failed, &settings.effective));
            let made = both(secrets, state);
            let files = with.files_read();
            Pass {
                made,
                is_stable: files.unchanged(),
                files,
                warnings: warned_by_build(with.warnings(), &settings.effective),
                stands_still: is_kept || settings.stands_still(&sources),
            }
        }
    }
}

/// Both, or all that is wrong with either.
fn both<A, B>(
    one: Result<A, Vec<Diagnostic>>,
    other: Result<B, Vec<Diagnostic>>,
) -> Result<(A, B), Vec<Diagnostic>> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (one, other) => {
            let errors = [one.err(), other.err()];
            Err(errors.into_iter().flatten().flatten().collect())
        }
    }
}

/// What is wrong where an author's build has failed.
fn errors_of(failed: Failed, effective: &Effective) -> Vec<Diagnostic> {
    match failed {
        Failed::Found(findings) => found_by_build(findings, effective),
        Failed::Unreadable { fault, path, why } => {
            let key = effective.key_naming(&path);
            let key = key.as_deref().unwrap_or("app");
            vec![effective.diagnostic(fault, key, &why)]
        }
        Failed::Otherwise(why) => vec![Diagnostic::new(Fault::Build, "app", why)],
    }
}

/// What the settings' files hold that nobody is to see, or what is wrong with any of it.
fn secrets(
    settings: &Loaded<()>,
    with: &Build,
    served: &Certificates,
) -> Result<Secrets, Vec<Diagnostic>> {
    let certificates = Certificates::read(settings, with, served);
    both(token(settings, with), certificates.map(Arc::new))
}

/// The admin API's token, where the settings name one.
fn token(settings: &Loaded<()>, with: &Build) -> Result<Option<Token>, Vec<Diagnostic>> {
    let Some(path) = &settings.tables.admin.token_file else {
        return Ok(None);
    };
    let wrong = |fault, why: &str| {
        let effective = &settings.effective;
        vec![effective.diagnostic(fault, "admin.token_file", why)]
    };
    let content = with.read_secret(path);
    let content = content.map_err(|error| wrong(Fault::of(&error), &error.to_string()))?;
    let token = Token::of(&content).map_err(|why| wrong(Fault::Settings, &why))?;
    Ok(Some(token))
}
