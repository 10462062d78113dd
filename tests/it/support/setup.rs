//! How the program is started: its settings folder, its arguments, its variables, the shell before it.
use super::{Program, program::code};
use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::geteuid;
use std::{
    ffi::OsString,
    fs,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::PathBuf,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// How a program is to be started.
pub struct Setup {
    home: TempDir,
    program: PathBuf,
    environment: Vec<(String, OsString)>,
    args: Vec<OsString>,
    shell: Vec<String>,
    passed: Vec<OwnedFd>,
    input: Option<OwnedFd>,
    named: bool,
    apart: bool,
    user: Option<u32>,
}

impl Setup {
    /// With this `default.toml`; a public listener and an admin on port 0 are added unless it has its own.
    pub fn new(settings: &str) -> Self {
        Self::raw(complete(settings).as_bytes())
    }

    /// With exactly these bytes as `default.toml`.
    pub fn raw(settings: &[u8]) -> Self {
        let setup = Self::empty();
        setup.file("default.toml", settings)
    }

    /// With an empty settings folder.
    pub fn empty() -> Self {
        let home = TempDir::new().expect("a temporary folder");
        fs::create_dir(home.path().join("settings")).expect("a settings folder");
        Self {
            home,
            program: env!("CARGO_BIN_EXE_everup").into(),
            environment: Vec::new(),
            args: Vec::new(),
            shell: Vec::new(),
            passed: Vec::new(),
            input: None,
            named: true,
            apart: false,
            user: None,
        }
    }

    /// Another file of the settings folder.
    pub fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        fs::write(self.settings().join(name), bytes).expect("write a settings file");
        self
    }

    pub fn settings(&self) -> PathBuf {
        self.home.path().join("settings")
    }

    /// The folder that it works in.
    pub fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// Starts a copy of the program, in its own folder: what is at that path can be replaced.
    pub fn copied(mut self) -> Self {
        let copy = self.home().join("everup");
        super::install(&self.program, &copy);
        self.program = copy;
        self
    }

    /// Starts a copy of the program as a user who has no other process, where the test is root: some limits do not bind
    /// root.
    pub fn unprivileged(mut self) -> Self {
        if geteuid().is_root() {
            let user = 1_000_000 + std::process::id();
            self = self.copied();
            let status = Command::new("chown")
                .arg("-R")
                .arg(format!("{user}:{user}"))
                .arg(self.home.path())
                .status();
            assert!(status.is_ok_and(|status| status.success()), "chown");
            self.user = Some(user);
        }
        self
    }

    /// Starts this program, looked for in `PATH` where it has no slash.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// In a process group of its own. The kernel drops the stops of job control where no shell could
    /// undo them: in a group whose parents are all in other sessions, as the test's own may be.
    pub fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Leaves `--settings settings` to the test.
    pub fn unnamed(mut self) -> Self {
        self.named = false;
        self
    }

    /// A shell command to be run before the program takes the shell's place, such as `ulimit -n 64`.
    pub fn shell(mut self, command: &str) -> Self {
        self.shell.push(command.into());
        self
    }

    /// Passes these sockets, as the service manager would (sd_listen_fds(3)).
    pub fn passed<T: Into<OwnedFd>>(mut self, sockets: impl IntoIterator<Item = T>) -> Self {
        self.passed = sockets.into_iter().map(Into::into).collect();
        let count = self.passed.len();
        self.shell(&format!("export LISTEN_PID=$$ LISTEN_FDS={count}"))
    }

    /// Gives it this standard input.
    pub fn input(mut self, input: OwnedFd) -> Self {
        self.input = Some(input);
        self
    }

    /// The program as a process to be, in its folder, with no variable of ours but those of the shell.
    fn command(&self) -> Command {
        let program = &self.program;
        let mut command = if self.shell.is_empty() {
            Command::new(program)
        } else {
            let mut command = Command::new("sh");
            command
                .arg("-c")
                .arg(format!(r#"{}; exec "$0" "$@""#, self.shell.join("; ")))
                .arg(program);
            command
        };
        if self.named {
            command.args(["--settings", "settings"]);
        }
        for name in [
            "EVERUP_PROFILE",
            "RUNTIME_DIRECTORY",
            "STATE_DIRECTORY",
            "LOGS_DIRECTORY",
            "NOTIFY_SOCKET",
            "LISTEN_PID",
            "LISTEN_FDS",
            "LISTEN_FDNAMES",
        ] {
            command.env_remove(name);
        }
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(&self.args)
            .current_dir(self.home.path())
            .stdin(match &self.input {
                Some(input) => input.try_clone().expect("a descriptor").into(),
                None => Stdio::null(),
            });
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        if self.apart {
            command.process_group(0);
        }
        let passed = self
            .passed
            .iter()
            .zip(3..)
            .map(|(socket, child_fd)| FdMapping {
                parent_fd: socket.try_clone().expect("a descriptor"),
                child_fd,
            });
        command
            .fd_mappings(passed.collect())
            .expect("each has its own");
        command
    }

    /// Starts it and does not wait.
    pub fn spawn(self) -> Program {
        let child = self
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        Program::of(child, self.home)
    }

    /// Starts it and waits until it serves.
    pub fn serve(self) -> Program {
        let mut program = self.spawn();
        program.wait_serving();
        program
    }

    /// Runs a command that ends, such as `check`, with the settings folder where it looks itself.
    pub fn ask(mut self, args: &[&str]) -> Ran {
        self.named = false;
        self.args.extend(args.iter().map(OsString::from));
        let output = self.command().output().expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints text");
        Ran {
            code: code(output.status),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Starts it, waits for its end, and tells its exit code and log.
    pub fn run(self) -> (i32, String) {
        let mut program = self.spawn();
        let code = program.wait_exit();
        (code, program.log())
    }
}

/// A command that ended: its exit code, and what it wrote to standard output and standard error.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// With a public listener and an admin, on port 0, where the text names none.
pub(super) fn complete(settings: &str) -> String {
    let mut text = settings.trim_end().to_owned();
    if !settings.contains("[server.listeners") {
        text.push_str("\n[server.listeners.public]\naddress = \"127.0.0.1:0\"");
    }
    if !settings.contains("[admin]") {
        text.push_str("\n[admin]\naddress = \"127.0.0.1:0\"");
    }
    text.push('\n');
    text
}
