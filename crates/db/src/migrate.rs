//! Schemas by numbered scripts that run once, forward only.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use sqlx::{
    AssertSqlSafe, PgPool, SqlSafeStr, SqlitePool,
    migrate::{MigrateError, MigrationType, Migrator},
    postgres::PgPoolOptions,
};

use crate::{Error, Result, engine::Engine};

/// How often, and after what pause, an opening or migration that failed is tried again on SQLite.
pub(crate) const TRIES: u32 = 10;
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause while a server is away.
const SLOWEST: Duration = Duration::from_secs(5);

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Order among all steps of a database; never given twice.
    pub version: i64,
    /// What it does, for the table of steps done.
    pub name: &'static str,
    /// The script: columns are BIGINT and TEXT. `{serial}` is the type of a primary key that counts up,
    /// `{without rowid}` ends a table that SQLite is to keep by its primary key.
    pub sql: &'static str,
}

fn migrator(steps: &[Migration], engine: Engine) -> Migrator {
    let steps = steps.iter().map(|step| {
        let sql = AssertSqlSafe(engine.spell(step.sql, true)).into_sql_str();
        sqlx::migrate::Migration::new(step.version, step.name.into(), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    // Steps of a newer version: this one goes on working on its schema, and may be started again beside it or after it.
    migrator.set_ignore_missing(true);
    migrator
}

/// One gets through; the others, who found a step half done, look again.
pub(crate) async fn sqlite(pool: &SqlitePool, steps: &[Migration]) -> Result<()> {
    let migrator = migrator(steps, Engine::Sqlite);
    for _ in 0..TRIES {
        if migrator.run(pool).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    migrator.run(pool).await.map_err(Error::from)
}

/// Under sqlx's advisory lock, so that replicas that start at once go one after the other.
pub(crate) async fn postgres(pool: &PgPool, steps: &[Migration]) -> Result<()> {
    let migrator = migrator(steps, Engine::Postgres);
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(PAUSE)
        .with_max_delay(SLOWEST)
        .with_jitter()
        .without_max_times()
        .build();
    let mut said = false;
    loop {
        let error = match attempt(&migrator, pool).await {
            Ok(()) => {
                if said {
                    tracing::info!("the database answers");
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if !matches!(error, Error::Unavailable(_)) {
            return Err(error);
        }
        if !said {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the database does not answer yet; waiting for it"
            );
            said = true;
        }
        tokio::time::sleep(pauses.next().unwrap_or(SLOWEST)).await;
    }
}

async fn attempt(migrator: &Migrator, pool: &PgPool) -> Result<()> {
    // A connection of its own, which ends with it: the lock belongs to the session. Building an index may take
    // longer than a statement of the daily business, and so may waiting for a replica that does it.
    let options = pool.connect_options().as_ref().clone().options([("statement_timeout", "0")]);
    let own = PgPoolOptions::new().max_connections(1).acquire_timeout(SLOWEST).connect_with(options).await?;
    let done = migrator.run(&own).await;
    own.close().await;
    done.map_err(|error| match error {
        MigrateError::Execute(error) => match Error::from(error) {
            Error::Constraint { source, .. } | Error::Defect(source) => Error::Migrate(source.into()),
            away => away,
        },
        other => Error::Migrate(other),
    })
}
