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
mod columns;
mod function;
mod handle;
mod inputs;
mod output_builder;
mod outputs;
mod params;
mod reach;
mod records;
mod signature;
mod standing;
mod state;
mod window;

pub use call::SeriesCall;
pub use function::SeriesFunction;
pub use inputs::{
    Condition, Input, InputKind, InputSlice, InputType, Inputs, Levels, NO_TIME, Number, OptionDefault, Optional,
    Pairs, SeriesInput, SeriesOption, SmallerBars, Time,
};
pub use output_builder::{OutputBuilder, OutputSet};
pub use outputs::{
    NO_CHOICE, NO_CLASS, NO_INT, Name, Output, OutputField, OutputKind, OutputSlice, OutputType, Outputs, PlainOutput,
};
pub use params::{Choice, Param, ParamKind, ParamType, ParamValue, Parameter, Params, Text};
pub use reach::{Bars, Reach};
pub use records::{RecordField, RecordKind, RecordSlice, Records};
pub use signature::SeriesSignature;
pub use standing::Standing;
pub use state::{Arguments, CallState};
pub use window::SeriesWindow;
pub(crate) use window::{check_window, literal};
