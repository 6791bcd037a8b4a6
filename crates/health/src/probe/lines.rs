//! Lines of a stream, none of them longer than is sensible.

use tokio::{io::AsyncReadExt, net::TcpStream};

use super::net::unreached;
use crate::outcome::{Bad, Kind};

/// RFC 5321 allows 512 octets, Redis's answers to what we ask are shorter.
const LONGEST: usize = 4096;
/// Lines that are read of one answer.
const MOST: usize = 128;

pub(super) struct Lines {
    stream: TcpStream,
    octets: Vec<u8>,
    read: usize,
}

impl Lines {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, octets: Vec::new(), read: 0 }
    }

    /// To say something.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The next line without its end.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, Bad> {
        self.read += 1;
        if self.read > MOST {
            return Err(Bad::new(Kind::Malformed, format!("more than {MOST} lines of answers")));
        }
        loop {
            if let Some(line) = take(&mut self.octets) {
                return line;
            }
            let read = self.stream.read_buf(&mut self.octets).await;
            if read.map_err(|error| unreached(&error))? == 0 {
                return Err(Bad::new(Kind::Closed, "connection closed in the middle of an answer"));
            }
        }
    }
}

/// Takes the first line, without its end, out of what came. `None`: it is not all there yet.
pub fn take(octets: &mut Vec<u8>) -> Option<Result<Vec<u8>, Bad>> {
    let end = octets.iter().position(|octet| *octet == b'\n');
    if end.unwrap_or(octets.len()) > LONGEST {
        let sentence = format!("a line of more than {LONGEST} octets");
        return Some(Err(Bad::new(Kind::Malformed, sentence)));
    }
    let mut line: Vec<u8> = octets.drain(..=end?).collect();
    line.pop();
    line.pop_if(|last| *last == b'\r');
    Some(Ok(line))
}
