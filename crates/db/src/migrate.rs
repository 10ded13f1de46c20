//! Schema migrations: numbered scripts that run once, forward only.

use std::time::Duration;

use chassis::backoff;
use sqlx::{
    AssertSqlSafe, PgPool, SqlSafeStr, SqlitePool,
    migrate::{MigrateError, MigrationType, Migrator},
    postgres::PgPoolOptions,
};

use crate::{Error, Result, engine::Engine};

/// Retries, and the pause between them, of a failed opening or migration on SQLite.
pub(crate) const RETRIES: u32 = 10;
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between attempts to reach a server.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A schema migration.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Position among all migrations of a database; unique.
    pub version: i64,
    /// Description, stored in the table of applied migrations.
    pub name: &'static str,
    /// The script: columns are BIGINT and TEXT. `{serial}` is the type of an auto-incremented primary key; `{without rowid}`
    /// ends a table that SQLite clusters by its primary key.
    pub sql: &'static str,
}

fn migrator(steps: &[Migration], engine: Engine) -> Migrator {
    let steps = steps.iter().map(|step| {
        let sql = AssertSqlSafe(engine.translate(step.sql, true)).into_sql_str();
        sqlx::migrate::Migration::new(step.version, step.name.into(), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    // Ignores migrations of a newer version: this version keeps working on that schema, beside the newer one or after a roll-back.
    migrator.set_ignore_missing(true);
    migrator
}

/// Of several processes one succeeds; the others fail during its migration, and retry.
pub(crate) async fn sqlite(pool: &SqlitePool, steps: &[Migration]) -> Result<()> {
    let migrator = migrator(steps, Engine::Sqlite);
    for _ in 0..RETRIES {
        if migrator.run(pool).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    migrator.run(pool).await.map_err(Error::from)
}

/// In step with a simulation, where a migration has the file to itself.
#[cfg(feature = "simulation")]
pub(crate) async fn in_step(writer: &crate::in_step::Turns, steps: &[Migration]) -> Result<()> {
    let mut lease = writer.acquire().await?;
    let migrated = crate::in_step::finish(migrator(steps, Engine::Sqlite).run(lease.connection()));
    migrated.map_err(Error::from)
}

/// Under sqlx's advisory lock, so that replicas that start at the same time migrate one after the other.
pub(crate) async fn postgres(pool: &PgPool, steps: &[Migration]) -> Result<()> {
    let migrator = migrator(steps, Engine::Postgres);
    let mut pauses = backoff::pauses(LONGEST_PAUSE);
    let mut warned = false;
    loop {
        let error = match attempt(&migrator, pool).await {
            Ok(()) => {
                if warned {
                    tracing::info!("the database responds");
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if !matches!(error, Error::Unavailable(_)) {
            return Err(error);
        }
        if !warned {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the database does not respond yet; waiting for it"
            );
            warned = true;
        }
        tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

async fn attempt(migrator: &Migrator, pool: &PgPool) -> Result<()> {
    // A connection of its own, since the lock belongs to the session. Without a statement time-out: building an index, or
    // waiting for a replica that does, takes longer than ordinary statements.
    let options = pool.connect_options().as_ref().clone().options([("statement_timeout", "0")]);
    let own = PgPoolOptions::new().max_connections(1).acquire_timeout(LONGEST_PAUSE).connect_with(options).await?;
    let done = migrator.run(&own).await;
    own.close().await;
    done.map_err(|error| match error {
        MigrateError::Execute(error) => match Error::from(error) {
            Error::Constraint { source, .. } | Error::Defect(source) => Error::Migrate(source.into()),
            unavailable => unavailable,
        },
        other => Error::Migrate(other),
    })
}
