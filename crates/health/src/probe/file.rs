//! A number or a word in a file, as keepalived's FILE_CHECK.

use rustix::fs::OFlags;
use tokio::{fs::OpenOptions, io::AsyncReadExt};

use crate::{
    check::File,
    outcome::{Bad, Good, Kind},
};

/// Octets that are read.
const MOST: u64 = 4096;

pub(super) async fn ask(probe: &File) -> Result<Good, Bad> {
    let failed =
        |error: std::io::Error| Bad::new(Kind::Local, format!("{}: {error}", probe.path.display()));
    let mut options = OpenOptions::new();
    // A pipe without a writer would hold a thread for ever.
    options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
    let file = options.open(&probe.path).await.map_err(failed)?;
    let mut octets = Vec::new();
    file.take(MOST).read_to_end(&mut octets).await.map_err(failed)?;
    parse(&octets, probe)
}

/// Judges what is in the file.
///
/// # Errors
/// It is another word, a number below 0, or neither.
pub fn parse(octets: &[u8], probe: &File) -> Result<Good, Bad> {
    let text = String::from_utf8_lossy(octets);
    let first = text.split_whitespace().next().unwrap_or_default();
    if let Some(word) = &probe.word {
        return match first == word {
            true => Ok(Good::new(word.as_str())),
            false => {
                let said = super::shown(first.as_bytes());
                Err(Bad::new(Kind::Wrong, format!("\"{said}\" instead of \"{word}\"")))
            }
        };
    }
    match first.parse::<i64>() {
        Ok(number @ 0..) => {
            let weight = probe.weight.then_some(number.min(65_535) as u32);
            Ok(Good { text: number.to_string(), weight })
        }
        Ok(number) => Err(Bad::new(Kind::Wrong, format!("{number} is below 0"))),
        Err(_) => {
            let said = super::shown(first.as_bytes());
            Err(Bad::new(Kind::Malformed, format!("\"{said}\" is no number")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers() {
        let probe = |word: Option<&str>, weight| File {
            path: "/x".into(),
            word: word.map(str::to_owned),
            weight,
        };
        let weight =
            |text: &str| parse(text.as_bytes(), &probe(None, true)).map(|good| good.weight);
        assert_eq!(weight("70\n"), Ok(Some(70)));
        assert_eq!(weight(" 99999999 x"), Ok(Some(65_535)));
        assert!(weight("-1").is_err() && weight("").is_err() && weight("up").is_err());
        assert!(parse(b"up\n", &probe(Some("up"), false)).is_ok());
        assert!(parse(b"drain\n", &probe(Some("up"), false)).is_err());
    }
}
