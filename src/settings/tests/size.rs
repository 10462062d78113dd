//! Much of everything: large settings load fast, and what is too large or no file at all is an error
//! at once. Times are asserted where the compiler optimizes, and as the processor's, which a busy
//! machine leaves alone: `cargo test --release settings::tests::size`.

use super::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// Routes of large settings; fewer where nothing is optimized, so that the suite stays quick.
const ROUTES: usize = if cfg!(debug_assertions) {
    2_000
} else {
    100_000
};

/// How much of the processor's time one load may take: half of it, where nobody else uses its caches.
const CEILING: Duration = Duration::from_secs(2);

/// The clock is the whole process's: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let clock = || {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
    };
    let begun = clock();
    let done = work();
    let took = clock() - begun;
    drop(alone);
    println!("{what}: {took:?}");
    assert!(cfg!(debug_assertions) || took < CEILING, "{what}: {took:?}");
    done
}

/// Routes as a site has them; every `wrong`th has a number for a text.
fn routes(ending: &str, wrong: usize) -> String {
    let mut text = String::new();
    for number in 0..ROUTES {
        let is_wrong = wrong > 0 && number % wrong == 0;
        let body = if is_wrong {
            "7".to_owned()
        } else {
            format!("\"route {number}\"")
        };
        let comma = if number == 0 { "" } else { "," };
        match ending {
            "toml" => writeln!(
                text,
                "[app.routes.\"/r/{number}\"]\nbody = {body}\nstatus = 200"
            ),
            "yaml" => writeln!(
                text,
                "    /r/{number}:\n      body: {body}\n      status: 200"
            ),
            _ => writeln!(
                text,
                "{comma}\"/r/{number}\": {{\"body\": {body}, \"status\": 200}}"
            ),
        }
        .expect("a text takes all that is written");
    }
    match ending {
        "toml" => text,
        "yaml" => format!("app:\n  routes:\n{text}"),
        _ => format!("{{\"app\": {{\"routes\": {{{text}}}}}}}"),
    }
}

#[test]
fn many_routes_load_well_below_a_second() {
    for ending in ["toml", "yaml", "json"] {
        let folder = Folder::empty();
        folder.write(&format!("default.{ending}"), routes(ending, 0));
        let loaded = timed(ending, || folder.loaded());
        assert_eq!(loaded.tables.app.routes.len(), ROUTES);
        folder.write("local.toml", "app.routes.\"/r/1\".status = 201");
        let next = timed("two layers", || folder.loaded());
        let changes = timed("changes", || changes(&loaded.effective, &next.effective));
        assert_eq!(changes.told.len(), 1);
        let shown = timed("to_toml", || next.effective.to_toml(true));
        assert!(shown.len() > ROUTES);
    }
}

#[test]
fn a_small_load_is_a_matter_of_microseconds() {
    let folder = Folder::new("[app]\nmessage = \"a\"\n");
    folder.loaded();
    timed("a small load", || folder.loaded());
    timed("the schema", schema::<Demo>);
}

#[test]
fn twenty_errors_in_many_routes_are_told_below_a_second() {
    for ending in ["toml", "yaml", "json"] {
        let folder = Folder::empty();
        folder.write(&format!("default.{ending}"), routes(ending, ROUTES / 20));
        let errors = timed(ending, || folder.errors());
        assert_eq!(errors.len(), 20, "{ending}");
    }
}

#[test]
fn a_file_that_is_too_large_is_an_error_at_once() {
    let folder = Folder::empty();
    for ending in ["toml", "yaml", "json"] {
        let path = folder.0.path().join(format!("default.{ending}"));
        let file = fs::File::create(&path).expect("a file");
        file.set_len(100 * 1024 * 1024).expect("a sparse file");
        let errors = timed("100 MiB", || folder.errors());
        assert_eq!(errors, [format!("default.{ending}: larger than 16 MiB")]);
        // As large as may be, and nonsense.
        for nonsense in ["\0", "[", "{", "a.", "\"", "- ", "a: ", "9", "\n", "#"] {
            let size = if cfg!(debug_assertions) {
                1 << 16
            } else {
                16 << 20
            };
            let text = nonsense.repeat(size / nonsense.len());
            folder.write(&format!("default.{ending}"), &text);
            let what = format!("{ending} {nonsense:?}");
            let is_right = nonsense == "\n" || (nonsense == "#" && ending != "json");
            let loads = timed(&what, || {
                load::<Demo>(&folder.sources(), Baseline::Start, soon()).is_ok()
            });
            assert_eq!(loads, is_right && ending != "json", "{what}");
        }
        fs::remove_file(path).expect("removed");
    }
}

#[test]
fn a_folder_of_many_other_files_is_no_matter() {
    let folder = Folder::new("app.message = \"a\"");
    let many = if cfg!(debug_assertions) { 500 } else { 10_000 };
    for number in 0..many {
        folder.write(&format!("{number}.toml"), "nonsense");
    }
    timed("many files", || folder.loaded());
}

#[test]
fn what_is_no_file_is_an_error_in_each_format() {
    for ending in ["toml", "yaml", "yml", "json"] {
        let name = format!("local.{ending}");
        let folder = Folder::empty();
        let path = folder.0.path().join(&name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
        let expected = [format!("{name}: not a regular file")];
        assert_eq!(timed("fifo", || folder.errors()), expected);
        let itself = load::<Demo>(&Sources::at(&path), Baseline::Start, soon())
            .expect_err("a fifo")
            .errors;
        assert_eq!(itself[0].message, "not a regular file");
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("a folder");
        assert_eq!(folder.errors(), expected);
    }
}

#[test]
fn what_may_not_be_read_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("");
    let path = folder.0.path().join("default.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).expect("changed");
    if fs::read(&path).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    assert_eq!(folder.errors(), ["default.toml: permission denied"]);
}
