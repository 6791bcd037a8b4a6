//! A director that begins without a service and is told everything by `ipvsadm`, through links
//! of that name in PATH: what administrators and their scripts do. The first tests follow the
//! kernel's own self-test of IPVS (tools/testing/selftests/net/netfilter/ipvs.sh): one service,
//! by DR, NAT and TUN between namespaces, and bytes that must arrive.
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xtask::lab::{Director, FILE_BYTES, Lab, Page, Process};

use crate::front::{Front, empty, place};
use crate::live::{answers, finish, live};
use crate::{server, stage};

fn who(page: &Page) -> BTreeSet<&str> {
    page.keys().map(String::as_str).collect()
}

#[test]
fn dr_by_ipvsadm_alone() {
    self_test("dr", "Route");
}

#[test]
fn nat_by_ipvsadm_alone() {
    self_test("nat", "Masq");
}

#[test]
fn tun_by_ipvsadm_alone() {
    self_test("tun", "Tunnel");
}

fn self_test(mode: &str, word: &str) {
    let lab = stage(mode, 2);
    let front = Front::new(&lab);
    let director = Director::start_with_text(&lab, &empty(&lab, "")).unwrap();
    for (family, vip) in lab.topology().vips.into_iter().enumerate() {
        assert!(lab.client().fetch(vip, 1).is_err(), "{vip}: who serves it?");
        front.add("-t", vip, 80, family);
        front.add("-u", vip, 53, family);
        let client = lab.client();
        assert_eq!(client.fetch(vip, 9).unwrap().values().copied().collect::<Vec<_>>(), [3; 3]);
        client.upload(vip).unwrap();
        client.download(vip).unwrap();
        assert_eq!(client.ask(vip, 9, 32, 64).unwrap().len(), 3);
        let table = front.run("ipvsadm -Ln");
        for text in [
            format!("TCP  {} rr", place(vip, 80)),
            format!("UDP  {} rr", place(vip, 53)),
            format!("  -> {}", place(server(&lab, 2, family), 80)),
        ] {
            assert!(table.contains(&text), "{text} is not in\n{table}");
        }
        assert_eq!(table.matches(word).count(), 6, "{table}");
        let listed = front.run("ipvsadm -Lnc");
        assert!(listed.contains(&place(vip, 80)), "{listed}");
        front.run(&format!("ipvsadm -D -t {}", place(vip, 80)));
        assert!(client.fetch(vip, 1).is_err(), "{vip}: it was deleted");
        front.run("ipvsadm -C");
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

const HEAD: &str = "Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
";

#[test]
fn an_empty_table_and_a_vip_that_the_box_does_not_have() {
    let lab = stage("nat", 1);
    let front = Front::new(&lab);
    lab.withdraw_vips().unwrap();
    let director = Director::start_with_text(&lab, &empty(&lab, "")).unwrap();
    for line in ["ipvsadm", "ipvsadm -L -n", "ipvsadm -ln", "ipvsadm -l --numeric"] {
        let table = front.run(line);
        let (first, rest) = table.split_once('\n').unwrap();
        assert!(first.starts_with("IP Virtual Server version 1.2.1 (size="), "{first}");
        assert_eq!(rest, HEAD, "{line}");
    }
    assert_eq!(front.run("ipvsadm -Sn") + &front.run("ipvsadm-save -n"), "");
    assert_eq!(front.run("ipvsadm -L --daemon"), "");
    for (family, vip) in lab.topology().vips.into_iter().enumerate() {
        front.add("-t", vip, 80, family);
        assert_eq!(lab.client().fetch(vip, 9).unwrap().len(), 3, "{vip}");
    }
    director.stop().unwrap();
}

#[test]
fn without_rights_or_a_daemon_it_speaks_as_ipvsadm() {
    let lab = stage("nat", 1);
    let front = Front::new(&lab);
    let refused = |why: &str| {
        let text = format!(
            "Can't initialize ipvs: {why}\n\
             Are you sure that IP Virtual Server is built in the kernel or as module?\n"
        );
        (Some(2), String::new(), text)
    };
    let nobody = refused("Protocol not available");
    let lines = ["ipvsadm -Ln", "ipvsadm -A -t 10.9.0.1:80", "ipvsadm-save -n", "ipvsadm -C"];
    for line in lines {
        assert_eq!(front.outcome(line), nobody, "{line}");
    }
    let director = Director::start_with_text(&lab, &empty(&lab, "")).unwrap();
    // The binary may lie in a directory that only root may search.
    let setpriv = "setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs \
                   --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search";
    for line in lines {
        let as_nobody = front.outcome(&format!("{setpriv} {line}"));
        assert_eq!(as_nobody, refused("Permission denied (you must be root)"), "{line}");
    }
    let word = "xlvs has no connection synchronization daemon";
    let (code, out, said) = front.outcome("ipvsadm --start-daemon master");
    assert_eq!((code, out.as_str()), (Some(255), ""));
    assert!(said.contains(word), "{said}");
    let none = (Some(255), String::new(), "No daemon is running\n".to_owned());
    assert_eq!(front.outcome("ipvsadm --stop-daemon backup"), none);
    // Killed, it leaves its socket behind.
    director.kill().unwrap();
    for line in lines {
        assert_eq!(front.outcome(line), nobody, "{line}");
    }
}

#[test]
fn a_saved_table_comes_back_and_a_faulty_one_changes_nothing() {
    let lab = stage("nat", 1);
    let front = Front::new(&lab);
    let director = Director::start_with_text(&lab, &empty(&lab, "")).unwrap();
    let [v4, v6] = lab.topology().vips;
    front.add("-t", v4, 80, 0);
    front.add("-t", v6, 80, 1);
    front.run(&format!("ipvsadm -A -u {v4}:53 -s wlc -o"));
    front.run(&format!("ipvsadm -a -u {v4}:53 -r 10.0.2.11:53 -m -w 5 -x 100 -y 50"));
    front.run(&format!("ipvsadm -A -t {v4}:443 -s sh -b sh-port -p 60 -M 255.255.255.0"));
    let saved = front.run("ipvsadm-save -n");
    assert_eq!(front.run("ipvsadm -Sn"), saved);
    assert_eq!(saved.lines().count(), 2 + 6 + 2 + 1, "{saved}");

    let faulty = format!("-A -t {v4}:8080\n{saved}");
    let (code, _, said) = front.feed("ipvsadm -R", &faulty);
    assert_eq!((code, said.as_str()), (Some(255), "line 2: Service already exists\n"));
    assert_eq!(front.run("ipvsadm -Sn"), saved);
    // This one would have emptied the table first.
    let (code, _, said) = front.feed("ipvsadm-restore", &format!("{saved}-A -t {v4}:80 -s none\n"));
    assert_eq!(code, Some(255));
    assert!(said.starts_with("line 12: "), "{said}");
    assert_eq!(front.run("ipvsadm -Sn"), saved);
    assert_eq!(lab.client().fetch(v4, 9).unwrap().len(), 3);

    front.run("ipvsadm -C");
    assert_eq!(front.run("ipvsadm -Sn"), "");
    let nothing = || (Some(0), String::new(), String::new());
    assert_eq!(front.feed("ipvsadm -R", &saved), nothing());
    assert_eq!(front.run("ipvsadm -Sn"), saved);
    assert_eq!(front.feed("ipvsadm-restore", &saved), nothing());
    assert_eq!(front.run("ipvsadm -Sn"), saved);
    for vip in [v4, v6] {
        assert_eq!(lab.client().fetch(vip, 9).unwrap().len(), 3, "{vip}");
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// A download of 10 MB in about that many seconds.
fn long_download(lab: &Lab, vip: &str, seconds: usize) -> Process {
    let host = lab.host("client");
    let mut curl = host.command("curl");
    let rate = (FILE_BYTES / seconds).to_string();
    curl.args(["-sS", "--fail", "--max-time", "60", "--limit-rate", &rate, "-o"]);
    curl.arg(lab.file("long")).arg(format!("http://{}/10M", place(vip, 80)));
    host.start(&mut curl, &lab.file("long.log")).unwrap()
}

fn arrived(lab: &Lab, download: &mut Process) {
    let status = download.wait(Duration::from_secs(60)).unwrap();
    assert!(status.success(), "{}", download.words());
    let same = fs::read(lab.file("long")).unwrap() == fs::read(lab.file("10M")).unwrap();
    assert!(same, "other bytes");
}

/// With the kernel's way (`expire_nodest_conn` 0): packets are dropped while the service is
/// away, so TCP tries again, and goes on.
#[test]
fn a_service_removed_and_added_again_under_load_revives_its_connections() {
    let lab = stage("nat", 2);
    let front = Front::new(&lab);
    let director = Director::start_with_text(&lab, &empty(&lab, "compat: lvs\n")).unwrap();
    let vip = lab.topology().vips[0];
    front.add("-t", vip, 80, 0);
    // With its last service the kernel's IPVS would leave the connections to the stack.
    front.run(&format!("ipvsadm -A -t {vip}:8888 -s rr"));
    let mut download = long_download(&lab, vip, 20);
    let mut asking = live(&lab, vip, 18, "revived");
    for _ in 0..3 {
        thread::sleep(Duration::from_secs(1));
        front.run(&format!("ipvsadm -D -t {vip}:80"));
        assert!(lab.client().fetch(vip, 1).is_err(), "new connections have nowhere to go");
        front.add("-t", vip, 80, 0);
    }
    let active: u64 = (1..=3)
        .map(|number| front.row("-Ln", &format!("-> {}:80", server(&lab, number, 0)))[1])
        .sum();
    assert!(
        active >= 2,
        "{}{}",
        front.run("ipvsadm -Lnc"),
        lab.host("client").run("ss -tn").unwrap()
    );
    arrived(&lab, &mut download);
    let (_, longest) = finish(&mut asking);
    assert!(longest < 7000, "a wait of {longest} ms");
    // They count as they did.
    let service = front.row("-Ln --stats --exact", &format!("TCP  {vip}:80"));
    assert!(service[4] > FILE_BYTES as u64, "{service:?}");
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn weight_0_keeps_connections_and_gets_no_new_ones() {
    let lab = stage("nat", 2);
    let front = Front::new(&lab);
    let director = Director::start_with_text(&lab, &empty(&lab, "")).unwrap();
    let vip = lab.topology().vips[0];
    front.add("-t", vip, 80, 0);
    let mut asking = live(&lab, vip, 5, "quiesced");
    thread::sleep(Duration::from_secs(1));
    let (name, _) = answers(&asking);
    let number: usize = name["server".len()..].parse().unwrap();
    let own = server(&lab, number, 0);
    let edit = |weight: u32| {
        front.run(&format!("ipvsadm -e -t {vip}:80 -r {own}:80 -m -w {weight}"));
    };
    edit(0);
    let page = lab.client().fetch(vip, 30).unwrap();
    assert_eq!(page.len(), 2, "{page:?}");
    assert!(!who(&page).contains(name.as_str()), "{page:?}");
    let (still, longest) = finish(&mut asking);
    assert_eq!(still, name);
    assert!(longest < 1000, "a wait of {longest} ms");
    edit(1);
    assert!(who(&lab.client().fetch(vip, 9).unwrap()).contains(name.as_str()));
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn counters_and_rates_are_plausible() {
    let lab = stage("nat", 2);
    let front = Front::new(&lab);
    let director = Director::start_with_text(&lab, &empty(&lab, "")).unwrap();
    let vip = lab.topology().vips[0];
    let own = server(&lab, 1, 0);
    front.run(&format!("ipvsadm -A -t {vip}:80 -s rr"));
    front.add_server("-t", vip, 80, own);
    let rows = |listing: &str| {
        let service = front.row(listing, &format!("TCP  {vip}:80"));
        assert_eq!(front.row(listing, &format!("-> {own}:80")), service, "{listing}");
        service
    };
    assert_eq!(rows("-Ln --stats --exact"), [0; 5]);
    lab.client().fetch(vip, 10).unwrap();
    lab.client().download(vip).unwrap();
    let [connections, in_packets, out_packets, in_bytes, out_bytes] =
        rows("-Ln --stats --exact")[..]
    else {
        panic!("{}", front.run("ipvsadm -Ln --stats --exact"));
    };
    assert_eq!(connections, 11);
    // SYN, ACK, request, FIN at least, of at least 40 octets each.
    assert!(in_packets >= 4 * 11 && in_bytes >= 40 * in_packets, "{in_packets} {in_bytes}");
    // The file and its headers: 1448 octets of it in a packet of 1500 at most.
    let file = FILE_BYTES as u64;
    assert!(out_packets >= file / 1448, "{out_packets}");
    assert!((file..file * 11 / 10).contains(&out_bytes), "{out_bytes}");

    let mut download = long_download(&lab, vip, 7);
    thread::sleep(Duration::from_secs(5));
    let rates = rows("-Ln --rate --exact");
    assert!(rates[1] > 0 && rates[2] > 0 && rates[3] > 0, "{rates:?}");
    let rate = file / 7;
    // A moving average of eight seconds, after five.
    assert!((rate / 4..rate * 2).contains(&rates[4]), "{rates:?}, {rate} octets a second");
    arrived(&lab, &mut download);
    front.run("ipvsadm -Z");
    assert_eq!(rows("-Ln --stats --exact"), [0; 5]);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// Services and servers come and go every 50 ms while two workers serve another service: none
/// of its requests fails, none of its connections stalls.
#[test]
fn the_table_changes_under_two_workers_and_nobody_notices() {
    let lab = stage("nat", 2);
    let front = Front::new(&lab);
    let director = Director::start_with_text(&lab, &empty(&lab, "")).unwrap();
    let [v4, v6] = lab.topology().vips;
    front.add("-t", v4, 80, 0);
    front.add("-t", v6, 80, 1);
    let mut download = long_download(&lab, v4, 10);
    let mut asking = live(&lab, v6, 10, "raced");
    let done = AtomicBool::new(false);
    let requests = thread::scope(|scope| {
        let loops = [v4, v6].map(|vip| {
            let (done, lab) = (&done, &lab);
            scope.spawn(move || {
                let mut requests = 0;
                while !done.load(Ordering::Relaxed) {
                    requests += lab.client().fetch(vip, 20).unwrap().values().sum::<usize>();
                }
                requests
            })
        });
        let edits = edits_for(&front, Duration::from_secs(10));
        done.store(true, Ordering::Relaxed);
        assert!(edits > 50, "{edits} edits");
        loops.map(|requests| requests.join().unwrap())
    });
    assert!(requests.iter().all(|requests| *requests > 100), "{requests:?}");
    arrived(&lab, &mut download);
    let (_, longest) = finish(&mut asking);
    assert!(longest < 1000, "a wait of {longest} ms");
    assert_eq!(director.json().unwrap()["workers"].as_array().unwrap().len(), 2);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// Adds, edits and removes other services, some of them with the same real servers; how often.
fn edits_for(front: &Front<'_>, time: Duration) -> usize {
    let vip = front.lab.topology().vips[0];
    let end = Instant::now() + time;
    let own = |number: usize| server(front.lab, number, 0);
    let mut edits = 0;
    while Instant::now() < end {
        let service = format!("-t {vip}:{}", 8000 + edits % 7);
        let lines = [
            format!("-A {service} -s wrr"),
            format!("-a {service} -r {}:80 -m -w 3", own(1 + edits % 3)),
            format!("-a {service} -r {}:80 -m", own(1 + (edits + 1) % 3)),
            format!("-e {service} -r {}:80 -m -w 0", own(1 + edits % 3)),
            format!("-E {service} -s mh"),
            format!("-d {service} -r {}:80", own(1 + edits % 3)),
            format!("-D {service}"),
        ];
        for line in lines {
            let begun = Instant::now();
            front.run(&format!("ipvsadm {line}"));
            edits += 1;
            thread::sleep(Duration::from_millis(50).saturating_sub(begun.elapsed()));
        }
    }
    edits
}
