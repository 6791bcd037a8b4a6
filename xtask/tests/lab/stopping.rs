//! Stops, kills and starts: what clients and the kernel see of them, and that nothing stays.
use std::process::Stdio;
use std::time::{Duration, Instant};

use xtask::lab::{Config, Director, Lab, Process};
use xtask::shell;

use crate::live::live;
use crate::{Stage, stage};

/// A place with a BPF file system of its own that lasts until its process ends: `ip netns
/// exec` gives each command a new /sys without one.
struct Place {
    process: Process,
    mounts: String,
}

impl Place {
    fn new(lab: &Lab) -> Self {
        let host = lab.director();
        let mut hold = host.command("sh");
        hold.args(["-c", "mount -t bpf bpf /sys/fs/bpf && echo ready && exec sleep 600"]);
        let process = host.start(&mut hold, &lab.file("place.log")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while !process.words().contains("ready") {
            assert!(Instant::now() < deadline, "{}", process.words());
            std::thread::sleep(Duration::from_millis(10));
        }
        let mounts = format!("--mount=/proc/{}/ns/mnt", process.pid());
        Self { process, mounts }
    }

    fn start<'lab>(&self, lab: &'lab Lab, text: &str) -> Director<'lab> {
        Director::start_wrapped(lab, &["nsenter", &self.mounts], text).unwrap()
    }

    fn pins(&self, lab: &Lab) -> String {
        let mut find = lab.director().command("nsenter");
        shell::output(find.args([&self.mounts, "find", "/sys/fs/bpf", "-path", "*/xlvs/*"]))
            .unwrap()
    }
}

/// Counts the resets that the VIP sends; gives the NAT lab and its place.
fn watched() -> (Stage, Place) {
    let lab = stage("nat", 1);
    let rules = format!(
        "table inet watch {{
            chain passing {{
                type filter hook forward priority 0
                ip saddr {} tcp flags & rst == rst counter
            }}
        }}\n",
        lab.topology().vips[0]
    );
    shell::feed(lab.host("router").command("nft").args(["-f", "-"]), &rules).unwrap();
    let place = Place::new(&lab);
    (lab, place)
}

fn resets(lab: &Lab) -> u64 {
    let rules = lab.host("router").run("nft list table inet watch").unwrap();
    let (_, after) = rules.split_once("counter packets ").unwrap();
    after.split_whitespace().next().unwrap().parse().unwrap()
}

fn has_program(lab: &Lab) -> bool {
    let links = lab.director().run("ip -o link show").unwrap();
    links.lines().any(|line| line.contains("xdp"))
}

/// The end of a live connection, however it comes.
fn over(mut load: Process) {
    load.wait(Duration::from_secs(20)).unwrap();
}

fn yaml(lab: &Lab, more: &str) -> String {
    format!("{}{more}\n", Config::default().yaml(lab.topology()))
}

#[test]
fn when_down_drop_keeps_the_kernel_from_resetting_until_the_next_start() {
    let (lab, place) = watched();
    let vip = lab.topology().vips[0];
    let text = yaml(&lab, "when_down: drop");
    let director = place.start(&lab, &text);
    let load = live(&lab, vip, 4, "dropped");
    std::thread::sleep(Duration::from_secs(1));
    director.kill().unwrap();
    assert!(has_program(&lab), "the pinned link is gone");
    // A client that comes meanwhile has its SYN lost, and sends it again.
    let mut meanwhile = lab.host("client").command("curl");
    meanwhile.args(["-sS", "--fail", "--max-time", "15", &format!("http://{vip}/who")]);
    let meanwhile = meanwhile.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(resets(&lab), 0, "while there was no director");

    let director = place.start(&lab, &text);
    let page = meanwhile.wait_with_output().unwrap();
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.starts_with("server"), "not served after the start: {page:?}");
    // Its table died with the first one: as in LVS, the kernel ends what nobody knows.
    over(load);
    assert!(resets(&lab) > 0);
    director.stop().unwrap();
    assert!(has_program(&lab), "a stop is the beginning of a restart");

    // In another mode it is another link: the first one has to be gone by then.
    let director = place.start(&lab, &text.replace("mode: native", "mode: generic"));
    lab.client().fetch(vip, 6).unwrap();
    director.stop().unwrap();
    let links = lab.director().run("ip -o link show").unwrap();
    assert!(links.contains("xdpgeneric"), "{links}");

    let director = place.start(&lab, &yaml(&lab, "when_down: pass"));
    lab.client().fetch(vip, 6).unwrap();
    director.stop().unwrap();
    assert!(!has_program(&lab));
    assert_eq!(place.pins(&lab), "");
    place.process.stop().unwrap();
}

#[test]
fn when_down_pass_leaves_connections_to_the_kernel_which_resets_them() {
    let (lab, place) = watched();
    let director = place.start(&lab, &yaml(&lab, "when_down: pass"));
    let load = live(&lab, lab.topology().vips[0], 4, "passed");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(resets(&lab), 0);
    director.kill().unwrap();
    over(load);
    assert!(resets(&lab) > 0);
    assert!(!has_program(&lab));
    place.process.stop().unwrap();
}

#[test]
fn stop_grace_withdraws_the_vips_and_forwards_on() {
    let lab = stage("nat", 1);
    lab.withdraw_vips().unwrap();
    let vip = lab.topology().vips[0];
    let config = Config { managed: true, ..Config::default() };
    let text = format!("{}stop_grace: 2s\n", config.yaml(lab.topology()));
    let director = Director::start_with_text(&lab, &text).unwrap();
    let addresses = || lab.director().run("ip -o address show dev eth0").unwrap();
    assert!(addresses().contains(vip));
    let load = live(&lab, vip, 5, "grace");
    std::thread::sleep(Duration::from_secs(1));
    director.process().signal("TERM").unwrap();
    let told = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!addresses().contains(vip), "{}", addresses());
    let answers = || load.words().lines().count();
    let early = answers();
    std::thread::sleep(Duration::from_millis(1200));
    assert!(answers() >= early + 8, "forwarding stopped: {}", load.words());
    assert!(has_program(&lab));
    director.wait().unwrap();
    let took = told.elapsed();
    assert!((1900..3500).contains(&took.as_millis()), "{took:?}");
    assert!(!has_program(&lab));
    load.signal("KILL").unwrap();

    // An operator who says it twice means now.
    let director = Director::start_with_text(&lab, &text).unwrap();
    director.process().signal("TERM").unwrap();
    let told = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    director.stop().unwrap();
    assert!(told.elapsed().as_millis() < 1500, "{:?}", told.elapsed());
}

/// A killed one leaves its managed addresses; the next one knows them for its own.
#[test]
fn managed_vips_of_a_killed_one_are_adopted() {
    let lab = stage("dr", 1);
    lab.withdraw_vips().unwrap();
    let addresses = || lab.director().run("ip -o address show dev eth0").unwrap();
    let before = addresses();
    let config = Config { managed: true, ..Config::default() };
    let director = Director::start(&lab, config).unwrap();
    director.kill().unwrap();
    for vip in lab.topology().vips {
        assert!(addresses().contains(vip), "{}", addresses());
    }
    let director = Director::start(&lab, config).unwrap();
    let words = director.process().words();
    assert_eq!(words.matches("was left by an earlier run: adopted").count(), 2, "{words}");
    for vip in lab.topology().vips {
        lab.client().fetch(vip, 9).unwrap();
    }
    director.stop().unwrap();
    assert_eq!(addresses(), before);
}
