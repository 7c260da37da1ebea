//! Tables that fit the terminal: columns as wide as their content, the widest texts cut first where all
//! of them are too wide. Numbers are never cut, and into a pipe nothing is.

use std::env;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a column stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Lines under titles.
pub(crate) struct Table {
    titles: Vec<(String, Side)>,
    lines: Vec<Vec<String>>,
    /// Also columns in which every line is empty.
    all: bool,
}

impl Table {
    /// An empty one. A column in which every line is empty is left out.
    pub(crate) fn new(titles: &[(&str, Side)]) -> Self {
        let titles = titles.iter().map(|(title, side)| ((*title).to_owned(), *side)).collect();
        Self { titles, lines: Vec::new(), all: false }
    }

    /// An empty one that keeps all of its columns, as somebody asked for each.
    pub(crate) fn with_all(titles: &[(&str, Side)]) -> Self {
        Self { all: true, ..Self::new(titles) }
    }

    /// Adds a line with a cell for each column. What cannot be printed is left out of it: a cloud's
    /// words must not move the cursor.
    pub(crate) fn line(&mut self, cells: Vec<String>) {
        let clean = |it: String| it.chars().filter(|it| !it.is_control()).collect();
        self.lines.push(cells.into_iter().map(clean).collect());
    }

    /// The text, at most so wide.
    pub(crate) fn text(&self, width: Option<usize>) -> String {
        let used = |at: &usize| {
            self.all || self.lines.iter().any(|line| line.get(*at).is_some_and(|it| !it.is_empty()))
        };
        let columns: Vec<usize> = (0..self.titles.len()).filter(used).collect();
        let widths = self.widths(&columns, width);
        let titles: Vec<String> = self.titles.iter().map(|(title, _)| title.clone()).collect();
        let mut text = String::new();
        for line in std::iter::once(&titles).chain(&self.lines) {
            let mut row = String::new();
            for (column, width) in columns.iter().zip(&widths) {
                let cell = cut(line.get(*column).map_or("", String::as_str), *width);
                let gap = " ".repeat(width.saturating_sub(cell.width()));
                let between = if row.is_empty() { "" } else { GAP };
                row.push_str(between);
                match self.side(*column) {
                    Side::Left => row.extend([cell.as_str(), &gap]),
                    Side::Right => row.extend([&gap, cell.as_str()]),
                }
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }

    fn side(&self, column: usize) -> Side {
        self.titles.get(column).map_or(Side::Left, |(_, side)| *side)
    }

    fn widths(&self, columns: &[usize], width: Option<usize>) -> Vec<usize> {
        let content = |column: &usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(*column)).map(|it| it.width());
            let title = self.titles.get(*column).map_or(0, |(title, _)| title.width());
            cells.chain([title]).max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = columns.iter().map(content).collect();
        let gaps = GAP.len() * columns.len().saturating_sub(1);
        let Some(room) = width.map(|it| it.saturating_sub(gaps)) else { return widths };
        while widths.iter().sum::<usize>() > room {
            // A number that is cut is another number.
            let text = widths.iter_mut().zip(columns).filter(|(_, column)| self.side(**column) == Side::Left);
            let Some(widest) = text.map(|(width, _)| width).max().filter(|it| **it > NARROWEST) else {
                break;
            };
            *widest -= 1;
        }
        widths
    }
}

/// How wide the terminal is; nothing when stdout is none. `COLUMNS` is believed first.
pub(crate) fn terminal() -> Option<usize> {
    let told = env::var("COLUMNS").ok().and_then(|it| it.parse().ok());
    told.or_else(|| {
        rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok().map(|it| usize::from(it.ws_col))
    })
    .filter(|it| *it > 0)
}

/// The text if it fits, else its beginning and a sign that it goes on.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |letter: &char| {
        let wide = letter.width().unwrap_or_default();
        let fits = wide <= room;
        room = room.saturating_sub(wide);
        fits
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

const GAP: &str = "  ";

/// Narrower columns say nothing; a terminal that is narrower still breaks the lines itself.
const NARROWEST: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("NAME", Side::Left), ("EMPTY", Side::Left), ("PRICE", Side::Right)]);
        table.line(vec!["a".into(), String::new(), "$10.00".into()]);
        table.line(vec!["a name that is long".into(), String::new(), "$1.00".into()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_content_and_empty_ones_are_left_out() {
        let expected =
            "NAME                  PRICE\na                    $10.00\na name that is long   $1.00\n";
        assert_eq!(table().text(None), expected);
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_column() {
        assert_eq!(table().text(Some(18)), "NAME         PRICE\na           $10.00\na name th…   $1.00\n");
        for width in 0..40 {
            let widest = table().text(Some(width)).lines().map(UnicodeWidthStr::width).max();
            assert!(widest <= Some(width.max(14)), "{width}");
        }
    }

    #[test]
    fn wide_letters_take_two_places_and_control_letters_none() {
        let mut table = Table::new(&[("X", Side::Left)]);
        table.line(vec!["東京東京東京".into()]);
        table.line(vec!["\u{1b}[2Jabc\n".into()]);
        assert_eq!(table.text(Some(7)), "X\n東京東…\n[2Jabc\n");
    }
}
