//! Periodic reads of the store: tokens that other replicas revoked, and operations that a crash interrupted.

use std::sync::Arc;
use std::time::Duration;

use bus::Relay;
use chassis::Context;

use crate::error::Error;
use crate::store::Store;
use crate::tokens::Tokens;

/// How long a token that another replica revoked may still be accepted here.
const LOOK: Duration = Duration::from_secs(2);
/// Rounds between two searches for interrupted operations; a call that meets one earlier finishes it anyway.
const RESUME_EVERY: u32 = 5;

/// Reads the store periodically until the process stops.
pub(crate) fn start(ctx: &Context, store: Arc<Store>, tokens: Tokens, relay: Relay) {
    let shutdown = ctx.shutdown.clone();
    let succeeded = upkeep::LastSuccess::of(ctx, "follow");
    ctx.spawn("follow", async move {
        let mut failing = false;
        for round in 0_u32.. {
            match look(store.as_ref(), &tokens, round % RESUME_EVERY == 0).await {
                Ok(finished) => {
                    succeeded.now();
                    if failing {
                        tracing::info!("the store answers again");
                    }
                    if finished > 0 {
                        tracing::info!(finished, "finished interrupted operations");
                        relay.wake();
                    }
                    failing = false;
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = &error as &dyn std::error::Error, "cannot read the store");
                    }
                    failing = true;
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
}

async fn look(store: &Store, tokens: &Tokens, resume: bool) -> Result<u64, Error> {
    tokens.follow_revoked().await?;
    if resume { store.resume().await } else { Ok(0) }
}
