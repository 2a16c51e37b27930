//! `tallow run`.

use super::args::values::parsed;
use super::args::{OutputArgs, RangeArgs};
use super::commands::{Context, Run};
use super::output::out;
use super::{Failure, given, statement};
use crate::pipeline::query::Query;
use clap::Args as ClapArgs;
use tallow_udfs::calendar::Timeframe;

#[derive(Debug, ClapArgs)]
pub(super) struct RunArgs {
    /// The query's name
    #[arg(required_unless_present = "list")]
    pub name: Option<String>,
    /// Values for its parameters, such as level=20
    #[arg(value_name = "NAME=VALUE")]
    pub values: Vec<String>,
    /// List all named queries and their parameters
    #[arg(long, conflicts_with_all = ["name", "values"])]
    pub list: bool,
    /// A value for a parameter too; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Length of the bars that stand for `candles` in the query [default: the lake's days]
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Option<Timeframe>,
    #[command(flatten)]
    pub range: RangeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Run for RunArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let queries = crate::named_queries(Some(cx.config.queries()))?;
        let Some(name) = self.name.filter(|_| !self.list) else {
            for query in queries.iter() {
                out!("{:<18} {}", query.name, query.doc);
                for param in &query.params {
                    let default = param.default.as_ref().map_or_else(|| " (required)".to_string(), |d| format!("={d}"));
                    out!("    {}{default}  {}", param.name, param.doc);
                }
            }
            return Ok(());
        };
        let params = given::params(self.values.iter().chain(&self.param))?;
        let mut query = Query::named(queries.find(&name)?, &params)?;
        query.options.timeframe = self.timeframe;
        let session = cx.config.session().await?;
        statement::run_in_range(&session, &cx.config, query, &self.range, &self.output).await
    }
}
