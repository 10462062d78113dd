//! The program that an upgrade starts: what is at this process's `argv[0]` by then.
//!
//! `/proc/self/exe` is not it: it follows links, and names a file that may have been replaced.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command},
};

use rustix::fs::{Access, access};

/// How this process was started.
pub(crate) struct Program {
    /// Absolute, its links unresolved: a link that is switched to another version names that.
    /// `None` where no such program was found.
    path: Option<PathBuf>,
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// Finds the program as the shell did: `name` is `argv[0]`, `search` the `PATH`, `here` where
    /// the process works.
    pub(crate) fn new(
        mut arguments: impl Iterator<Item = OsString>,
        search: Option<&OsStr>,
        here: &Path,
    ) -> Self {
        let name = arguments.next().unwrap_or_default();
        let path = if name.as_bytes().contains(&b'/') {
            Some(here.join(&name))
        } else {
            // An empty entry is the directory of work, and `join` makes it so.
            env::split_paths(search.unwrap_or_default())
                .map(|entry| here.join(entry).join(&name))
                .find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
        };
        Self {
            path,
            name,
            arguments: arguments.collect(),
        }
    }

    /// What is to be started, for people.
    pub(crate) fn describe(&self) -> String {
        let path = self.path.as_deref().unwrap_or(Path::new(&self.name));
        path.display().to_string()
    }

    /// Starts it with the same arguments and, as children have them, the same environment and
    /// directory.
    ///
    /// # Errors
    /// Those of execve(2).
    pub(super) fn start(&self, stdin: OwnedFd) -> io::Result<Child> {
        let path = self.path.as_ref().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "it was not in `PATH` at start")
        })?;
        Command::new(path)
            .arg0(&self.name)
            .args(&self.arguments)
            .stdin(stdin)
            .spawn()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str, search: &str, here: &str) -> Option<PathBuf> {
        let arguments = [name.into(), "--flag".into()].into_iter();
        Program::new(arguments, Some(search.as_ref()), here.as_ref()).path
    }

    #[test]
    fn a_name_with_a_slash_starts_where_the_process_works() {
        assert_eq!(path("bin/x", "/bin", "/a"), Some("/a/bin/x".into()));
        assert_eq!(path("/opt/x", "/bin", "/a"), Some("/opt/x".into()));
    }

    #[test]
    fn a_name_without_is_looked_up_in_path() {
        assert_eq!(
            path("sh", "/nowhere:/bin:/usr/bin", "/a"),
            Some("/bin/sh".into())
        );
        assert_eq!(path("sh", "/nowhere:", "/bin"), Some("/bin/sh".into()));
        assert_eq!(path("no-such-program", "/bin", "/a"), None);
    }
}
