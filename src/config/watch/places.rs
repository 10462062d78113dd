//! Which names lead to a source: its own, and each link and folder on its path.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ffi::OsString,
    fs, io,
    path::{self, Component, Path, PathBuf},
};

/// Links that a path may lead through, as the kernel has it (path_resolution(7)).
const LINKS: usize = 40;

/// Where a change counts: folders, none of them reached through a link.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) folders: BTreeMap<PathBuf, Folder>,
}

/// What counts in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Folder {
    /// Names on the way to a source.
    pub(super) names: BTreeSet<OsString>,
    /// One of them is a source itself.
    pub(super) holds_source: bool,
}

/// Where each name leads that is a link; asked once, as many sources share their way.
type Links = HashMap<PathBuf, Option<PathBuf>>;

impl Places {
    pub(super) fn of<'a>(sources: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let (mut places, mut links) = (Self::default(), Links::new());
        for source in sources {
            places.add(&path::absolute(source)?, &mut links);
        }
        Ok(places)
    }

    /// Walks to an absolute path as the kernel would; what is not there yet is no link.
    fn add(&mut self, source: &Path, links: &mut Links) {
        let mut at = PathBuf::from("/");
        let mut left = steps(source);
        let mut followed = 0;
        while let Some(step) = left.pop_front() {
            if step == ".." {
                at.pop();
                continue;
            }
            let name = at.join(&step);
            let folder = self.folders.entry(at.clone()).or_default();
            folder.names.insert(step);
            let target = links
                .entry(name.clone())
                .or_insert_with_key(|name| fs::read_link(name).ok());
            let Some(target) = target else {
                folder.holds_source |= left.is_empty();
                at = name;
                continue;
            };
            if followed == LINKS {
                return;
            }
            followed += 1;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            let mut steps = steps(target);
            steps.append(&mut left);
            left = steps;
        }
    }
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let steps = path.components().filter_map(|step| match step {
        Component::Normal(_) | Component::ParentDir => Some(step.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_the_folders_they_lead_to_are_on_the_way() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = folder.path().canonicalize().expect("it is there");
        fs::create_dir_all(home.join("settings/..1")).expect("created");
        fs::write(home.join("settings/..1/default.toml"), "").expect("written");
        symlink("..1", home.join("settings/..data")).expect("linked");
        let file = home.join("settings/default.toml");
        symlink("..data/default.toml", &file).expect("linked");

        let places = Places::of([file.as_path()]).expect("an absolute path");
        let folder = |path: &str, names: &[&str], holds_source| {
            let names = names.iter().map(OsString::from).collect();
            let folder = Folder {
                names,
                holds_source,
            };
            assert_eq!(places.folders[&home.join(path)], folder, "{path}");
        };
        folder("settings", &["default.toml", "..data", "..1"], false);
        folder("settings/..1", &["default.toml"], true);
        assert!(places.folders[&home].names.contains(OsStr::new("settings")));
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a");
        symlink("a", &file).expect("linked");
        let places = Places::of([file.as_path()]).expect("an absolute path");
        let folder = file.parent().and_then(|path| path.canonicalize().ok());
        let folder = &places.folders[&folder.expect("it is there")];
        assert!(folder.names.contains(OsStr::new("a")));
    }
}
