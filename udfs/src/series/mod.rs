//! Series functions: the unit everything else is built from.
//!
//! A [`SeriesFunction`] maps the bars of **one symbol in time order** to one value (or struct of values) per bar. Its
//! author writes the [signature](SeriesSignature), the [reach](Reach), the arithmetic on plain slices and the tests;
//! [`SeriesWindow`] turns it into a DataFusion window function, and an engine that streams symbol by symbol can drive
//! the same code through [`SeriesCall`].
//!
//! Rules that hold for every function:
//! * A bar with a null, NaN or infinity in any input is a bar without a value: its output is null and the state passes
//!   over it, so "the previous bar" is always the previous valid bar.
//! * Rows before the first value (warm-up) are null. NaN and infinity never leave a function.
//! * Positions are given as bars ago (0 is this bar).
//! * Arguments and outputs are declared in the signature and reached through the handles that it returns.

mod call;
mod handle;
mod inputs;
mod outputs;
mod params;
mod reach;
mod signature;
mod window;

pub use call::{OutputBuilder, OutputSet, SeriesCall};
pub use inputs::{
    Condition, Input, InputKind, InputSlice, InputType, Inputs, Levels, NO_TIME, Number, OptionDefault, Optional,
    Pairs, SeriesInput, SeriesOption, SmallerBars, Time,
};
pub use outputs::{
    NO_CHOICE, NO_CLASS, NO_INT, Name, Output, OutputField, OutputKind, OutputSlice, OutputType, Outputs, PlainOutput,
};
pub use params::{Choice, Param, ParamKind, ParamType, ParamValue, Parameter, Params, Text};
pub use reach::{Bars, Reach};
pub use signature::SeriesSignature;
pub use window::SeriesWindow;
pub(crate) use window::{check_window, literal};

use datafusion_common::Result;
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

    /// Whether the outputs depend on an optional series beyond what its [`SeriesOption::only_for`] says.
    fn always_uses(&self, _option: &str, _params: &Params) -> bool {
        false
    }

    /// Computes one whole series.
    ///
    /// `inputs` are contiguous slices of equal, non-zero length, the required ones without missing values. Every column of
    /// `outputs` has that length and starts out as "no value" ([`f64::NAN`], [`NO_INT`], `None`, ...); what the function
    /// leaves untouched, or fills with a value that is not finite, becomes null.
    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()>;
}
