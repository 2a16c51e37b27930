//! `backtest(open, high, low, close, ..)`: what the signals of a strategy would have come to, one symbol at a time.

pub mod account;
mod order;
pub mod portfolio;
mod position;
mod resting;
pub mod rules;
pub mod simulate;
pub mod trader;
pub mod weights;

use crate::series::{Choice, Name};
use crate::series::{
    Condition, Input, Inputs, Number, OptionDefault, Optional, Output, Outputs, Param, Params, Reach, RecordField,
    RecordKind, Records, SeriesFunction, SeriesSignature, Text, Time,
};
use account::{Costs, Lots, Rejected};
use datafusion_common::Result;
pub use order::{Bar, Bracket, Entry, Level, Order, Side, Signals};
pub use position::{Exit, Filled, Position, Reason};
pub use resting::Arrived;
use rules::{Both, End, Fill, LimitFill, OfProfile, Profile, Rules, Trail, TrailOn, target_steps};
use simulate::{Bars, Record, Simulation, Terms, Trade};

/// The fields of a trade.
const TRADE: [RecordField; 13] = [
    field("side", RecordKind::Choice(&["long", "short"])),
    field("entry_ts", RecordKind::Time),
    field("exit_ts", RecordKind::Time),
    field("entry_price", RecordKind::Float),
    field("exit_price", RecordKind::Float),
    field("bars", RecordKind::Int),
    field("quantity", RecordKind::Float),
    field("pnl", RecordKind::Float),
    field("return", RecordKind::Float),
    field("mfe", RecordKind::Float),
    field("mae", RecordKind::Float),
    field("costs", RecordKind::Float),
    field("reason", RecordKind::Choice(&Reason::NAMES)),
];

const fn field(name: &'static str, kind: RecordKind) -> RecordField {
    RecordField { name, kind }
}

impl Choice for End {
    const NAMES: &'static [(Self, &'static str)] =
        &[(End::Open, "open"), (End::Close, "close"), (End::LastOpen, "last_open")];
}

/// A back-test of one symbol with money of its own.
#[derive(Debug)]
pub(super) struct Backtest {
    signature: SeriesSignature,
    open: Input<Number>,
    high: Input<Number>,
    low: Input<Number>,
    close: Input<Number>,
    profile: Param<Profile>,
    rules: RuleParams,
    brackets: BracketParams,
    terms: TermParams,
    signals: SignalOptions,
    columns: Columns,
}

#[derive(Debug)]
struct RuleParams {
    fill: Param<OfProfile<Fill>>,
    both: Param<OfProfile<Both>>,
    trail: Param<OfProfile<Trail>>,
    trail_on: Param<OfProfile<TrailOn>>,
    trail_after: Param<f64>,
    limit_fill: Param<OfProfile<LimitFill>>,
    end: Param<End>,
    reverse: Param<OfProfile<bool>>,
    max_bars: Param<usize>,
    max_stale_bars: Param<usize>,
    needs_volume: Param<OfProfile<bool>>,
    valid_bars: Param<usize>,
    target_steps: Param<Text>,
}

#[derive(Debug)]
struct BracketParams {
    entry_limit: Param<f64>,
    entry_stop: Param<f64>,
    stop: Param<f64>,
    target: Param<f64>,
    trail: Param<f64>,
}

#[derive(Debug)]
struct TermParams {
    cash: Param<f64>,
    leverage: Param<f64>,
    slippage: Param<f64>,
    commission: Param<f64>,
    fixed: Param<f64>,
    per_unit: Param<f64>,
    minimum: Param<f64>,
    borrow: Param<f64>,
    lot: Param<f64>,
    minimum_value: Param<f64>,
    participation: Param<f64>,
}

#[derive(Debug)]
struct SignalOptions {
    entry: Optional<Condition>,
    exit: Optional<Condition>,
    short_entry: Optional<Condition>,
    short_exit: Optional<Condition>,
    size: Optional<Number>,
    entry_limit_distance: Optional<Number>,
    entry_limit_price: Optional<Number>,
    entry_stop_distance: Optional<Number>,
    entry_stop_price: Optional<Number>,
    stop_distance: Optional<Number>,
    stop_price: Optional<Number>,
    target_distance: Optional<Number>,
    target_price: Optional<Number>,
    trail_distance: Optional<Number>,
    volume: Optional<Number>,
    funding: Optional<Number>,
    ts: Optional<Time>,
}

#[derive(Debug, Clone, Copy)]
struct Columns {
    position: Output<f64>,
    equity: Output<f64>,
    bar_return: Output<f64>,
    entry_price: Output<f64>,
    exit_price: Output<f64>,
    reason: Output<Name>,
    rejected: Output<Name>,
    trades: Output<Records>,
}

impl Backtest {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "backtest",
            "Trades",
            "What buying and selling by signals would have come to: the account after each bar, the prices of its fills, and the \
             trades that end there. A signal counts at the close of its bar and is filled at the next open; a missing one is \
             false. Levels count from the price of the fill",
            "rules of fills: src/cli/help/fills.md",
        );
        let s = &mut signature;
        let [open, high, low, close] = ["open", "high", "low", "close"].map(|name| s.input(name, Some(name)));
        let profile = s.choice(
            "profile",
            Profile::Tallow,
            "Whose fills are to be found: a choice that is `profile` is made as that engine makes it",
        );
        let rules = RuleParams {
            fill: s.choice(
                "fill",
                OfProfile(None),
                "Where signals are filled: at the next open, or at their own close",
            ),
            both: s.choice("both", OfProfile(None), "What comes first where a bar touches stop and target"),
            trail: s.choice(
                "trail",
                OfProfile(None),
                "Whether a bar raises a trailing stop for the next, or for itself",
            ),
            trail_on: s.choice("trail_on", OfProfile(None), "What raises a trailing stop: highs (lows), or closes"),
            trail_after: s.real(
                "trail_after",
                0.0..=1e9,
                Some(0.0),
                "Gain from which a trailing stop is there, a fraction",
            ),
            limit_fill: s.choice("limit_fill", OfProfile(None), "What fills a target: a price at it, or one beyond"),
            end: s.choice(
                "end",
                End::Open,
                "What becomes of a position at the last bar: it stays open, or is closed at its close or its open",
            ),
            reverse: s.choice("reverse", OfProfile(None), "Whether an entry of the other side closes a position"),
            max_bars: s.integer("max_bars", 0..=10_000_000, Some(0), "Bars after which a position is closed; 0: any"),
            max_stale_bars: s.integer(
                "max_stale_bars",
                0..=10_000_000,
                Some(0),
                "Bars without trades after which a waiting order is given up; 0: never",
            ),
            needs_volume: s.choice("needs_volume", OfProfile(None), "Whether bars without volume fill nothing"),
            valid_bars: s.integer(
                "valid_bars",
                0..=10_000_000,
                Some(1),
                "For how many bars an entry waits for its price; 0: until another signal",
            ),
            target_steps: s.text("target_steps", Some(""), "Targets by age, as bars:fraction: '0:0.10, 20:0.05'"),
        };
        let brackets = BracketParams {
            entry_limit: s.real(
                "entry_limit_fraction",
                0.0..=1e9,
                Some(0.0),
                "Enter at a price that is so much better than the close of the signal, a fraction; 0: at the market",
            ),
            entry_stop: s.real(
                "entry_stop_fraction",
                0.0..=1e9,
                Some(0.0),
                "Enter once the market is so far beyond the close of the signal, a fraction, where there is no limit; 0: at once",
            ),
            stop: s.real(
                "stop_fraction",
                0.0..=1e9,
                Some(0.0),
                "Distance of the stop, as a fraction of the fill; 0: none",
            ),
            target: s.real("target_fraction", 0.0..=1e9, Some(0.0), "Distance of the target, a fraction; 0: none"),
            trail: s.real("trail_fraction", 0.0..=1e9, Some(0.0), "Distance of the trailing stop, a fraction; 0: none"),
        };
        let terms = TermParams {
            cash: s.real("cash", 1e-9..=1e18, Some(1.0), "Money at the beginning"),
            leverage: s.real(
                "leverage",
                1.0..=1000.0,
                Some(1.0),
                "What a position may be worth, in multiples of the account",
            ),
            slippage: s.real(
                "slippage",
                0.0..=1.0,
                Some(0.0),
                "How much worse fills are, as a fraction; targets are not",
            ),
            commission: s.real("commission", 0.0..=1.0, Some(0.0), "Cost of a fill, as a fraction of its value"),
            fixed: s.real("fixed_commission", 0.0..=1e18, Some(0.0), "Cost of a fill, in money"),
            per_unit: s.real("unit_commission", 0.0..=1e18, Some(0.0), "Cost of a unit, in money"),
            minimum: s.real("minimum_commission", 0.0..=1e18, Some(0.0), "The least that a fill costs"),
            borrow: s.real("borrow", 0.0..=100.0, Some(0.0), "Cost of a short position in a year, as a fraction"),
            lot: s.real("lot", 0.0..=1e18, Some(0.0), "Quantities are multiples of it; 0: any"),
            minimum_value: s.real("minimum_value", 0.0..=1e18, Some(0.0), "The least value of an entry"),
            participation: s.real("participation", 0.0..=1.0, Some(0.0), "Largest share of a bar's volume; 0: any"),
        };
        let signals = SignalOptions {
            entry: s.option("entry", "Buy"),
            exit: s.option("exit", "Sell what was bought"),
            short_entry: s.option("short_entry", "Sell short"),
            short_exit: s.option("short_exit", "Buy back what was sold short"),
            size: s.option("size", "Fraction of the account that is entered, by default all"),
            entry_limit_distance: s.option(
                "entry_limit_distance",
                "How much better than the close of the signal an entry is to be, in price; in place of entry_limit_fraction",
            ),
            entry_limit_price: s.option("entry_limit_price", "The worst price of an entry; in place of both"),
            entry_stop_distance: s.option(
                "entry_stop_distance",
                "How far beyond the close of the signal it is entered, in price; in place of entry_stop_fraction",
            ),
            entry_stop_price: s.option("entry_stop_price", "From which price on it is entered; in place of both"),
            stop_distance: s.option(
                "stop_distance",
                "Distance of the stop, in price, such as 2 * atr(14); in place of stop_fraction",
            ),
            stop_price: s.option("stop_price", "Price of the stop; in place of both"),
            target_distance: s
                .option("target_distance", "Distance of the target, in price; in place of target_fraction"),
            target_price: s.option("target_price", "Price of the target; in place of both"),
            trail_distance: s
                .option("trail_distance", "Distance of the trailing stop, in price; in place of trail_fraction"),
            volume: s.option("volume", "Volume, for participation and needs_volume"),
            funding: s.option("funding", "What a long position pays at a bar, as a fraction of its value"),
            ts: s.option_for("ts", OptionDefault::Time, &["trades", "equity"], "time of a bar, for trades and borrow"),
        };
        let columns = Columns {
            position: s.output("position"),
            equity: s.output("equity"),
            bar_return: s.output("return"),
            entry_price: s.output("entry_price"),
            exit_price: s.output("exit_price"),
            reason: s.name_output("reason", &Reason::NAMES),
            rejected: s.name_output("rejected", &Rejected::NAMES),
            trades: s.records_output("trades", &TRADE),
        };
        Self { signature, open, high, low, close, profile, rules, brackets, terms, signals, columns }
    }

    fn rules(&self, params: &Params) -> Result<Rules> {
        let (of, given) = (params.get(self.profile).rules(), &self.rules);
        let some = |bars: usize| u32::try_from(bars).ok().filter(|bars| *bars > 0);
        Ok(Rules {
            fill: params.get(given.fill).or(of.fill),
            both: params.get(given.both).or(of.both),
            trail: params.get(given.trail).or(of.trail),
            trail_on: params.get(given.trail_on).or(of.trail_on),
            trail_after: params.get(given.trail_after),
            limit_fill: params.get(given.limit_fill).or(of.limit_fill),
            end: params.get(given.end),
            reverse: params.get(given.reverse).or(of.reverse),
            max_bars: some(params.get(given.max_bars)),
            max_stale_bars: some(params.get(given.max_stale_bars)),
            needs_volume: params.get(given.needs_volume).or(of.needs_volume),
            valid_bars: params.get(given.valid_bars) as u32,
            target_steps: target_steps(params.get(given.target_steps))?,
            engine: of.engine,
        })
    }

    fn terms(&self, params: &Params) -> Terms {
        let given = &self.terms;
        Terms {
            cash: params.get(given.cash),
            leverage: params.get(given.leverage),
            costs: Costs {
                slippage: params.get(given.slippage),
                commission: params.get(given.commission),
                fixed: params.get(given.fixed),
                per_unit: params.get(given.per_unit),
                minimum: params.get(given.minimum),
                borrow: params.get(given.borrow),
            },
            lots: Lots {
                lot: params.get(given.lot),
                minimum: params.get(given.minimum_value),
                participation: params.get(given.participation),
            },
        }
    }
}

/// Where a level is, of a fraction for all entries, a distance and a price for each.
fn level(fraction: f64, distance: Option<f64>, price: Option<f64>) -> Level {
    match (price, distance) {
        (Some(price), _) => Level::Price(price),
        (None, Some(distance)) => Level::Distance(distance),
        (None, None) if fraction > 0.0 => Level::Fraction(fraction),
        (None, None) => Level::None,
    }
}

impl SeriesFunction for Backtest {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        // Whether a bar is the last, only the next one tells.
        let ahead = usize::from(params.get(self.rules.end) != End::Open);
        Reach { ahead: crate::series::Bars::Count(ahead), ..Reach::history() }
    }

    fn check(&self, params: &Params) -> Result<()> {
        self.rules(params).map(|_| ())
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let (rules, terms) = (self.rules(params)?, self.terms(params));
        let [open, high, low, close] = [self.open, self.high, self.low, self.close].map(|price| inputs.get(price));
        let given = &self.signals;
        let [entry, exit, short_entry, short_exit] =
            [given.entry, given.exit, given.short_entry, given.short_exit].map(|signal| inputs.optional(signal));
        let numbers = |option: Optional<Number>| inputs.optional(option);
        let (size, ts) = (numbers(given.size), inputs.optional(given.ts));
        let (stop_distance, stop_price) = (numbers(given.stop_distance), numbers(given.stop_price));
        let (target_distance, target_price) = (numbers(given.target_distance), numbers(given.target_price));
        let trail_distance = numbers(given.trail_distance);
        let (limit_distance, limit_price) = (numbers(given.entry_limit_distance), numbers(given.entry_limit_price));
        let (from_distance, from_price) = (numbers(given.entry_stop_distance), numbers(given.entry_stop_price));
        let of = &self.brackets;
        let fractions = [of.stop, of.target, of.trail, of.entry_limit, of.entry_stop].map(|f| params.get(f));
        let is = |signal: Option<&[bool]>, row: usize| signal.is_some_and(|signal| signal[row]);
        let at = |values: Option<&[f64]>, row: usize| values.map(|values| values[row]);
        let order = |row: usize| {
            let signals = Signals {
                enter_long: is(entry, row),
                exit_long: is(exit, row),
                enter_short: is(short_entry, row),
                exit_short: is(short_exit, row),
            };
            if !(signals.enter_long || signals.enter_short) {
                return Order { signals, ..Order::default() };
            }
            let bracket = Bracket {
                stop: level(fractions[0], at(stop_distance, row), at(stop_price, row)),
                target: level(fractions[1], at(target_distance, row), at(target_price, row)),
                trail: level(fractions[2], at(trail_distance, row), None),
            };
            let limit = level(fractions[3], at(limit_distance, row), at(limit_price, row));
            let from = level(fractions[4], at(from_distance, row), at(from_price, row));
            let entry = match (limit, from) {
                (Level::None, Level::None) => Entry::Market,
                (Level::None, from) => Entry::Stop(from),
                (limit, _) => Entry::Limit(limit),
            };
            Order { signals, entry, bracket, size: at(size, row).unwrap_or(1.0) }
        };
        let bars = Bars { open, high, low, close, volume: numbers(given.volume), ts, funding: numbers(given.funding) };
        let mut record = Rows { outputs, columns: self.columns, ts, before: terms.cash };
        Simulation::new(&rules, terms).run(&bars, order, &mut record);
        Ok(())
    }
}

/// What happens, as rows.
struct Rows<'r, 'o> {
    outputs: &'r mut Outputs<'o>,
    columns: Columns,
    ts: Option<&'r [i64]>,
    /// What the account was worth at the last close.
    before: f64,
}

impl Record for Rows<'_, '_> {
    fn entered(&mut self, row: usize, _: Side, filled: &Filled) {
        self.outputs.set(self.columns.entry_price, row, filled.price);
    }

    fn left(&mut self, trade: &Trade) {
        let Trade { side, entry_row, exit_row, entry_price, exit_price, quantity, pnl, gain, mfe, mae, .. } = *trade;
        self.outputs.set(self.columns.exit_price, exit_row, exit_price);
        self.outputs.set(self.columns.reason, exit_row, trade.reason as u8);
        let time = |row: usize| self.ts.map_or(f64::NAN, |ts| ts[row] as f64);
        let record = [
            f64::from(side as u8),
            time(entry_row),
            time(exit_row),
            entry_price,
            exit_price,
            f64::from(trade.bars),
            quantity,
            pnl,
            gain,
            mfe,
            mae,
            trade.costs,
            f64::from(trade.reason as u8),
        ];
        self.outputs.push(self.columns.trades, exit_row, &record);
    }

    fn rejected(&mut self, row: usize, why: Rejected) {
        self.outputs.set(self.columns.rejected, row, why as u8);
    }

    fn closed(&mut self, row: usize, equity: f64, units: f64) {
        self.outputs.set(self.columns.equity, row, equity);
        self.outputs.set(self.columns.position, row, units);
        self.outputs.set(
            self.columns.bar_return,
            row,
            if self.before > 0.0 { equity / self.before - 1.0 } else { 0.0 },
        );
        self.before = equity;
    }
}
