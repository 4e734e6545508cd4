//! The statements, for both databases. Identifiers are quoted, values are bound.

use std::fmt::Write;
use std::sync::Arc;

use super::Rows;
use crate::user::User;
use crate::users::settings::{MatchRule, Table};

/// What differs between the two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// The statements for one table.
#[derive(Debug)]
pub(super) struct Statements {
    /// Binds: id, then the e-mail where it is looked at, then the issuer where there is a column.
    pub(super) find: String,
    /// Binds: id, e-mail, then name and issuer where the table has columns for them.
    pub(super) insert: String,
    /// Makes the table; only used where it is usher's own.
    pub(super) create: String,
    /// Whether e-mails are looked at, and so bound.
    pub(super) email: bool,
    pub(super) name: bool,
    pub(super) issuer: bool,
    /// The extra columns of a found row.
    pub(super) extra: usize,
}

/// One row of `find`, as both databases give it.
pub(super) struct Found {
    pub(super) id: Option<String>,
    pub(super) email: Option<String>,
    pub(super) has_id: bool,
    pub(super) columns: Box<[Option<String>]>,
}

impl Statements {
    pub(super) fn new(table: &Table, dialect: Dialect) -> Self {
        let email = table.rule == MatchRule::IdOrEmail;
        Self {
            find: find(table, dialect, email),
            insert: insert(table, dialect),
            create: create(table),
            email,
            name: table.name_column.is_some(),
            issuer: table.issuer_column.is_some(),
            extra: table.extra_columns.len(),
        }
    }
}

/// An identifier as SQL takes it: `a"b` is `"a""b"`.
pub(super) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The table's name, with its schema if it has one.
pub(super) fn table_name(table: &Table) -> String {
    match &table.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&table.name)),
        None => quote(&table.name),
    }
}

fn find(table: &Table, dialect: Dialect, by_email: bool) -> String {
    let id = quote(&table.id_column);
    let email = quote(&table.email_column);
    let mut sql = format!(
        "SELECT {}, {}, ({id} = {})",
        as_text(&id, dialect),
        as_text(&email, dialect),
        bind(dialect, 1)
    );
    for column in &table.extra_columns {
        let _ = write!(sql, ", {}", as_text(&quote(column), dialect));
    }
    let _ = write!(sql, " FROM {} WHERE ", table_name(table));
    if let Some(issuer) = &table.issuer_column {
        let place = if by_email { 3 } else { 2 };
        let _ = write!(sql, "{} = {} AND ", quote(issuer), bind(dialect, place));
    }
    if by_email {
        let (first, second) = (bind(dialect, 1), bind(dialect, 2));
        let _ = write!(sql, "({id} = {first} OR {email} = {second})");
    } else {
        let _ = write!(sql, "{id} = {}", bind(dialect, 1));
    }
    // The row with the id comes first, so that a limit cannot lose it; PostgreSQL would begin with
    // those that have none.
    let _ = write!(sql, " ORDER BY 3 DESC NULLS LAST LIMIT 2");
    sql
}

fn insert(table: &Table, dialect: Dialect) -> String {
    let columns: Vec<String> = [Some(&table.id_column), Some(&table.email_column)]
        .into_iter()
        .chain([table.name_column.as_ref(), table.issuer_column.as_ref()])
        .flatten()
        .map(|column| quote(column))
        .collect();
    let values: Vec<String> = (1..=columns.len())
        .map(|place| bind(dialect, place))
        .collect();
    format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING",
        table_name(table),
        columns.join(", "),
        values.join(", ")
    )
}

fn create(table: &Table) -> String {
    let id = quote(&table.id_column);
    let email = quote(&table.email_column);
    let mut sql = format!(
        "CREATE TABLE IF NOT EXISTS {} ({id} TEXT NOT NULL, {email} TEXT",
        table_name(table)
    );
    for column in table.name_column.iter().chain(&table.extra_columns) {
        let _ = write!(sql, ", {} TEXT", quote(column));
    }
    match table.issuer_column.as_deref().map(quote) {
        Some(issuer) => {
            let _ = write!(
                sql,
                ", {issuer} TEXT NOT NULL, UNIQUE ({issuer}, {id}), UNIQUE ({issuer}, {email})"
            );
        }
        None => {
            let _ = write!(sql, ", UNIQUE ({id}), UNIQUE ({email})");
        }
    }
    sql + ")"
}

fn bind(dialect: Dialect, place: usize) -> String {
    match dialect {
        Dialect::Sqlite => format!("?{place}"),
        Dialect::Postgres => format!("${place}"),
    }
}

fn as_text(column: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite => format!("CAST({column} AS TEXT)"),
        Dialect::Postgres => format!("{column}::text"),
    }
}

/// Sorts found rows by what they have in common with the caller.
pub(super) fn sort(found: impl IntoIterator<Item = Found>) -> Rows {
    let mut rows = Rows::default();
    for row in found {
        let place = if row.has_id {
            &mut rows.by_id
        } else {
            &mut rows.by_email
        };
        place.get_or_insert_with(|| {
            Arc::new(User {
                id: row.id.unwrap_or_default(),
                email: row.email,
                columns: row.columns,
            })
        });
    }
    rows
}

/// What the table lacks; `columns` is empty where there is no such table.
pub(super) fn missing(table: &Table, columns: &[String]) -> Vec<String> {
    let name = table_name(table);
    if columns.is_empty() {
        return vec![format!("the directory has no table {name}")];
    }
    [&table.id_column, &table.email_column]
        .into_iter()
        .chain(&table.name_column)
        .chain(&table.issuer_column)
        .chain(&table.extra_columns)
        .filter(|wanted| !columns.contains(wanted))
        .map(|wanted| format!("table {name} has no column {}", quote(wanted)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_cannot_end_their_quotes() {
        let mut table = Table::exness();
        table.name = "users\"; DROP TABLE x; --".to_owned();
        let sql = Statements::new(&table, Dialect::Postgres).find;
        assert!(
            sql.contains(r#"FROM "users""; DROP TABLE x; --" WHERE"#),
            "{sql}"
        );
    }

    #[test]
    fn the_exness_rule_is_id_or_email() {
        let sql = Statements::new(&Table::exness(), Dialect::Postgres).find;
        assert_eq!(
            sql,
            r#"SELECT "userID"::text, "email"::text, ("userID" = $1) FROM "User" WHERE ("userID" = $1 OR "email" = $2) ORDER BY 3 DESC NULLS LAST LIMIT 2"#
        );
    }

    #[test]
    fn an_issuer_column_bounds_every_match() {
        let mut table = Table::exness();
        table.issuer_column = Some("iss".to_owned());
        let sql = Statements::new(&table, Dialect::Sqlite).find;
        assert!(
            sql.contains(r#"WHERE "iss" = ?3 AND ("userID" = ?1 OR"#),
            "{sql}"
        );
        table.rule = MatchRule::Id;
        let sql = Statements::new(&table, Dialect::Sqlite).find;
        assert!(
            sql.contains(r#"WHERE "iss" = ?2 AND "userID" = ?1 ORDER"#),
            "{sql}"
        );
    }
}
