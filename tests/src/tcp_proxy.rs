//! What stands before the replicas of a service, as a Kubernetes Service does: a connection goes to one that lives.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A port that leads to replicas in turn.
#[derive(Debug)]
pub(crate) struct Door {
    port: u16,
    task: JoinHandle<()>,
}

impl Door {
    pub(crate) async fn open(ports: Vec<u16>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let next = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (ports, first) = (ports.clone(), next.fetch_add(1, Ordering::Relaxed));
                tokio::spawn(async move {
                    for n in 0..ports.len() {
                        if let Ok(mut to) = TcpStream::connect(("127.0.0.1", ports[(first + n) % ports.len()])).await {
                            let _ = (from.set_nodelay(true), to.set_nodelay(true));
                            // It ends when either side hangs up, which the other side is told by it.
                            let _ = copy_bidirectional(&mut from, &mut to).await;
                            return;
                        }
                    }
                });
            }
        });
        Ok(Self { port, task })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}
