//! A TCP proxy for the replicas of a service. Like a Kubernetes Service, it forwards each connection to a running replica.

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

/// A port that forwards connections to the replicas in turn. Closed when dropped.
#[derive(Debug)]
pub(crate) struct TcpProxy {
    port: u16,
    task: JoinHandle<()>,
}

impl TcpProxy {
    pub(crate) async fn start(ports: Vec<u16>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let next = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            while let Ok((mut inbound, _)) = listener.accept().await {
                let (ports, first) = (ports.clone(), next.fetch_add(1, Ordering::Relaxed));
                tokio::spawn(async move {
                    for n in 0..ports.len() {
                        if let Ok(mut outbound) =
                            TcpStream::connect(("127.0.0.1", ports[(first + n) % ports.len()])).await
                        {
                            let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
                            // Ends when either side closes the connection; the other side is then closed too.
                            let _ = copy_bidirectional(&mut inbound, &mut outbound).await;
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

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
