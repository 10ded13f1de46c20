//! Schemas by numbered scripts that run once, forward only.

use sqlx::{
    SqlSafeStr,
    migrate::{MigrationType, Migrator},
};

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Order among all steps of a database; never given twice.
    pub version: i64,
    /// What it does, for the table of steps done.
    pub name: &'static str,
    /// The script.
    pub sql: &'static str,
}

pub(crate) fn migrator(steps: &[Migration]) -> Migrator {
    Migrator::with_migrations(
        steps
            .iter()
            .map(|step| {
                sqlx::migrate::Migration::new(
                    step.version,
                    step.name.into(),
                    MigrationType::Simple,
                    step.sql.into_sql_str(),
                    false,
                )
            })
            .collect(),
    )
}
