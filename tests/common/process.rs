//! A child process that ends with its owner.

use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub struct Process {
    child: Mutex<Child>,
    id: u32,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            id: child.id(),
            child: Mutex::new(child),
        }
    }

    /// Sends a signal, such as `STOP`, to the process if it is still there.
    pub fn signal(&self, name: &str) {
        if !self.has_ended() {
            signal(self.id, name);
        }
    }

    pub fn kill(&self) {
        let mut child = self.child.lock().expect("not poisoned");
        let _ = child.kill();
        let _ = child.wait();
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether the process has ended.
    pub fn has_ended(&self) -> bool {
        let mut child = self.child.lock().expect("not poisoned");
        matches!(child.try_wait(), Ok(Some(_)))
    }

    /// How the process has ended, if it has.
    pub fn status(&self) -> Option<std::process::ExitStatus> {
        let mut child = self.child.lock().expect("not poisoned");
        child.try_wait().expect("a child")
    }

    /// Gives the process a moment to end by itself, then ends it.
    pub fn finish(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
    }
}

/// Sends a signal to a process that may be gone.
pub fn signal(id: u32, name: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(id.to_string())
        .output();
    sent.expect("kill");
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
