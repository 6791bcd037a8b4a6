//! The ground: three namespaces, two veth pairs.
//!
//! ```text
//!   gen ─ gen0 ══ in ─ box ─ out ══ sink0 ─ sink
//! ```
//!
//! One queue each. What reaches the sink is dropped there as early as possible: by nftables at
//! ingress, or by an XDP program.

use std::{fs, io, ops::Deref, process::Command};

use crate::namespaces::{Namespaces, feed};

/// What the generator sends to.
pub(crate) const VIP: [u8; 4] = [203, 0, 113, 10];
/// The service's port.
pub(super) const PORT: u16 = 80;
/// The first client; the low 16 bits vary.
pub(super) const CLIENT: [u8; 4] = [10, 1, 0, 0];

/// The last octets of the addresses that FullNAT takes: a million connections need more than one.
pub(crate) const LOCAL_ADDRESSES: std::ops::Range<u8> = 64..96;

/// How the sink drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sink {
    /// In nftables' ingress hook: the kernel makes no XDP buffer of what was sent.
    Plain,
    /// In an XDP program, for which veth copies each packet once more.
    Xdp,
}

/// The three, and what is in them.
pub(super) struct Ground {
    namespaces: Namespaces,
}

impl Ground {
    /// Builds it.
    ///
    /// # Errors
    /// What `ip`, `ethtool`, `nft` or `clang` say.
    pub(super) fn build(sink: Sink) -> io::Result<Self> {
        let ground = Self { namespaces: Namespaces::build(&["gen", "box", "sink"])? };
        ground.cable(("gen", "gen0"), ("box", "in"))?;
        ground.cable(("sink", "sink0"), ("box", "out"))?;
        ground.ip("box", "addr add 203.0.113.1/24 dev in")?;
        ground.ip("box", "addr add 203.0.113.10/32 dev in")?;
        ground.ip("box", "addr add 10.0.2.1/24 dev out")?;
        for last in LOCAL_ADDRESSES {
            ground.ip("box", &format!("addr add 10.0.2.{last}/32 dev out"))?;
        }
        let mac = ground.mac("sink", "sink0")?;
        for server in 11..21 {
            ground.ip(
                "box",
                &format!("neigh add 10.0.2.{server} lladdr {mac} dev out nud permanent"),
            )?;
        }
        match sink {
            Sink::Plain => ground.drop_by_nftables()?,
            Sink::Xdp => ground.drop_by_xdp()?,
        }
        Ok(ground)
    }

    fn drop_by_nftables(&self) -> io::Result<()> {
        let rules = "add table netdev bench\n\
            add chain netdev bench early { type filter hook ingress device sink0 priority 0; policy drop; }\n";
        feed(&mut self.command("sink", &["nft", "-f", "-"]), rules)
    }

    fn drop_by_xdp(&self) -> io::Result<()> {
        const PROGRAM: &str =
            "__attribute__((section(\"xdp\"), used)) int drop(void *packet) { return 1; }\n";
        let object = std::env::temp_dir().join(format!("{}-drop.o", self.prefix()));
        let path = object.to_string_lossy().into_owned();
        let clang = ["-O2", "-target", "bpf", "-c", "-x", "c", "-o", &path, "-"];
        feed(Command::new("clang").args(clang), PROGRAM)?;
        let attached = self.ip("sink", &format!("link set sink0 xdpdrv obj {path} sec xdp"));
        fs::remove_file(object)?;
        attached
    }

    /// Packets that the box has sent to the sink.
    pub(super) fn left(&self) -> io::Result<u64> {
        let count = self.exec("box", &["cat", "/sys/class/net/out/statistics/tx_packets"])?;
        count.trim().parse().map_err(io::Error::other)
    }
}

impl Deref for Ground {
    type Target = Namespaces;

    fn deref(&self) -> &Namespaces {
        &self.namespaces
    }
}

/// A MAC in colons.
pub(super) fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let octets: Result<Vec<u8>, _> = text.split(':').map(|o| u8::from_str_radix(o, 16)).collect();
    octets.ok().and_then(|octets| octets.try_into().ok()).ok_or_else(|| format!("no MAC: {text}"))
}
