//! A way to Redis that loses answers: what was sent arrives, and the connection breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct Cut {
    port: u16,
    /// How many answers to scripts are still to be lost.
    lose: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Cut {
    pub async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let lose = Arc::new(AtomicUsize::new(0));
        let to = to.trim_start_matches("redis://").to_owned();
        let task = tokio::spawn({
            let lose = lose.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    if let Ok(server) = TcpStream::connect(&to).await {
                        tokio::spawn(carry(client, server, lose.clone()));
                    }
                }
            }
        });
        Self { port, lose, task }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Loses the answers to the next scripts, one connection each.
    pub fn lose(&self, answers: usize) {
        self.lose.store(answers, Ordering::SeqCst);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, lose: Arc<AtomicUsize>) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut script = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                script |= asked[..length].windows(7).any(|word| word == b"EVALSHA");
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
