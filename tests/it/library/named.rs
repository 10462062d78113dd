//! Files that an author's settings name: what is said where they cannot be read, and of changes.
use super::wait;
use actix_web::App;
use everup::{Build, Diagnostic, Fault, Findings, Running, Service, Settings, Sources, StopMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// An author's settings that name a file, and a directory of files that the build chooses.
#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Library {
    list: PathBuf,
    pages: PathBuf,
    /// How an error of reading is passed on: `wrapped`, `found`, else as it is.
    errors: String,
}

/// An error of the author's own, with its source.
#[derive(Debug)]
struct Wrapped(io::Error);

impl fmt::Display for Wrapped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("no books")
    }
}

impl Error for Wrapped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl Settings for Library {
    const NAME: &'static str = "library";
    type State = ();

    async fn build(&self, build: &Build) -> Result<(), Box<dyn Error>> {
        if let Err(error) = build.read(&self.list) {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            return Err(match &*self.errors {
                "wrapped" => Wrapped(error).into(),
                "found" => {
                    let mut found = Findings::default();
                    found.unreadable("list", &error);
                    found.into()
                }
                _ => error.into(),
            });
        }
        let page = build.read(&self.pages.join("one.html"))?;
        if page.is_empty() {
            build.warn("pages", "the first page is empty");
        }
        Ok(())
    }
}

fn start(folder: &Path) -> Result<Running, Vec<Diagnostic>> {
    Service::<Library>::new(App::new).start(Sources::at(folder.join("settings")))
}

/// A settings folder with a list and a page.
fn folder(more: &str) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let settings = folder.path().join("settings");
    fs::create_dir_all(settings.join("pages")).expect("made");
    let text = format!(
        "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"\"\n\
         [app]\nlist = \"list.txt\"\npages = \"pages\"\n{more}\n"
    );
    fs::write(settings.join("default.toml"), text).expect("written");
    fs::write(settings.join("list.txt"), "a").expect("written");
    fs::write(settings.join("pages/one.html"), "b").expect("written");
    folder
}

#[test]
fn a_file_that_a_build_cannot_read_is_a_fault_of_the_setting_that_names_it() {
    for errors in ["", "wrapped", "found"] {
        let folder = folder(&format!("errors = \"{errors}\""));
        let list = folder.path().join("settings/list.txt");
        fs::remove_file(&list).expect("it is there");
        let found = start(folder.path()).err().expect("the list is missing");
        let [error] = &found[..] else {
            panic!("{found:#?}");
        };
        assert_eq!(
            (error.kind, &*error.key),
            (Fault::Settings, "app.list"),
            "{errors}"
        );
        let place = error.place.as_ref().expect("it has a place").to_string();
        assert!(place.ends_with("default.toml:6:8"), "{place}");
        let says = format!(
            "cannot read `{}`: no such file or directory",
            list.display()
        );
        assert!(
            error.message.ends_with(&says),
            "{errors}: {}",
            error.message
        );
    }
}

#[test]
fn a_file_beneath_a_directory_that_a_setting_names_is_a_change_of_that_setting() {
    let folder = folder("");
    let running = start(folder.path()).expect("it starts");
    assert!(running.address("public").is_some());
    let page = folder.path().join("settings/pages/one.html");
    fs::write(&page, "").expect("written");
    let attempt = wait(running.control().reload()).expect("it runs");
    let keys: Vec<_> = attempt.changes.iter().map(|change| &*change.key).collect();
    assert_eq!(keys, ["app.pages"]);
    assert_eq!(attempt.changes[0].to["path"], page.to_str().expect("text"));
    let warnings = wait(running.control().status()).expect("it runs").warnings;
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert_eq!(
        (&*warnings[0].key, &*warnings[0].message),
        ("app.pages", "the first page is empty")
    );
    running.control().stop(StopMode::Graceful);
}
