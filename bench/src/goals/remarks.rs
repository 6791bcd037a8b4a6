//! Remarks on goals, written by hand in `bench/goals.md`: a goal that is beyond the machine, and
//! the measurement that shows it.

use std::{fs, io, path::Path};

/// By the numbers of goals.
pub(super) struct Remarks(Vec<(u8, String)>);

impl Remarks {
    /// Reads them.
    ///
    /// # Errors
    /// The file cannot be read, or has a heading that is no number.
    pub(super) fn read() -> io::Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("goals.md");
        let about = |why: String| io::Error::other(format!("{}: {why}", file.display()));
        let text = fs::read_to_string(&file).map_err(|error| about(error.to_string()))?;
        Self::parse(&text).map_err(about)
    }

    /// A heading of the second level is the number of a goal; what follows is the remark, in one
    /// line again. What is before the first heading tells whoever writes.
    fn parse(text: &str) -> Result<Self, String> {
        let mut remarks: Vec<(u8, Vec<&str>)> = Vec::new();
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                let number = heading.trim().parse();
                let number = number.map_err(|_| format!("## {heading}: no number of a goal"))?;
                remarks.push((number, Vec::new()));
            } else if let (Some((_, words)), false) = (remarks.last_mut(), line.trim().is_empty()) {
                words.push(line.trim());
            }
        }
        remarks.sort_by_key(|(number, _)| *number);
        Ok(Self(remarks.into_iter().map(|(number, lines)| (number, lines.join(" "))).collect()))
    }

    /// The one on a goal.
    pub(super) fn of(&self, number: u8) -> Option<&str> {
        self.all().find(|(of, _)| *of == number).map(|(_, remark)| remark)
    }

    /// All, in the order of the goals.
    pub(super) fn all(&self) -> impl Iterator<Item = (u8, &str)> {
        let written = self.0.iter().filter(|(_, remark)| !remark.is_empty());
        written.map(|(number, remark)| (*number, remark.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_what_stands_under_its_number() {
        let text = "# Remarks\nfor you\n\n## 7\nnine\nlives\n\nmore\n## 1\none\n## 2\n";
        let remarks = Remarks::parse(text).expect("sound");
        assert_eq!(remarks.all().collect::<Vec<_>>(), [(1, "one"), (7, "nine lives more")]);
        assert_eq!((remarks.of(7), remarks.of(2)), (Some("nine lives more"), None));
        let why = Remarks::parse("## seven\n").err();
        assert_eq!(why.as_deref(), Some("## seven: no number of a goal"));
    }
}
