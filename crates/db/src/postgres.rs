//! PostgreSQL 15 and later.

use std::{str::FromStr, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool, Postgres, SqlSafeStr as _, Transaction,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use crate::{Error, Options, Result};

/// Most connections of one service's process, unless the URL says `pool=N`. Few: batches need few, and what a connection has
/// prepared is prepared once for each.
const POOL: u32 = 5;
/// How long a statement may take, unless the URL says `statement_timeout_ms=N`. What a caller waits for is shorter.
const STATEMENT_TIMEOUT_MS: u64 = 5_000;
/// How long a transaction may sit idle before the server ends it: a replica that was paused must not hold its
/// locks for ever.
const IDLE_TIMEOUT_MS: u64 = 10_000;
/// A connection that rested so long is asked whether it still stands before it is used.
const RESTED: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const PING: Duration = Duration::from_secs(1);
/// What is given to a statement beyond the time after which the server itself breaks it off. A host that is gone, as
/// in a failover, breaks nothing off: its connections are silent for ever, and whoever waits on one must not.
const SILENCE: Duration = Duration::from_secs(1);

/// A pool that connects when it is first used. Beside what libpq knows, the URL may say `pool` and
/// `statement_timeout_ms`. Gives also how long one may wait for a statement.
pub(crate) fn open(url: &str, options: &Options) -> Result<(PgPool, Duration)> {
    let (url, settings) = settings(url)?;
    let wrong = |_| Error::Url("postgres://… (it cannot be read)".into());
    let connect = PgConnectOptions::from_str(&url).map_err(wrong)?;
    let name = format!("souk-{}", options.name);
    let connect = connect
        .application_name(&name)
        .options([
            ("statement_timeout", settings.statement_timeout_ms.to_string()),
            ("idle_in_transaction_session_timeout", IDLE_TIMEOUT_MS.to_string()),
            ("default_transaction_read_only", if options.read_only { "on" } else { "off" }.to_owned()),
            // Texts grow by many statements' worth; each is prepared once a connection.
            ("plan_cache_mode", "auto".to_owned()),
        ])
        .statement_cache_capacity(256)
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(settings.pool)
        .acquire_timeout(options.patience)
        .test_before_acquire(false)
        .before_acquire(|connection, rest| {
            Box::pin(async move {
                // After a restart of the server the pool is full of connections that it closed.
                if rest.idle_for < RESTED { Ok(true) } else { within(PING, connection.ping()).await.map(|()| true) }
            })
        })
        // The pool asks by itself, and without end, whether what comes back still stands.
        .after_release(|connection, _| Box::pin(async move { within(PING, connection.ping()).await.map(|()| true) }))
        .connect_lazy_with(connect);
    Ok((pool, Duration::from_millis(settings.statement_timeout_ms) + SILENCE))
}

/// What the server answers, or that it is silent.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// Begins a transaction. In a task of its own: if the caller goes away meanwhile (his client hung up), a `BEGIN` that
/// the server had taken would stay open on a connection that others use next.
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

/// Takes our own parameters out of the URL.
fn settings(url: &str) -> Result<(String, Settings)> {
    let mut settings = Settings { pool: POOL, statement_timeout_ms: STATEMENT_TIMEOUT_MS };
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

/// Hears notifications (<https://www.postgresql.org/docs/current/sql-notify.html>) on a connection of its own.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    pub(crate) async fn open(pool: &PgPool, channel: &str) -> Result<Self> {
        // Beside the pool: it is held for ever, and a pool of one would have none left.
        let own = PgPoolOptions::new().max_connections(1).acquire_timeout(pool.options().get_acquire_timeout());
        let own = own.connect_lazy_with(pool.connect_options().as_ref().clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen(channel).await?;
        Ok(Self(listener))
    }

    /// Waits for the next one. After an error it has to be opened again.
    pub async fn notified(&mut self) -> Result<()> {
        // `None`: the connection was lost and made anew; something may have been missed, so look.
        self.0.try_recv().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_settings_are_taken_out_of_the_url() {
        let (url, found) = settings("postgres://u@h/d?sslmode=require&pool=3&statement_timeout_ms=700").expect("reads");
        assert_eq!(url, "postgres://u@h/d?sslmode=require");
        assert_eq!(found, Settings { pool: 3, statement_timeout_ms: 700 });
        assert!(settings("postgres://u@h/d?pool=none").is_err());
        assert!(settings("postgres://u@h/d?pool=0").is_err());
    }
}
