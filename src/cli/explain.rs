//! `tallow explain`.

use super::args::values::parsed;
use super::commands::{Context, Run};
use super::output::{out, warn};
use super::{Failure, given};
use crate::pipeline::control::Control;
use crate::pipeline::explain::{Explain, ExplainedStatement};
use clap::Args as ClapArgs;
use tallow_udfs::calendar::Timeframe;

#[derive(Debug, ClapArgs)]
pub(super) struct ExplainArgs {
    /// A SQL text, a formula, or the name of a named query
    #[arg(value_name = "SQL|FORMULA|NAME")]
    pub text: String,
    /// A value for `:name`; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Length of the bars that stand for `candles` in the text [default: the lake's days]
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Option<Timeframe>,
    /// Run it and show what each operator did
    #[arg(long)]
    pub analyze: bool,
}

impl Run for ExplainArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let queries = crate::named_queries(Some(cx.config.queries()))?;
        let params = given::params(&self.param)?;
        let session = cx.config.session().await?;
        let explain = Explain { text: self.text, params, timeframe: self.timeframe, analyze: self.analyze };
        let explanation = explain.resolve(&session, &queries).await?;
        if let Some(sql) = &explanation.formula {
            out!("FORMULA\n{sql}\n");
        }
        let mut statements = explanation.begin(&session).await?;
        warn(&cx.config, &statements.warnings);
        while let Some(sql) = statements.sql() {
            out!("SQL\n{sql}\n");
            if let Some(explained) = statements.next(&session, &Control::default()).await? {
                show(&explained)?;
            }
        }
        Ok(())
    }
}

fn show(ExplainedStatement { plan, reach }: &ExplainedStatement) -> Result<(), Failure> {
    out!("PLAN\n{plan}");
    out!("REACH (bars)\n{:<32} {:>8} {:>8}", "column", "back", "ahead");
    for (name, sources) in &reach.columns {
        out!("{name:<32} {sources}");
    }
    out!("{:<32} {}", "(which rows)", reach.rows);
    Ok(())
}
