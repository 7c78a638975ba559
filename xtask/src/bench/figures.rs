//! Medians, and a table that reads as text and as Markdown.

/// The median; of an even number the mean of the two in the middle. NaN of nothing.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match (values.len() / 2, values.len() % 2) {
        (0, 0) => f64::NAN,
        (half, 0) => f64::midpoint(values[half - 1], values[half]),
        (half, _) => values[half],
    }
}

/// The smallest and the largest.
pub(super) fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    values
        .into_iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

/// The rows below the heads, columns aligned: the first to the left, all others to the right.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!(" {cell:width$} |") } else { format!(" {cell:>width$} |") }
        });
        format!("|{}\n", cells.collect::<String>())
    };
    let mut text = line(&mut heads.iter().copied());
    let rules = widths.iter().enumerate().map(|(column, &width)| {
        let dashes = "-".repeat(width + 1);
        if column == 0 { format!("{dashes}-|") } else { format!("{dashes}:|") }
    });
    text.push_str(&format!("|{}\n", rules.collect::<String>()));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// The number that follows the first `"name":` in a JSON text; the caller knows that it is there.
pub(super) fn number(json: &str, name: &str) -> Option<f64> {
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    let end = rest.find([',', '}', ']'])?;
    rest[..end].trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_nothing() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
        assert_eq!(range([2.0, 1.0, 3.0]), (1.0, 3.0));
    }

    #[test]
    fn the_table_is_aligned() {
        let rows = [vec!["untraced".to_owned(), "1.00".to_owned()]];
        assert_eq!(
            table(&["under", "µs"], &rows),
            "| under    |   µs |\n|----------|-----:|\n| untraced | 1.00 |\n"
        );
    }

    #[test]
    fn numbers_are_found_by_name() {
        let json = r#"{"lost":{"detail":3,"untracked":0},"per_s":24.5}"#;
        assert_eq!(number(json, "detail"), Some(3.0));
        assert_eq!(number(json, "per_s"), Some(24.5));
        assert_eq!(number(json, "missed"), None);
    }
}
