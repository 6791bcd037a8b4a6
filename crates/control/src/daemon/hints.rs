//! What traffic tells of servers, twice a second.

use std::sync::Arc;

use dataplane::snapshot::ServerId;

use super::Daemon;
use crate::registry::Failures;

impl Daemon {
    /// Has servers asked at once whose handshakes fail, and suspects them where that is wanted.
    pub(super) async fn heed_traffic(&mut self) {
        let services = Arc::clone(&self.publisher.current().services);
        let stats = self.crew.stats();
        let failed = |id: ServerId| {
            let unmet = || stats.iter().map(|stats| &stats.unmet[id as usize]);
            Failures {
                unanswered: unmet().map(|unmet| unmet.unanswered.value()).sum(),
                refused: unmet().map(|unmet| unmet.refused.value()).sum(),
            }
        };
        let hints = self.registry.hints.look(&self.registry.model, &services, failed);
        let mut changed = false;
        for hint in hints {
            self.health.raise(hint.server);
            let (server, service) =
                (services.server(hint.server), services.service_of(hint.server));
            let (Some(server), Some(service)) = (server, service) else { continue };
            let why = hint.failures.why();
            let suspects = hint.suspect.is_some_and(|most| {
                self.registry.board.suspect(hint.server, service, most, why.clone())
            });
            changed |= suspects;
            let then = if suspects { "suspect, and asked at once" } else { "asked at once" };
            let endpoint = std::net::SocketAddr::new(server.address, server.port);
            log::info!("{}: {endpoint}: {why}: {then}", service.name);
        }
        let known = self.checked.load_full();
        changed |= self.registry.board.suspects.settle(|id| known.servers.get(&id));
        if changed {
            // Listings tell the reason together with the state.
            self.look_at_checks().await;
            self.publish().await;
        }
    }
}
