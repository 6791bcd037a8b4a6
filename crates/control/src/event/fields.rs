//! An event's facts beside its sentence: fields for a log that keeps them, as journald.

use log::kv::{Error, Key, Source, Value, VisitSource};

use super::Event;

/// `EVENT`, `SERVICE`, `SERVER`, `VIP`, `FROM`, `TO` and `REASON`, as far as they apply.
pub struct Fields(Vec<(&'static str, String)>);

impl Event {
    /// Its facts.
    pub fn fields(&self) -> Fields {
        let Self { subject, old, new, reason, .. } = self;
        let fields = [
            ("EVENT", Some(self.name())),
            ("SERVICE", subject.service.clone()),
            ("SERVER", subject.server.map(|server| server.to_string())),
            ("VIP", subject.vip.map(|vip| vip.to_string())),
            ("FROM", Some(old.to_string())),
            ("TO", Some(new.to_string())),
            ("REASON", Some(reason.clone()).filter(|reason| !reason.is_empty())),
        ];
        Fields(fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

impl Source for Fields {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        self.0.iter().try_for_each(|(name, value)| {
            visitor.visit_pair(Key::from_str(name), Value::from(value.as_str()))
        })
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}
