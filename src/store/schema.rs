//! The tables, and how older ones become these. Forward only: a version that this program does
//! not know is refused, never guessed at.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::error::{StoreError, sqlite};
use crate::limits::STORE_LOCK_WAIT;

/// One element a version: the SQL that leads there from the version before.
const MIGRATIONS: [&str; 1] = [include_str!("schema-1.sql")];

/// The version that this program writes: `PRAGMA user_version`.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// What every connection of ours has set.
pub(super) fn prepare(conn: &Connection) -> Result<(), StoreError> {
    let err = sqlite("prepare the store");
    conn.busy_timeout(STORE_LOCK_WAIT).map_err(&err)?;
    // Whoever can write the file must not make us run what he put into its schema.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(&err)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(&err)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).map_err(&err)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false).map_err(&err)?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// The version of an open store; 0: no tables yet.
pub(super) fn version(conn: &Connection) -> Result<i64, StoreError> {
    let found = conn
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(sqlite("read the version of the store"))?;
    if found > VERSION {
        return Err(StoreError::NewerSchema { found, known: VERSION });
    }
    Ok(found)
}

/// Brings the tables from `found` to [`VERSION`], inside the caller's transaction.
pub(super) fn migrate(conn: &Connection, found: i64) -> Result<(), StoreError> {
    let err = sqlite("bring the tables up to date");
    for sql in &MIGRATIONS[usize::try_from(found).expect("a version is not negative")..] {
        conn.execute_batch(sql).map_err(&err)?;
    }
    conn.execute_batch(&format!("PRAGMA user_version = {VERSION}")).map_err(&err)
}
