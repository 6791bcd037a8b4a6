//! The ipvsadm front without a daemon: command lines in, the registry, listings and refusals out.

#[path = "front/connections.rs"]
mod connections;
#[path = "front/edits.rs"]
mod edits;
#[path = "front/orders.rs"]
mod orders;
#[path = "front/registry.rs"]
mod registry;
#[path = "front/rules.rs"]
mod rules;
#[path = "front/stage.rs"]
mod stage;
#[path = "front/totals.rs"]
mod totals;
