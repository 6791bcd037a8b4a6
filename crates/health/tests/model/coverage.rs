//! What the stories must have come across.

use health::event::Health;

use crate::story::View;

/// After how many events it was so.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) events: usize,
    told: usize,
    waiting: usize,
    held: usize,
    sorry: usize,
    /// Below the quorum without a sorry server.
    below: usize,
    /// Some of those that are up wait in a lower tier.
    lower_tier: usize,
    /// Servers that are down are in use.
    down_in_use: usize,
}

impl Coverage {
    pub(crate) fn note(&mut self, view: &View) {
        let all_servers = || view.servers.iter();
        let used = |server: usize| view.uses.contains(&server);
        let some = |is: bool| usize::from(is);
        self.events += 1;
        self.told += some(view.told.is_some());
        self.waiting += some(all_servers().any(|server| server.health == Health::Waiting));
        self.held += some(all_servers().any(|server| server.held));
        self.sorry += some(view.sorry);
        self.below += some(!view.quorum && !view.sorry && !view.uses.is_empty());
        let up =
            |server: usize| all_servers().any(|s| s.server == server && s.health == Health::Up);
        let idle = all_servers().any(|s| s.health == Health::Up && !used(s.server));
        self.lower_tier += some(idle && !view.sorry);
        self.down_in_use += some(view.uses.iter().any(|server| !up(*server)));
    }

    /// All of it, and often.
    pub(crate) fn check(&self) {
        println!("{self:?}");
        assert!(self.events >= 1_000_000);
        let Self { told, waiting, held, sorry, below, lower_tier, down_in_use, .. } = *self;
        for count in [told, waiting, held, sorry, below, lower_tier, down_in_use] {
            assert!(count >= 10_000, "{self:?}");
        }
    }
}
