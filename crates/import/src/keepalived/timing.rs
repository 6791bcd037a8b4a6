//! How often is asked: what virtual servers, real servers and checkers say alike, the later one
//! over the former (`validate_check_config` in keepalived's check_data.c).

use super::{
    tree::Statement,
    value::{number, time, truth},
};
use crate::{document::Keys, note::Notes, yaml::Yaml};

/// What one of them says; times in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timing {
    delay_loop: Option<u64>,
    connect_timeout: Option<u64>,
    retry: Option<u64>,
    delay_before_retry: Option<u64>,
    warmup: Option<u64>,
    alpha: Option<bool>,
}

/// What a checker does unless told otherwise.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) retry: u64,
    /// `None`: `delay_loop`.
    pub(super) delay_before_retry: Option<u64>,
    pub(super) timeout: Wait,
}

/// How long an answer may take.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// `connect_timeout`.
    Connect,
    /// `misc_timeout`, or else `delay_loop`.
    Script(Option<u64>),
}

pub(super) const COMMON: Defaults =
    Defaults { retry: 1, delay_before_retry: Some(1000), timeout: Wait::Connect };

const CONNECT_TIMEOUT: u64 = 5000;

const DELAY_LOOP: u64 = 60_000;
/// The shortest and the longest times that a check of xlvs has.
const LEAST: u64 = 10;
const MOST: u64 = 86_400_000;

impl Timing {
    /// Reads one of the keywords; false if it is another one.
    pub(super) fn read(&mut self, statement: &Statement, notes: &mut Notes) -> bool {
        match statement.keyword() {
            "delay_loop" => self.delay_loop = time(statement, notes),
            "connect_timeout" => self.connect_timeout = time(statement, notes),
            "retry" => self.retry = number(statement, notes),
            "nb_get_retry" => {
                notes.say(&statement.place, "nb_get_retry is retry since keepalived 1.3");
                self.retry = number(statement, notes);
            }
            "delay_before_retry" => self.delay_before_retry = time(statement, notes),
            "warmup" => self.warmup = time(statement, notes),
            "alpha" => self.alpha = truth(statement, notes),
            _ => return false,
        }
        true
    }

    /// What is said here, over what `outer` says.
    pub(super) fn over(self, outer: Self) -> Self {
        Self {
            delay_loop: self.delay_loop.or(outer.delay_loop),
            connect_timeout: self.connect_timeout.or(outer.connect_timeout),
            retry: self.retry.or(outer.retry),
            delay_before_retry: self.delay_before_retry.or(outer.delay_before_retry),
            warmup: self.warmup.or(outer.warmup),
            alpha: self.alpha.or(outer.alpha),
        }
    }

    pub(super) fn alpha(&self) -> bool {
        self.alpha.unwrap_or(false)
    }

    /// The keys of a check, one of `turns` that are asked in turn.
    pub(super) fn keys(&self, defaults: Defaults, turns: u64) -> Keys {
        let delay_loop = self.delay_loop.unwrap_or(DELAY_LOOP);
        let timeout = match defaults.timeout {
            Wait::Connect => self.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            Wait::Script(timeout) => timeout.unwrap_or(delay_loop),
        };
        let timeout = timeout.clamp(LEAST, MOST);
        let before_retry = self.delay_before_retry.or(defaults.delay_before_retry);
        // A probe of xlvs is over before the next one begins.
        let interval = delay_loop.saturating_mul(turns).clamp(timeout, MOST);
        let retry = before_retry.unwrap_or(delay_loop).clamp(timeout, MOST);
        let fall = self.retry.unwrap_or(defaults.retry).saturating_add(1).min(1000);
        let initial = if self.alpha() { "down" } else { "up" };
        vec![
            ("interval", Yaml::time(interval)),
            ("retry", Yaml::time(retry)),
            ("timeout", Yaml::time(timeout)),
            ("rise", Yaml::plain(1)),
            ("fall", Yaml::plain(fall)),
            ("initial", Yaml::plain(initial)),
            ("spread", Yaml::time(self.warmup.unwrap_or(delay_loop).min(MOST))),
        ]
    }
}
