//! Which server gets the next connection.

mod golden;
mod health;
mod hostile;
mod kernel_walk;
mod locality;
mod random;
mod service;
mod shares;
mod slow_start;
mod twos;
