//! What the files of a source are like, as data: a TOML file for each.

use super::IngestOptions;
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use tallow_common::{Error, Result};
use tallow_udfs::calendar::Timeframe;

/// Those that tallow knows, by name.
const KNOWN: [(&str, &str); 7] = [
    ("binance", include_str!("presets/binance.toml")),
    ("ccxt", include_str!("presets/ccxt.toml")),
    ("freqtrade", include_str!("presets/freqtrade.toml")),
    ("lean", include_str!("presets/lean.toml")),
    ("mt5", include_str!("presets/mt5.toml")),
    ("pystock", include_str!("presets/pystock.toml")),
    ("stooq", include_str!("presets/stooq.toml")),
];

/// What is assumed of the files of a source. Whatever a delivery says itself counts instead.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What it is for, and where its format is documented.
    pub about: Option<String>,
    /// Names of the columns of files without a header.
    pub columns: Option<Vec<String>>,
    /// Column of the file by column of the table; `-` drops one.
    #[serde(default)]
    pub map: BTreeMap<String, String>,
    /// A pattern on the path of a file; its first group is the symbol.
    pub symbol_from: Option<String>,
    /// A pattern on the path of a file; its first group is the date, `YYYYMMDD`, of times that are milliseconds of a day.
    pub date_from: Option<String>,
    /// A pattern for the members of archives that are read.
    pub member: Option<String>,
    /// The zone of times that name none.
    pub tz: Option<String>,
    /// How times are written.
    pub time_format: Option<String>,
    /// Prices are multiplied by this.
    pub scale: Option<f64>,
    /// Times are those of the close.
    pub close_as_ts: Option<bool>,
    /// What is different for bars below a length, the shortest that fits.
    #[serde(default)]
    pub shorter: Vec<Shorter>,
}

/// What is different for shorter bars.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Shorter {
    /// Than this.
    pub than: String,
    /// What is different.
    #[serde(flatten)]
    pub preset: Box<Preset>,
}

impl Preset {
    /// One that tallow knows, or the text of a file.
    ///
    /// # Errors
    /// There is no such preset, or it is none.
    pub fn named(name: &str) -> Result<Preset> {
        if let Some((known, text)) = KNOWN.iter().find(|(known, _)| *known == name) {
            return Preset::parse(known, text);
        }
        if !name.ends_with(".toml") {
            let names = KNOWN.map(|(name, _)| name).join(", ");
            return Err(Error::Argument("preset", format!(" {name}: expected one of {names}, or a file .toml")));
        }
        let text =
            std::fs::read_to_string(name).map_err(|error| Error::Argument("preset", format!(" {name}: {error}")))?;
        Preset::parse(name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Preset> {
        toml::from_str(text)
            .map_err(|error| Error::Argument("preset", format!(" {name}: {}", error.to_string().trim())))
    }

    /// What it says for bars of a length.
    pub fn of(self, timeframe: Timeframe) -> Result<Preset> {
        let mut fitting: Vec<(Timeframe, Preset)> = vec![];
        for Shorter { than, preset } in &self.shorter {
            let than: Timeframe =
                than.parse().map_err(|error| Error::Argument("preset", format!(": than: {error}")))?;
            if timeframe < than {
                fitting.push((than, preset.as_ref().clone()));
            }
        }
        fitting.sort_by_key(|(than, _)| *than);
        Ok(match fitting.into_iter().next() {
            Some((_, own)) => Preset {
                about: self.about,
                columns: own.columns.or(self.columns),
                map: if own.map.is_empty() { self.map } else { own.map },
                symbol_from: own.symbol_from.or(self.symbol_from),
                date_from: own.date_from.or(self.date_from),
                member: own.member.or(self.member),
                tz: own.tz.or(self.tz),
                time_format: own.time_format.or(self.time_format),
                scale: own.scale.or(self.scale),
                close_as_ts: own.close_as_ts.or(self.close_as_ts),
                shorter: vec![],
            },
            None => Preset { shorter: vec![], ..self },
        })
    }

    /// Sets what a delivery does not say itself.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn apply(self, to: &mut IngestOptions) -> Result<()> {
        let pattern = |name: &'static str, text: Option<String>| {
            let wrong =
                |text: &str, error: regex::Error| Error::Argument("preset", format!(": {name} '{text}': {error}"));
            text.map(|text| Regex::new(&text).map_err(|error| wrong(&text, error))).transpose()
        };
        let naming = &mut to.naming;
        for (name, column) in self.map {
            if !naming.map.iter().any(|(known, _)| *known == name) {
                naming.map.push((name, column));
            }
        }
        if naming.symbol.is_none() && naming.symbol_from.is_none() {
            naming.symbol_from = pattern("symbol_from", self.symbol_from)?;
        }
        naming.date_from = naming.date_from.take().or(pattern("date_from", self.date_from)?);
        naming.time_format = naming.time_format.take().or(self.time_format);
        to.member = to.member.take().or(pattern("member", self.member)?);
        to.columns = to.columns.take().or(self.columns);
        to.zone = to.zone.take().or(self.tz);
        to.scale = to.scale.or(self.scale);
        to.close_as_ts |= self.close_as_ts.unwrap_or_default();
        Ok(())
    }

    /// What it assumes, a line each.
    pub fn assumptions(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.about.iter().cloned().collect();
        let mut add = |name: &str, value: Option<String>| lines.extend(value.map(|value| format!("{name} = {value}")));
        add("columns", self.columns.as_ref().map(|columns| columns.join(",")));
        add(
            "map",
            (!self.map.is_empty())
                .then(|| self.map.iter().map(|(a, b)| format!("{a}={b}")).collect::<Vec<_>>().join(" ")),
        );
        add("symbol_from", self.symbol_from.clone());
        add("date_from", self.date_from.clone());
        add("member", self.member.clone());
        add("tz", self.tz.clone());
        add("time_format", self.time_format.clone());
        add("scale", self.scale.map(|scale| scale.to_string()));
        add("close_as_ts", self.close_as_ts.map(|is| is.to_string()));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_known_are_presets() {
        for (name, text) in KNOWN {
            let preset = Preset::parse(name, text).unwrap();
            assert!(preset.about.is_some(), "{name}");
            for timeframe in ["1m", "1h", "1d"] {
                let mut options = IngestOptions::default();
                preset.clone().of(timeframe.parse().unwrap()).unwrap().apply(&mut options).unwrap();
            }
        }
        assert!(Preset::named("leen").unwrap_err().to_string().contains("expected one of binance, ccxt"));
    }

    #[test]
    fn shorter_bars_and_a_delivery_come_first() {
        let lean = |timeframe: &str| {
            let mut options = IngestOptions { scale: Some(0.5), ..IngestOptions::default() };
            Preset::named("lean").unwrap().of(timeframe.parse().unwrap()).unwrap().apply(&mut options).unwrap();
            (options.scale, options.zone, options.naming.date_from.is_some())
        };
        assert_eq!(lean("1d"), (Some(0.5), Some("UTC".into()), false));
        assert_eq!(lean("1h"), (Some(0.5), Some("America/New_York".into()), false));
        assert_eq!(lean("1m"), (Some(0.5), Some("America/New_York".into()), true));
        let error = Preset::parse("x", "columns = 1").unwrap_err().to_string();
        assert!(error.contains("preset x"), "{error}");
    }
}
