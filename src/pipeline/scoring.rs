//! What a search asks of a model, whether or not this build has models.

use crate::Session;
use crate::search::Matched;
use arrow::array::RecordBatch;
use tallow_common::Result;

/// What a model is to make of matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scoring {
    /// A trained one, the path of a model, or `heuristic`.
    pub model: String,
    /// The symbol of an index; `None`: all symbols with equal weights.
    pub benchmark: Option<String>,
}

#[cfg(feature = "score")]
impl Scoring {
    /// Finds the model and the bars of the index; returns what is probably not meant.
    pub(crate) async fn check(&self, session: &Session, tables: &[(String, String)]) -> Result<Vec<String>> {
        use crate::score::{self, Model};
        let mut warnings = vec![];
        let model = score::Models::of(session)?.load(session.lake(), &self.model).await?;
        for (table, timeframe) in tables {
            if let Some(symbol) = &self.benchmark {
                score::check_benchmark(session, table, symbol).await?;
            }
            if let Model::Boosted(known) = model.as_ref()
                && known.origin.timeframe != *timeframe
            {
                let trained = &known.origin.timeframe;
                warnings.push(format!("the model was trained on {trained} bars and scores {timeframe} bars"));
            }
        }
        Ok(warnings)
    }

    /// Matches with what the model predicts for each.
    pub(crate) async fn scored(&self, session: &Session, found: &Matched) -> Result<RecordBatch> {
        crate::score::scored(session, found, &self.model, self.benchmark.as_deref()).await
    }

    /// What a reader of its predictions should know.
    #[cfg(feature = "report")]
    pub(crate) async fn note(&self, session: &Session) -> Result<Option<String>> {
        use crate::score::{Model, Models};
        let name = &self.model;
        Ok(match Models::of(session)?.load(session.lake(), name).await?.as_ref() {
            Model::Walk => Some(
                "The probabilities are not trained: they are those of a driftless random walk with the volatility of each match."
                    .to_string(),
            ),
            Model::Boosted(model) => Some(format!("Model {name}: {}", model.origin.evaluation.verdict())),
            #[cfg(feature = "onnx")]
            Model::Onnx(_) => None,
        })
    }
}

/// A build without models refuses them before anything is searched.
#[cfg(not(feature = "score"))]
impl Scoring {
    pub(crate) async fn check(&self, _: &Session, _: &[(String, String)]) -> Result<Vec<String>> {
        Err(self.refused())
    }

    pub(crate) async fn scored(&self, _: &Session, _: &Matched) -> Result<RecordBatch> {
        Err(self.refused())
    }

    #[cfg(feature = "report")]
    pub(crate) async fn note(&self, _: &Session) -> Result<Option<String>> {
        Ok(None)
    }

    fn refused(&self) -> tallow_common::Error {
        tallow_common::Error::invalid(format!(
            "model '{}': this build has no models (cargo feature `score`)",
            self.model
        ))
    }
}
