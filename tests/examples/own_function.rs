//! An indicator of your own: written on plain slices, called in SQL.
//!
//! Shows a series function, which counts how many bars in a row a series has risen (above zero) or fallen (below zero). What
//! it declares in its signature is checked, documented and read through typed handles; warm-up, nulls, partitions and batches are
//! taken care of. Once it is registered, SQL calls it as any other: without a window, with its defaults.
//!
//! ```text
//! cargo run --release --example own_function
//! ```

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use std::sync::Arc;
use tallow::Settings;
use tallow_udfs::series::{
    Input, Inputs, Number, Output, Outputs, Param, Params, Reach, SeriesFunction, SeriesSignature,
};

/// `streak(x, most)`: bars in a row that x has risen, or fallen as a negative number; at most `most`.
#[derive(Debug)]
struct Streak {
    signature: SeriesSignature,
    x: Input<Number>,
    most: Param<usize>,
    streak: Output<i32>,
}

impl Streak {
    fn new() -> Self {
        let doc = "Bars in a row that x has risen, or fallen as a negative number; at most `most`";
        let mut signature = SeriesSignature::new("streak", "Examples", doc, "");
        let x = signature.input("x", Some("close"));
        let most = signature.integer("most", 1..=1000, Some(100), "The longest streak that is counted");
        let streak = signature.output("streak");
        Self { signature, x, most, streak }
    }
}

impl SeriesFunction for Streak {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    /// A value depends on the bars of its streak and on the one before them.
    fn reach(&self, params: &Params) -> Reach {
        Reach::back(params.get(self.most))
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let Some(out) = outputs.get(self.streak) else { return Ok(()) };
        let most = params.get(self.most) as i32;
        let mut streak = 0i32;
        // The first bar has none before it: what is left untouched is null.
        for (pair, out) in inputs.get(self.x).windows(2).zip(&mut out[1..]) {
            streak = match pair[1].total_cmp(&pair[0]) {
                std::cmp::Ordering::Greater => (streak.max(0) + 1).min(most),
                std::cmp::Ordering::Less => (streak.min(0) - 1).max(-most),
                std::cmp::Ordering::Equal => 0,
            };
            *out = streak;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let session = tallow::open(Settings { lake: "data".to_string(), ..Settings::default() }).await?;
    session.register(Arc::new(Streak::new()))?;
    let longest = "
        select symbol, ts, close, streak() as streak
        from candles order by streak desc nulls last, symbol limit 5";
    println!("{}", pretty_format_batches(&session.query(longest).collect().await?)?);
    Ok(())
}
