//! Events between services: envelope, port to a broker, outbox relay, inbox.
//!
//! A write and the event that tells of it are one transaction ([`outbox`]); the [`Relay`] publishes;
//! a consumer records what took effect in the transaction of the effect ([`inbox`]). So every hop is
//! at-least-once with effects exactly once, on any broker. Payload types stay with the publisher;
//! consumers read tolerantly.

mod consumer;
mod embedded;
mod event;
pub mod inbox;
pub mod outbox;
mod relay;

use std::sync::Arc;

pub use consumer::{Failure, Handler};
pub use embedded::Embedded;
pub use event::{Event, NewEvent};
pub use outbox::Outgoing;
pub use relay::{CRASH_POINTS, Relay};

use chassis::Context;

/// The tables of [`outbox`] and [`inbox`], to be migrated together with a service's own.
pub const MIGRATIONS: &[db::Migration] =
    &[db::Migration { version: 1, name: "outbox and inbox", sql: include_str!("../migrations/outbox_inbox.sql") }];

/// The broker, whichever the URL names.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Embedded>);

/// Why a broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL names no broker.
    #[error("`{0}` is no bus URL: embedded:PATH")]
    Url(String),
    /// The embedded log's database failed.
    #[error("the embedded bus failed")]
    Log(#[from] db::Error),
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopped,
}

impl Bus {
    /// Opens the bus that the URL names: `embedded:PATH` is a durable log in that SQLite file.
    pub async fn open(url: &str, ctx: &Context) -> Result<Self, Error> {
        let path =
            url.strip_prefix("embedded:").filter(|path| !path.is_empty()).ok_or_else(|| Error::Url(url.to_owned()))?;
        Ok(Self(Arc::new(Embedded::open(path, ctx).await?)))
    }

    /// Makes messages durable at the broker, in their order.
    pub async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), Error> {
        self.0.publish(messages).await
    }

    /// Gives a group's messages of some topics to a handler, each at least once, those of one key in
    /// their order, until the process stops. A group goes on where it was.
    pub fn subscribe<H: Handler>(
        &self,
        ctx: &Context,
        group: &'static str,
        topics: &'static [&'static str],
        handler: H,
    ) {
        ctx.spawn("consumer", consumer::run(ctx.clone(), Arc::clone(&self.0), group, topics, handler));
    }
}
