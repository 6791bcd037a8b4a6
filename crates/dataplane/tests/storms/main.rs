//! What comes in bulk: more connections than the table has room for.

#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/desk.rs"]
mod desk;
#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/ground.rs"]
mod ground;
#[path = "../simulation/verdicts.rs"]
mod verdicts;
#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/wire.rs"]
mod wire;

mod bounds;
mod full;
mod stateless;
