//! A way to a server that loses answers: what was sent arrives, and the connection breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct Cut {
    port: u16,
    /// How many answers to what holds the word are still to be lost.
    lose: Arc<AtomicUsize>,
    task: JoinHandle<()>,
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
        let lose = Arc::new(AtomicUsize::new(0));
        let to = to.to_owned();
        let task = tokio::spawn({
            let lose = lose.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    if let Ok(server) = TcpStream::connect(&to).await {
                        tokio::spawn(carry(client, server, word, lose.clone()));
                    }
                }
            }
        });
        Self { port, lose, task }
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
        self.lose.store(answers, Ordering::SeqCst);
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
    lose: Arc<AtomicUsize>,
) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut script = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                script |= asked[..length].windows(word.len()).any(|found| found == word);
                if server.write_all(&asked[..length]).await.is_err() { return }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                let lost = |left: usize| left.checked_sub(1);
                if script && lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lost).is_ok() {
                    return;
                }
                script = false;
                if client.write_all(&answered[..length]).await.is_err() { return }
            }
        }
    }
}
