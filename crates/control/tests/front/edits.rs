//! What each command does, and what is refused with which words. The refusals are the kernel's
//! (`ip_vs_ctl.c`), their texts ipvsadm 1.31's.

use std::convert::Infallible;

use control::front::own_servers;
use dataplane::{forward::Tunnel, policy::OnJoin};
use ipvsadm::{Command, Denial};

use crate::stage::{Stage, command};

const FILE: &str = "services: []";
const WEB: &str = "-A -t 10.9.0.1:80 -s rr";
const SERVER: &str = "-a -t 10.9.0.1:80 -r 10.0.0.11:80 -m";

/// Lines, and what `-Sn` says then: ipvsadm's own spelling of a table.
#[test]
fn every_command_does_what_it_says() {
    let rows: &[(&[&str], &str)] = &[
        (&["-A -t 10.9.0.1:80"], "-A -t 10.9.0.1:80 -s wlc\n"),
        (&["-A -u 10.9.0.1:53 -s rr -o"], "-A -u 10.9.0.1:53 -s rr -o\n"),
        (&["-A --sctp-service 10.9.0.1:53"], "-A --sctp-service 10.9.0.1:53 -s wlc\n"),
        (&["-A -t [2001:db8::1]:80 -s sh -b sh-port"], "-A -t [2001:db8::1]:80 -s sh -b sh-port\n"),
        (
            &["-A -t 10.9.0.1:80 -s mh -b mh-fallback,mh-port"],
            "-A -t 10.9.0.1:80 -s mh -b mh-fallback,mh-port\n",
        ),
        (
            &["-A -t 10.9.0.1:0 -p 60 -M 255.255.255.0"],
            "-A -t 10.9.0.1:0 -s wlc -p 60 -M 255.255.255.0\n",
        ),
        (&["-A -t 10.9.0.1:80 -p"], "-A -t 10.9.0.1:80 -s wlc -p 360\n"),
        (&["-A -f 7 -s dh"], "-A -f 7 -s dh\n"),
        (&["-A -f 7 -6"], "-A -f 7 -6 -s wlc\n"),
        // What -E does not name takes its default again.
        (
            &["-A -t 10.9.0.1:80 -s rr -p 60", "-E -t 10.9.0.1:80 -s wrr"],
            "-A -t 10.9.0.1:80 -s wrr\n",
        ),
        (&[WEB, "-A -t 10.9.0.2:80", "-D -t 10.9.0.1:80"], "-A -t 10.9.0.2:80 -s wlc\n"),
        (&[WEB, SERVER, "-C"], ""),
        (&[WEB, SERVER], "-A -t 10.9.0.1:80 -s rr\n-a -t 10.9.0.1:80 -r 10.0.0.11:80 -m -w 1\n"),
        (
            &[WEB, "-a -t 10.9.0.1:80 -r 10.0.0.11:8080 -m -w 5 -x 100 -y 50"],
            "-A -t 10.9.0.1:80 -s rr\n-a -t 10.9.0.1:80 -r 10.0.0.11:8080 -m -w 5 -x 100 -y 50\n",
        ),
        (
            &[WEB, SERVER, "-e -t 10.9.0.1:80 -r 10.0.0.11:80 -g -w 9"],
            "-A -t 10.9.0.1:80 -s rr\n-a -t 10.9.0.1:80 -r 10.0.0.11:80 -g -w 9\n",
        ),
        (&[WEB, SERVER, "-d -t 10.9.0.1:80 -r 10.0.0.11:80"], "-A -t 10.9.0.1:80 -s rr\n"),
        (
            &[WEB, "-a -t 10.9.0.1:80 -r 10.0.0.11 -i"],
            "-A -t 10.9.0.1:80 -s rr\n-a -t 10.9.0.1:80 -r 10.0.0.11:80 -i -w 1 --tun-type ipip\n",
        ),
        (
            &[WEB, "-a -t 10.9.0.1:80 -r 10.0.0.11 -i --tun-type gue --tun-port 6080 --tun-csum"],
            "-A -t 10.9.0.1:80 -s rr\n-a -t 10.9.0.1:80 -r 10.0.0.11:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum\n",
        ),
        (
            &[
                WEB,
                "-a -t 10.9.0.1:80 -r 10.0.0.11 -i --tun-type gue --tun-port 6080 --tun-remcsum",
            ],
            "-A -t 10.9.0.1:80 -s rr\n-a -t 10.9.0.1:80 -r 10.0.0.11:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum\n",
        ),
        (
            &[WEB, "-a -t 10.9.0.1:80 -r [fd00::11]:80 -i"],
            "-A -t 10.9.0.1:80 -s rr\n-a -t 10.9.0.1:80 -r [fd00::11]:80 -i -w 1 --tun-type ipip\n",
        ),
        (
            &["-A -f 7 -s rr", "-a -f 7 -r 10.0.0.11:0 -m"],
            "-A -f 7 -s rr\n-a -f 7 -r 10.0.0.11:0 -m -w 1\n",
        ),
        (&[WEB, "-Z", "-Z -t 10.9.0.1:80"], "-A -t 10.9.0.1:80 -s rr\n"),
    ];
    for (lines, expected) in rows {
        let mut stage = Stage::new(FILE);
        stage.done(lines);
        let (code, saved, said) = stage.run("-Sn", "");
        assert_eq!((code, saved.as_str(), said.as_str()), (0, *expected, ""), "{lines:?}");
        // Marks without a rule are warned of.
        let marked = saved.contains("-A -f");
        // The table's own words make it again.
        let mut again = Stage::new(FILE);
        let (code, out, said) = again.run("-R", &saved);
        assert_eq!((code, out.as_str(), said.is_empty()), (0, "", !marked), "{lines:?}: {said}");
        assert_eq!(again.run("-Sn", "").1, *expected);
        assert_eq!(stage.services.by_key.len(), stage.registry.model.services.len());
    }
}

/// What is there, a line that is refused, the words, the exit code.
#[test]
fn every_refusal_has_its_words_and_changes_nothing() {
    const GONE: &str = "10.9.0.9:80";
    let no_sync = "xlvs has no connection synchronization daemon: \
                   connections are not copied to other directors";
    let not_unicast = "Invalid operation.  Possibly wrong module version, address not unicast, ...";
    let rows: [(&[&str], String, &str); 28] = [
        (&[WEB], WEB.into(), "Service already exists"),
        (&["-A -f 7"], "-A -f 7".into(), "Service already exists"),
        (&[], "-A -t 10.9.0.1:80 -s none".into(), "Scheduler or persistence engine not found"),
        (&[], "-A -u 10.9.0.1:80 -p --pe sip".into(), "Scheduler or persistence engine not found"),
        (&[WEB], "-E -t 10.9.0.1:80 -s none".into(), "Scheduler or persistence engine not found"),
        (&[WEB], format!("-E -t {GONE}"), "No such service"),
        (&[WEB], "-E -u 10.9.0.1:80".into(), "No such service"),
        (&["-A -f 7"], "-D -f 7 -6".into(), "No such service"),
        (&[WEB], format!("-D -t {GONE}"), "No such service"),
        (&[WEB], format!("-Z -t {GONE}"), "No such service"),
        (&[WEB], format!("-a -t {GONE} -r 10.0.0.11"), "Service not defined"),
        (&[WEB], format!("-e -t {GONE} -r 10.0.0.11"), "Service not defined"),
        (&[WEB], format!("-d -t {GONE} -r 10.0.0.11"), "Service not defined"),
        (&[WEB, SERVER], SERVER.into(), "Destination already exists"),
        (&[WEB, SERVER], SERVER.replace("-a", "-e").replace(".11", ".12"), "No such destination"),
        (&[WEB, SERVER], "-d -t 10.9.0.1:80 -r 10.0.0.11:81".into(), "No such destination"),
        (
            &[WEB],
            "-a -t 10.9.0.1:80 -r 10.0.0.11 -x 4 -y 5".into(),
            "Numerical result out of range",
        ),
        (
            &[WEB, SERVER],
            "-e -t 10.9.0.1:80 -r 10.0.0.11 -y 5".into(),
            "Numerical result out of range",
        ),
        (
            &[WEB],
            "-a -t 10.9.0.1:80 -r 10.0.0.11 --fullnat".into(),
            "FullNat needs local_addresses: in the configuration file",
        ),
        (&[WEB], SERVER.replace("10.0.0.11", "224.0.0.1"), not_unicast),
        (&[WEB], SERVER.replace("10.0.0.11", "0.0.0.0"), not_unicast),
        (&[WEB], SERVER.replace("10.0.0.11", "255.255.255.255"), not_unicast),
        (&[WEB], SERVER.replace("10.0.0.11:80 -m", "[ff02::1]:80 -i"), not_unicast),
        (&[WEB], SERVER.replace("10.0.0.11:80 -m", "[::]:80 -i"), not_unicast),
        (&[WEB], SERVER.replace("10.0.0.11:80 -m", "[fe80::1]:80 -i"), not_unicast),
        (&[WEB], SERVER.replace("10.0.0.11:80 -m", "[::ffff:1.2.3.4]:80 -i"), not_unicast),
        (&[], "--start-daemon master".into(), no_sync),
        (&[], "--stop-daemon backup".into(), "No daemon is running"),
    ];
    for (there, line, words) in rows {
        let mut stage = Stage::new(FILE);
        stage.done(there);
        let before = stage.registry.model.clone();
        let refused = (u8::MAX, String::new(), format!("{words}\n"));
        assert_eq!(stage.run(&line, ""), refused, "{line}");
        assert!(stage.registry.model == before, "{line}: something changed");
        // The same in a file of rules: not even the lines before it are done.
        let rules = format!("# saved\n-A -t 10.9.9.9:80\n\n{line}\n-A -t 10.9.9.10:80\n");
        let (code, out, said) = stage.run("-R", &rules);
        assert_eq!((code, out.as_str()), (u8::MAX, ""), "{line}");
        assert_eq!(said, format!("line 4: {words}\n"));
        assert!(stage.registry.model == before, "{line}: restored in part");
    }
}

/// What is asked for is listed (`ipvsadm.c`, `get_tunnel_info`), and what is done is another
/// matter: the outer checksum is filled for `--tun-remcsum`, too.
#[test]
fn the_checksum_of_a_gue_tunnel_is_listed_as_it_was_asked_for() {
    let rows =
        [("--tun-nocsum", "-c", false), ("--tun-csum", "+c", true), ("--tun-remcsum", "r+c", true)];
    let mut stage = Stage::new(FILE);
    let line = |command, option| {
        format!("{command} -t 10.9.0.1:80 -r 10.0.0.11 -i --tun-type gue --tun-port 6080 {option}")
    };
    stage.done(&[WEB, &line("-a", "--tun-csum")]);
    for (option, shown, checksum) in rows {
        stage.done(&[&line("-e", option)]);
        let (_, listed, _) = stage.run("-L -n --tun-info", "");
        assert!(listed.contains(&format!("gue:6080:{shown}")), "{option}: {listed}");
        let tunnel = stage.registry.model.services[0].servers[0].tunnel;
        assert_eq!(tunnel, Tunnel::Gue { port: 6080, checksum }, "{option}");
    }
}

/// Without sorting a list is as the director has it: the kernel's has the newest server first.
#[test]
fn nosort_is_the_directors_own_order() {
    for (compat, expected) in [("none", [11, 13, 12]), ("lvs", [12, 13, 11])] {
        let mut stage = Stage::new(&format!("compat: {compat}\nservices: []"));
        stage.done(&[WEB]);
        for last in [11, 13, 12] {
            stage.done(&[&format!("-a -t 10.9.0.1:80 -r 10.0.0.{last}:80 -m")]);
        }
        let servers = |line: &str, stage: &mut Stage| -> Vec<u8> {
            let (_, listed, _) = stage.run(line, "");
            let rows = listed.lines().filter_map(|line| line.trim().strip_prefix("-> 10.0.0."));
            rows.map(|row| row.split(':').next().unwrap().parse().unwrap()).collect()
        };
        assert_eq!(servers("-L -n --nosort", &mut stage), expected, "{compat}");
        assert_eq!(servers("-L -n", &mut stage), [11, 12, 13], "{compat}");
    }
}

#[test]
fn a_family_that_does_not_fit_is_refused_but_for_tunnels() {
    let mut stage = Stage::new(FILE);
    stage.done(&[WEB]);
    for method in ["-m", "-g"] {
        let line = format!("-a -t 10.9.0.1:80 -r [fd00::11]:80 {method}");
        let argv: Vec<String> = format!("ipvsadm {line}").split(' ').map(str::to_owned).collect();
        // Where the grammar lets it through, the director refuses it.
        if ipvsadm::parse(ipvsadm::Program::Ipvsadm, &argv, &ipvsadm::NoNames).is_ok() {
            assert_eq!(stage.change(&[&line]), Err((0, Denial::Invalid)), "{line}");
        }
    }
    stage.done(&["-a -t 10.9.0.1:80 -r [fd00::11]:80 -i"]);
}

#[test]
fn a_batch_is_done_as_a_whole_or_not_at_all() {
    let mut stage = Stage::new(FILE);
    let batch = [WEB, SERVER, "-a -t 10.9.0.1:80 -r 10.0.0.12:80 -m", SERVER, "-C"];
    assert_eq!(stage.change(&batch), Err((3, Denial::DestinationExists)));
    assert!(stage.registry.model.services.is_empty() && stage.services.by_key.is_empty());
    stage.change(&batch[..3]).unwrap();
    assert_eq!(stage.registry.model.services[0].servers.len(), 2);
    // What a command line cannot ask for is no change.
    for line in ["-L", "-S", "-R"] {
        assert_eq!(stage.change(&[line]), Err((0, Denial::Invalid)), "{line}");
    }
}

/// `Limits` are counted with what was removed and still has connections.
#[test]
fn limits_are_kept() {
    let mut stage = Stage::new("limits: {services: 2, servers: 3}\nservices: []");
    let servers: Vec<String> =
        (11..15).map(|n| format!("-a -t 10.9.0.1:80 -r 10.0.0.{n}:80 -m")).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    stage.done(&[WEB, "-A -t 10.9.0.2:80"]);
    assert_eq!(stage.change(&["-A -t 10.9.0.3:80"]), Err((0, Denial::NoMemory)));
    assert_eq!(stage.run("-A -t 10.9.0.3:80", "").2, "Memory allocation problem\n");
    stage.done(&servers[..3]);
    assert_eq!(stage.change(&servers[3..]), Err((0, Denial::NoMemory)));
    // A connection of the first outlives it: its place is not free, but its own.
    let first = stage.id("10.9.0.1:80/tcp", "10.0.0.11:80").unwrap();
    stage.director.opened(first, dataplane::tcp::State::Established as u8);
    stage.done(&["-d -t 10.9.0.1:80 -r 10.0.0.11:80"]);
    assert_eq!(stage.change(&servers[3..]), Err((0, Denial::NoMemory)));
    stage.done(&servers[..1]);
    assert_eq!(stage.id("10.9.0.1:80/tcp", "10.0.0.11:80"), Some(first));
    // Flushed and made anew in one batch: the ids are still taken while it is done.
    let denied = stage.change(&["-C", "-A -t 10.9.0.3:80"]);
    assert_eq!(denied, Err((1, Denial::NoMemory)));
    stage.change(&["-C", WEB, servers[1]]).unwrap();
}

#[test]
fn timeouts_reach_services_that_have_none_of_their_own() {
    let mut stage = Stage::new(
        "services:\n  - {name: own, listen: \"10.9.0.5:53/udp\", forward: nat, scheduler: rr, \
         timeouts: {udp: 10s}, servers: [{address: \"10.0.0.11:53\"}]}\n  - {name: same, \
         listen: \"10.9.0.6:53/udp\", forward: nat, scheduler: rr, timeouts: {udp: 300s}}",
    );
    stage.done(&["-A -u 10.9.0.1:53", "--set 1000 0 77", "-A -u 10.9.0.2:53"]);
    let udp: Vec<u32> =
        stage.registry.model.services.iter().map(|s| s.policy.timeouts.udp).collect();
    // What the file writes counts, even where it is what the box had.
    assert_eq!(udp, [10, 300, 77, 77]);
    let listed = stage.run("-L --timeout", "");
    assert_eq!(listed.1, "Timeout (tcp tcpfin udp): 1000 120 77\n");
    stage.done(&["--set 0 30 0"]);
    assert_eq!(stage.run("-L --timeout", "").1, "Timeout (tcp tcpfin udp): 1000 30 77\n");
    // A day, and the most that ipvsadm takes.
    stage.done(&["--set 86400 0 2678400"]);
    assert_eq!(stage.run("-L --timeout", "").1, "Timeout (tcp tcpfin udp): 86400 30 2678400\n");
    assert_eq!(stage.registry.model.services[3].policy.timeouts.tcp[1], 86_400);
}

#[test]
fn a_mark_without_a_rule_is_warned_of() {
    let mut stage = Stage::new(FILE);
    let (code, out, said) = stage.run("-A -f 10", "");
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(said.contains("mark 10") && said.contains("marks:"), "{said}");
}

#[test]
fn there_is_no_sync_daemon_to_list() {
    let mut stage = Stage::new(FILE);
    assert_eq!(stage.run("-L --daemon", ""), (0, String::new(), String::new()));
    assert!(matches!(command("--start-daemon master"), Command::StartDaemon(_)));
}

/// As the file's fault has it: only DR reaches a server on the director.
#[test]
fn a_server_on_this_box_is_warned_of() {
    let gue = "-a -t 10.9.0.1:80 -r 10.0.0.1:80 -i --tun-type gue --tun-port 6080";
    let rows = [
        ("-a -t 10.9.0.1:80 -r 10.0.0.1:80 -m", true),
        ("-e -t 10.9.0.1:80 -r 10.0.0.1:80 -m", true),
        ("-a -t 10.9.0.1:80 -r [fd00::1]:80 -i", true),
        (gue, true),
        ("-a -t 10.9.0.1:80 -r 10.0.0.1:80 -g", false),
        (SERVER, false),
        ("-d -t 10.9.0.1:80 -r 10.0.0.1:80", false),
        (WEB, false),
    ];
    for (line, warned) in rows {
        let own = ["10.0.0.1", "fd00::1"].map(|text| text.parse().unwrap());
        let addresses = || Ok::<_, Infallible>(own.into_iter().collect());
        let said = own_servers(&[command(line), command(line)], addresses).unwrap();
        assert_eq!(said.len(), usize::from(warned), "{line}: {said:?}");
        assert!(said.iter().all(|said| said.contains("is an address of this box")), "{said:?}");
    }
}

/// Services that come by a command take the box's `on_join`, as far as it helps their scheduler.
#[test]
fn services_that_are_added_take_on_join_of_the_box() {
    let rows = [
        ("nothing", "wlc", OnJoin::Nothing),
        ("{slow_start: 40s}", "wlc", OnJoin::SlowStart(40)),
        ("{slow_start: 40s}", "rr", OnJoin::Nothing),
        ("reset_counts", "lc", OnJoin::ResetCounts),
        ("reset_counts", "wrr", OnJoin::Nothing),
    ];
    for (on_join, scheduler, expected) in rows {
        let mut stage = Stage::new(&format!("on_join: {on_join}\nservices: []"));
        stage.done(&[&format!("-A -t 10.9.0.1:80 -s {scheduler}"), "-A -t 10.9.0.2:80 -s sh"]);
        let found = |stage: &Stage| -> Vec<OnJoin> {
            stage.registry.model.services.iter().map(|s| s.policy.on_join).collect()
        };
        assert_eq!(found(&stage), [expected, OnJoin::Nothing], "{on_join} {scheduler}");
        // Another scheduler may be helped by it.
        stage.done(&[&format!("-E -t 10.9.0.2:80 -s {scheduler}")]);
        assert_eq!(found(&stage), [expected; 2], "{on_join} {scheduler}");
    }
}
