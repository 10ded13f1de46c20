//! PostgreSQL 15 and later.

use std::{str::FromStr, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool, Postgres, SqlSafeStr as _, Transaction,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use crate::{Error, Options, Result};

/// Maximum number of connections of a service in one process, unless the URL sets `pool=N`. Batches need few, and each
/// connection prepares its statements separately.
const MAX_CONNECTIONS: u32 = 5;
/// Time-out of a statement, unless the URL sets `statement_timeout_ms=N`.
const STATEMENT_TIMEOUT_MS: u64 = 5_000;
/// How long a transaction may be idle before the server aborts it: a paused replica must not hold its locks for ever.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Both for connections that only read, of the audit.
const READING: Duration = Duration::from_secs(600);
/// A connection that was idle this long is pinged before it is used.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
/// Time-out of a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How much longer than the server's statement time-out a client waits. A host that failed, as in a failover, aborts no
/// statements: its connections stay open without a response, and callers must not wait for ever.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(1);

/// Opens a pool that connects on first use. Besides the parameters of libpq, the URL may have `pool` and
/// `statement_timeout_ms`. Also returns the client-side time-out of a statement.
pub(crate) fn open(url: &str, options: &Options) -> Result<(PgPool, Duration)> {
    let (url, settings) = settings(url)?;
    let invalid = |_| Error::Url("postgres://… (it cannot be parsed)".into());
    let connect = PgConnectOptions::from_str(&url).map_err(invalid)?;
    let name = format!("souk-{}", options.name);
    // Who only reads whole stores may take long, and holds no locks that others wait for.
    let statement = Duration::from_millis(settings.statement_timeout_ms);
    let (limit, idle) = if options.read_only { (READING, READING) } else { (statement, IDLE_TIMEOUT) };
    let connect = connect
        .application_name(&name)
        .options([
            ("statement_timeout", limit.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", idle.as_millis().to_string()),
            ("default_transaction_read_only", if options.read_only { "on" } else { "off" }.to_owned()),
            // A commit that was answered must not be lost, whatever the role or database says.
            ("synchronous_commit", "on".to_owned()),
            // Lets the server choose between generic and custom plans of the prepared statements.
            ("plan_cache_mode", "auto".to_owned()),
        ])
        .statement_cache_capacity(256)
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(settings.pool)
        .acquire_timeout(options.timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, rest| {
            Box::pin(async move {
                // After a restart of the server the pool is full of closed connections.
                if rest.idle_for < PING_AFTER_IDLE {
                    Ok(true)
                } else {
                    within(PING_TIMEOUT, connection.ping()).await.map(|()| true)
                }
            })
        })
        // By itself the pool would ping returned connections without a time-out.
        .after_release(|connection, _| {
            Box::pin(async move { within(PING_TIMEOUT, connection.ping()).await.map(|()| true) })
        })
        .connect_lazy_with(connect);
    Ok((pool, limit + TIMEOUT_MARGIN))
}

/// The result of `work`, or a time-out error.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// Begins a transaction, in a task of its own: if the caller's future is dropped meanwhile, because its client disconnected,
/// the `BEGIN` would otherwise stay open on a connection that goes back to the pool.
pub(crate) async fn begin(
    pool: &PgPool,
    limit: Duration,
    statement: Option<&'static str>,
) -> sqlx::Result<Transaction<'static, Postgres>> {
    let connection = pool.acquire().await?;
    let begun = tokio::spawn(within(limit, async move {
        match statement {
            Some(statement) => Transaction::begin(connection, Some(AssertSqlSafe(statement).into_sql_str())).await,
            None => Transaction::begin(connection, None).await,
        }
    }));
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

#[derive(Debug, PartialEq)]
struct Settings {
    pool: u32,
    statement_timeout_ms: u64,
}

/// Removes our own parameters from the URL.
fn settings(url: &str) -> Result<(String, Settings)> {
    let mut settings = Settings { pool: MAX_CONNECTIONS, statement_timeout_ms: STATEMENT_TIMEOUT_MS };
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), settings)) };
    let mut others = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let number = || {
            value
                .parse::<u32>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| Error::Url(format!("…?{name}={value} (a number from 1)")))
        };
        match name {
            "pool" => settings.pool = number()?,
            "statement_timeout_ms" => settings.statement_timeout_ms = number()?.into(),
            _ => others.push(pair),
        }
    }
    let url = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    Ok((url, settings))
}

/// Receives notifications (<https://www.postgresql.org/docs/current/sql-notify.html>) on a connection of its own.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    pub(crate) async fn open(pool: &PgPool, channel: &str) -> Result<Self> {
        // Not from the pool: it is held for ever, and a pool of one would be exhausted.
        let own = PgPoolOptions::new().max_connections(1).acquire_timeout(pool.options().get_acquire_timeout());
        let own = own.connect_lazy_with(pool.connect_options().as_ref().clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen(channel).await?;
        Ok(Self(listener))
    }

    /// Waits for the next notification. After an error open a new listener.
    pub async fn notified(&mut self) -> Result<()> {
        // `None` means that the connection was lost and restored. A notification may have been missed, so this counts as one.
        self.0.try_recv().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_settings_are_removed_from_the_url() {
        let (url, found) = settings("postgres://u@h/d?sslmode=require&pool=3&statement_timeout_ms=700").expect("reads");
        assert_eq!(url, "postgres://u@h/d?sslmode=require");
        assert_eq!(found, Settings { pool: 3, statement_timeout_ms: 700 });
        assert!(settings("postgres://u@h/d?pool=none").is_err());
        assert!(settings("postgres://u@h/d?pool=0").is_err());
    }
}
