//! The goals, and where their figures are from.

use super::{
    figure::{Aim, Figure},
    sheets::Sheets,
};

/// A line of the table.
pub(super) struct Line {
    pub(super) number: u8,
    pub(super) what: String,
    pub(super) goal: Aim,
    pub(super) stretch: Option<f64>,
    pub(super) figure: Option<Figure>,
    /// What the least that a balancer does would make of it: nobody comes further by doing less.
    pub(super) bound: Option<Figure>,
}

const THOUSAND: u32 = 1024;
const MILLION: u32 = 1 << 20;
/// Packets a second of a flood, SYNs and others: more than any forwarder here takes off a veth.
const FLOOD: f64 = 4e6;

/// All goals, filled as far as there are sheets.
pub(super) fn lines(sheets: &Sheets) -> Vec<Line> {
    let mut list = List { sheets, lines: Vec::new() };
    list.beside_a_bare_loop();
    list.in_one_process();
    list.beside_nftables();
    list.new_connections();
    list.under_pressure();
    list.two_workers();
    list.memory_and_breaths();
    list.in_a_guest();
    list.lines
}

struct List<'a> {
    sheets: &'a Sheets,
    lines: Vec<Line>,
}

impl List<'_> {
    fn add(
        &mut self,
        number: u8,
        what: impl Into<String>,
        goal: Aim,
        stretch: Option<f64>,
        figure: Option<Figure>,
    ) {
        self.lines.push(Line { number, what: what.into(), goal, stretch, figure, bound: None });
    }

    /// The bound of the line that was added last.
    fn bound(&mut self, bound: Option<Figure>) {
        if let Some(line) = self.lines.last_mut() {
            line.bound = bound;
        }
    }

    fn beside_a_bare_loop(&mut self) {
        let plain = [("nat", 0.93), ("fullnat", 0.93), ("dr", 0.95), ("tun", 0.95)];
        let xdp = plain.map(|(mode, _)| (mode, 0.95));
        let million = plain.map(|(mode, _)| (mode, 0.92));
        let groups = [
            (1, plain, THOUSAND, "1 k", "plain", 0.97),
            (1, xdp, THOUSAND, "1 k", "xdp", 0.97),
            (2, million, MILLION, "1 M", "plain", 0.95),
        ];
        for (number, goals, flows, count, sink, stretch) in groups {
            for (mode, goal) in goals {
                let figure = Sheets::pairs(self.sheets.rig.as_ref(), mode, flows, sink);
                let what = format!("of a bare AF_XDP loop, {mode}, 64 B, {count}, {sink} sink");
                self.add(number, what, Aim::AtLeast(goal), Some(stretch), figure);
                self.bound(Sheets::pairs(self.sheets.least.as_ref(), mode, flows, sink));
            }
        }
    }

    fn in_one_process(&mut self) {
        let modes =
            [("dr", 30.0, 20.0), ("nat", 45.0, 30.0), ("fullnat", 45.0, 30.0), ("tun", 40.0, 28.0)];
        for (mode, goal, stretch) in modes {
            let figure = self.sheets.ns(&format!("verdict {mode} v4 tcp 1k"));
            let what = format!("ns a packet, {mode}, IPv4 TCP, 1 k");
            self.add(3, what, Aim::AtMost(goal), Some(stretch), figure);
        }
        let find = |size: &str, burst: u8| self.sheets.ns(&format!("find v4 {size} burst {burst}"));
        let ratio = |over: Option<Figure>, under: Option<Figure>| Some(over?.over(under?));
        let scaling = ratio(find("10M", 64), find("1k", 64));
        let batching = ratio(find("10M", 1), find("10M", 64));
        self.add(4, "a find, ns at 10 M over 1 k", Aim::AtMost(1.8), Some(1.5), scaling);
        let what = "a find at 10 M, ns at burst 1 over burst 64";
        self.add(5, what, Aim::AtLeast(2.5), Some(3.5), batching);
    }

    fn beside_nftables(&mut self) {
        for (flows, count, goal) in
            [(THOUSAND, "1 k", 1.0), (1 << 16, "64 k", 1.5), (MILLION, "1 M", 2.0)]
        {
            for mode in ["nat", "fullnat"] {
                let nftables = self.sheets.nftables.as_ref();
                let figure = Sheets::pairs(nftables, mode, flows, "plain");
                let what = format!("of nftables, {mode}, 64 B, {count}, plain sink");
                self.add(6, what, Aim::AtLeast(goal), None, figure);
            }
        }
    }

    fn new_connections(&mut self) {
        for (mode, keys) in [("nat", "nat"), ("fullnat", "nat"), ("dr", "dr"), ("tun", "dr")] {
            let admit = self.sheets.ns(&format!("admit {mode} v4 tcp"));
            let packet = self.sheets.ns(&format!("verdict {mode} v4 tcp 1k"));
            let ratio = admit.zip(packet).map(|(admit, packet)| admit.over(packet));
            let what = format!("ns of a new connection over an established packet, {mode}");
            self.add(7, what, Aim::AtMost(3.0), Some(2.0), ratio);
            // It is parsed, sent and counted as any other one, and its connection is put into the
            // table, with as many keys as this mode's have.
            let insert = self.sheets.ns(&format!("insert {keys} v4"));
            let both = insert.zip(packet).map(|(insert, packet)| insert.plus(packet).over(packet));
            self.bound(both);
            let rate = admit.map(|admit| Figure::exact(1e9).over(admit));
            let what = format!("new connections a second and core, {mode}");
            self.add(7, what, Aim::AtLeast(2e6), Some(4e6), rate);
        }
    }

    fn under_pressure(&mut self) {
        for (kind, meets) in [
            ("room", "room for all"),
            ("limited", "the limit of half-open ones"),
            ("full", "a full table"),
            ("stateless", "a full table, mh in DR"),
        ] {
            let figure = self.sheets.goodput(kind, FLOOD);
            let what = format!("goodput beside ten times as many SYNs that meet {meets}");
            self.add(8, what, Aim::AtLeast(0.90), Some(0.97), figure);
        }
        let what = "established packets and connections lost in all floods";
        self.add(8, what, Aim::AtMost(0.0), None, self.sheets.lost());
    }

    fn two_workers(&mut self) {
        for (kind, goal, which) in
            [("own", 0.97, "own connections"), ("crossed", 0.95, "answers on the other worker")]
        {
            let figure = self.sheets.workers(kind);
            let what = format!("two workers, one table over two, {which}");
            self.add(9, what, Aim::AtLeast(goal), Some(1.0), figure);
        }
    }

    fn memory_and_breaths(&mut self) {
        for (family, goal) in [("IPv4", 96.0), ("IPv6", 160.0)] {
            let figure = self.sheets.octets(&family.to_lowercase());
            let what = format!("octets of the table an {family} connection");
            self.add(10, what, Aim::AtMost(goal), None, figure);
        }
        let breath = self.sheets.longest_breath();
        self.add(10, "longest breath in storms, us", Aim::AtMost(100.0), Some(50.0), breath);
    }

    fn in_a_guest(&mut self) {
        for (other, goal) in [("l2fwd", 0.92), ("ipvs", 1.9)] {
            for mode in ["nat", "dr"] {
                let what =
                    format!("instructions a packet in a guest, {other} over xlvs, {mode}, 1 k");
                let figure = self.sheets.in_guest([other, "xlvs"], mode);
                self.add(11, what, Aim::AtLeast(goal), None, figure);
                self.bound(self.sheets.in_guest([other, "least"], mode));
            }
        }
    }
}
