//! Reads one file whole: regular, of bounded size, opened without blocking.
//! Owns what may be read; what the bytes mean is for others.

use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes that a file may have.
const LIMIT: u64 = 16 * 1024 * 1024;

/// The content of a regular file of at most 16 MiB.
///
/// # Errors
/// The file cannot be opened or read, is no regular file, or is too large.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // P3: a FIFO must be an error and no hang, so opening must not wait for its writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    // Asked of what was opened: the name may lead elsewhere by now.
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(LIMIT)).unwrap_or(0));
    // One byte more than allowed tells a file that is too large, or grew, from one that just fits.
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other("larger than 16 MiB"));
    }
    Ok(bytes)
}

/// A path as messages show it: absolute, so that it means the same wherever it is read.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What went wrong in few words: the system's own, without its error number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mknodat};

    #[test]
    fn a_fifo_is_an_error_and_no_hang() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("default.toml");
        mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
        let error = read(&path).expect_err("a fifo");
        assert_eq!(reason(&error), "not a regular file");
    }

    #[test]
    fn a_folder_and_an_endless_device_are_errors() {
        for path in ["/", "/dev/zero"] {
            let error = read(Path::new(path)).expect_err(path);
            assert_eq!(reason(&error), "not a regular file");
        }
    }

    #[test]
    fn more_than_16_mib_is_an_error() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("large");
        let file = File::create(&path).expect("a file");
        file.set_len(LIMIT).expect("a sparse file");
        assert_eq!(read(&path).expect("just fits").len() as u64, LIMIT);
        file.set_len(LIMIT + 1).expect("a sparse file");
        let error = read(&path).expect_err("too large");
        assert_eq!(reason(&error), "larger than 16 MiB");
    }

    #[test]
    fn a_missing_file_is_told_without_numbers() {
        let error = read(Path::new("/nowhere/at/all")).expect_err("missing");
        assert_eq!(reason(&error), "no such file or directory");
    }
}
