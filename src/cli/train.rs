//! `tallow pattern train`.

use super::args::values::positive;
use super::commands::Context;
use super::output::{note, out};
use super::progress::Progress;
use super::skipped::partial;
use super::{Failure, given, usage};
use crate::Session;
use crate::pipeline::score::{Evaluation, TrainingRequest};
use crate::pipeline::search;
use clap::Args as ClapArgs;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, ClapArgs)]
pub(super) struct TrainArgs {
    /// Patterns that the lake keeps [default: all active ones]
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// What the model is to be called
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// Matches of each pattern to learn from, the nearest ones
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = positive)]
    pub matches: usize,
    /// Length of the bars, or a table or file of candles [default: the lake's days]
    #[arg(long, short, value_name = "TF|TABLE")]
    pub timeframe: Option<String>,
    /// The symbol of an index [default: all symbols with equal weights]
    #[arg(long, value_name = "SYMBOL")]
    pub benchmark: Option<String>,
    /// Lengths of windows as multiples of the pattern's
    #[arg(long, value_name = "FACTOR,...", default_value = "0.9,0.95,1,1.05,1.1")]
    pub scales: String,
}

pub(super) async fn train(cx: &Context, session: &Session, args: TrainArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let request = TrainingRequest {
        patterns: args.patterns,
        model: args.model.clone(),
        matches: args.matches,
        table: given::table_of(args.timeframe.as_deref())?,
        benchmark: args.benchmark,
        scales: search::scales(&args.scales).map_err(usage)?,
    };
    let training = request.prepare(session).await?;
    let progress = Arc::new(Progress::new(&cx.config, None, "symbols"));
    let trained = training.train(session, &progress.control()).await;
    progress.clear();
    let trained = trained?;
    trained.keep(session, &args.model).await?;
    let origin = &trained.model.origin;
    out!("model      {}", args.model);
    out!("patterns   {}", origin.patterns.join(", "));
    out!("rows       {} of {} matches have a future that is known", origin.rows, trained.matches);
    out!("tested     {} rows out of sample, in {} purged folds", origin.evaluation.rows, origin.evaluation.folds);
    show_evaluation(&origin.evaluation)?;
    if !cx.config.quiet {
        note(format_args!("{:.1} s", started.elapsed().as_secs_f64()));
    }
    partial(&trained.skipped)
}

fn show_evaluation(evaluation: &Evaluation) -> Result<(), Failure> {
    out!(
        "\n{:<8} {:>7} {:>7} {:>7} {:>10} {:>10} {:>7} {:>7}",
        "target",
        "mean",
        "mae",
        "rmse",
        "rmse(mean)",
        "rmse(walk)",
        "ece",
        "skill"
    );
    for t in &evaluation.targets {
        out!(
            "{:<8} {:>7.3} {:>7.3} {:>7.3} {:>10.3} {:>10.3} {:>7.3} {:>7.3}",
            t.target,
            t.mean,
            t.mae,
            t.rmse,
            t.rmse_of_mean,
            t.rmse_of_walk,
            t.ece,
            t.skill()
        );
    }
    out!("\ncalibration out of sample: predicted -> happened (rows)");
    for t in &evaluation.targets {
        let bins: Vec<_> = t.bins.iter().map(|b| format!("{:.2} -> {:.2} ({})", b.predicted, b.came, b.rows)).collect();
        out!("{:<8} {}", t.target, bins.join(", "));
    }
    out!("\n{}", evaluation.verdict());
    Ok(())
}
