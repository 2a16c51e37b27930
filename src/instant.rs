//! Times as people read them.

/// Microseconds since the epoch as `2024-01-31`, `2024-01-31 09:30` or `2024-01-31 09:30:05`, in UTC.
pub(crate) fn shown(micros: i64) -> String {
    let Some(time) = chrono::DateTime::from_timestamp_micros(micros) else { return micros.to_string() };
    let text = time.format("%Y-%m-%d %H:%M:%S").to_string();
    let minutes = text.strip_suffix(":00").unwrap_or(&text);
    minutes.strip_suffix(" 00:00").unwrap_or(minutes).to_string()
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_is_zero_is_left_out() {
        const DAY: i64 = 19_753 * 86_400_000_000; // 2024-01-31
        assert_eq!(shown(DAY), "2024-01-31");
        assert_eq!(shown(DAY + 34_200_000_000), "2024-01-31 09:30");
        assert_eq!(shown(DAY + 34_205_000_000), "2024-01-31 09:30:05");
        assert_eq!(shown(DAY + 5_000_000), "2024-01-31 00:00:05");
    }
}
