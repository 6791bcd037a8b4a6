//! How live connections move and end: servers that go, ports that are used again, idle times,
//! defence. Expected packets are made by hand from the RFCs; states and choices are those of
//! `ip_vs_core.c` and `ip_vs_proto_tcp.c` of Linux 6.1, as LVS's users know them.

mod bench;
mod edits;
mod floods;
mod gone;
mod idle;
mod killed;
mod probes;
mod reports;
mod timeouts;
mod unmet;
