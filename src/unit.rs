//! Durations and sizes as people write them: `250ms 30s 5m 4h 7d`, `10MiB 2GB`.

use std::time::Duration;

/// Why a text is no duration or no size; `Display` reads after "expected a duration: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A number without a unit: both readings are shown so that the author can choose.
    #[error("`{number}` has no unit: write `{first}` or `{second}`")]
    Bare {
        /// The number as written.
        number: String,
        /// The reading in the smaller common unit.
        first: String,
        /// The reading in the larger common unit.
        second: String,
    },
    /// Not a number followed by a unit.
    #[error("`{text}` is not {what}: write {example}")]
    Shape {
        /// As written.
        text: String,
        /// "a duration" or "a size".
        what: &'static str,
        /// What would be right.
        example: &'static str,
    },
    /// Beyond what the program can count.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

/// Reads `250ms`, `30s`, `1.5h`, `7d`; one number, one unit.
///
/// # Errors
///
/// [`UnitError`]: a bare number is an error that shows both readings (spec 1).
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    const EXAMPLE: &str = "`250ms`, `30s`, `5m`, `4h` or `7d`";
    let shape = || UnitError::Shape { text: text.to_owned(), what: "a duration", example: EXAMPLE };
    let (number, unit) = split(text).ok_or_else(shape)?;
    let seconds = match unit {
        "" => {
            return Err(UnitError::Bare {
                number: number.to_owned(),
                first: format!("{number}s"),
                second: format!("{number}m"),
            });
        }
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(shape()),
    };
    let number: f64 = number.parse().map_err(|_| shape())?;
    let total = number * seconds;
    // A hundred years: beyond it additions to the clock could overflow.
    if !total.is_finite() || total > 3.2e9 {
        return Err(UnitError::TooLarge(text.to_owned()));
    }
    // Whole milliseconds, so that what is written is what the log and the clock can say.
    Ok(Duration::from_millis((total * 1000.0).round() as u64))
}

/// Reads `512B`, `10MiB`, `2GB`: bytes; `k`-prefixed units are powers of 1,000, `Ki` of 1,024.
///
/// # Errors
///
/// [`UnitError`]: a bare number is an error that shows both readings (spec 1).
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    const EXAMPLE: &str = "`512B`, `64KiB`, `10MiB` or `2GB`";
    let shape = || UnitError::Shape { text: text.to_owned(), what: "a size", example: EXAMPLE };
    let (number, unit) = split(text).ok_or_else(shape)?;
    let factor: f64 = match unit {
        "" => {
            return Err(UnitError::Bare {
                number: number.to_owned(),
                first: format!("{number}B"),
                second: format!("{number}MiB"),
            });
        }
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(shape()),
    };
    let number: f64 = number.parse().map_err(|_| shape())?;
    let total = (number * factor).round();
    // 2^53 - 1: numbers in the log are JSON's.
    if !total.is_finite() || total > 9_007_199_254_740_991.0 {
        return Err(UnitError::TooLarge(text.to_owned()));
    }
    Ok(total as u64)
}

/// `1.5h` as `("1.5", "h")`; `None` if it does not begin with an unsigned decimal number.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let digits = number.strip_suffix('.').map_or(number, |_| "");
    let starts_well = digits.starts_with(|c: char| c.is_ascii_digit());
    (starts_well && number.matches('.').count() <= 1).then_some((number, unit.trim_start()))
}

/// `90s` as `1m 30s`: for people, never parsed again.
#[must_use]
pub fn show_duration(span: Duration) -> String {
    let millis = span.as_millis();
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{:.1}s", span.as_secs_f64()),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// `1536` as `1.5 KiB`: for people, never parsed again.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_as_written() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(parse_size("10MiB"), Ok(10 << 20));
        assert_eq!(parse_size("2GB"), Ok(2_000_000_000));
    }

    #[test]
    fn a_bare_number_shows_both_readings() {
        let shown = parse_duration("30").unwrap_err().to_string();
        assert_eq!(shown, "`30` has no unit: write `30s` or `30m`");
        let shown = parse_size("64").unwrap_err().to_string();
        assert_eq!(shown, "`64` has no unit: write `64B` or `64MiB`");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "s", "-5s", "1..5s", "5 weeks", "1.s", ".5s", "99999999999999d", "1e3s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["", "MiB", "-1B", "5 cats", "99999999999TB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
