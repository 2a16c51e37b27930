//! Rules made of thresholds, and how often what follows them is a gain.

use super::events::Events;
use tallow_udfs::trade::metrics::{below, normal_quantile};

/// On which side of a threshold a feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// Which feature.
    pub feature: usize,
    /// Which of its thresholds, from 0.
    pub threshold: u8,
    /// From the threshold up; else below it.
    pub is_above: bool,
}

impl Condition {
    /// Whether it holds where this many thresholds are reached.
    fn holds(self, reached: u8) -> bool {
        reached != Events::UNKNOWN && (reached > self.threshold) == self.is_above
    }
}

/// What is known of the bars that a rule chooses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outcomes {
    /// How many.
    pub samples: usize,
    /// How many independent ones they are worth: those whose trades overlap share what they say.
    pub effective: f64,
    /// The share of gains. Each counts alike: what a trade shares with later ones hangs on what the price did meanwhile, so that by these
    /// weights a random walk would seem to rise after it fell.
    pub win_rate: f64,
    /// The mean gain.
    pub mean_return: f64,
}

/// Which times count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Those that rules are found in: before this time, and left before it.
    Before(i64),
    /// Those that they are tried on: from this time on.
    From(i64),
}

/// Buffers that are used again for each rule and symbol.
#[derive(Default)]
pub struct Scratch {
    open: Vec<i32>,
    shares: Vec<f64>,
    chosen: Vec<usize>,
}

impl Outcomes {
    /// Of the bars of a period for which all conditions hold; of all bars, where there is none.
    pub fn of(conditions: &[Condition], events: &[Events], period: Period, scratch: &mut Scratch) -> Outcomes {
        let (mut samples, mut effective, mut wins, mut gains) = (0, 0.0, 0.0, 0.0);
        for symbol in events {
            let Scratch { open, shares, chosen } = scratch;
            chosen.clear();
            let counts = |bar: usize| {
                let is_in = match period {
                    Period::Before(time) => symbol.left_at(bar) < time,
                    Period::From(time) => symbol.ts[bar] >= time,
                };
                is_in && conditions.iter().all(|own| own.holds(symbol.reached[own.feature][bar]))
            };
            chosen.extend((0..symbol.ts.len()).filter(|bar| symbol.is_known(*bar) && counts(*bar)));
            if chosen.is_empty() {
                continue;
            }
            // How many trades are open at each bar; a trade is worth the mean of its shares.
            open.clear();
            open.resize(symbol.ts.len() + 1, 0);
            for bar in chosen.iter() {
                open[bar + 1] += 1;
                open[symbol.exits[*bar] as usize + 1] -= 1;
            }
            shares.clear();
            let (mut together, mut sum) = (0, 0.0);
            for change in open.iter() {
                together += change;
                sum += if together > 0 { 1.0 / f64::from(together) } else { 0.0 };
                shares.push(sum);
            }
            for bar in chosen.iter() {
                let exit = symbol.exits[*bar] as usize;
                let weight = (shares[exit] - shares[*bar]) / (exit - bar) as f64;
                let gain = f64::from(symbol.gains[*bar]);
                effective += weight;
                wins += f64::from(u8::from(gain > 0.0));
                gains += gain;
            }
            samples += chosen.len();
        }
        match samples > 0 {
            true => {
                Outcomes { samples, effective, win_rate: wins / samples as f64, mean_return: gains / samples as f64 }
            }
            false => Outcomes::default(),
        }
    }

    /// The probability that as many gains, or more, come where gains are as frequent as this.
    pub fn p_value(&self, base: f64) -> f64 {
        let spread = (base * (1.0 - base) / self.effective).sqrt();
        match spread > 0.0 {
            true => below(-(self.win_rate - base) / spread),
            false => 1.0,
        }
    }

    /// Between which rates the true one lies, 95 of a hundred times (E. Wilson, 1927).
    pub fn interval(&self) -> (f64, f64) {
        let z = normal_quantile(0.975).unwrap_or(f64::NAN);
        let (n, p) = (self.effective, self.win_rate);
        let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        (middle - half, middle + half)
    }
}

/// For each of many tests the rate of false discoveries among those that are at least as good (Y. Benjamini and Y. Hochberg, 1995).
pub fn false_discovery_rates(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*b].total_cmp(&p_values[*a]));
    let mut rates = vec![0.0; p_values.len()];
    let (mut least, count) = (1.0f64, p_values.len());
    for (from_last, at) in order.into_iter().enumerate() {
        least = least.min(p_values[at] * count as f64 / (count - from_last) as f64);
        rates[at] = least;
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One symbol with bars at 0, 1, 2, ..; each trade is left `hold` bars later.
    fn events(gains: &[f32], hold: u32, reached: Vec<u8>) -> Events {
        let n = gains.len() as u32;
        Events {
            ts: (0..i64::from(n)).collect(),
            exits: (0..n).map(|bar| if bar + hold < n { bar + hold } else { Events::OPEN }).collect(),
            gains: gains.to_vec(),
            reached: vec![reached],
            values: vec![],
        }
    }

    #[test]
    fn trades_that_overlap_share_their_weight() {
        let all = [events(&[0.1; 6], 2, vec![0; 6])];
        // Trades of bars 0 to 3 lie over bars 1-2, 2-3, 3-4, 4-5: shares 1, 1/2, 1/2, 1/2, 1.
        let of = Outcomes::of(&[], &all, Period::From(0), &mut Scratch::default());
        assert_eq!((of.samples, of.effective, of.win_rate), (4, 0.75 + 0.5 + 0.5 + 0.75, 1.0));
        assert!((of.mean_return - 0.1).abs() < 1e-7);
        let alone = [events(&[0.1; 6], 1, vec![0; 6])];
        assert_eq!(Outcomes::of(&[], &alone, Period::From(0), &mut Scratch::default()).effective, 5.0);
    }

    #[test]
    fn a_rule_chooses_by_thresholds_and_periods_by_time() {
        let all = [events(&[0.1, -0.1, 0.2, 0.3, 0.1, 0.0], 1, vec![0, 1, 2, Events::UNKNOWN, 1, 1])];
        let of = |threshold, is_above, period| {
            Outcomes::of(&[Condition { feature: 0, threshold, is_above }], &all, period, &mut Scratch::default())
        };
        assert_eq!(of(0, false, Period::From(0)).samples, 1);
        let above = of(0, true, Period::From(0));
        assert!(above.samples == 3 && (above.win_rate - 2.0 / 3.0).abs() < 1e-12, "{above:?}");
        assert_eq!(of(1, true, Period::From(3)).samples, 0);
        // The trade of bar 1 is left at bar 2.
        assert_eq!((of(0, true, Period::Before(3)).samples, of(0, true, Period::Before(2)).samples), (1, 0));
    }

    #[test]
    fn figures_are_those_of_the_books() {
        // Wilson's interval for 40 of 100, and the example of Benjamini and Hochberg.
        let of = Outcomes { samples: 100, effective: 100.0, win_rate: 0.4, mean_return: 0.0 };
        let (low, high) = of.interval();
        assert!((low - 0.309_401_3).abs() < 1e-6 && (high - 0.497_997_4).abs() < 1e-6, "{low} {high}");
        // 40 of 100 where 30 are usual: z = 2.1822.
        assert!((of.p_value(0.3) - 0.014_548).abs() < 1e-5, "{}", of.p_value(0.3));
        let rates = false_discovery_rates(&[0.01, 0.04, 0.03, 0.005]);
        let want = [0.02, 0.04, 0.04, 0.02];
        assert!(rates.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{rates:?}");
    }
}
