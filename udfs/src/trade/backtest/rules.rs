//! The rules that fills follow, and the names of their choices.

use crate::series::Choice;
use datafusion_common::{Result, plan_err};

/// How fills are decided where a bar alone does not tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// When a signal is acted on.
    pub fill: Fill,
    /// Which comes first where a bar touches stop and target.
    pub both: Both,
    /// When the best price of a bar raises a trailing stop.
    pub trail: Trail,
    /// Which price is the best of a bar.
    pub trail_on: TrailOn,
    /// How far a position has to have gained, as a fraction of its entry, before its trailing stop is there.
    pub trail_after: f64,
    /// What a target takes.
    pub limit_fill: LimitFill,
    /// What becomes of a position at the end of the data.
    pub end: End,
    /// Whether an entry signal of the other side closes a position.
    pub reverse: bool,
    /// A position is closed once it is so many bars old.
    pub max_bars: Option<u32>,
    /// An order that waits for a bar with prices is dropped after so many bars without.
    pub max_stale_bars: Option<u32>,
    /// For how many bars an entry waits for its price; 0: until another signal.
    pub valid_bars: u32,
    /// Whether nothing is filled in a bar without volume.
    pub needs_volume: bool,
    /// Targets that change with the age of a position: from so many bars on, such a fraction of the entry.
    pub target_steps: Vec<(u32, f64)>,
    /// What is peculiar to an engine whose results are to be found again.
    pub engine: Engine,
}

/// Where other engines decide in another way than the rules do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine {
    /// At which price a level is left that the open is already beyond.
    pub gap: Gap,
    /// Whether levels act in the bar of the entry, and its prices raise a trailing stop.
    pub levels_in_entry_bar: bool,
    /// Whether levels are looked at before the exit signal of the bar before.
    pub levels_before_signal: bool,
    /// Whether an open beyond the target comes before a stop in the same bar.
    pub target_at_open: bool,
    /// Whether an exit signal beside an entry signal is passed over, where there is nothing to exit.
    pub enters_despite_exit: bool,
}

impl Engine {
    /// That of the rules.
    pub const OWN: Engine = Engine {
        gap: Gap::Open,
        levels_in_entry_bar: true,
        levels_before_signal: false,
        target_at_open: true,
        enters_despite_exit: false,
    };
}

/// When a signal is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// At the open of the next bar.
    Open,
    /// At the close of its own bar.
    Close,
}

/// Which comes first where a bar touches stop and target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Both {
    /// The stop.
    Stop,
    /// The target.
    Target,
    /// That on the side of the extreme that is nearer to the open.
    Near,
}

/// When the best price of a bar raises a trailing stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trail {
    /// From the next bar on.
    Lagged,
    /// In the same bar, before its worst price.
    HighFirst,
}

/// Which price of a bar is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrailOn {
    /// The high, of a short position the low.
    High,
    /// The close.
    Close,
}

/// What a target takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitFill {
    /// A price at the target.
    Touch,
    /// A price beyond it.
    Through,
}

/// What becomes of a position at the end of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is closed at the last close.
    Close,
    /// It is closed at the open of the last bar.
    LastOpen,
    /// It stays open and is valued at the last close.
    Open,
}

/// At which price a level is left that the open is already beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The open.
    Open,
    /// That price of the bar which is nearest to the level.
    Range,
}

/// `0:0.10, 20:0.05` as [`Rules::target_steps`].
///
/// # Errors
/// It is something else, or the bars do not ascend.
pub fn target_steps(text: &str) -> Result<Vec<(u32, f64)>> {
    let mut steps: Vec<(u32, f64)> = vec![];
    for step in text.split(',').map(str::trim).filter(|step| !step.is_empty()) {
        let parsed = step.split_once(':').and_then(|(bars, fraction)| {
            Some((bars.trim().parse().ok()?, fraction.trim().parse().ok().filter(|f: &f64| f.is_finite())?))
        });
        match parsed {
            Some(parsed) if steps.last().is_none_or(|(before, _)| *before < parsed.0) => steps.push(parsed),
            _ => {
                return plan_err!(
                    "target_steps '{text}': expected bars:fraction, the bars ascending, such as '0:0.10, 20:0.05'"
                );
            }
        }
    }
    Ok(steps)
}

/// A choice that a profile makes unless it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfProfile<T>(pub Option<T>);

impl<T> OfProfile<T> {
    /// What is given, or else what the profile has.
    pub fn or(self, profile: T) -> T {
        self.0.unwrap_or(profile)
    }
}

/// How `profile` stands for itself in a choice.
const PROFILE: &str = "profile";

impl Choice for OfProfile<Fill> {
    const NAMES: &'static [(Self, &'static str)] =
        &[(OfProfile(None), PROFILE), (OfProfile(Some(Fill::Open)), "open"), (OfProfile(Some(Fill::Close)), "close")];
}

impl Choice for OfProfile<Both> {
    const NAMES: &'static [(Self, &'static str)] = &[
        (OfProfile(None), PROFILE),
        (OfProfile(Some(Both::Stop)), "stop"),
        (OfProfile(Some(Both::Target)), "target"),
        (OfProfile(Some(Both::Near)), "near"),
    ];
}

impl Choice for OfProfile<Trail> {
    const NAMES: &'static [(Self, &'static str)] = &[
        (OfProfile(None), PROFILE),
        (OfProfile(Some(Trail::Lagged)), "lagged"),
        (OfProfile(Some(Trail::HighFirst)), "high_first"),
    ];
}

impl Choice for OfProfile<TrailOn> {
    const NAMES: &'static [(Self, &'static str)] = &[
        (OfProfile(None), PROFILE),
        (OfProfile(Some(TrailOn::High)), "high"),
        (OfProfile(Some(TrailOn::Close)), "close"),
    ];
}

impl Choice for OfProfile<LimitFill> {
    const NAMES: &'static [(Self, &'static str)] = &[
        (OfProfile(None), PROFILE),
        (OfProfile(Some(LimitFill::Touch)), "touch"),
        (OfProfile(Some(LimitFill::Through)), "through"),
    ];
}

impl Choice for OfProfile<End> {
    const NAMES: &'static [(Self, &'static str)] = &[
        (OfProfile(None), PROFILE),
        (OfProfile(Some(End::Close)), "close"),
        (OfProfile(Some(End::LastOpen)), "last_open"),
        (OfProfile(Some(End::Open)), "open"),
    ];
}

impl Choice for OfProfile<bool> {
    const NAMES: &'static [(Self, &'static str)] =
        &[(OfProfile(None), PROFILE), (OfProfile(Some(true)), "true"), (OfProfile(Some(false)), "false")];
}

/// Whose results are to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Those of the rules.
    Tallow,
    /// Those of backtesting.py 0.6.
    BacktestingPy,
    /// Those of vectorbt 1.1 `from_signals`, with signals shifted by a bar and filled at the open.
    Vectorbt,
    /// Those of freqtrade 2026.8.
    Freqtrade,
}

impl Choice for Profile {
    const NAMES: &'static [(Self, &'static str)] = &[
        (Profile::Tallow, "tallow"),
        (Profile::BacktestingPy, "backtesting.py"),
        (Profile::Vectorbt, "vectorbt"),
        (Profile::Freqtrade, "freqtrade"),
    ];
}

impl Profile {
    /// Its rules.
    pub fn rules(self) -> Rules {
        let own = Rules {
            fill: Fill::Open,
            both: Both::Stop,
            trail: Trail::Lagged,
            trail_on: TrailOn::High,
            trail_after: 0.0,
            limit_fill: LimitFill::Touch,
            end: End::Close,
            reverse: true,
            max_bars: None,
            max_stale_bars: None,
            valid_bars: 1,
            needs_volume: false,
            target_steps: vec![],
            engine: Engine::OWN,
        };
        match self {
            Profile::Tallow => own,
            Profile::BacktestingPy => Rules {
                trail_on: TrailOn::Close,
                end: End::LastOpen,
                engine: Engine { target_at_open: false, enters_despite_exit: true, ..Engine::OWN },
                ..own
            },
            Profile::Vectorbt => Rules {
                end: End::Open,
                engine: Engine {
                    levels_in_entry_bar: false,
                    levels_before_signal: true,
                    target_at_open: false,
                    ..Engine::OWN
                },
                ..own
            },
            Profile::Freqtrade => Rules {
                trail: Trail::HighFirst,
                limit_fill: LimitFill::Through,
                end: End::LastOpen,
                reverse: false,
                engine: Engine { gap: Gap::Range, target_at_open: false, ..Engine::OWN },
                ..own
            },
        }
    }
}
