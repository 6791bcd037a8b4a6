//! What the checks find becomes what the workers read.

use ::health::event::{Event, Health};
use dataplane::topology::Topology;

use super::{Daemon, managed};
use crate::report::Outlook;

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
                    Health::Up => log::Level::Info,
                    Health::Waiting => log::Level::Debug,
                };
                log::log!(level, "{name}: {endpoint} is {} ({})", event.health.name(), event.why);
            }
            changed |= self.registry.board.take(&event, &services);
            next = self.found.try_recv().ok();
        }
        if changed {
            // Listings tell the reason together with the state.
            self.look_at_checks().await;
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

    /// Takes managed VIPs away whose services are below their quorum, and puts them back; not on
    /// the way out, when all of them are gone.
    pub(super) async fn follow_quorums(&mut self) {
        if self.stopping {
            return;
        }
        let services = std::sync::Arc::clone(&self.publisher.current().services);
        let vips: Vec<_> = self.registry.model.vips.iter().filter(|v| v.managed).cloned().collect();
        for vip in vips {
            let gone = self.registry.board.withdraws(&self.registry.model, &services, &vip);
            if gone == self.withdrawn.contains(&vip.address) {
                continue;
            }
            let address = managed(&vip);
            let done = match gone {
                true => self.vips.remove(&address).await,
                false => self.vips.add(&address).await.map(|()| true),
            };
            match (done, gone) {
                // Somebody else's: it stays.
                (Ok(false), _) => {}
                (Ok(true), true) => {
                    log::warn!("vip {}: withdrawn, its services are below quorum", vip.address);
                    self.withdrawn.insert(vip.address);
                }
                (Ok(true), false) => {
                    log::info!("vip {}: back, its services have their quorum", vip.address);
                    self.withdrawn.remove(&vip.address);
                }
                // Tried again with the next change, of health or of the box.
                (Err(error), _) => log::warn!("{error}"),
            }
        }
    }

    /// Lets listings tell what was decided.
    pub(super) fn show(&self) {
        let services = &self.publisher.current().services;
        self.outlook.store(std::sync::Arc::new(Outlook {
            stopping: self.stopping,
            withdrawn: self.withdrawn.iter().copied().collect(),
            standings: self.registry.board.standings(&self.registry.model, services),
        }));
    }

    /// Lets checks pause whose VIP is elsewhere.
    pub(super) fn follow_vips(&self, topology: &Topology) {
        let services = &self.publisher.current().services;
        let elsewhere = |address| !topology.is_local(address);
        self.health.pause(self.registry.board.paused(&self.registry.model, services, elsewhere));
    }

    /// Asks what the checks know, for listings.
    pub(super) async fn look_at_checks(&self) {
        if let Some(report) = self.health.report().await {
            self.checked.store(std::sync::Arc::new(report));
        }
    }

    /// Has the servers asked that there are now.
    pub(super) fn ask_servers(&self) {
        let services = &self.publisher.current().services;
        self.health.set(self.registry.board.members(&self.registry.model, services));
        self.follow_vips(&self.publisher.current().topology);
    }
}
