//! A directory in PostgreSQL.

use tokio_postgres::Row;

use super::sql::{self, Dialect, Found, Statements};
use super::{DirectoryError, Inserted, Rows};
use crate::database;
use crate::database::postgres::{Fault, Text, refs};
use crate::users::StartError;
use crate::users::caller::Who;
use crate::users::settings::{PostgresSettings, Table};

/// A table in a database.
#[derive(Debug)]
pub(in crate::users) struct Postgres {
    database: database::Postgres,
    statements: Statements,
    table: String,
}

impl Postgres {
    pub(super) fn new(settings: &PostgresSettings, table: &Table) -> Result<Self, StartError> {
        let database = database::Postgres::new(settings);
        Ok(Self {
            database: database.map_err(|why| StartError(format!("the directory: {why}")))?,
            statements: Statements::new(table, Dialect::Postgres),
            table: sql::table_name(table),
        })
    }

    pub(super) async fn find(&self, who: &Who) -> Result<Rows, DirectoryError> {
        self.within(async {
            let lease = self.database.lease().await?;
            let statement = lease
                .client()?
                .prepare_cached(&self.statements.find)
                .await?;
            let values = self.statements.find_values(who);
            let found = lease.client()?.query(&statement, &refs(&values)).await?;
            let rows = self.statements.rows(found)?;
            lease.give_back();
            Ok(rows)
        })
        .await
    }

    pub(super) async fn insert(&self, who: &Who) -> Result<Inserted, DirectoryError> {
        self.within(async {
            let mut lease = self.database.lease().await?;
            let transaction = lease.client_mut()?.transaction().await?;
            let statement = transaction.prepare_cached(&self.statements.insert).await?;
            let values = self.statements.insert_values(who);
            let changed = transaction.execute(&statement, &refs(&values)).await?;
            let statement = transaction.prepare_cached(&self.statements.find).await?;
            let values = self.statements.find_values(who);
            let found = transaction.query(&statement, &refs(&values)).await?;
            transaction.commit().await?;
            let rows = self.statements.rows(found)?;
            lease.give_back();
            Ok(Inserted {
                created: changed == 1,
                rows,
            })
        })
        .await
    }

    pub(super) async fn columns(&self) -> Result<Vec<String>, DirectoryError> {
        let sql = "SELECT attname::text FROM pg_attribute \
                   WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped";
        self.within(async {
            let lease = self.database.lease().await?;
            let rows = lease.client()?.query(sql, &[&self.table]).await?;
            let names: Result<_, _> = rows.iter().map(|row| row.try_get(0)).collect();
            lease.give_back();
            Ok(names?)
        })
        .await
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, DirectoryError> {
        let answer = self.database.within(work).await;
        answer.map_err(Fault::explain)
    }
}

impl Statements {
    fn find_values<'a>(&self, who: &'a Who) -> Vec<Text<'a>> {
        let mut values = vec![Text(Some(&who.id))];
        if self.email {
            values.push(Text(who.email.as_deref()));
        }
        if self.issuer {
            values.push(Text(Some(&who.issuer)));
        }
        values
    }

    fn insert_values<'a>(&self, who: &'a Who) -> Vec<Text<'a>> {
        let mut values = vec![Text(Some(&who.id)), Text(who.email.as_deref())];
        if self.name {
            values.push(Text(who.name.as_deref()));
        }
        if self.issuer {
            values.push(Text(Some(&who.issuer)));
        }
        values
    }

    fn rows(&self, found: Vec<Row>) -> Result<Rows, Fault> {
        let mut sorted = Vec::with_capacity(found.len());
        for row in found {
            let columns: Result<_, _> = (3..3 + self.extra).map(|at| row.try_get(at)).collect();
            sorted.push(Found {
                id: row.try_get(0)?,
                email: row.try_get(1)?,
                has_id: row.try_get::<_, Option<bool>>(2)?.unwrap_or_default(),
                columns: columns?,
            });
        }
        Ok(sql::sort(sorted))
    }
}
