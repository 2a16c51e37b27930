//! The SQL contract: `tests/slt/*.slt`, run through our session and dialect.

use crate::common::session;
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tallow::Session;

struct Tallow(Session);

#[async_trait::async_trait]
impl AsyncDB for Tallow {
    type Error = tallow::Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, tallow::Error> {
        let frame = self.0.sql(sql).await?;
        let columns = frame.schema().fields().len();
        let batches = self.0.collect(frame).await?;
        let mut rows = vec![];
        for batch in &batches {
            rows.extend(cells(batch));
        }
        if columns == 0 {
            Ok(DBOutput::StatementComplete(0))
        } else {
            Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows })
        }
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "tallow"
    }
}

/// Numbers to six decimals, nulls as NULL, multi-line texts (plans) line by line, paths cut to the file's name.
fn cells(batch: &RecordBatch) -> Vec<Vec<String>> {
    let format = FormatOptions::default().with_null("NULL");
    let formatters: Vec<_> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &format).unwrap()).collect();
    let mut rows = vec![];
    for row in 0..batch.num_rows() {
        let cells: Vec<String> = formatters
            .iter()
            .map(|f| {
                let text = f.value(row).to_string();
                match text.parse::<f64>() {
                    Ok(n) if text.contains('.') => format!("{n:.6}"),
                    _ if text.starts_with('{') => rounded(&text),
                    _ => text
                        .replace(concat!(env!("CARGO_MANIFEST_DIR"), "/"), "")
                        .replace(&env!("CARGO_MANIFEST_DIR")[1..], "."),
                }
            })
            .collect();
        if cells.iter().any(|c| c.contains('\n')) {
            let last = cells.last().cloned().unwrap_or_default();
            rows.extend(last.lines().map(|line| vec![line.to_string()]));
        } else {
            rows.push(cells);
        }
    }
    rows
}

/// `{a: 1.23456789, b: 2}` with six decimals.
fn rounded(fields: &str) -> String {
    let field = |part: &str| match part.split_once(": ") {
        Some((name, value)) if value.contains('.') => match value.parse::<f64>() {
            Ok(n) => format!("{name}: {n:.6}"),
            Err(_) => part.to_string(),
        },
        _ => part.to_string(),
    };
    let inner = fields.trim_start_matches('{').trim_end_matches('}');
    format!("{{{}}}", inner.split(", ").map(field).collect::<Vec<_>>().join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_contract() {
    let mut files: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slt"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "slt"))
        .collect();
    files.sort();
    assert!(files.len() >= 5);
    let complete = std::env::var_os("COMPLETE_SLT").is_some();
    for file in files {
        let mut runner = sqllogictest::Runner::new(|| async { Ok(Tallow(session().await)) });
        if complete {
            runner
                .update_test_file(
                    &file,
                    " ",
                    sqllogictest::default_validator,
                    sqllogictest::default_normalizer,
                    sqllogictest::default_column_validator,
                )
                .await
                .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        } else {
            runner.run_file_async(&file).await.unwrap_or_else(|e| panic!("{e}"));
        }
    }
}
