//! Health: whether real servers can take connections. A source of [`Event`]s tells `control`,
//! which publishes the changed states; nobody else looks at a check's result.
//!
//! No check exists yet: [`always_up`] is the only source.
#![forbid(unsafe_code)]

/// The index of a real server: the id that the compiled services give it.
pub type ServerId = u32;

/// A real server came up or went down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which server.
    pub server: ServerId,
    /// It takes new connections from now on, or does not.
    pub up: bool,
    /// Why, in words for the log and the listing, such as `no check is configured`.
    pub why: String,
}

/// The source for servers without a check: each is up, once, and never changes.
pub fn always_up(servers: impl IntoIterator<Item = ServerId>) -> impl Iterator<Item = Event> {
    servers.into_iter().map(|server| Event {
        server,
        up: true,
        why: "no check is configured".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_is_up_once() {
        let events: Vec<Event> = always_up([4, 7]).collect();
        assert_eq!(events.iter().map(|e| e.server).collect::<Vec<_>>(), [4, 7]);
        assert!(events.iter().all(|e| e.up));
    }
}
