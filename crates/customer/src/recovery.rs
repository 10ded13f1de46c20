//! Keeping up with the store: what other replicas have ended, and what somebody began and died over.

use std::sync::Arc;
use std::time::Duration;

use bus::Relay;
use chassis::Context;

use crate::error::Error;
use crate::store::Store;
use crate::tokens::Tokens;

/// How long a token may go on here that another replica has ended.
const LOOK: Duration = Duration::from_secs(2);
/// How many looks it takes until unfinished work is looked for. Whoever meets it earlier finishes it anyway.
const RESUME_EVERY: u32 = 5;

/// Follows the store until the process stops.
pub(crate) fn start(ctx: &Context, store: Arc<dyn Store>, tokens: Tokens, relay: Relay) {
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
                        tracing::info!(finished, "finished what somebody had begun");
                        relay.wake();
                    }
                    failing = false;
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = &error as &dyn std::error::Error, "cannot follow the store");
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

async fn look(store: &dyn Store, tokens: &Tokens, resume: bool) -> Result<u64, Error> {
    tokens.follow_revoked().await?;
    if resume { store.resume().await } else { Ok(0) }
}
