//! A training set: a named query, streamed into a Parquet file.
//!
//! Shows how a query that comes with tallow is found and completed with parameters, and how its rows are written while they
//! are computed, so that a result may be larger than memory.
//!
//! ```text
//! cargo run --release --example training_set
//! ```

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::parquet::arrow::ArrowWriter;
use futures::StreamExt;
use std::fs::File;
use tallow::Settings;
use tallow::engine::dialect::Params;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let session = tallow::open(Settings { lake: "data".to_string(), ..Settings::default() }).await?;

    // Labels by three barriers: 2 average true ranges up, 2 down, 20 days ahead. Parameters that are not set have defaults.
    let queries = tallow::named_queries(None)?;
    let query = queries.find("training_set")?;
    let mut params = Params::default();
    params.set("horizon", "20");
    params.set("folds", "4");
    let frame = session.sql_with(&query.sql, &query.complete(&params)?).await?;

    let path = std::env::temp_dir().join(format!("tallow_training_set_{}.parquet", std::process::id()));
    let plan = session.plan(frame).await?;
    let mut writer = ArrowWriter::try_new(File::create(&path)?, plan.schema(), None)?;
    let mut rows = session.execute(plan)?;
    while let Some(batch) = rows.next().await {
        writer.write(&batch?)?;
    }
    writer.close()?;

    // The file is a table by its path. Rows without a fold would tell one fold about another.
    let summary = format!(
        "select fold, count(*) as rows, avg(label) as mean_label, max(available_at) as all_known_at
         from '{}' group by fold order by fold",
        path.display()
    );
    let frame = session.sql(&summary).await?;
    println!("{}", pretty_format_batches(&session.collect(frame).await?)?);
    std::fs::remove_file(&path)?;
    Ok(())
}
