//! Where settings come from, seen from a service: YAML, variables, overrides, secrets, and sources
//! that change while they are read.
use super::{reload, wait};
use crate::support::{Address, Conn, eventually, replace};
use actix_web::{App, web};
use everup::{
    Build, Live, Outcome, Running, Secret, Service, Settings, Sources, TriggerKind, site::Site,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{error::Error, ffi::OsString, fs, path::Path};
use tempfile::TempDir;

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Vault {
    message: String,
    password: Secret,
}

/// What the build read beside the settings.
struct Page(String);

impl Settings for Vault {
    const NAME: &'static str = "vault";
    type State = Page;

    /// Reads `page`; where there is a `next` folder, its files take the place of those that are
    /// there in the midst of it.
    async fn build(&self, with: &Build) -> Result<Page, Box<dyn Error>> {
        let folder = with.read(Path::new("folder"))?;
        let folder = Path::new(std::str::from_utf8(&folder)?).to_owned();
        let page = with.read(Path::new("page"))?;
        if let Ok(next) = fs::read_dir(folder.join("next")) {
            for file in next.collect::<Result<Vec<_>, _>>()? {
                fs::rename(file.path(), folder.join(file.file_name()))?;
            }
            fs::remove_dir(folder.join("next"))?;
        }
        Ok(Page(String::from_utf8(page)?))
    }
}

async fn say(vault: Live<Vault>, page: Live<Page>) -> String {
    format!("{} {} {}", vault.message, page.0, vault.password.expose())
}

const YAML: &str = "# Listens where it may.
server:
  workers: 1
  listeners:
    public: {address: \"127.0.0.1:0\"}
admin: {address: \"127.0.0.1:0\"}
app:
  message: one
  password: {file: password}
";

struct Bank {
    folder: TempDir,
    running: Running,
}

impl Bank {
    fn open(more: impl FnOnce(Sources) -> Sources) -> Bank {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path();
        let files = [
            ("default.yaml", YAML),
            ("password", "hunter2\n"),
            ("page", "page"),
            ("folder", path.to_str().expect("UTF-8")),
        ];
        for (name, text) in files {
            fs::write(path.join(name), text).expect("written");
        }
        let service = Service::<Vault>::new(|| App::new().route("/", web::get().to(say)));
        let running = service.start(more(Sources::at(path)));
        let running = running.unwrap_or_else(|errors| panic!("does not start: {errors:?}"));
        Bank { folder, running }
    }

    fn write(&self, name: &str, text: &str) {
        replace(&self.folder.path().join(name), text);
    }

    fn get(&self) -> String {
        let address: Address = self.running.address("public").expect("it listens").into();
        Conn::open(&address).get("/").text()
    }

    fn reload(&self) -> serde_json::Value {
        reload(&self.running.control())
    }

    fn digest(&self) -> String {
        let status = wait(self.running.control().status()).expect("the service runs");
        status.digest.to_string()
    }
}

fn variables(sources: Sources) -> Sources {
    let variables = [("VAULT__APP__MESSAGE", "variable"), ("PASSWORD", "hunter3")];
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    sources.variables("VAULT", variables)
}

#[test]
fn a_new_text_in_a_secrets_file_is_a_change_that_shows_nothing() {
    let bank = Bank::open(|sources| sources);
    assert_eq!(bank.get(), "one page hunter2");
    let digest = bank.digest();
    assert_eq!(bank.reload()["outcome"], "unchanged");
    bank.write("password", "hunter4\n");
    let attempt = bank.reload();
    assert_eq!(attempt["outcome"], "applied", "{attempt:#}");
    let change = &attempt["changes"][0];
    assert_eq!(change["key"], "app.password");
    assert_eq!(
        (&change["from"], &change["to"]),
        (&"[redacted]".into(), &"[redacted]".into())
    );
    assert!(!attempt.to_string().contains("hunter"), "{attempt:#}");
    assert_eq!(bank.digest(), digest, "secrets are not in it");
    assert_eq!(bank.get(), "one page hunter4");
    fs::remove_file(bank.folder.path().join("password")).expect("removed");
    let attempt = bank.reload();
    assert_eq!(attempt["outcome"], "rejected", "{attempt:#}");
    let error = &attempt["errors"][0];
    assert_eq!(error["key"], "app.password");
    let origin = error["origin"].as_str().expect("a place");
    assert!(origin.ends_with("default.yaml:9:3"), "{origin}");
    assert_eq!(bank.get(), "one page hunter4");
}

#[test]
fn a_change_that_a_variable_hides_is_reported_as_shadowed() {
    let bank = Bank::open(variables);
    assert_eq!(bank.get(), "variable page hunter2");
    bank.write("default.yaml", &YAML.replace("one", "two"));
    let attempt = bank.reload();
    assert_eq!(attempt["outcome"], "unchanged", "{attempt:#}");
    let shadowed = &attempt["shadowed"];
    assert_eq!(shadowed.as_array().map(Vec::len), Some(1), "{attempt:#}");
    assert_eq!(shadowed[0]["key"], "app.message");
    assert_eq!(shadowed[0]["by"], "VAULT__APP__MESSAGE");
    let origin = shadowed[0]["origin"].as_str().expect("a place");
    assert!(origin.ends_with("default.yaml:8:12"), "{origin}");
    let again = wait(bank.running.control().reload()).expect("the service runs");
    let line = again.to_string();
    let told = ", shadowed: 1 change (app.message by VAULT__APP__MESSAGE), by ";
    assert!(line.contains(told), "{line}");
    bank.write(
        "default.yaml",
        &YAML
            .replace("one", "two")
            .replace("{file: password}", "{env: PASSWORD}"),
    );
    let attempt = bank.reload();
    assert_eq!(attempt["outcome"], "applied", "{attempt:#}");
    assert_eq!(attempt["shadowed"], *shadowed);
    assert_eq!(bank.get(), "variable page hunter3");
}

#[test]
fn settings_that_change_while_the_state_is_built_are_read_again() {
    let bank = Bank::open(|sources| sources);
    let next = bank.folder.path().join("next");
    fs::create_dir(&next).expect("made");
    fs::write(next.join("default.yaml"), YAML.replace("one", "three")).expect("written");
    fs::write(next.join("page"), "new").expect("written");
    bank.write("default.yaml", &YAML.replace("one", "two"));
    let attempt = bank.reload();
    assert_eq!(attempt["outcome"], "applied", "{attempt:#}");
    assert_eq!(
        attempt["generation"], 2,
        "two and the new page were never one"
    );
    let changes = attempt["changes"].as_array().expect("a list").iter();
    let changes: Vec<_> = changes
        .map(|change| (&change["key"], &change["to"]))
        .collect();
    let page = bank.folder.path().join("page");
    assert_eq!(changes[0].0, "app", "no setting names the page");
    assert_eq!(changes[0].1["path"], page.to_str().expect("text"));
    assert_eq!(changes[1..], [(&"app.message".into(), &"three".into())]);
    assert_eq!(bank.get(), "three new hunter2");
}

/// A service that serves files beside its own secret.
#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Shelf {
    password: Secret,
    site: Site,
}

impl Settings for Shelf {
    const NAME: &'static str = "shelf";
    type State = <Site as Settings>::State;

    async fn build(&self, with: &Build) -> Result<Self::State, Box<dyn Error>> {
        self.site.build(with).await
    }
}

#[test]
fn a_directory_that_holds_a_secret_is_not_served() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("settings")).expect("made");
    fs::create_dir_all(path("public/keys")).expect("made");
    fs::write(path("public/keys/password"), "hunter2\n").expect("written");
    let started = |secret: &str| {
        let text = format!(
            "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"\"\n\
             [app]\npassword = {secret}\n[app.site.routes.\"/{{rest}}*\"]\nfiles = \"../public\"\n"
        );
        fs::write(path("settings/default.toml"), text).expect("written");
        let service = Service::<Shelf>::new(App::new);
        service.start(Sources::at(path("settings")))
    };
    let refused = started("{ file = \"../public/keys/password\" }");
    let errors = refused.err().expect("it would be served");
    let told = "/public` holds the secret";
    assert!(errors[0].message.contains(told), "{errors:?}");
    assert!(started("\"hunter2\"").is_ok(), "it is in no file there");
}

#[test]
fn the_file_of_a_secret_is_watched_wherever_it_is() {
    let bank = Bank::open(|sources| sources.set("reload.watch", "true"));
    let name = |file: &str| bank.write("default.yaml", &YAML.replace("file: password", file));
    let wait_outcome = |outcome: Outcome| {
        eventually("an attempt", || {
            let status = wait(bank.running.control().status()).ok()?;
            let reload = status.last_reload?;
            let is_it = reload.outcome == outcome && reload.trigger.kind == TriggerKind::Watch;
            is_it.then_some(())
        });
    };
    let wait_secret = |text: &str| {
        let text = format!("one page {text}");
        eventually(&text, || (bank.get() == text).then_some(()));
    };
    bank.write("password", "hunter4\n");
    wait_secret("hunter4");
    bank.write("other", "hunter4\n");
    name("file: other");
    wait_outcome(Outcome::Unchanged);
    bank.write("other", "hunter5\n");
    wait_secret("hunter5");
    name("file: absent");
    wait_outcome(Outcome::Rejected);
    bank.write("absent", "hunter6\n");
    wait_secret("hunter6");
}
