//! Numbers for people.

/// A count or a rate with three digits and a prefix: `6.33 M`, `132 k`, `0.05`.
pub(crate) fn count(value: f64) -> String {
    let (scaled, prefix) = prefixed(value, 1000.0, &["", "k", "M", "G", "T"]);
    joined(&digits(scaled), prefix)
}

/// Bytes with three digits and a prefix: `256 MiB`.
pub(super) fn bytes(value: f64) -> String {
    let (scaled, unit) = prefixed(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]);
    joined(&trimmed(&digits(scaled)), unit)
}

/// A value of a queue with its unit.
pub(super) fn amount(value: f64, unit: &str) -> String {
    if unit == "bytes" { bytes(value) } else { format!("{} {unit}", trimmed_count(value)) }
}

/// As [`count`], without zeros that say nothing: for marks of an axis, and for capacities.
pub(super) fn trimmed_count(value: f64) -> String {
    let (scaled, prefix) = prefixed(value, 1000.0, &["", "k", "M", "G", "T"]);
    joined(&trimmed(&digits(scaled)), prefix)
}

/// A part of 1 in per cent.
pub(super) fn percent(part: f64) -> String {
    let percent = 100.0 * part;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// Milliseconds or nanoseconds, without the unit, with three digits or more.
pub(super) fn time(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 999.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// A name of a count: `1 chain`, `2 chains`.
pub(crate) fn plural(count: u64, name: &str) -> String {
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// Three digits that count.
fn digits(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 0.001 => format!("{value:.1e}"),
        value if value < 0.1 => format!("{value:.4}"),
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// A decimal number without zeros at its end.
fn trimmed(digits: &str) -> String {
    if digits.contains('.') && !digits.contains('e') {
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        digits.to_owned()
    }
}

/// The value in the largest of the units that leaves something in front of the point.
fn prefixed<'a>(value: f64, base: f64, units: &[&'a str]) -> (f64, &'a str) {
    let mut scaled = value;
    let mut units = units.iter();
    let mut unit = units.next().expect("there are units");
    for larger in units {
        // What rounds up to the next unit is shown in it.
        if scaled < 0.9995 * base {
            break;
        }
        (scaled, unit) = (scaled / base, larger);
    }
    (scaled, unit)
}

fn joined(digits: &str, unit: &str) -> String {
    if unit.is_empty() { digits.to_owned() } else { format!("{digits} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(count(6_332_000.0), "6.33 M");
        assert_eq!(count(131_875.0), "132 k");
        assert_eq!(count(999_700.0), "1.00 M");
        assert_eq!(count(0.0), "0");
        assert_eq!(count(0.000_012), "1.2e-5");
        assert_eq!(trimmed_count(4e6), "4 M");
        assert_eq!(trimmed_count(100.0), "100");
        assert_eq!(bytes(f64::from(256 << 20)), "256 MiB");
        assert_eq!(amount(2.0, "main blocks"), "2 main blocks");
        assert_eq!(percent(0.7112), "71 %");
        assert_eq!(percent(0.0321), "3.2 %");
        assert_eq!(plural(1, "chain"), "1 chain");
    }
}
