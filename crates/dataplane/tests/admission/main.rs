//! What happens to packets that have no connection: which service they are for, who may open
//! one, which server gets it, and what is counted. Through whole workers, in both families.

mod access;
mod accounts;
mod local_ports;
mod lookup;
mod office;
mod one_packet;
mod persistence;
mod races;
mod reset_counts;
mod thresholds;
