//! Which names lead to a source: its own, and each link and folder on the way.

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::OsString,
    fs, io,
    path::{self, Component, Path, PathBuf},
};

use super::Paths;

/// Links that a path may lead through, as the kernel has it (path_resolution(7)).
const LINKS: usize = 40;

/// Where a change counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Each name on the way, in the folder that really holds it.
    pub(super) names: Paths,
    /// The folders that really hold a source.
    pub(super) holders: Paths,
}

impl Places {
    pub(super) fn of<'a>(sources: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let mut places = Self::default();
        for source in sources {
            places.add(&path::absolute(source)?);
        }
        Ok(places)
    }

    /// The folders to watch.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        let folders: BTreeSet<&Path> = self.names.iter().filter_map(|name| name.parent()).collect();
        folders.into_iter()
    }

    /// Walks to an absolute path as the kernel would; what is not there yet is no link.
    fn add(&mut self, source: &Path) {
        let mut at = PathBuf::from("/");
        let mut left = steps(source);
        let mut links = 0;
        while let Some(step) = left.pop_front() {
            if step == ".." {
                at.pop();
                continue;
            }
            let name = at.join(&step);
            match fs::read_link(&name) {
                Ok(_) if links == LINKS => return,
                Ok(target) => {
                    links += 1;
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    let mut steps = steps(&target);
                    steps.append(&mut left);
                    left = steps;
                }
                Err(_) => at.clone_from(&name),
            }
            self.names.insert(name);
        }
        self.holders.extend(at.parent().map(Path::to_owned));
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
        for name in ["default.toml", "..data", "..1", "..1/default.toml"] {
            assert!(places.names.contains(&home.join("settings").join(name)));
        }
        assert!(places.names.contains(&home.join("settings")));
        assert!(!places.names.contains(&home.join("settings/log")));
        assert_eq!(places.holders, [home.join("settings/..1")].into());
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a");
        symlink("a", &file).expect("linked");
        let places = Places::of([file.as_path()]).expect("an absolute path");
        assert!(places.names.iter().any(|name| name.ends_with("a")));
    }
}
