//! What Prometheus scrapes: the numbers of a [`Report`], in its text format 0.0.4 or in
//! OpenMetrics 1.0, whichever was asked for ([`Format`]).
//!
//! [`families`] describes each family once; [`fill`] says where its numbers come from,
//! [`node_ipvs`] those that node_exporter has of a kernel's IPVS; [`page`] writes them.
//! `GET /metrics` on the API's socket and on the addresses of `metrics: {listen: ...}`
//! ([`listener`]) answers with a page.

pub mod families;
mod family;
mod fill;
mod listener;
mod negotiate;
mod node_ipvs;
mod page;
mod ratchet;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

pub use family::{Family, Group, Kind};
pub use listener::{Bound, ListenError, Listeners};
pub use negotiate::{Format, accepts_gzip};
pub use node_ipvs::FAMILIES as NODE_IPVS;
pub use page::Page;
pub use ratchet::Ratchets;

use crate::report::Report;

/// What a page has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// These groups.
    pub groups: BTreeSet<Group>,
    /// In this format.
    pub format: Format,
}

impl Wanted {
    /// All groups, those of node_exporter only if they are `configured`.
    pub fn all(format: Format, configured: bool) -> Self {
        let has = |group: &Group| *group != Group::NodeIpvs || configured;
        Self { groups: Group::ALL.into_iter().filter(has).collect(), format }
    }

    /// The groups that `collect=` names in a query such as `collect=services,checks`, instead of
    /// all.
    ///
    /// # Errors
    /// What is wrong with the query, with the remedy.
    pub fn select(mut self, query: &str) -> Result<Self, String> {
        let mut named = BTreeSet::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some(words) = pair.strip_prefix("collect=") else {
                return Err(format!("{pair}: unknown; write collect= with groups"));
            };
            for word in words.split(',') {
                let Some(group) = Group::ALL.into_iter().find(|group| group.name() == word) else {
                    let all = Group::ALL.map(Group::name).join(", ");
                    return Err(format!("collect={word}: unknown; the groups are {all}"));
                };
                named.insert(group);
            }
        }
        if !named.is_empty() {
            self.groups = named;
        }
        Ok(self)
    }
}

/// Makes pages, and remembers what it needs so that no counter on them goes back.
#[derive(Debug, Default)]
pub struct Collector {
    ratchets: Mutex<Ratchets>,
}

impl Collector {
    /// The page of a report.
    pub fn page(&self, report: &Report, wanted: &Wanted) -> String {
        let mut ratchets = self.ratchets.lock().unwrap_or_else(PoisonError::into_inner);
        ratchets.begin();
        let mut page = Page::new(wanted.format, &mut ratchets);
        fill::fill(&mut page, report, &wanted.groups);
        if wanted.groups.contains(&Group::NodeIpvs) {
            node_ipvs::fill(&mut page, report);
        }
        let text = page.finish();
        ratchets.end();
        text
    }
}
