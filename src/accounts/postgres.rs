//! Accounts in PostgreSQL.

use tokio_postgres::types::Type;

use super::transaction::{Answer, Cell, Fault, Row, Transaction};
use crate::database::Failure;
use crate::database::postgres::{self, Open, Postgres, Text, refs};

/// How often a transaction is run again that met another one. Each time it sees what the faster
/// one did, so twice is mostly enough.
const ATTEMPTS: u32 = 8;

/// What `pg_advisory_xact_lock` is called with: any number, as long as nobody else's.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7165031406216429)";

struct Within<'a>(Open<'a>);

/// Runs a transaction, again if it met another one.
pub(super) async fn transact<T>(
    database: &Postgres,
    work: impl for<'a> Fn(&'a mut dyn Transaction) -> Answer<'a, T>,
) -> Result<T, Failure> {
    let attempts = async {
        for _ in 0..ATTEMPTS {
            match once(database, &work).await {
                Ok(answer) => return Ok(Ok(answer)),
                Err(Fault::Conflict) => {}
                Err(Fault::Failed(failure)) => return Ok(Err(failure)),
            }
        }
        let why = "transactions met each other again and again".to_owned();
        Ok(Err(Failure::Unavailable(why)))
    };
    let outcome = database.within(attempts).await;
    outcome.map_err(postgres::Fault::explain)?
}

/// A connection goes back only when it is certain that nothing is under way on it.
async fn once<T>(
    database: &Postgres,
    work: &impl for<'a> Fn(&'a mut dyn Transaction) -> Answer<'a, T>,
) -> Result<T, Fault> {
    let mut lease = database.lease().await.map_err(judge)?;
    let (outcome, ended) = {
        let open = lease.client_mut().map_err(judge)?.transaction().await;
        let mut within = Within(open.map_err(|error| judge(error.into()))?);
        let outcome = work(&mut within).await;
        let ended = match &outcome {
            Ok(_) => within.0.commit().await,
            Err(_) => within.0.rollback().await,
        };
        (outcome, ended)
    };
    match ended {
        Ok(()) => lease.give_back(),
        Err(error) => return Err(outcome.err().unwrap_or_else(|| judge(error.into()))),
    }
    outcome
}

fn judge(fault: postgres::Fault) -> Fault {
    match fault.is_conflict() {
        true => Fault::Conflict,
        false => Fault::Failed(fault.explain()),
    }
}

impl Transaction for Within<'_> {
    fn rows<'a>(&'a mut self, sql: &'static str, values: Vec<Cell>) -> Answer<'a, Vec<Row>> {
        Box::pin(async move {
            let texts = texts(&values);
            let asked = async {
                let statement = self.0.prepare_cached(sql).await?;
                let rows = self.0.query(&statement, &refs(&bound(&texts))).await?;
                rows.iter().map(read).collect::<Result<_, _>>()
            };
            asked
                .await
                .map_err(|error: tokio_postgres::Error| judge(error.into()))
        })
    }

    fn change<'a>(&'a mut self, sql: &'static str, values: Vec<Cell>) -> Answer<'a, u64> {
        Box::pin(async move {
            let texts = texts(&values);
            let asked = async {
                let statement = self.0.prepare_cached(sql).await?;
                self.0.execute(&statement, &refs(&bound(&texts))).await
            };
            asked.await.map_err(|error| judge(error.into()))
        })
    }

    fn batch<'a>(&'a mut self, sql: &'static str) -> Answer<'a, ()> {
        Box::pin(async move {
            let run = self.0.batch_execute(sql).await;
            run.map_err(|error| judge(error.into()))
        })
    }

    fn has_table<'a>(&'a mut self, name: &'static str) -> Answer<'a, bool> {
        Box::pin(async move {
            let found = self.rows("SELECT to_regclass($1)::text", vec![name.into()]);
            let mut found = found.await?;
            Ok(found.first_mut().is_some_and(|row| row.text(0).is_some()))
        })
    }

    fn lock(&mut self) -> Answer<'_, ()> {
        self.batch(LOCK)
    }
}

/// The values as the server reads literals.
fn texts(values: &[Cell]) -> Vec<Option<String>> {
    let text = |value: &Cell| match value {
        Cell::Null => None,
        Cell::Text(text) => Some(text.clone()),
        Cell::Integer(number) => Some(number.to_string()),
    };
    values.iter().map(text).collect()
}

fn bound(texts: &[Option<String>]) -> Vec<Text<'_>> {
    texts.iter().map(|text| Text(text.as_deref())).collect()
}

fn read(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    let cell = |(place, column): (usize, &tokio_postgres::Column)| match *column.type_() {
        Type::INT8 => row.try_get::<_, Option<i64>>(place).map(Cell::from),
        _ => row.try_get::<_, Option<&str>>(place).map(Cell::from),
    };
    let cells: Result<_, _> = row.columns().iter().enumerate().map(cell).collect();
    cells.map(Row)
}
