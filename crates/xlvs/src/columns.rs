//! Rows of words in columns.

/// Lines of rows under their titles; columns of `right` stand to the right edge. The last column is
/// not filled up.
pub(crate) fn columns<const N: usize>(
    titles: [&str; N],
    right: [bool; N],
    rows: &[[String; N]],
) -> Vec<String> {
    let mut widths = titles.map(|title| title.chars().count());
    for row in rows {
        for (width, word) in widths.iter_mut().zip(row) {
            *width = (*width).max(word.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let words = row.iter().zip(widths).zip(right).map(|((word, width), right)| match right {
            true => format!("{word:>width$}"),
            false => format!("{word:width$}"),
        });
        words.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(line(&titles.map(str::to_owned))).chain(rows.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn words_stand_under_their_titles() {
        let rows = [["a".to_owned(), "1".to_owned()], ["bcd".to_owned(), "1000".to_owned()]];
        let lines = columns(["To", "N"], [false, true], &rows);
        assert_eq!(lines, ["To      N", "a       1", "bcd  1000"]);
    }
}
