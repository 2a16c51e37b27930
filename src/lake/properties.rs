//! The properties that tallow keeps with a table, by their keys.

/// The length of its bars.
pub const TIMEFRAME: &str = "tallow.timeframe";
/// Where its bars begin.
pub const ORIGIN: &str = "tallow.origin";
/// What a computed table holds.
pub const KIND: &str = "tallow.computed.kind";
/// What made a computed table.
pub const OPERATION: &str = "tallow.computed.operation";
/// The pipeline whose results a computed table holds.
pub const PIPELINE: &str = "tallow.pipeline";
/// A hash of what computes such a table ...
pub const FINGERPRINT: &str = "tallow.pipeline.fingerprint";
/// ... and that itself, in words.
pub const TEXT: &str = "tallow.pipeline.text";
/// Up to which symbol such a table was computed anew, and from which versions of its sources, while that is not finished.
pub const UNFINISHED: &str = "tallow.pipeline.unfinished";
/// The length of the bars that levels were made from.
pub const LEVELS_TIMEFRAME: &str = "tallow.levels.timeframe";
/// The parameters that levels were made with.
pub const LEVELS_PARAMS: &str = "tallow.levels.params";
/// The version of the rules that labels were made by.
pub const LABEL_VERSION: &str = "tallow.label.version";
/// A hash of the parameters that labels were made with.
pub const LABEL_PARAMS_HASH: &str = "tallow.label.params_hash";
/// The parameters that labels were made with.
pub const LABEL_PARAMS: &str = "tallow.label.params";
