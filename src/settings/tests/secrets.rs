//! Secrets: where they come from, and that nothing shows them.

use super::*;
use std::ffi::OsString;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Safe {
    user: String,
    password: Secret,
    tokens: BTreeMap<String, Option<Secret>>,
    strict: Strict,
}

/// A secret with a check of its own, whose words do not quote it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Secret", into = "Secret")]
struct Strict(Secret);

impl Clone for Strict {
    fn clone(&self) -> Self {
        Strict(self.0.clone())
    }
}

impl From<Strict> for Secret {
    fn from(strict: Strict) -> Secret {
        strict.0
    }
}

impl TryFrom<Secret> for Strict {
    type Error = &'static str;
    fn try_from(secret: Secret) -> Result<Self, Self::Error> {
        match secret.expose().len() {
            0..8 => Err("expected eight characters at least"),
            _ => Ok(Strict(secret)),
        }
    }
}

impl Settings for Safe {
    const NAME: &'static str = "safe";
    type State = ();
    fn check(&self, found: &mut Findings) {
        if self.password.expose().ends_with('!') {
            found.at("password", "a password without an exclamation mark");
        }
    }
    async fn build(&self, _: &Build) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
}

fn sources(folder: &Folder) -> Sources {
    let variables = [("TOKEN", "hunter3"), ("SAFE__APP__TOKENS__B", "hunter4")];
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    folder.sources().variables("SAFE", variables)
}

fn safe(folder: &Folder) -> Loaded<Safe> {
    load(&sources(folder), Baseline::Start, soon()).expect("right settings")
}

fn wrong(folder: &Folder) -> Vec<Diagnostic> {
    let errors = load::<Safe>(&sources(folder), Baseline::Start, soon())
        .expect_err("wrong settings")
        .errors;
    for error in &errors {
        let all = format!("{error} {error:?}");
        assert!(!all.contains("hunter"), "{all}");
    }
    errors
}

const TEXT: &str = "[app]\npassword = \"hunter2\"\n[app.tokens]\na = { env = \"TOKEN\" }\n\
                    c = { file = \"token\" }\n";

#[test]
fn a_secret_is_a_text_a_variable_or_a_file() {
    let folder = Folder::new(TEXT);
    folder.write("token", "hunter5\n");
    let app = safe(&folder).tables.app;
    assert_eq!(app.password.expose(), "hunter2");
    let token = |key: &str| app.tokens[key].as_ref().map(Secret::expose);
    assert_eq!(token("a"), Some("hunter3"));
    assert_eq!(token("b"), Some("hunter4"));
    assert_eq!(token("c"), Some("hunter5"));
    let set = sources(&folder).set("app.password", "{ env = \"TOKEN\" }");
    let app = load::<Safe>(&set, Baseline::Start, soon())
        .expect("right settings")
        .tables
        .app;
    assert_eq!(app.password.expose(), "hunter3");
    // Nothing is read into a text that only looks like a number or a table.
    for text in ["12345678", "[1]", "{ a = 1 }", "true"] {
        let set = sources(&folder).set("app.password", text);
        let app = load::<Safe>(&set, Baseline::Start, soon())
            .expect("right settings")
            .tables
            .app;
        assert_eq!(app.password.expose(), text);
    }
}

#[test]
fn nothing_shows_a_secret() {
    let folder = Folder::new(TEXT);
    folder.write("token", "hunter5\r\n");
    let before = safe(&folder);
    folder.write("default.toml", TEXT.replace("hunter2", "hunter9"));
    folder.write("token", "hunter6");
    let after = safe(&folder);
    let changes = changes(&before.effective, &after.effective);
    let keys: Vec<&str> = changes
        .told
        .iter()
        .map(|change| change.key.as_str())
        .collect();
    assert_eq!(keys, ["app.password", "app.tokens.c"]);
    let shown = [
        format!("{changes:?}"),
        format!("{after:?}"),
        after.effective.to_json().to_string(),
        after.effective.to_toml(true),
        format!("{:?}", after.effective.origins()),
        format!("{:?}", sources(&folder)),
        format!("{:?}", after.tables.app.password),
    ];
    for text in shown {
        assert!(!text.contains("hunter"), "{text}");
    }
    assert_eq!(after.effective.to_json()["app"]["password"], "[redacted]");
}

#[test]
fn the_digest_leaves_secrets_out_and_a_change_of_one_is_a_change() {
    let folder = Folder::new(TEXT);
    folder.write("token", "hunter5");
    let before = safe(&folder).effective;
    assert!(before.has_secrets_of(&safe(&folder).effective));
    folder.write("token", "hunter6");
    let after = safe(&folder).effective;
    assert_eq!(before.digest(&no_files()), after.digest(&no_files()));
    assert!(!before.has_secrets_of(&after));
}

#[test]
fn a_secret_that_comes_or_goes_is_a_change() {
    let folder = Folder::new("");
    let none = safe(&folder).effective;
    folder.write(
        "default.toml",
        "app.password = \"hunter2\"\napp.tokens.a = \"hunter2\"",
    );
    let some = safe(&folder).effective;
    for (from, to) in [(&none, &some), (&some, &none)] {
        assert!(!to.has_secrets_of(from));
        let changes = changes(from, to);
        let keys: Vec<&str> = changes
            .told
            .iter()
            .map(|change| change.key.as_str())
            .collect();
        assert_eq!(keys, ["app.password", "app.tokens.a"]);
    }
}

#[test]
fn the_schema_marks_secrets() {
    let schema = schema::<Safe>();
    let secret = schema.pointer("/$defs/Secret").expect("a definition");
    assert_eq!(secret["writeOnly"], true);
    assert!(shape::has_secrets(&schema));
}

#[test]
fn a_secrets_file_that_changes_after_the_load_is_noticed() {
    let folder = Folder::new(TEXT);
    folder.write("token", "hunter5");
    let loaded = safe(&folder);
    assert!(loaded.stands_still(&sources(&folder)));
    folder.write("token", "hunter6");
    assert!(!loaded.stands_still(&sources(&folder)));
    folder.write("token", "hunter5");
    folder.write("default.toml", "");
    assert!(!loaded.stands_still(&sources(&folder)));
    folder.write("default.toml", TEXT);
    folder.write("local.toml", "");
    assert!(!loaded.stands_still(&sources(&folder)));
}

#[test]
fn errors_name_the_place_and_quote_nothing() {
    let folder = Folder::new(
        "[app]\npassword = { env = \"NOBODY\" }\nstrict = \"hunter2\"\n\
         passwrod = \"hunter2\"\n\
         [app.tokens]\na = 12\nx = { file = \"nowhere\" }\n\
         c = { file = \"/\" }\nd = { env = \"A\", file = \"B\" }\ne = [\"hunter2\"]\n\
         f = { evn = \"hunter2\" }\n",
    );
    let lines: Vec<String> = wrong(&folder).iter().map(ToString::to_string).collect();
    let path = format!("{}/", folder.0.path().display());
    insta::assert_snapshot!(lines.join("\n").replace(&path, ""), @r#"
    default.toml:2:1: app.password: the variable `NOBODY` is not set
    default.toml:3:1: app.strict: expected eight characters at least
    default.toml:4:1: app.passwrod: unknown key (did you mean `password`?)
    default.toml:6:1: app.tokens.a: expected a secret: a text, `{ env = "NAME" }` or `{ file = "PATH" }`
    default.toml:7:1: app.tokens.x: cannot read `nowhere`: no such file or directory
    default.toml:8:1: app.tokens.c: cannot read `/`: not a regular file
    default.toml:9:1: app.tokens.d: expected a secret: a text, `{ env = "NAME" }` or `{ file = "PATH" }`
    default.toml:10:1: app.tokens.e: expected a secret: a text, `{ env = "NAME" }` or `{ file = "PATH" }`
    default.toml:11:1: app.tokens.f: expected a secret: a text, `{ env = "NAME" }` or `{ file = "PATH" }`
    "#);

    let folder = Folder::new("app.password = \"hunter2!\"\n");
    let errors = wrong(&folder);
    let error = errors[0].to_string().replace(&path, "");
    assert!(
        error.ends_with(
            "default.toml:1:5: app.password: expected a password without an exclamation mark"
        ),
        "{error}"
    );
    // A line that holds a secret is never shown whole.
    let folder =
        Folder::new("app = { user = 1, password = \"hunter2\", passwrod = \"hunter2\" }\n");
    assert_eq!(wrong(&folder).len(), 2);
    for text in [
        "app.password = \"hunter2\n",
        "app.password = \"\"\"\nhunter2\\q\n\"\"\"\n",
        "app.password = \"\"\"\nhunter2",
    ] {
        wrong(&Folder::new(text));
    }
    folder.write(
        "default.toml",
        "[app]\npassword = \"hunter\\q2\"\nuser = \"x\n",
    );
    wrong(&folder);
}

/// Where serde reads before it knows that a secret is wanted.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Ahead {
    #[serde(flatten)]
    within: Account,
    tagged: Option<Tagged>,
    untagged: Option<Untagged>,
    list: Vec<Secret>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Account {
    password: Secret,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Tagged {
    Bearer { token: Secret },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Untagged {
    Basic { password: Secret },
    Many(Vec<Secret>),
}

impl Settings for Ahead {
    const NAME: &'static str = "ahead";
    type State = ();
    fn check(&self, found: &mut Findings) {
        if self.within.password.expose().ends_with('!') {
            for key in ["password", "tagged.token", "untagged.1"] {
                found.at(key, "another one");
            }
        }
    }
    async fn build(&self, _: &Build) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
}

#[test]
fn a_secret_that_is_read_ahead_is_one_too() {
    let text = "[app]\npassword = \"hunter1\"\ntagged = { kind = \"bearer\", token = \"hunter2\" }\n\
                untagged = [\"hunter3\", \"hunter4\"]\n";
    let folder = Folder::new(text);
    let read = || load::<Ahead>(&folder.sources(), Baseline::Start, soon());
    let before = read().expect("right settings").effective;
    for (old, key) in [
        ("hunter1", "app.password"),
        ("hunter2", "app.tagged.token"),
        ("hunter4", "app.untagged.1"),
    ] {
        folder.write("default.toml", text.replace(old, "hunter9"));
        let after = read().expect("right settings").effective;
        assert!(!after.has_secrets_of(&before), "{key}");
        let changes = changes(&before, &after).told;
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, [key]);
        assert!(!format!("{changes:?}{after:?}").contains("hunter"), "{key}");
    }
    folder.write("default.toml", text.replace("hunter1", "hunter!"));
    let errors = read().expect_err("its check finds everything wrong").errors;
    assert_eq!(errors.len(), 3, "{errors:?}");
    for error in &errors {
        assert_eq!(error.message, "expected another one");
        assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
    }
}

#[test]
fn a_text_where_secrets_must_be_within_is_not_quoted() {
    let folder =
        Folder::new("[app]\ntagged = \"hunter1\"\nuntagged = \"hunter2\"\nlist = \"hunter3\"\n");
    let wrong = load::<Ahead>(&folder.sources(), Baseline::Start, soon());
    let errors = wrong.expect_err("wrong settings").errors;
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let path = format!("{}/", folder.0.path().display());
    insta::assert_snapshot!(lines.join("\n").replace(&path, ""), @r"
    default.toml:2:1: app.tagged: expected a table, found a text
    default.toml:3:1: app.untagged: expected one of the forms that the schema tells, found a text
    default.toml:4:1: app.list: expected a list, found a text
    ");
    for error in &errors {
        assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
    }
}

#[test]
fn earlier_settings_are_made_again_from_their_texts_with_their_secrets() {
    let folder = Folder::new(TEXT);
    folder.write("token", "hunter5");
    let before = safe(&folder);
    let recipe = before.recipe();
    folder.write("default.toml", "app.password = \"hunter6\"");
    fs::remove_file(folder.0.path().join("token")).expect("removed");
    let again = load::<Safe>(&sources(&folder), Baseline::Again(&recipe), soon());
    let again = again.expect("right settings");
    assert_eq!(again.tables, before.tables);
    assert!(again.effective.is_same_as(&before.effective));
    assert_eq!(again.effective.origins(), before.effective.origins());
    let files = |loaded: &Loaded<Safe>| loaded.effective.secret_files().count();
    assert_eq!((files(&again), files(&before)), (1, 1));
    assert!(!format!("{recipe:?}").contains("hunter"));
}
