//! A way to a server that loses what goes through it: an answer to what arrived, a question that then
//! never arrives, or a question that is answered with an error in the server's place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct Cut {
    port: u16,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Faults {
    /// How many answers to what holds the word are still to be lost.
    lose: AtomicUsize,
    /// How many questions that hold the word are still to be lost.
    withhold: AtomicUsize,
    /// What is said to whoever asks something that holds the word.
    refuse: Mutex<Option<String>>,
}

impl Cut {
    /// Before Redis; what can be lost are answers to scripts.
    pub async fn start(to: &str) -> Self {
        Self::before(to.trim_start_matches("redis://"), b"EVALSHA").await
    }

    /// Before any server at this address; what can be lost are answers to what holds `word`.
    pub async fn before(to: &str, word: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let faults = Arc::<Faults>::default();
        let to = to.to_owned();
        let task = tokio::spawn({
            let faults = faults.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    if let Ok(server) = TcpStream::connect(&to).await {
                        tokio::spawn(carry(client, server, word, faults.clone()));
                    }
                }
            }
        });
        Self { port, faults, task }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Loses the answers to the next such questions, one connection each.
    pub fn lose(&self, answers: usize) {
        self.faults.lose.store(answers, Ordering::SeqCst);
    }

    /// Loses the next such questions before they arrive, and the connection of each with it.
    pub fn withhold(&self, questions: usize) {
        self.faults.withhold.store(questions, Ordering::SeqCst);
    }

    /// Answers such questions with this error of Redis from now on, in its place; or no longer.
    pub fn refuse(&self, error: Option<&str>) {
        let error = error.map(|text| format!("-{text}\r\n"));
        *self.faults.refuse.lock().expect("not poisoned") = error;
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    word: &'static [u8],
    faults: Arc<Faults>,
) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut script = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                let holds = asked[..length].windows(word.len()).any(|found| found == word);
                if holds && take(&faults.withhold) {
                    return;
                }
                let refusal = faults.refuse.lock().expect("not poisoned").clone();
                if let Some(error) = refusal.filter(|_| holds) {
                    if client.write_all(error.as_bytes()).await.is_err() { return }
                    continue;
                }
                script |= holds;
                if server.write_all(&asked[..length]).await.is_err() { return }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if script && take(&faults.lose) {
                    return;
                }
                script = false;
                if client.write_all(&answered[..length]).await.is_err() { return }
            }
        }
    }
}

/// Whether there is one more to lose.
fn take(left: &AtomicUsize) -> bool {
    let one_less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
        .is_ok()
}
