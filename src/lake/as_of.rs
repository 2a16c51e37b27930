//! Which version of a table is read.

use std::fmt::{Display, Formatter};
use std::str::FromStr;
use tallow_common::time;

/// A version of a table: a number, or the last one at a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsOf {
    /// The version with this number.
    Version(u64),
    /// The newest version at this time.
    Time(chrono::DateTime<chrono::Utc>),
}

impl FromStr for AsOf {
    type Err = tallow_common::Error;

    fn from_str(text: &str) -> tallow_common::Result<AsOf> {
        let digits = text.strip_prefix(['v', 'V']).unwrap_or(text);
        if digits.len() < 8
            && let Ok(version) = digits.parse()
        {
            return Ok(AsOf::Version(version));
        }
        let time = time::parse(text).and_then(chrono::DateTime::from_timestamp_micros);
        time.map(AsOf::Time).ok_or_else(|| {
            tallow_common::Error::invalid(format!(
                "version '{text}': expected a number such as 12 or v12, or a time such as 2024-01-31 or 2024-01-31T09:30:00Z"
            ))
        })
    }
}

impl Display for AsOf {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            AsOf::Version(version) => write!(f, "v{version}"),
            AsOf::Time(time) => write!(f, "{}", time.to_rfc3339()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number_or_a_time() {
        assert_eq!("12".parse::<AsOf>().unwrap(), AsOf::Version(12));
        assert_eq!("v12".parse::<AsOf>().unwrap().to_string(), "v12");
        assert_eq!("2024-01-31".parse::<AsOf>().unwrap().to_string(), "2024-01-31T00:00:00+00:00");
        // Eight digits are a day.
        assert_eq!("20240131".parse::<AsOf>().unwrap(), "2024-01-31".parse().unwrap());
        assert!("soon".parse::<AsOf>().unwrap_err().to_string().contains("expected a number such as 12"));
    }
}
