//! What the checks find becomes what the workers read.

use ::health::event::Event;
use dataplane::topology::Topology;

use super::{Daemon, managed};
use crate::report::{self, Outlook};

impl Daemon {
    /// Takes what was found, and whatever else was found meanwhile, and publishes it once.
    pub(super) async fn hear(&mut self, first: Event) {
        let services = std::sync::Arc::clone(&self.publisher.current().services);
        let mut next = Some(first);
        let mut changed = false;
        while let Some(event) = next {
            let before = self.registry.board.known(event.server).cloned();
            if self.registry.board.take(&event, &services) {
                changed = true;
                self.tell_health(&event, before.as_ref(), &services);
            }
            next = self.found.try_recv().ok();
        }
        if changed {
            // Listings tell the reason together with the state.
            self.look_at_checks().await;
            self.publish().await;
            self.memory.write(&self.registry.board.memory(&self.registry.model, &services));
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
                    self.withdrawn.insert(vip.address);
                    let why = "its services are below quorum";
                    self.tell_vip(vip.address, ["announced", "withdrawn"], why.to_owned());
                }
                (Ok(true), false) => {
                    self.withdrawn.remove(&vip.address);
                    let why = "its services have their quorum";
                    self.tell_vip(vip.address, ["withdrawn", "announced"], why.to_owned());
                }
                // Tried again with the next change, of health or of the box.
                (Err(error), _) => log::warn!("{error}"),
            }
        }
    }

    /// Lets listings tell what was decided.
    pub(super) fn show(&self) {
        let services = &self.publisher.current().services;
        let managed = self.registry.model.vips.iter().filter(|vip| vip.managed);
        self.outlook.store(std::sync::Arc::new(Outlook {
            stopping: self.stopping,
            withdrawn: self.withdrawn.iter().copied().collect(),
            managed: managed.map(|vip| vip.address).collect(),
            reloads: self.reloads.clone(),
            standings: self.registry.board.standings(&self.registry.model, services),
            admins: report::admins(&self.registry.model, &self.registry.overrides, services),
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
        if let Some(mut report) = self.health.report().await {
            let suspects = &self.registry.board.suspects;
            for id in suspects.all() {
                if let Some(known) = report.servers.get_mut(&id) {
                    known.suspect = suspects.why(id).map(str::to_owned);
                }
            }
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
