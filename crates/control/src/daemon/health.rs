//! What the checks find becomes what the workers read.

use ::health::event::{Event, Health};

use super::Daemon;

impl Daemon {
    /// Takes what was found, and whatever else was found meanwhile, and publishes it once.
    pub(super) async fn hear(&mut self, first: Event) {
        let services = std::sync::Arc::clone(&self.publisher.current().services);
        let mut next = Some(first);
        let mut changed = false;
        while let Some(event) = next {
            if let Some(server) = services.server(event.server) {
                let service = services.service_of(event.server);
                let name = service.map_or("?", |service| service.name.as_str());
                let endpoint = std::net::SocketAddr::new(server.address, server.port);
                let level = match event.health {
                    Health::Down => log::Level::Warn,
                    Health::Up | Health::Waiting => log::Level::Info,
                };
                log::log!(level, "{name}: {endpoint} is {} ({})", event.health.name(), event.why);
            }
            changed |= self.registry.board.take(&event, &services);
            next = self.found.try_recv().ok();
        }
        if changed {
            self.publish().await;
            self.memory.write(&self.registry.board.memory(&self.registry.model, &services));
        }
    }

    /// Tells which services gained or lost their quorum.
    pub(super) fn tell_turns(&mut self) {
        for turn in self.registry.turned() {
            let sorry = if turn.sorry { "; its sorry server takes new connections" } else { "" };
            match turn.quorum {
                true => log::info!("{}: has its quorum{sorry}", turn.name),
                false => log::warn!("{}: is below its quorum{sorry}", turn.name),
            }
        }
    }

    /// Has the servers asked that there are now.
    pub(super) fn ask_servers(&self) {
        let services = &self.publisher.current().services;
        self.health.set(self.registry.board.members(&self.registry.model, services));
    }
}
