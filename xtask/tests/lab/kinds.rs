//! Every type of checks against a real server of its kind, which goes wrong in every way that it
//! can: xlvs finds it in time, names the cause, and finds it well again in time.
//!
//! [`table`] says what is asked and what goes wrong, [`server`] what runs. All kinds go through
//! their faults side by side, with one director.

pub(crate) mod certificates;
mod fault;
mod place;
mod server;
mod table;
mod watch;

use std::fmt::Write as _;
use std::time::Duration;

use xtask::failure::{Outcome, fail};
use xtask::lab::{Director, Lab, Namespace};
use xtask::shell;

use self::certificates::Certificates;
use self::place::Place;
use self::table::{Kind, Row};
use self::watch::Watch;
use crate::{server as address, stage};

const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(400);
/// Rise, and fall.
const TIMES: u32 = 2;
/// What a change may take until it is seen: so many probes, the last one to its end.
const DETECTION: Duration = Duration::from_millis(2 * 500 + 400);
/// Looking takes some time, and so do the programs by which a change is made.
const ALLOWANCE: Duration = Duration::from_millis(300);

#[test]
fn every_kind_of_server_is_found_wrong_and_well_again_in_time() {
    let lab = stage("nat", 1);
    let certificates = Certificates::new().unwrap();
    let places = table::all().map(|kind| Place::new(&lab, kind).map(|place| (kind, place)));
    let mut places: Vec<(&Kind, Place<'_>)> = places.collect::<Outcome<_>>().unwrap();
    for (_, place) in &places {
        certificates.write(place.directory()).unwrap();
    }
    let open = |(_, place): &mut (&Kind, Place<'_>)| place.open();
    for opened in side_by_side(&mut places, open) {
        opened.unwrap();
    }
    let director = Director::start_with_text(&lab, &yaml(&lab, &places)).unwrap();
    let watch = Watch::new(lab.file("xlvs.sock"));
    let outcomes = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch.run());
        let through =
            |(kind, place): &mut (&Kind, Place<'_>)| story(kind, place, &director, &watch);
        let mut outcomes = side_by_side(&mut places, through);
        outcomes.push(hangs(&lab, &watch));
        watch.end();
        watching.join().expect("no panic").unwrap();
        outcomes
    });
    let failures: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
    let left = programs_of(&lab.director(), "").unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// Does the same for all at once; what came of it, in their order.
fn side_by_side<T: Send, R: Send>(all: &mut [T], one: impl Fn(&mut T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = all.iter_mut().map(|each| scope.spawn(move || one(each))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// Through all that goes wrong with one kind, and back. Says what failed, and where.
fn story(
    kind: &Kind,
    place: &mut Place<'_>,
    director: &Director<'_>,
    watch: &Watch,
) -> Result<(), String> {
    let up = watch.until_up(kind.name);
    let good = up.map_err(|why| format!("{}: {why}", kind.name))?.last;
    if !good.contains(kind.good) {
        return Err(format!("{}: {good}, not {}", kind.name, kind.good));
    }
    for row in kind.rows {
        let told = act(kind, row, place, director, watch);
        let told = told.map_err(|why| format!("{}, {}: {why}", kind.name, row.0))?;
        println!("{:<10} {:<20} {told}", kind.name, row.0);
    }
    Ok(())
}

/// One fault: down in time and for the right reason, and up in time; in words.
fn act(
    kind: &Kind,
    Row(_, fault, why): &Row,
    place: &mut Place<'_>,
    director: &Director<'_>,
    watch: &Watch,
) -> Outcome<String> {
    let begun = fault.begin(place)?;
    let down = watch.until_down(kind.name)?;
    let found = down.at.saturating_duration_since(begun);
    let listing = director.list(&[])?;
    if !listing.contains(&down.why) {
        return fail(format!("{} is not in\n{listing}", down.why));
    }
    if down.why.contains(" within ") {
        // A busy machine may be slow itself; then the next answer tells.
        watch.until(kind.name, why, |said| said.state == "down" && said.tells(why))?;
    } else if !down.tells(why) {
        return fail(format!("{}, not {why}", down.why));
    }
    if down.took > TIMEOUT + ALLOWANCE {
        return fail(format!("a probe was held for {:?}", down.took));
    }
    let ended = fault.end(place)?;
    let up = watch.until_up(kind.name)?;
    let back = up.at.saturating_duration_since(ended);
    let told = format!(
        "down after {:4} ms, up after {:4} ms: {}",
        found.as_millis(),
        back.as_millis(),
        down.why
    );
    if found > DETECTION + ALLOWANCE || back > DETECTION + ALLOWANCE {
        return fail(format!("later than in {:?}: {told}", DETECTION + ALLOWANCE));
    }
    Ok(told)
}

/// A check whose program never ends, and does not want to.
const HANGS: &str = "hangs";
const HANGING: &str =
    "type: exec, argv: [/bin/sh, -c, \"trap '' TERM; (trap '' TERM; sleep 600) & sleep 600\"]";

/// Many probes later it is down, and only those programs are there that belong to the last one, and
/// to the one before, which are being ended.
fn hangs(lab: &Lab, watch: &Watch) -> Result<(), String> {
    let down = watch.until_down(HANGS).map_err(|why| format!("{HANGS}: {why}"))?;
    let programs = programs_of(&lab.director(), "600").map_err(|why| why.to_string())?;
    if !down.why.contains("still running after") || programs.len() > 6 {
        return Err(format!("{HANGS}: {}, {programs:?}", down.why));
    }
    Ok(())
}

/// A service for each kind, with one server, and one whose check hangs.
fn yaml(lab: &Lab, places: &[(&Kind, Place<'_>)]) -> String {
    let (mut checks, mut services) = (String::new(), String::new());
    let times = format!(
        "interval: {}ms, timeout: {}ms, rise: {TIMES}, fall: {TIMES}",
        INTERVAL.as_millis(),
        TIMEOUT.as_millis()
    );
    let big = ["a", "b", "c"].map(|letter| format!("\"{}\"", letter.repeat(250))).join(" ");
    let all = places.iter().map(|(kind, place)| {
        let check = place.filled(kind.check).replace("@big@", &big);
        (kind.name, kind.family, kind.port, check)
    });
    for ((name, family, port, check), vport) in
        all.chain([(HANGS, 0, 0, HANGING.to_owned())]).zip(20_000..)
    {
        let vip = endpoint(lab.topology().vips[family], vport);
        let own = endpoint(address(lab, 1, family), port);
        // Writing to a String cannot fail.
        let _ = writeln!(checks, "  {name}: {{{check}, {times}}}");
        let _ = writeln!(
            services,
            "  - {{name: {name}, listen: \"{vip}/tcp\", forward: nat, checks: {name}, \
             servers: [{{address: \"{own}\"}}]}}"
        );
    }
    let interfaces = lab.topology().interfaces.join(", ");
    format!("version: 1\ninterfaces: [{interfaces}]\nchecks:\n{checks}services:\n{services}")
}

/// Without the port if it is 0.
fn endpoint(address: &str, port: u16) -> String {
    match (address.contains(':'), port) {
        (_, 0) => address.to_owned(),
        (true, _) => format!("[{address}]:{port}"),
        (false, _) => format!("{address}:{port}"),
    }
}

/// The command lines of what runs on a host, as far as they have these words.
fn programs_of(host: &Namespace, words: &str) -> Outcome<Vec<String>> {
    let pids =
        shell::output(std::process::Command::new("ip").args(["netns", "pids", host.name()]))?;
    let line = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
    // Who has ended meanwhile has none.
    let lines = pids.lines().filter_map(|pid| line(pid).ok()).map(|line| line.replace('\0', " "));
    Ok(lines.filter(|line| line.contains(words)).collect())
}
