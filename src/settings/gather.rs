//! What the sources hold right now, read until two whole passes agree.
//! Owns which files of a settings directory count; parses nothing.

use super::diagnostic::{Diagnostic, Fault};
use super::file;
use super::key;
use super::layer::Format;
use super::secret::Kept;
use super::sources::Sources;
use super::text::SourceText;
use super::value::Table;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait before looking again at sources that changed while they were read.
const PAUSE: Duration = Duration::from_millis(5);

/// What a load found of each source, for the next one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// How many bytes each file had, and its layer.
    lengths: BTreeMap<PathBuf, (usize, String)>,
    /// The files, lowest layer first.
    pub(super) files: Vec<File>,
}

/// A file as it was read.
#[derive(Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    pub(super) text: Arc<SourceText>,
    /// What it sets; `None` where only the text is kept.
    pub(super) layer: Option<Table>,
}

/// What settings were made of: enough to make them again, whatever the sources hold by now.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Without what has been made of the texts.
    facts: Facts,
    pub(super) secrets: BTreeMap<Vec<String>, Kept>,
}

/// What all sources held in two passes that agreed.
pub(super) struct Gathered {
    /// Each file that is there, lowest layer first.
    pub(super) files: Vec<(PathBuf, Format, Content)>,
    pub(super) facts: Facts,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// What a file holds.
pub(super) enum Content {
    /// It has been read now.
    Bytes(Vec<u8>),
    /// The same as before.
    Known(File),
}

/// What one pass found.
#[derive(Default, PartialEq)]
struct Pass {
    files: Vec<Found>,
    /// What is named and not there: a layer, or all of them.
    missing: Vec<Diagnostic>,
}

/// What the sources may not have become since the last load: an accident rather than a change. Or what
/// is read in their stead.
#[derive(Clone, Copy)]
pub(crate) enum Baseline<'f> {
    /// Nothing is served yet: what is named must be there.
    Start,
    /// Compared with what the last load found.
    After(&'f Facts),
    /// Whatever there is counts, be it nothing.
    Forced,
    /// The files and secrets of earlier settings, not the sources.
    Again(&'f Recipe),
}

impl Baseline<'_> {
    /// What to do where nothing is left on purpose.
    fn hint(self) -> &'static str {
        match self {
            Baseline::After(_) => " (a forced reload serves the built-in defaults)",
            Baseline::Start | Baseline::Forced | Baseline::Again(_) => "",
        }
    }
}

/// Names of files that a message lists.
const LISTED: usize = 10;

/// A file that is there.
#[derive(PartialEq)]
struct Found {
    path: PathBuf,
    layer: String,
    content: Result<(Format, Vec<u8>), (Fault, String)>,
}

impl Sources {
    /// Each file that would count if it were there.
    pub(crate) fn candidates(&self) -> Vec<PathBuf> {
        let Some(path) = self.path() else {
            return Vec::new();
        };
        if !path.is_dir() {
            return vec![path.to_owned()];
        }
        let profile = self.profile_name().filter(|name| is_profile(name));
        let layers = [Some("default"), profile, Some("local")];
        let files = layers.into_iter().flatten().flat_map(|layer| {
            let file = move |(ending, _)| path.join(format!("{layer}.{ending}"));
            Format::ENDINGS.into_iter().map(file)
        });
        files.collect()
    }

    /// Reads all files until two whole passes agree, and compares with what was there before.
    pub(super) fn gather(&self, baseline: Baseline<'_>, deadline: Instant) -> Gathered {
        let mut gathered = Gathered {
            files: Vec::new(),
            facts: Facts::default(),
            diagnostics: Vec::new(),
        };
        if let Baseline::Again(recipe) = baseline {
            let files = recipe.facts.files.iter().cloned();
            let known = files.map(|file| (file.path.clone(), file.format, Content::Known(file)));
            gathered.files.extend(known);
            gathered.facts.lengths = recipe.facts.lengths.clone();
            return gathered;
        }
        // P3: what changes while it is being read is never applied.
        match self.agreed(baseline, deadline) {
            Ok(pass) => gathered.take(pass, baseline),
            Err(path) => gathered.diagnostics.push(Diagnostic::source(
                path.display().to_string(),
                "kept changing while it was read, until the time to load was over",
                Fault::System,
            )),
        }
        gathered
    }

    /// Whether the files are those, with that content.
    pub(super) fn hold<'t>(&self, files: impl IntoIterator<Item = (&'t str, &'t str)>) -> bool {
        // What is missing was decided by the load.
        let now = self.pass(Baseline::Forced);
        let mut known = files.into_iter();
        let all_same = now.files.iter().all(|found| {
            let known = known.next();
            let content = found
                .content
                .as_ref()
                .ok()
                .map(|(_, bytes)| bytes.as_slice());
            let same_name = |(name, _): &(&str, &str)| found.path.display().to_string() == *name;
            known.filter(same_name).map(|(_, text)| text.as_bytes()) == content
        });
        all_same && known.next().is_none()
    }

    /// Two passes that agree, or the path of a file that kept changing.
    fn agreed(&self, baseline: Baseline<'_>, deadline: Instant) -> Result<Pass, PathBuf> {
        let mut before = self.pass(baseline);
        loop {
            let after = self.pass(baseline);
            if before == after {
                return Ok(after);
            }
            if Instant::now() + PAUSE >= deadline {
                let changed = after
                    .files
                    .into_iter()
                    .find(|new| !before.files.contains(new));
                let usual = || self.path().map(Path::to_owned).unwrap_or_default();
                return Err(changed.map_or_else(usual, |found| found.path));
            }
            std::thread::sleep(PAUSE);
            before = after;
        }
    }

    fn pass(&self, baseline: Baseline<'_>) -> Pass {
        let mut pass = Pass::default();
        let profile = self.profile_name();
        let is_forced = matches!(baseline, Baseline::Forced);
        match self.path().map(|path| (path, path.metadata())) {
            Some((folder, Ok(metadata))) if metadata.is_dir() => {
                if let Err(error) = folder.join(".").metadata() {
                    // Else each file in it would seem to be there.
                    pass.files.push(Found::failed(folder, &error));
                    return pass;
                }
                pass.layer(folder, "default");
                match profile.map(|name| (name, is_profile(name))) {
                    Some((name, true)) => pass.profile(folder, name),
                    Some((name, false)) => pass.missing.push(not_a_profile(name)),
                    None => {}
                }
                pass.layer(folder, "local");
                if pass.files.is_empty() && !is_forced {
                    pass.missing.push(no_layers(folder, baseline.hint()));
                }
                return pass;
            }
            Some((path, Ok(_))) => pass.files.push(Found::named(path.to_owned())),
            Some((_, Err(error))) if is_forced && is_absent(&error) => {}
            Some((path, Err(error))) if is_absent(&error) => {
                let message = format!("{}{}", file::reason(&error), baseline.hint());
                let name = file::absolute(path).display().to_string();
                let gone = Diagnostic::source(name, message, Fault::Settings);
                pass.missing.push(gone);
            }
            Some((path, Err(error))) => pass.files.push(Found::failed(path, &error)),
            None => {}
        }
        // One file, or none, has no profiles.
        if let Some(name) = profile {
            let message = format!("the profile {name:?} needs a settings directory");
            pass.missing
                .push(Diagnostic::new(Fault::Settings, "", message));
        }
        pass
    }
}

/// Says that a directory holds no settings, and which files it holds instead.
fn no_layers(folder: &Path, hint: &str) -> Diagnostic {
    let expected =
        "expected a file of settings, such as default.toml, default.yaml or default.json";
    let found = match file_names(folder) {
        Ok(names) if names.is_empty() => "no file".to_owned(),
        Ok(names) => {
            let shown: Vec<String> = names.iter().take(LISTED).map(|name| quoted(name)).collect();
            let more = match names.len().saturating_sub(LISTED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let are = if names.len() == 1 { "is" } else { "are" };
            format!("{}{more}, which {are} not recognized", shown.join(", "))
        }
        Err(error) => file::reason(&error),
    };
    let message = format!("{expected}, found {found}{hint}");
    let name = file::absolute(folder).display().to_string();
    Diagnostic::source(name, message, Fault::Settings)
}

fn quoted(name: &str) -> String {
    format!("`{}`", key::shorten(name))
}

/// The names in a directory, sorted.
fn file_names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = folder.read_dir()?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Whether a profile may have this name.
fn is_profile(name: &str) -> bool {
    let is_good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_hidden = name.is_empty() || name.starts_with('.');
    !is_hidden && name.chars().all(is_good) && !["default", "local"].contains(&name)
}

fn not_a_profile(name: &str) -> Diagnostic {
    let message = format!(
        "expected a profile's name of letters, digits, `-`, `_` and `.`, other than `default` and `local`, \
         found {name:?}"
    );
    Diagnostic::new(Fault::Settings, "", message)
}

impl Pass {
    /// Adds the files of a layer: one, in whichever format, or none.
    fn layer(&mut self, folder: &Path, name: &str) {
        for (ending, format) in Format::ENDINGS {
            let path = folder.join(format!("{name}.{ending}"));
            let content = match file::read(&path) {
                // A link to nowhere is there, and is broken: that is not the same as absent.
                Err(_)
                    if path
                        .symlink_metadata()
                        .is_err_and(|error| is_absent(&error)) =>
                {
                    continue;
                }
                content => content.map(|bytes| (format, bytes)),
            };
            self.files.push(Found {
                path,
                layer: name.to_owned(),
                content: content.map_err(|error| unreadable(&error)),
            });
        }
    }

    fn profile(&mut self, folder: &Path, name: &str) {
        let before = self.files.len();
        self.layer(folder, name);
        if self.files.len() == before {
            let message = format!(
                "the profile {name:?} has no file: expected {name}.toml, {name}.yaml or \
                 {name}.json in {}",
                folder.display()
            );
            self.missing
                .push(Diagnostic::new(Fault::Settings, "", message));
        }
    }
}

impl Found {
    /// What was named and cannot be looked at.
    fn failed(path: &Path, error: &io::Error) -> Found {
        Found {
            path: path.to_owned(),
            layer: String::new(),
            content: Err(unreadable(error)),
        }
    }

    /// A file that was named by itself: its ending tells how it is written.
    fn named(path: PathBuf) -> Found {
        let content = match Format::of(&path) {
            Some(format) => file::read(&path)
                .map(|bytes| (format, bytes))
                .map_err(|error| unreadable(&error)),
            None => {
                let message = "expected a directory, or a file that ends in .toml, .yaml or .json";
                Err((Fault::Settings, message.to_owned()))
            }
        };
        Found {
            path,
            layer: String::new(),
            content,
        }
    }
}

/// By its name: it may hold secrets.
impl fmt::Debug for File {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("File").field(&self.path).finish()
    }
}

impl Facts {
    /// A file's content, or the file as it was read last where that is the same. It must be the same
    /// source by its index too, which all that it sets carries.
    fn known(&self, index: usize, path: &Path, format: Format, bytes: Vec<u8>) -> Content {
        let known = self.files.get(index);
        let known = known.filter(|known| known.path == path && known.format == format);
        match known.filter(|known| known.text.text().as_bytes() == bytes) {
            Some(known) => Content::Known(known.clone()),
            None => Content::Bytes(bytes),
        }
    }
}

impl Recipe {
    pub(super) fn new(facts: &Facts, secrets: &BTreeMap<Vec<String>, Kept>) -> Recipe {
        let mut facts = facts.clone();
        for file in &mut facts.files {
            file.layer = None;
        }
        Recipe {
            facts,
            secrets: secrets.clone(),
        }
    }

    /// The texts of its files, by an address that two recipes have in common where they share one, and
    /// how many bytes each has.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (usize, usize)> {
        let files = self.facts.files.iter();
        files.map(|file| (Arc::as_ptr(&file.text).addr(), file.text.text().len()))
    }
}

impl Gathered {
    fn take(&mut self, pass: Pass, baseline: Baseline<'_>) {
        self.diagnostics.extend(pass.missing);
        for pair in pass
            .files
            .windows(2)
            .filter(|pair| pair[0].layer == pair[1].layer)
        {
            let message = format!(
                "is there beside {}, and one of the two must go: a layer has one file",
                pair[0].path.display()
            );
            self.fail(&pair[1].path, message, Fault::Settings);
        }
        for Found {
            path,
            layer,
            content,
        } in pass.files
        {
            match content {
                Err((kind, message)) => self.fail(&path, message, kind),
                Ok((format, bytes)) => {
                    let fact = (bytes.len(), layer);
                    self.facts.lengths.insert(path.clone(), fact);
                    let content = match baseline {
                        Baseline::After(facts) => {
                            facts.known(self.files.len(), &path, format, bytes)
                        }
                        _ => Content::Bytes(bytes),
                    };
                    self.files.push((path, format, content));
                }
            }
        }
        if let Baseline::After(facts) = baseline {
            self.find_emptied(facts);
        }
    }

    /// Fails for files that are empty and were not before.
    ///
    /// P3: a file between truncation and its new content parses; it must not be used. A file that
    /// is gone is a change like any other, as long as another one is there.
    fn find_emptied(&mut self, before: &Facts) {
        for (path, (length, layer)) in &before.lengths {
            let lengths = &self.facts.lengths;
            // Written anew in another format, a layer is still the same.
            let other = lengths.iter().find(|(_, (_, other))| other == layer);
            let now = lengths.get_key_value(path).or(other);
            if let Some((path, (0, _))) = now
                && *length > 0
            {
                let nothing = match Format::of(path) {
                    Some(Format::Json) => "write `{}` in it",
                    _ => "leave a comment in it",
                };
                let message = format!(
                    "is empty and was not before (to set nothing, {nothing}, or force the reload)"
                );
                self.fail(&path.clone(), message, Fault::Settings);
            }
        }
    }

    fn fail(&mut self, path: &Path, message: impl Into<String>, kind: Fault) {
        let name = file::absolute(path).display().to_string();
        self.diagnostics
            .push(Diagnostic::source(name, message, kind));
    }
}

fn unreadable(error: &io::Error) -> (Fault, String) {
    (Fault::of(error), file::reason(error))
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
