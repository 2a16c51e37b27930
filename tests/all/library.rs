//! The library as a program uses it.

use crate::common::{numbers, session};
use datafusion::error::Result;
use std::sync::Arc;
use tallow::pipeline::query::QueryOptions;
use tallow::{Code, Params, Range};
use tallow_udfs::series::{
    Input, Inputs, Number, Output, Outputs, Param, Params as Given, Reach, SeriesFunction, SeriesSignature,
};

#[tokio::test]
async fn a_query_takes_typed_values_and_gives_its_rows() {
    let session = session().await;
    let text = "select count(*) as n from candles where symbol = :symbol and close > :level";
    let counted = async |params: Params| {
        let rows = session.query(text).with_params(params).collect().await.unwrap();
        numbers(&rows[0], "n")[0]
    };
    let all = counted(Params::default().with("symbol", "AAPL").with("level", 0)).await;
    let some = counted(Params::default().with("symbol", "AAPL").with("level", 150.5)).await;
    assert!(0.0 < some && some < all && all > 1000.0, "{some} {all}");
    // A text that looks like a number is text.
    let rows = session.query("select :a || 'x' as a").with("a", "007").collect().await.unwrap();
    assert_eq!(arrow::util::display::array_value_to_string(rows[0].column(0), 0).unwrap(), "007x");

    let range = Range { from: None, to: Some(1_400_000_000_000_000) };
    let early = QueryOptions { range, symbols: Some(vec!["AAPL".to_string()]), ..QueryOptions::default() };
    let outcome = session.query("select ts, rsi(14) from candles").with_options(early).run().await.unwrap();
    assert!(outcome.rows().await.unwrap().num_rows() > 100);

    let oversold = session.named_query("rsi_oversold").unwrap();
    assert!(!oversold.clone().collect().await.unwrap().is_empty());
    let none = oversold.with("level", 1).collect().await.unwrap();
    assert_eq!(none.iter().map(|batch| batch.num_rows()).sum::<usize>(), 0);
    assert_eq!(session.named_query("rsi_oversolt").err().unwrap().code(), Code::NotFound);
    let two = session.query("select 1; select 2").collect().await.unwrap_err();
    assert!(two.to_string().contains("several statements"), "{two}");
    assert!(session.query("set datafusion.execution.batch_size = 100").collect().await.unwrap().is_empty());
}

/// `double_and_half(x, by)`: two results.
#[derive(Debug)]
struct DoubleAndHalf {
    signature: SeriesSignature,
    x: Input<Number>,
    by: Param<usize>,
    double: Output<f64>,
    half: Output<f64>,
}

impl DoubleAndHalf {
    fn new() -> Self {
        let mut signature = SeriesSignature::new("double_and_half", "Own", "A multiple and a part", "");
        let x = signature.input("x", Some("close"));
        let by = signature.integer("by", 1..=10, Some(2), "How many times");
        let (double, half) = (signature.output("double"), signature.output("half"));
        Self { signature, x, by, double, half }
    }
}

impl SeriesFunction for DoubleAndHalf {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, _: &Given) -> Reach {
        Reach::back(0)
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Given, outputs: &mut Outputs<'_>) -> Result<()> {
        let by = params.get(self.by) as f64;
        if let Some(out) = outputs.get(self.double) {
            out.iter_mut().zip(inputs.get(self.x)).for_each(|(out, x)| *out = x * by);
        }
        if let Some(out) = outputs.get(self.half) {
            out.iter_mut().zip(inputs.get(self.x)).for_each(|(out, x)| *out = x / by);
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_function_of_ones_own_is_called_as_any_other() {
    let session = session().await;
    session.register(Arc::new(DoubleAndHalf::new())).unwrap();
    let sql = "select close, double_and_half().double as d, double_and_half(open, 4).half as h, open, \
               double_and_half() > 3 * close as never \
               from candles where symbol = 'AAPL' qualify double_and_half() > 0 limit 5";
    let rows = session.query(sql).collect().await.unwrap();
    let [close, d, h, open, never] = ["close", "d", "h", "open", "never"].map(|name| numbers(&rows[0], name));
    assert_eq!(close.len(), 5);
    for row in 0..5 {
        assert_eq!((d[row], h[row], never[row]), (close[row] * 2.0, open[row] / 4.0, 0.0));
    }
    let listed = session.query("select usage from system.functions where name = 'double_and_half'").collect().await;
    assert_eq!(listed.unwrap()[0].num_rows(), 1);
    let slip = session.query("select double_and_hal() from candles").collect().await.unwrap_err();
    assert_eq!(slip.hint(), Some("did you mean `double_and_half`?"));
    assert_eq!(session.register(Arc::new(DoubleAndHalf::new())).unwrap_err().code(), Code::Conflict);
}
