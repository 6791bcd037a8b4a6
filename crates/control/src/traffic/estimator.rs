//! The kernel's rate estimator (`ip_vs_est.c`): a moving average that takes a quarter of each
//! new measurement, every two seconds, in fixed point.

use super::Traffic;

/// What comes in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// New connections.
    pub connections: u64,
    /// Packets towards servers.
    pub in_packets: u64,
    /// Packets from servers.
    pub out_packets: u64,
    /// Octets towards servers.
    pub in_bytes: u64,
    /// Octets from servers.
    pub out_bytes: u64,
}

/// The averages of one server or service.
#[derive(Clone, Debug, Default)]
pub(super) struct Estimator {
    last: Traffic,
    /// Connections and packets: 1024ths a second.
    counts: [i64; 3],
    /// Octets: 32nds a second.
    octets: [i64; 2],
}

impl Estimator {
    /// Takes up what was counted by now: two seconds after the last call, or after nothing.
    pub(super) fn tick(&mut self, now: Traffic) {
        let came = now.since(&self.last);
        self.last = now;
        let counts = [came.connections, came.in_packets, came.out_packets];
        for (average, came) in self.counts.iter_mut().zip(counts) {
            // 1024ths of what came in one of the two seconds.
            *average += ((came << 9).cast_signed() - *average) >> 2;
        }
        for (average, came) in self.octets.iter_mut().zip([came.in_bytes, came.out_bytes]) {
            *average += ((came << 4).cast_signed() - *average) >> 2;
        }
    }

    /// The averages in whole numbers (`ip_vs_read_estimator`).
    pub(super) fn rates(&self) -> Rates {
        let [connections, in_packets, out_packets] =
            self.counts.map(|average| ((average + 0x1ff) >> 10).cast_unsigned());
        let [in_bytes, out_bytes] =
            self.octets.map(|average| ((average + 0xf) >> 5).cast_unsigned());
        Rates { connections, in_packets, out_packets, in_bytes, out_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand from the formula: 100 packets a second; averages of 200 << 9 = 102,400:
    /// 25,600, 44,800, 59,200, 70,000; then nothing: 52,500.
    #[test]
    fn an_average_of_eight_seconds() {
        let mut estimator = Estimator::default();
        let mut had = Traffic::default();
        for (came, shown) in [(200, 25), (200, 44), (200, 58), (200, 68), (0, 51)] {
            had.in_packets += came;
            had.in_bytes += came * 40;
            estimator.tick(had);
            assert_eq!(estimator.rates().in_packets, shown);
        }
        assert_eq!(estimator.rates().out_bytes, 0);
    }
}
