//! Another configuration while traffic flows: reload, apply, the way back.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use tokio::time::Instant;

use super::{Daemon, managed};
use crate::{
    apply::{Applied, LONGEST_TRIAL, Loaded, Terms, fixed},
    diff::{Change, changes},
    errand::{Desk, Errand},
    event::{Event, Kind, Subject},
    merge::merge,
    model::{Model, Vip},
    origin::Origin,
    report::Outcome,
};

/// The configuration in force, and those before it.
pub(super) struct Configured {
    /// The daemon's own file.
    pub(super) origin: Origin,
    /// What was applied last, without what commands made of it.
    base: Arc<Model>,
    /// What was applied before that, the latest last.
    earlier: Vec<Arc<Model>>,
    /// When `base` goes back, unless it is confirmed.
    trial: Option<Instant>,
}

/// How many configurations back one can go.
const KEPT: usize = 10;

/// How many changes the log tells one by one.
const TOLD: usize = 50;

impl Configured {
    pub(super) const fn new(origin: Origin, base: Arc<Model>) -> Self {
        Self { origin, base, earlier: Vec::new(), trial: None }
    }

    /// When the configuration goes back by itself.
    pub(super) const fn trial(&self) -> Option<Instant> {
        self.trial
    }
}

impl Daemon {
    /// Has the own file read again, beside the loop, which then applies it.
    pub(super) fn reload(&self, desk: &Desk) {
        let (desk, origin) = (desk.clone(), self.configured.origin.clone());
        tokio::spawn(async move {
            let read = tokio::task::spawn_blocking(move || crate::apply::reread(&origin)).await;
            let Ok(read) = read else { return };
            // What comes of it is in the log.
            let _ =
                desk.ask(|back| Errand::Apply(read.map(Box::new), Terms::default(), back)).await;
        });
    }

    /// A configuration is to take the place of the one in force: all of it, or nothing.
    pub(super) async fn apply(
        &mut self,
        read: Result<Box<Loaded>, String>,
        terms: Terms,
    ) -> Result<Applied, String> {
        let reloads = !terms.dry_run && !self.stopping;
        if reloads {
            self.supervisor.reloading();
        }
        let outcome = match read {
            Ok(loaded) => self.take(*loaded, terms).await,
            Err(faults) => Err(faults),
        };
        if reloads {
            self.supervisor.ready();
        }
        if let (Err(why), false) = (&outcome, terms.dry_run) {
            self.reloads.note(Outcome::Failure, SystemTime::now());
            self.tell_config("refused", why.clone());
            self.show();
        }
        outcome
    }

    async fn take(&mut self, loaded: Loaded, terms: Terms) -> Result<Applied, String> {
        if self.configured.trial.is_some() && !terms.dry_run {
            return Err("the last change waits for its confirmation; `xlvs confirm` keeps it, \
                 `xlvs rollback` takes it back"
                .to_owned());
        }
        if terms.confirm.is_some_and(|time| time > LONGEST_TRIAL || time.is_zero()) {
            return Err("a confirmation is waited for between a second and a day".to_owned());
        }
        let Loaded { model, from, own } = loaded;
        let base = Arc::clone(&self.configured.base);
        let mut applied = self.adopt(Arc::new(model), terms.prune, terms.dry_run).await?;
        if !own {
            let file = self.configured.origin.path.display();
            applied.notes.push(format!("{file} says otherwise, and is what the next start reads"));
        }
        if terms.dry_run {
            return Ok(applied);
        }
        self.remember(base);
        self.reloads.note(Outcome::Success, SystemTime::now());
        if let Some(time) = terms.confirm {
            self.configured.trial = Some(Instant::now() + time);
            applied.confirm_within_s = Some(time.as_secs());
        }
        self.told(&format!("{from} applied"), &applied, "applied");
        Ok(applied)
    }

    /// The change stays; an error if none waits for that.
    pub(super) fn confirm(&mut self) -> Result<Applied, String> {
        if self.configured.trial.take().is_none() {
            return Err("no change waits for its confirmation".to_owned());
        }
        self.tell_config("confirmed", String::new());
        Ok(Applied::default())
    }

    /// Back to the configuration before; `why` is for the log.
    pub(super) async fn roll_back(&mut self, why: &str) -> Result<Applied, String> {
        let Some(before) = self.configured.earlier.last().cloned() else {
            return Err("there is no configuration before this one; it is that of the start, or \
                 the last of ten that are kept"
                .to_owned());
        };
        let mut applied = self.adopt(before, false, false).await?;
        self.configured.earlier.pop();
        self.configured.trial = None;
        let file = self.configured.origin.path.display();
        applied.notes.push(format!("{file} is as it was: a reload, or a start, applies it"));
        self.reloads.note(Outcome::Success, SystemTime::now());
        self.told(why, &applied, "reverted");
        Ok(applied)
    }

    /// The time for a confirmation is over.
    pub(super) async fn revert(&mut self) {
        self.configured.trial = None;
        if let Err(error) = self.roll_back("not confirmed in time").await {
            log::error!("the configuration stays, though it was not confirmed: {error}");
        }
    }

    /// Puts a model into force, beside what commands made.
    async fn adopt(
        &mut self,
        new: Arc<Model>,
        prune: bool,
        dry_run: bool,
    ) -> Result<Applied, String> {
        if self.stopping {
            return Err("xlvs is stopping".to_owned());
        }
        let base = &self.configured.base;
        refuse_fixed(&fixed(base, &new))?;
        let merged = merge(base, &self.registry.model, &new, prune);
        self.registry.fits(&merged.model)?;
        let mut applied = Applied {
            dry_run,
            changes: changes(&self.registry.model, &merged.model),
            beside: merged.beside,
            overruled: merged.overruled,
            ..Applied::default()
        };
        if dry_run {
            return Ok(applied);
        }
        self.configured.base = new;
        let before = mem::replace(&mut self.registry.model, merged.model);
        if before != self.registry.model {
            let settled = self.settle_overrides(&before);
            applied.notes.extend(settled.iter().map(ToString::to_string));
            applied.notes.extend(self.change_surroundings(&before).await);
            self.publish().await;
            self.follow_new_vips(&before, &mut applied.notes).await;
        }
        self.show();
        Ok(applied)
    }

    /// What is not in a snapshot; gives what went wrong.
    async fn change_surroundings(&mut self, before: &Model) -> Vec<String> {
        let mut notes = Vec::new();
        let now = self.registry.model.clone();
        if before.hooks != now.hooks
            && let Err(error) = self.hooks.replace(&now.hooks)
        {
            notes.push(format!("hooks: they stay as they were: cannot start a thread: {error}"));
        }
        notes.extend(self.follow_metrics());
        let gone = |vip: &&Vip| vip.managed && !now.vips.iter().any(|other| same(vip, other));
        for vip in before.vips.iter().filter(gone) {
            if !self.withdrawn.remove(&vip.address) {
                match self.vips.remove(&managed(vip)).await {
                    Ok(true) => self.tell_vip(
                        vip.address,
                        ["announced", "withdrawn"],
                        "the configuration does not name it any more".to_owned(),
                    ),
                    // Somebody else's: it stays.
                    Ok(false) => {}
                    Err(error) => notes.push(error.to_string()),
                }
            }
        }
        notes
    }

    /// Managed VIPs that were not there before, once their services are known.
    async fn follow_new_vips(&mut self, before: &Model, notes: &mut Vec<String>) {
        let now = self.registry.model.vips.clone();
        let is_new = |vip: &&Vip| vip.managed && !before.vips.iter().any(|other| same(vip, other));
        for vip in now.iter().filter(is_new) {
            if let Err(error) = self.add_vip(vip).await {
                notes.push(error.to_string());
            }
        }
    }

    /// What scrapers are to find, as the file says now; what went wrong.
    fn follow_metrics(&mut self) -> Option<String> {
        let wanted = &self.registry.model.metrics;
        self.node_ipvs.store(wanted.node_ipvs, Ordering::Relaxed);
        let followed = self.listeners.as_mut().map(|them| them.follow(&wanted.listen));
        followed?.err().map(|error| error.to_string())
    }

    fn remember(&mut self, base: Arc<Model>) {
        let earlier = &mut self.configured.earlier;
        if base == self.configured.base {
            return;
        }
        if earlier.len() == KEPT {
            earlier.remove(0);
        }
        earlier.push(base);
    }

    fn told(&self, what: &str, applied: &Applied, state: &'static str) {
        let count = applied.changes.len();
        for change in applied.changes.iter().take(TOLD) {
            log::info!("{change}");
        }
        if count > TOLD {
            log::info!("and {} changes more", count - TOLD);
        }
        for note in &applied.notes {
            log::warn!("{note}");
        }
        let plural = if count == 1 { "" } else { "s" };
        self.tell_config(state, format!("{what}: {count} change{plural}"));
        self.show();
    }

    fn tell_config(&self, state: &'static str, reason: String) {
        let event = Event::new(Kind::Config, Subject::default(), "", state);
        self.tell(Event { reason, ..event });
    }
}

/// The same address of the box; what else is said of it is looked at when it is needed.
fn same(one: &Vip, other: &Vip) -> bool {
    other.managed && managed(one) == managed(other)
}

fn refuse_fixed(fixed: &[Change]) -> Result<(), String> {
    if fixed.is_empty() {
        return Ok(());
    }
    let line = |change: &Change| {
        let key = change.key.as_deref().unwrap_or_default();
        let word = |value: &Option<String>| value.as_deref().unwrap_or("not set").to_owned();
        let (before, after) = (word(&change.before), word(&change.after));
        format!(
            "{key}: {before} -> {after}: takes a restart; restart xlvs, or write the old value \
             to apply the rest"
        )
    };
    Err(fixed.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// A time from now, or never.
pub(super) async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
