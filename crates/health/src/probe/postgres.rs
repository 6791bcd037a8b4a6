//! PostgreSQL answers a start-up message (protocol 3.0). That it asks for a password, or does not
//! know the user or the database, is an answer of a server that serves.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    net::{Net, unreached},
    shown,
};
use crate::{
    check::Target,
    outcome::{Bad, Good, Kind},
};

/// Errors are some hundred octets long.
const MOST: usize = 16 * 1024;
/// Classes of SQLSTATE of one who does not serve: insufficient resources (too many connections),
/// operator intervention (starting up, shutting down), system and internal errors.
const UNWELL: [&str; 4] = ["53", "57", "58", "XX"];

pub(super) async fn ask(
    net: &Net,
    target: &Target,
    user: &str,
    database: Option<&str>,
) -> Result<Good, Bad> {
    let (mut stream, _pin) = net.connect(target).await?;
    let hello = hello(user, database);
    stream.write_all(&hello).await.map_err(|error| unreached(&error))?;
    let mut octets = Vec::new();
    loop {
        if let Some(answer) = parse(&octets) {
            return answer;
        }
        let read = stream.read_buf(&mut octets).await.map_err(|error| unreached(&error))?;
        if read == 0 {
            return Err(Bad::new(Kind::Closed, "connection closed in the middle of the answer"));
        }
    }
}

/// The length, the version, and pairs of words.
fn hello(user: &str, database: Option<&str>) -> Vec<u8> {
    let mut body = 0x0003_0000_u32.to_be_bytes().to_vec();
    for word in ["user", user, "database", database.unwrap_or(user)] {
        body.extend(word.bytes().filter(|octet| *octet != 0));
        body.push(0);
    }
    body.push(0);
    let mut octets = (body.len() as u32 + 4).to_be_bytes().to_vec();
    octets.extend(body);
    octets
}

/// Reads the first message: `R` asks to authenticate, or lets in; `E` is an error. `None`: it is not
/// all there yet.
pub fn parse(octets: &[u8]) -> Option<Result<Good, Bad>> {
    let [kind, a, b, c, d, ..] = *octets else { return None };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if !matches!(kind, b'R' | b'E' | b'N' | b'v') || !(4..=MOST).contains(&length) {
        let sentence = format!("not an answer of PostgreSQL: {}", shown(octets));
        return Some(Err(Bad::new(Kind::Malformed, sentence)));
    }
    let body = octets.get(5..=length)?;
    Some(match kind {
        b'E' => judge(body),
        // A notice, or a lower version, comes before the answer; that it answers is enough.
        _ => Ok(Good::new("PostgreSQL answers")),
    })
}

/// Fields of an error: a letter and a text each.
fn judge(body: &[u8]) -> Result<Good, Bad> {
    let field = |letter: u8| {
        let mut fields = body.split(|octet| *octet == 0);
        fields.find_map(|field| field.strip_prefix(&[letter])).map(shown).unwrap_or_default()
    };
    let (state, message) = (field(b'C'), field(b'M'));
    if UNWELL.iter().any(|class| state.starts_with(class)) || state.is_empty() {
        return Err(Bad::new(Kind::Wrong, format!("PostgreSQL {state}: {message}")));
    }
    Ok(Good::new(format!("PostgreSQL answers ({state})")))
}

#[cfg(test)]
mod tests {
    use super::{hello, parse};

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut octets = vec![kind];
        octets.extend((body.len() as u32 + 4).to_be_bytes());
        octets.extend(body);
        octets
    }

    #[test]
    fn answers() {
        let octets = hello("a", None);
        assert_eq!(octets, b"\0\0\0\x1b\0\x03\0\0user\0a\0database\0a\0\0");
        let fine = [
            message(b'R', &[0, 0, 0, 10, b'S', b'C', 0]),
            message(b'E', b"SFATAL\0C28000\0Mrole \"x\" does not exist\0\0"),
            message(b'E', b"SFATAL\0C3D000\0Mdatabase \"x\" does not exist\0\0"),
        ];
        for octets in fine {
            assert!(parse(&octets).expect("all of it").is_ok(), "{octets:?}");
            for end in 0..octets.len() {
                assert!(parse(&octets[..end]).is_none(), "{end}");
            }
        }
        let starting = message(b'E', b"SFATAL\0C57P03\0Mthe database system is starting up\0\0");
        let bad = parse(&starting).expect("all of it").expect_err("not ready");
        assert_eq!(bad.text, "PostgreSQL 57P03: the database system is starting up");
        let full = message(b'E', b"SFATAL\0C53300\0Msorry, too many clients already\0\0");
        assert!(parse(&full).expect("all of it").is_err());
        for other in [&b"HTTP/1.1 400"[..], b"R\0\0\0\x01", b"R\xff\xff\xff\xff"] {
            assert!(parse(other).expect("enough").is_err(), "{other:?}");
        }
    }
}
