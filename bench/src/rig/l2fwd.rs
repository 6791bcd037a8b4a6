//! The bare loop that xlvs is measured against: what arrives on one port leaves by the other
//! with other MACs, through the same XDP program, rings and memory, one burst at a time. On demand
//! it does the [least](super::least) that a balancer does as well.

use std::{error::Error, io, net::IpAddr};

use dataplane::{forward::Forward, wire::ethernet};
use xsk::{
    AddressFlags, AttachMode, EndpointFlags, Frame, MatchCapacities, MatchMaps, Pool, Port,
    PortConfig, Program, Tap, Umem, UmemConfig, WhenDown, link,
};

use super::{ground, least::Least, mode_named};

/// As in the worker.
const BURST: usize = 64;
/// As many as xlvs gives a worker of two ports.
const FRAMES: u32 = 16_384;

/// How the loop is run: in the box's namespace, ended by a signal.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where frames arrive
    from: String,
    /// Where they leave
    to: String,
    /// The destination MAC of what leaves
    #[arg(value_parser = ground::parse_mac)]
    mac: [u8; 6],
    /// The CPU to run on
    #[arg(long)]
    cpu: usize,
    /// The NICs read and write the frames themselves
    #[arg(long)]
    zero_copy: bool,
    /// Find and rewrite connections as this forwarding method does
    #[arg(long, value_parser = mode_named)]
    least: Option<Forward>,
}

/// What is done with a burst.
pub(super) trait Work {
    /// Before the first frame leaves.
    fn look(&mut self, burst: &[Frame]);
    /// With each frame, by its place in the burst.
    fn change(&mut self, at: usize, frame: &mut Frame);
}

/// Nothing.
struct Bare;

impl Work for Bare {
    fn look(&mut self, _: &[Frame]) {}

    fn change(&mut self, _: usize, _: &mut Frame) {}
}

/// The two ends of the loop.
struct Loop<'a> {
    from: Port,
    to: Port,
    pool: &'a mut Pool,
    burst: Vec<Frame>,
    /// Destination and source of what leaves.
    macs: [[u8; 6]; 2],
}

/// Forwards until the process is ended.
///
/// # Errors
/// What opening sockets and attaching the program report.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    crate::machine::pin(options.cpu);
    let maps = MatchMaps::new(MatchCapacities::default())?;
    let vip: IpAddr = ground::VIP.into();
    maps.set_endpoint(17, vip, ground::PORT, EndpointFlags::SERVICE)?;
    maps.set_address(vip, AddressFlags::VIP)?;
    let memory = UmemConfig { chunk_size: 2048, frames_per_worker: vec![FRAMES] };
    let (umem, mut pools) = Umem::new(memory)?;
    // As xlvs does it: a TAP can only copy, and its socket would rule.
    let tap = if options.zero_copy { None } else { Some(Tap::open("l2fwd%d")?) };
    if let Some(tap) = &tap {
        umem.anchor(tap.name())?;
    }
    let config = PortConfig { zero_copy: options.zero_copy, ..PortConfig::default() };
    let pool = pools.first_mut().ok_or_else(|| io::Error::other("no pool"))?;
    let mut from = Port::open(&umem, &options.from, 0, &config)?;
    let mut to = Port::open(&umem, &options.to, 0, &config)?;
    from.refill(pool);
    to.refill(pool);
    let source = link::mac(&options.to)?;
    // xlvs serves both interfaces, so both have the program here as well.
    let out = Program::load(&maps, source, WhenDown::Pass)?;
    out.set_socket(0, &to)?;
    let _out = out.attach(&options.to, AttachMode::Auto, None)?;
    let program = Program::load(&maps, link::mac(&options.from)?, WhenDown::Pass)?;
    program.set_socket(0, &from)?;
    let _attached = program.attach(&options.from, AttachMode::Auto, None)?;
    let burst = Vec::with_capacity(BURST);
    let ends = Loop { from, to, pool, burst, macs: [options.mac, source] };
    match options.least {
        Some(mode) => ends.forward(&mut Least::new(mode)?),
        None => ends.forward(&mut Bare),
    }
}

impl Loop<'_> {
    fn forward(mut self, work: &mut impl Work) -> ! {
        loop {
            self.turn(work);
        }
    }

    fn turn(&mut self, work: &mut impl Work) {
        let Self { from, to, pool, burst, macs } = self;
        from.receive(pool, burst, BURST);
        work.look(burst);
        for (at, mut frame) in burst.drain(..).enumerate() {
            work.change(at, &mut frame);
            frame.bytes_mut()[ethernet::DESTINATION].copy_from_slice(&macs[0]);
            frame.bytes_mut()[ethernet::SOURCE].copy_from_slice(&macs[1]);
            if let Err(frame) = to.send(pool, frame) {
                pool.give(frame);
            }
        }
        to.flush();
        to.reclaim(pool);
        from.refill(pool);
    }
}
