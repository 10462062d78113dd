//! The pid file: one line that tells supervisors and scripts which process serves.
//!
//! One that a killed process left behind hinders nothing: it is replaced. It is written beside and
//! renamed into place, so that a reader finds a whole one or none.

use std::{
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
        let mut name = path
            .file_name()
            .ok_or(io::ErrorKind::IsADirectory)?
            .to_owned();
        name.push(format!(".{id}"));
        let file = Self {
            path: path.to_owned(),
            beside: path.with_file_name(name),
        };
        fs::write(&file.beside, format!("{id}\n"))?;
        Ok(file)
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
        let is_ours = fs::read_to_string(&self.path)
            .is_ok_and(|text| text.trim_end() == process::id().to_string());
        if is_ours {
            // Left behind it hinders nothing.
            let _ = fs::remove_file(&self.path);
        }
    }
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
}
