//! What trades cost, and how much is bought with what money there is.

use super::order::Side;

/// In microseconds.
const YEAR: f64 = 365.0 * 86_400_000_000.0;

/// What is paid beside prices.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Costs {
    /// Fraction of the price by which fills at the market and at stops are worse.
    pub slippage: f64,
    /// Fraction of the value of a fill.
    pub commission: f64,
    /// Money for each fill.
    pub fixed: f64,
    /// Money for each unit.
    pub per_unit: f64,
    /// The least that a fill costs.
    pub minimum: f64,
    /// Fraction of the value of what was sold short that borrowing it costs in a year.
    pub borrow: f64,
}

impl Costs {
    /// What a unit is bought (1) or sold (-1) for, where the market is at a price.
    pub fn slipped(&self, market: f64, way: f64) -> f64 {
        market * (1.0 + way * self.slippage)
    }

    /// What a fill costs.
    pub fn of_fill(&self, price: f64, quantity: f64) -> f64 {
        if quantity == 0.0 {
            return 0.0;
        }
        (self.fixed + self.commission * price * quantity + self.per_unit * quantity).max(self.minimum)
    }

    /// What holding a position of a value costs from one time up to another: borrowing what was sold short, and funding, a fraction of
    /// the value that a long position pays.
    pub fn of_holding(&self, side: Side, value: f64, times: Option<(i64, i64)>, funding: f64) -> f64 {
        let borrowed = match (side, times) {
            (Side::Short, Some((from, to))) => value * self.borrow * (to - from) as f64 / YEAR,
            _ => 0.0,
        };
        borrowed + if funding.is_finite() { side.sign() * value * funding } else { 0.0 }
    }

    /// The most units that money buys, costs included.
    fn affordable(&self, money: f64, price: f64) -> f64 {
        let each = price * (1.0 + self.commission) + self.per_unit;
        let by_parts = (money - self.fixed) / each;
        let by_minimum = (money - self.minimum) / price;
        by_parts.min(by_minimum).max(0.0)
    }
}

/// Which quantities there are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lots {
    /// Quantities are multiples of this; 0: any.
    pub lot: f64,
    /// The least value of an entry.
    pub minimum: f64,
    /// The largest share of a bar's volume that is filled; 0: any.
    pub participation: f64,
}

/// Why an entry did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// There is a position already.
    InPosition,
    /// As many positions as are allowed.
    NoSlot,
    /// Not enough cash.
    NoCash,
    /// Its value is too small, or less than one lot.
    BelowMinimum,
    /// It would weigh too much.
    MaxWeight,
    /// It has no level, size or price.
    NoPrice,
    /// No bar came with a price for too long.
    Stale,
    /// Too little is traded.
    Participation,
    /// Signals contradict each other.
    Conflict,
    /// Its price did not come in time.
    Expired,
}

impl Rejected {
    /// Names, in the order of the variants.
    pub const NAMES: [&'static str; 10] = [
        "in_position",
        "no_slot",
        "no_cash",
        "below_minimum",
        "max_weight",
        "no_price",
        "stale",
        "participation",
        "conflict",
        "expired",
    ];
}

/// Money that an entry may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Funds {
    /// What it is to be worth.
    pub value: f64,
    /// The most that it may cost; for a short position, that it may be worth.
    pub most: f64,
}

/// How many units are bought or sold short for a price, with what is there.
///
/// # Errors
/// None can be; with the reason.
pub fn quantity(
    side: Side,
    price: f64,
    volume: f64,
    funds: Funds,
    costs: &Costs,
    lots: &Lots,
) -> Result<f64, Rejected> {
    if funds.value.is_nan() || funds.value <= 0.0 {
        return Err(Rejected::NoPrice);
    }
    let most = match side {
        Side::Long => costs.affordable(funds.most, price),
        Side::Short => funds.most / price,
    };
    let wanted = (funds.value / price).min(most);
    if wanted.is_nan() || wanted <= 0.0 {
        return Err(Rejected::NoCash);
    }
    let traded = if lots.participation > 0.0 { lots.participation * volume.max(0.0) } else { f64::INFINITY };
    let whole = |units: f64| if lots.lot > 0.0 { (units / lots.lot).floor() * lots.lot } else { units };
    let units = whole(wanted.min(traded));
    if units > 0.0 && units * price >= lots.minimum {
        return Ok(units);
    }
    let enough = whole(wanted);
    Err(if enough > 0.0 && enough * price >= lots.minimum { Rejected::Participation } else { Rejected::BelowMinimum })
}
