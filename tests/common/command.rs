//! The real binary, as somebody at a terminal runs it.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::eventually;

/// The binary with these arguments, and nothing of our environment that it would read.
pub fn usher(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
    command
        .args(arguments)
        .env_remove("USHER_CONFIG")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end: exit code, standard output, standard error.
#[track_caller]
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    said(&usher(arguments).output().unwrap())
}

/// What a command that ended has said.
pub fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

type Text = Arc<Mutex<Vec<u8>>>;

/// A command under way; it is killed when dropped.
pub struct Running {
    child: Child,
    out: Text,
    err: Text,
}

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (
            collect(child.stdout.take().unwrap()),
            collect(child.stderr.take().unwrap()),
        );
        Self { child, out, err }
    }

    /// What it wrote to standard output so far.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.out.lock().unwrap()).into_owned()
    }

    /// What it wrote to standard error so far.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.err.lock().unwrap()).into_owned()
    }

    /// The address in the first event with this message.
    #[track_caller]
    pub fn address(&self, message: &str) -> SocketAddr {
        eventually(message, || {
            let err = self.err();
            let mut events = err
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let event = events.find(|event| event["message"] == message)?;
            event["address"].as_str()?.parse().ok()
        })
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The events so far, with all their fields.
    pub fn events(&self) -> Vec<Value> {
        let err = self.err();
        let events = err
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        events.collect()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        eventually("the end of the command", || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Text {
    let text = Text::default();
    let shared = text.clone();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            shared.lock().unwrap().extend_from_slice(&piece[..count]);
        }
    });
    text
}
