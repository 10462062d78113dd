//! `files`: a directory, which names are looked for beneath it, and what is answered. `beneath`
//! opens them, `file` sends one.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use percent_encoding::percent_decode_str;
use rustix::{fd::OwnedFd, fs::fstat};

use super::{
    beneath::{self, Opened},
    file, not_found, plain,
    route::Unservable,
    throttle::Throttle,
};
use crate::{
    http::{self, OpenFiles},
    settings::{Build, may_be_settings, reason},
};

/// A directory whose files are served.
#[derive(Debug)]
pub(super) struct Files {
    /// Opened once per generation: where its name leads elsewhere, a reload follows.
    root: Arc<OwnedFd>,
    /// Its absolute path, for the log.
    path: PathBuf,
    /// For what clients can make this log.
    throttle: Throttle,
    /// The pattern's name for what is below the root.
    rest: String,
}

/// The same before its directory is open.
#[derive(Debug)]
pub(super) struct NotOpen {
    path: PathBuf,
    rest: String,
}

/// What is served in place of a directory.
const INDEX: &str = "index.html";

impl NotOpen {
    pub(super) fn new(path: PathBuf, rest: String) -> Self {
        Self { path, rest }
    }

    /// Opens the directory, unless the settings could be read through it.
    pub(super) fn open(self, with: &Build) -> Result<Files, Unservable> {
        let root = with.directory(&self.path)?;
        let path = with.resolve(&self.path);
        beneath::open(&root, Path::new("."))
            .map_err(|error| with.unreadable(&path, error.into()))?;
        if holds_settings(&root, with)? {
            let path = path.display();
            let why = format!("`{path}` holds the settings, which would be served");
            return Err(Unservable::Refused(why));
        }
        let mut secrets = with.secrets().into_iter();
        if let Some(secret) = secrets.find(|secret| may_hold(&root, secret)) {
            let (path, secret) = (path.display(), with.resolve(&secret));
            let secret = secret.display();
            let why = format!("`{path}` holds the secret `{secret}`, which would be served");
            return Err(Unservable::Refused(why));
        }
        Ok(Files {
            root: Arc::new(root),
            path,
            throttle: Throttle::new(),
            rest: self.rest,
        })
    }
}

/// Whether the settings directory, or a file of it that is a link, lies beneath `root`.
fn holds_settings(root: &OwnedFd, with: &Build) -> io::Result<bool> {
    let base = with.resolve(Path::new(""));
    let unreadable = |error| with.unreadable(&base, error);
    let base = fs::canonicalize(&base).map_err(unreadable)?;
    if lies_beneath(root, &base).map_err(unreadable)? {
        return Ok(true);
    }
    for entry in fs::read_dir(&base).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !may_be_settings(&path) {
            continue;
        }
        // A link to nowhere holds nothing.
        let Ok(target) = fs::canonicalize(&path) else {
            continue;
        };
        if lies_beneath(root, &target).map_err(unreadable)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a file lies beneath `root`, by its name or by where that leads; true where that cannot
/// be told.
fn may_hold(root: &OwnedFd, path: &Path) -> bool {
    let beneath = |path: io::Result<PathBuf>| path.and_then(|path| lies_beneath(root, &path));
    let named = std::path::absolute(path);
    beneath(named).unwrap_or(true) || beneath(fs::canonicalize(path)).unwrap_or(true)
}

/// By what the directories are, not by their names: a bind mount has another one.
fn lies_beneath(root: &OwnedFd, path: &Path) -> io::Result<bool> {
    let root = fstat(root)?;
    for above in path.ancestors() {
        let above = fs::metadata(above)?;
        if (above.dev(), above.ino()) == (root.st_dev, root.st_ino) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Files {
    /// The pattern's name for what is below the root.
    pub(super) fn rest(&self) -> &str {
        &self.rest
    }

    /// Answers GET and HEAD of what is below the root, as it came: percent-encoded.
    pub(super) async fn response(&self, request: &HttpRequest, below: &str) -> HttpResponse {
        let Some(mut name) = relative(below) else {
            return not_found();
        };
        let in_directory = below.is_empty() || below.ends_with('/');
        if in_directory {
            name.push(INDEX);
        }
        // Where it is served by everup at all.
        let files = request.app_data::<OpenFiles>();
        let leave = files.map(OpenFiles::open_one);
        if matches!(leave, Some(None)) {
            return plain(StatusCode::SERVICE_UNAVAILABLE);
        }
        let (root, asked) = (Arc::clone(&self.root), name.clone());
        let reads = file::reads(request);
        // A disk may be slow, a network's file system may hang: not with the worker.
        let opened = http::block(move || beneath::look(&root, name, reads)).await;
        match opened.unwrap_or(Opened::Busy) {
            Opened::File(file) => file.response(request, leave.flatten()),
            Opened::Directory if !in_directory => to_directory(request),
            Opened::Directory | Opened::Nothing => not_found(),
            Opened::Busy => plain(StatusCode::SERVICE_UNAVAILABLE),
            Opened::Denied => {
                self.warn(&asked, "permission denied");
                plain(StatusCode::FORBIDDEN)
            }
            Opened::Failed(error) => {
                self.warn(&asked, &reason(&error));
                plain(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Logs what cannot be served, now and then: any client can ask for it.
    fn warn(&self, name: &Path, why: &str) {
        let Some(suppressed) = self.throttle.admit() else {
            return;
        };
        let path = self.path.join(name);
        let more = match suppressed {
            0 => String::new(),
            more => format!(" ({more} more like it since the last such line)"),
        };
        log::warn!("cannot serve `{}`: {why}{more}", path.display());
    }
}

/// To the same with a slash, so that what its index names is found beneath it.
fn to_directory(request: &HttpRequest) -> HttpResponse {
    let uri = request.uri();
    let query = uri.query().map(|query| format!("?{query}"));
    // Relative: nothing in the path can be taken for another host.
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    let to = format!("./{last}/{}", query.unwrap_or_default());
    HttpResponse::PermanentRedirect()
        .insert_header((header::LOCATION, to))
        .finish()
}

/// The name below the root that a path means, without a slash at its end; `None` for what is not
/// served whatever there is.
fn relative(below: &str) -> Option<PathBuf> {
    let mut name = PathBuf::new();
    if below.is_empty() {
        return Some(name);
    }
    for segment in below.strip_suffix('/').unwrap_or(below).split('/') {
        let segment: Vec<u8> = percent_decode_str(segment).collect();
        // `..` begins with a dot too. No encoded slash makes two names of one, and a backslash is
        // nobody's name.
        if segment.is_empty() || segment[0] == b'.' || segment.iter().any(|b| b"/\\\0".contains(b))
        {
            return None;
        }
        name.push(OsStr::from_bytes(&segment));
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_looked_for() {
        for (below, expected) in [
            ("", Some("")),
            ("a", Some("a")),
            ("a/b%20c.txt", Some("a/b c.txt")),
            ("a/", Some("a")),
            ("/", None),
            ("//", None),
            ("a//b", None),
            ("a//", None),
            (".", None),
            ("..", None),
            ("%2e%2e/a", None),
            ("a/../b", None),
            (".git/config", None),
            ("a/.env", None),
            ("a%2f..%2fb", None),
            ("a%5cb", None),
            ("a\\b", None),
            ("a%00", None),
        ] {
            assert_eq!(relative(below), expected.map(PathBuf::from), "{below}");
        }
    }
}
