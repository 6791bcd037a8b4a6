//! The machine's side of xlvs, behind a safe face: AF_XDP rings and their frames, the XDP
//! match program, huge-page memory, the punt TAP, facts about interfaces. The only crate
//! with `unsafe`; every block names the invariant that makes it sound.

mod bpf;
mod carrier;
mod frame;
mod generator;
mod line;
pub mod link;
mod link_xdp;
mod match_maps;
mod match_rules;
mod memory;
mod namespace;
mod pool;
mod port;
mod program;
mod rings;
mod tap;
mod umem;
mod wait;

pub use frame::Frame;
pub use generator::Generator;
pub use line::{Line, UpperHalves};
pub use match_maps::{AddressFlags, EXCEPTION_RANGES, EndpointFlags, MatchCapacities, MatchMaps};
pub use match_rules::{MARK_SLOTS, MarkSlot};
pub use memory::{Lines, PageKind, prefetch, prefetch_packet};
pub use namespace::enter_new_network_namespace;
pub use pool::{Ledger, Pool};
pub use port::{Mode, Port, PortConfig, PortStats};
pub use program::{
    Action, AttachError, AttachMode, Attached, MatchCounters, Program, WhenDown, XdpMode,
    pinned_interface,
};
pub use rings::{OpenError, probe_zero_copy};
pub use tap::Tap;
pub use umem::{Error, Umem, UmemConfig};
pub use wait::{WAIT_PORTS, Waker, wait};

/// What crosses threads: control opens, workers run.
const fn crosses_threads<T: Send>() {}
const fn is_shared<T: Send + Sync>() {}
const _: () = {
    crosses_threads::<Port>();
    crosses_threads::<Pool>();
    is_shared::<Frame>();
    is_shared::<Umem>();
    is_shared::<MatchMaps>();
    is_shared::<Program>();
    is_shared::<Attached>();
    is_shared::<Waker>();
};
