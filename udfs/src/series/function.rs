//! What the author of a series function writes.

use super::inputs::Inputs;
use super::outputs::Outputs;
use super::params::Params;
use super::reach::Reach;
use super::signature::SeriesSignature;
use super::standing::Standing;
use datafusion_common::{Result, internal_err};
use std::any::Any;
use std::fmt::Debug;

/// A function of one symbol's bars in time order.
pub trait SeriesFunction: Debug + Send + Sync + Any {
    /// Name, inputs, parameters, outputs and documentation.
    fn signature(&self) -> &SeriesSignature;

    /// How far a value looks into the past and the future, in valid bars.
    fn reach(&self, params: &Params) -> Reach;

    /// Whether its start is forgotten only as the inputs move: a ratio of two smoothed sums stays as it is for as long as
    /// they do, however long that is. The bars that [`SeriesFunction::reach`] counts are then those at which they move.
    fn fades_by_movement(&self, _params: &Params) -> bool {
        false
    }

    /// Whether every valid bar after the warm-up has a value; not so where a division by zero, a root or a logarithm may
    /// leave none.
    fn is_total(&self) -> bool {
        false
    }

    /// Checks between parameters that their single ranges cannot express.
    fn check(&self, _params: &Params) -> Result<()> {
        Ok(())
    }

    /// Whether the outputs depend on an optional series beyond what its [`SeriesOption::only_for`](super::SeriesOption::only_for) says.
    fn always_uses(&self, _option: &str, _params: &Params) -> bool {
        false
    }

    /// Computes one whole series.
    ///
    /// `inputs` are contiguous slices of equal, non-zero length, the required ones without missing values. Every column of
    /// `outputs` has that length and starts out as "no value" ([`f64::NAN`], [`NO_INT`](super::NO_INT), `None`, ...); what the function
    /// leaves untouched, or fills with a value that is not finite, becomes null.
    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()>;

    /// After how many bars the function can [stay](SeriesFunction::stand) at the end of a series; `None`: it cannot, and each bar
    /// is computed from those that its reach names.
    fn stands_after(&self, _params: &Params) -> Option<usize> {
        None
    }

    /// Computes one whole series as [`SeriesFunction::evaluate`] does, and stays at its end. The bars are at least as many as
    /// [`SeriesFunction::stands_after`] says.
    fn stand(&self, _inputs: &Inputs<'_>, _params: &Params, _outputs: &mut Outputs<'_>) -> Result<Box<dyn Standing>> {
        internal_err!("{} does not stay at the end of a series", self.signature().name)
    }
}
