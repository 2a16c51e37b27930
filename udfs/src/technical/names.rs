//! How TA-Lib's names become SQL names.

use ta_lib::abstract_api::FuncInfo;

/// Names that SQL already uses for a scalar function or an aggregate. DataFusion prefers those even with OVER, so these
/// functions exist under their `ta_` name only.
const TAKEN: [&str; 21] = [
    "acos", "asin", "atan", "ceil", "cos", "cosh", "exp", "floor", "ln", "log10", "max", "median", "min", "sin",
    "sinh", "sqrt", "stddev", "sum", "tan", "tanh", "var",
];

/// Further names by which traders know a function: those of charting programs and of other libraries.
const SYNONYMS: [(&str, &[&str]); 46] = [
    ("ad", &["adl"]),
    ("adosc", &["chaikin_oscillator"]),
    ("ao", &["awesome_oscillator"]),
    ("aroonosc", &["aroon_osc"]),
    ("avgprice", &["ohlc4"]),
    ("bbands", &["bollinger", "bollinger_bands"]),
    ("bbw", &["bandwidth", "bb_width"]),
    ("chop", &["choppiness"]),
    ("cmf", &["chaikin_money_flow"]),
    ("correl", &["correlation"]),
    ("crsi", &["connors_rsi"]),
    ("donchian", &["donchian_channels"]),
    ("efi", &["force_index"]),
    ("emv", &["ease_of_movement", "eom"]),
    ("er", &["efficiency_ratio"]),
    ("fisher", &["fisher_transform"]),
    ("ha", &["heikin_ashi"]),
    ("hma", &["hull_ma"]),
    ("kc", &["keltner", "keltner_channels"]),
    ("kurtosis", &["kurt"]),
    ("linearreg", &["linreg"]),
    ("linearreg_angle", &["linreg_angle"]),
    ("linearreg_intercept", &["linreg_intercept"]),
    ("linearreg_slope", &["linreg_slope"]),
    ("massi", &["mass_index"]),
    ("max", &["highest"]),
    ("medprice", &["hl2"]),
    ("mfi", &["money_flow_index"]),
    ("min", &["lowest"]),
    ("mom", &["momentum"]),
    ("obv", &["on_balance_volume"]),
    ("percentb", &["percent_b"]),
    ("rma", &["smma"]),
    ("sar", &["parabolic_sar", "psar"]),
    ("sma", &["average"]),
    ("sqzmom", &["squeeze"]),
    ("stddev", &["rolling_std", "std", "stdev"]),
    ("stoch", &["stochastic"]),
    ("stochrsi", &["stoch_rsi"]),
    ("trange", &["tr", "true_range"]),
    ("typprice", &["hlc3"]),
    ("ultosc", &["ultimate_oscillator", "uo"]),
    ("vortex", &["vortex_indicator"]),
    ("wavetrend", &["wave_trend"]),
    ("wclprice", &["hlcc4"]),
    ("willr", &["williams_r", "wpr"]),
];

/// Moving averages: their period says what they are, so it has no default.
const PERIOD_REQUIRED: [&str; 17] = [
    "alma", "dema", "ema", "frama", "hma", "kama", "ma", "mcgd", "rma", "sma", "t3", "tema", "trima", "vidya", "vwma",
    "wma", "zlema",
];

/// Functions whose start may show for ever, measured in `tests/reach.rs`: smoothing that adapts to the prices, and may stop
/// at any of them; ratios of differences that may both be as small as they like; running sums whose rounding stays.
const UNFADING: [&str; 20] = [
    "adx",
    "adxr",
    "beta",
    "crsi",
    "dx",
    "frama",
    "ht_dcperiod",
    "ht_dcphase",
    "ht_phasor",
    "ht_sine",
    "ht_trendline",
    "ht_trendmode",
    "kama",
    "kvo",
    "mama",
    "mcgd",
    "percentb",
    "stc",
    "stochrsi",
    "vidya",
];

/// Ratios of two smoothed series, which stand still as long as the inputs do.
const FADING_BY_MOVEMENT: [&str; 12] =
    ["cmo", "cvi", "dosc", "massi", "minus_di", "plus_di", "pvo", "rsi", "rvi", "rvir", "smi", "tsi"];

/// Functions that leave a bar without a value: out of their domain, or divided by zero.
const PARTIAL: [&str; 13] =
    ["acos", "asin", "cosh", "cvi", "div", "exp", "kurtosis", "ln", "log10", "rvol", "sinh", "sqrt", "vwma"];

/// Whether the start of the series never ceases to show.
pub(super) fn is_unfading(info: &FuncInfo) -> bool {
    is_among(&UNFADING, info)
}

/// Whether the start ceases to show only as the inputs move.
pub(super) fn fades_by_movement(info: &FuncInfo) -> bool {
    is_among(&FADING_BY_MOVEMENT, info)
}

/// Whether every valid bar after the warm-up has a value.
pub(super) fn is_total(info: &FuncInfo) -> bool {
    !is_among(&PARTIAL, info)
}

fn is_among(names: &[&str], info: &FuncInfo) -> bool {
    names.iter().any(|name| info.name.eq_ignore_ascii_case(name))
}

/// The SQL name and the aliases of a function.
pub(super) fn of(info: &FuncInfo) -> (String, Vec<String>) {
    let plain = info.name.to_ascii_lowercase();
    let prefixed = format!("ta_{plain}");
    let synonyms = SYNONYMS.iter().filter(|(name, _)| *name == plain).flat_map(|(_, more)| *more);
    let mut aliases: Vec<String> = synonyms.map(ToString::to_string).collect();
    if TAKEN.contains(&plain.as_str()) {
        (prefixed, aliases)
    } else {
        aliases.insert(0, prefixed);
        (plain, aliases)
    }
}

/// Whether `timeperiod` has no default.
pub(super) fn requires_period(info: &FuncInfo) -> bool {
    is_among(&PERIOD_REQUIRED, info)
}

/// `optInFastK_Period` is `fastk_period`.
pub(super) fn parameter(name: &str) -> String {
    name.trim_start_matches("optIn").to_ascii_lowercase()
}

/// `inReal0` is `real0`.
pub(super) fn input(name: &str) -> String {
    name.trim_start_matches("in").to_ascii_lowercase()
}

/// `outRealUpperBand` is `upperband`, `outMACDHist` is `macdhist`.
pub(super) fn output(name: &str) -> String {
    let bare = name.trim_start_matches("out");
    match bare.strip_prefix("Real") {
        Some(rest) if !rest.is_empty() => rest.to_ascii_lowercase(),
        _ => bare.to_ascii_lowercase(),
    }
}

/// Outputs that TA-Lib gives as indexes into the series; here they are bars ago.
pub(super) fn is_position(function: &str, output: &str) -> bool {
    matches!(
        (function, output),
        ("MAXINDEX" | "MININDEX", "outInteger")
            | ("MINMAXINDEX", "outMinIdx" | "outMaxIdx")
            | ("ZIGZAG", "outPivotIdx")
    )
}
