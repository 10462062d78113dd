//! The pid file: one line that tells supervisors and scripts which process serves.
//!
//! One that a killed process left behind hinders nothing: it is replaced. It is written beside and
//! renamed into place, so that a reader finds a whole one or none. What a process that was killed
//! before it served left beside it, the next one takes away.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process,
};

/// A pid file of this process; removed when dropped, if it is still this process's.
pub(super) struct PidFile {
    path: PathBuf,
    beside: PathBuf,
}

impl PidFile {
    /// Writes it beside its place: a folder that cannot be written to is found before the start.
    ///
    /// # Errors
    /// As the file system says.
    pub(super) fn prepare(path: &Path) -> io::Result<Self> {
        let id = process::id();
        let published = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut name = published.to_owned();
        name.push(format!(".{id}"));
        let file = Self {
            path: path.to_owned(),
            beside: path.with_file_name(name),
        };
        fs::write(&file.beside, format!("{id}\n"))?;
        file.sweep(published);
        Ok(file)
    }

    /// Removes what processes that are no more have left beside it: an upgrade that does not become
    /// ready in time is killed, and upgrades may fail for years.
    fn sweep(&self, published: &OsStr) {
        let folder = self.beside.parent().filter(|it| *it != Path::new(""));
        // What cannot be listed or removed hinders nothing.
        let Ok(found) = fs::read_dir(folder.unwrap_or(Path::new("."))) else {
            return;
        };
        for left in found.flatten() {
            let name = left.file_name();
            let rest = name.as_encoded_bytes();
            let id = rest
                .strip_prefix(published.as_encoded_bytes())
                .and_then(|rest| rest.strip_prefix(b"."))
                .and_then(|id| str::from_utf8(id).ok()?.parse::<u32>().ok());
            if id.is_some_and(|id| names(&left.path(), id) && !is_alive(id)) {
                let _ = fs::remove_file(left.path());
            }
        }
    }

    /// Puts it in its place: the process serves.
    ///
    /// # Errors
    /// As the file system says.
    pub(super) fn publish(&self) -> io::Result<()> {
        fs::rename(&self.beside, &self.path)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It is gone where it was published.
        let _ = fs::remove_file(&self.beside);
        if names(&self.path, process::id()) {
            // Left behind it hinders nothing.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether that is what the file says: another program's files are left alone.
fn names(path: &Path, id: u32) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    is_file && fs::read_to_string(path).is_ok_and(|text| text.trim_end() == id.to_string())
}

fn is_alive(id: u32) -> bool {
    Path::new("/proc").join(id.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_replaces_a_stale_one_and_is_removed_only_where_it_is_ours() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("everup.pid");
        fs::write(&path, "1\n").expect("a stale one");
        let ours = PidFile::prepare(&path).expect("written beside");
        ours.publish().expect("renamed");
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, format!("{}\n", process::id()));
        drop(ours);
        assert!(!path.exists());

        let ours = PidFile::prepare(&path).expect("written beside");
        ours.publish().expect("renamed");
        fs::write(&path, "1\n").expect("another process's");
        drop(ours);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn what_killed_processes_left_beside_it_is_taken_away() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        // Above every number that Linux gives (PID_MAX_LIMIT).
        let dead = 4_194_305;
        let left = at(&format!("everup.pid.{dead}"));
        fs::write(&left, format!("{dead}\n")).expect("left by a killed process");
        let kept = [
            ("everup.pid.1", "1\n"),
            ("everup.pid.4194306", "notes"),
            ("everup.pid.old", "1\n"),
        ];
        for (name, text) in kept {
            fs::write(at(name), text).expect("somebody's");
        }
        let ours = PidFile::prepare(&at("everup.pid")).expect("written beside");
        assert!(!left.exists());
        for (name, _) in kept {
            assert!(at(name).exists(), "{name}");
        }
        ours.publish().expect("renamed");
        assert!(names(&at("everup.pid"), process::id()));
    }
}
