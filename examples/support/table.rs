//! Plain text tables: columns as wide as their widest cell, the first `left` columns to the left, numbers to the right.

/// Lays `rows` out under `header`. Every row has as many cells as the header.
pub(crate) fn render(header: &[&str], left: usize, rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (i, (cell, &width)) in cells.zip(&widths).enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            let padded = if i < left { format!("{gap}{cell:<width$}") } else { format!("{gap}{cell:>width$}") };
            text.push_str(&padded);
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut header.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".to_string(), "10".to_string()], vec!["longer".to_string(), "7".to_string()]];
        assert_eq!(render(&["name", "n"], 1, &rows), "name     n\na       10\nlonger   7\n");
    }
}
