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
use futures::TryStreamExt;
use std::fs::File;
use tallow::Settings;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let session = tallow::open(Settings { lake: "data".to_string(), ..Settings::default() }).await?;

    // Labels by three barriers: 2 average true ranges up, 2 down, 20 days ahead. Parameters that are not set have defaults.
    let mut labelled = session.named_query("training_set")?.with("horizon", 20).with("folds", 4).run().await?;

    let path = std::env::temp_dir().join(format!("tallow_training_set_{}.parquet", std::process::id()));
    let mut writer = ArrowWriter::try_new(File::create(&path)?, labelled.schema, None)?;
    while let Some(batch) = labelled.stream.try_next().await? {
        writer.write(&batch)?;
    }
    writer.close()?;

    // The file is a table by its path. Rows without a fold would tell one fold about another.
    let summary = format!(
        "select fold, count(*) as rows, avg(label) as mean_label, max(available_at) as all_known_at
         from '{}' group by fold order by fold",
        path.display()
    );
    println!("{}", pretty_format_batches(&session.query(summary).collect().await?)?);
    std::fs::remove_file(&path)?;
    Ok(())
}
