//! Which scheduler a service uses, and how it is set.

/// Which scheduler a service uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections, what LVS uses if nothing is said.
    #[default]
    Wlc,
    /// Locality-based least connections: a destination stays with its server.
    Lblc,
    /// The same with a set of servers for each destination.
    Lblcr,
    /// Destination hashing.
    Dh,
    /// Source hashing.
    Sh,
    /// Shortest expected delay.
    Sed,
    /// Never queue: an idle server first, else shortest expected delay.
    Nq,
    /// Failover: the highest weight that can take connections.
    Fo,
    /// Overflow: the highest weight until it has as many connections, then the next.
    Ovf,
    /// Maglev hashing of the source.
    Mh,
    /// The less loaded of two random servers.
    Twos,
}

impl Kind {
    /// Every scheduler.
    pub const ALL: [Self; 14] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Lblc,
        Self::Lblcr,
        Self::Dh,
        Self::Sh,
        Self::Sed,
        Self::Nq,
        Self::Fo,
        Self::Ovf,
        Self::Mh,
        Self::Twos,
    ];

    /// The word in the configuration file, and in `ipvsadm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Dh => "dh",
            Self::Sh => "sh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Mh => "mh",
            Self::Twos => "twos",
        }
    }

    /// The scheduler of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How a service's scheduler is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Which scheduler.
    pub kind: Kind,
    /// `sh-port`, `mh-port`: the client's port counts in the hash.
    pub port: bool,
    /// `sh-fallback`, `mh-fallback`: if the hash's server takes no connections, another does.
    pub fallback: bool,
    /// `lblc_expiration`, `lblcr_expiration`: seconds without use after which lblc(r) forgets
    /// a destination, and without change after which lblcr takes a server out of its set.
    pub expiration: u32,
    /// How many destinations lblc(r) remembers at most.
    pub destinations: u32,
    /// How many slots mh has, one of [`SLOTS`]: with more of them fewer clients move when a
    /// server goes, and each change of the list takes longer.
    pub slots: u32,
}

/// The numbers of slots that mh may have: primes, those of `CONFIG_IP_VS_MH_TAB_INDEX` 8 to 17.
pub const SLOTS: [u32; 10] = [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071];

/// The slots of mh in the kernels of distributions (`CONFIG_IP_VS_MH_TAB_INDEX=12`).
pub const KERNEL_SLOTS: u32 = 4093;

impl Plan {
    /// A scheduler without flags and with the kernel's limits: a day, 16384 destinations,
    /// 4093 slots.
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            port: false,
            fallback: false,
            expiration: 86_400,
            destinations: 16_384,
            slots: KERNEL_SLOTS,
        }
    }
}

impl From<Kind> for Plan {
    fn from(kind: Kind) -> Self {
        Self::new(kind)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new(Kind::default())
    }
}
