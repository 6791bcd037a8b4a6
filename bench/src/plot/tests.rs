//! Small sheets, and what is drawn of them.

use std::{
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;

/// The head of a sheet.
const MACHINE: &str = r#""machine":{"name":"box","cpu":"Abacus <3>","cpus":2,"kernel":"9.9.9",
    "transparent_huge_pages":"never","commit":"c0ffee","date":"2026-01-02","load":"0","command":""}"#;

/// A file's name and text.
type File = (&'static str, String);
/// A plot, the files of a run, what must be in it.
type Drawn = (&'static str, Vec<File>, &'static [&'static str]);
/// The files of a run, and the plots that it gives.
type Given<'a> = (&'a [File], &'a [&'a str]);

/// A run's directory with these files; it ends with this value.
struct Sheets(PathBuf);

impl Sheets {
    fn of(files: &[File]) -> io::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-plot-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory)?;
        for (name, text) in files {
            fs::write(directory.join(name), text)?;
        }
        Ok(Self(directory))
    }

    fn run(&self) -> io::Result<Run> {
        Run::named_or_newest(Some(&self.0))
    }
}

impl Drop for Sheets {
    fn drop(&mut self) {
        // Made by this test alone.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn figures(windows: &str) -> String {
    format!(r#"{{"min":1.0,"median":1.0,"spread":0.0,"windows":[{windows}]}}"#)
}

fn inprocess() -> File {
    let rows = [("nat v4 tcp 1k", 30), ("nat v4 tcp 10M", 90), ("dr v6 tcp 1", 20)];
    let rows = rows.map(|(name, ns)| {
        format!(r#"{{"name":"verdict {name}","ns":{{"min":{ns},"median":{ns},"spread":0,"windows":[{ns}]}}}}"#)
    });
    ("inprocess.json", format!(r#"{{{MACHINE},"rows":[{}]}}"#, rows.join(",")))
}

/// Of one mode: the first of the pair sends `first` million packets, xlvs half of it.
fn rig(file: &'static str, flows: &[u32], first: f64, sink: &str) -> File {
    let row = |flows: &u32| {
        let window = |sent: f64| format!(r#"{{"offered":5.0,"sent":{sent},"cpu":null}}"#);
        format!(
            r#"{{"mode":"nat","octets":64,"flows":{flows},"sink":"{sink}","ratio":{},
                "windows":[[{}],[{}]]}}"#,
            figures("0.5"),
            window(first),
            window(first / 2.0)
        )
    };
    let rows: Vec<String> = flows.iter().map(row).collect();
    (file, format!(r#"{{{MACHINE},"pair":["a","b"],"rows":[{}]}}"#, rows.join(",")))
}

fn tcp() -> File {
    let line = |(way, load, rate, us): (&str, u32, u32, u32)| {
        let figures = |us: u32| {
            format!(r#"{{"min":{us},"median":{us},"spread":0,"windows":[{us},{}]}}"#, us + 5)
        };
        format!(
            r#"{{"way":"{way}","load":{load},"rate":{rate},"p50_us":{},"p99_us":{},"p999_us":{}}}"#,
            figures(us),
            figures(us * 3),
            figures(us * 9)
        )
    };
    // Not in order: a bench tells load by load, or way by way.
    let lines = [
        ("nat", 80, 8000, 90),
        ("nat", 10, 1000, 50),
        ("haproxy", 10, 700, 110),
        ("haproxy", 80, 5600, 400),
    ];
    let lines = lines.map(line).join(",");
    ("tcp.json", format!(r#"{{{MACHINE},"latencies":[{lines}]}}"#))
}

fn plot(name: &str) -> &'static Plot {
    PLOTS.iter().find(|plot| plot.name == name).expect("a plot of that name")
}

#[test]
fn a_plot_is_xml_and_names_its_curves_axes_and_origin() -> io::Result<()> {
    let nftables = rig("rig-nftables-xlvs.json", &[1024], 1.5, "plain");
    let table: [Drawn; 4] = [
        ("packets", vec![inprocess()], &["NAT", "DR", "ns per packet", "IPv4", "IPv6", "10 M"]),
        (
            "throughput",
            vec![rig("rig.json", &[1024, 65536, 1 << 20], 2.0, "plain"), nftables],
            &["bare AF_XDP loop", "xlvs", "nftables", "64 k", "1 M", "NAT"],
        ),
        (
            "throughput-xdp",
            vec![rig("rig.json", &[1024], 2.0, "xdp")],
            &["bare AF_XDP loop", "xlvs", "million packets per second", "1 k"],
        ),
        (
            "latency",
            vec![tcp()],
            &["xlvs NAT", "HAProxy, TCP", "requests per second", "999 of 1000 (p99.9)"],
        ),
    ];
    for (name, sheets, words) in table {
        let sheets = Sheets::of(&sheets)?;
        let svg = plot(name).svg(&sheets.run()?)?.expect("there are figures");
        let document = roxmltree::Document::parse(&svg).expect("well-formed");
        let texts: Vec<&str> =
            document.descendants().filter_map(|node| node.text()).map(str::trim).collect();
        for word in words {
            assert!(texts.contains(word), "{name}: no {word} in {texts:?}");
        }
        let origin = "Abacus <3>, 2 CPUs, kernel 9.9.9, commit c0ffee, 2026-01-02";
        assert!(texts.contains(&origin), "{name}: {texts:?}");
        let ground = document.descendants().find(|node| node.has_tag_name("rect"));
        assert_eq!(ground.and_then(|rect| rect.attribute("fill")), Some("#FFFFFF"), "{name}");
    }
    Ok(())
}

/// The points of the only curve of a colour that has more than a bar's two.
fn points(svg: &str, colour: &str) -> Vec<(i32, i32)> {
    let document = roxmltree::Document::parse(svg).expect("well-formed");
    let lines = document.descendants().filter(|node| {
        let curve = node.attribute("stroke-width") == Some("2");
        node.has_tag_name("polyline") && node.attribute("stroke") == Some(colour) && curve
    });
    let read = |text: &str| {
        let (x, y) = text.split_once(',').expect("a pair");
        (x.parse().expect("a number"), y.parse().expect("a number"))
    };
    let mut lines = lines.filter_map(|node| node.attribute("points"));
    lines.next().map(|points| points.split_whitespace().map(read).collect()).unwrap_or_default()
}

#[test]
fn curves_go_from_few_to_many_and_up_where_figures_rise() -> io::Result<()> {
    const BLUE: &str = "#0072B2";
    let rising: [(&str, File); 2] = [("packets", inprocess()), ("latency", tcp())];
    for (name, sheet) in rising {
        let sheets = Sheets::of(&[sheet])?;
        let svg = plot(name).svg(&sheets.run()?)?.expect("there are figures");
        let points = points(&svg, BLUE);
        assert_eq!(points.len(), 2, "{name}");
        // Down is up in SVG.
        assert!(points[0].0 < points[1].0 && points[0].1 > points[1].1, "{name}: {points:?}");
    }
    let sheets = Sheets::of(&[rig("rig.json", &[1 << 20, 1024, 65536], 2.0, "plain")])?;
    let svg = plot("throughput").svg(&sheets.run()?)?.expect("there are figures");
    let points = points(&svg, BLUE);
    assert_eq!(points.len(), 3);
    assert!(points.is_sorted_by_key(|(x, _)| *x), "{points:?}");
    assert!(points.iter().all(|(_, y)| *y == points[0].1), "{points:?}");
    Ok(())
}

#[test]
fn a_part_that_was_not_run_is_left_out() -> io::Result<()> {
    let table: [Given<'_>; 3] = [
        (&[], &[]),
        (&[tcp()], &["latency"]),
        (&[rig("rig.json", &[1024], 2.0, "xdp"), inprocess()], &["packets", "throughput-xdp"]),
    ];
    for (files, expected) in table {
        let sheets = Sheets::of(files)?;
        let run = sheets.run()?;
        draw(&run)?;
        let drawn = PLOTS.iter().filter(|plot| sheets.0.join(plot.file()).exists());
        assert_eq!(drawn.map(|plot| plot.name).collect::<Vec<_>>(), expected);
    }
    Ok(())
}

#[test]
fn a_broken_sheet_is_refused_by_its_name() -> io::Result<()> {
    let broken = [
        ("inprocess.json", "{\"rows\":[".to_owned()),
        ("rig.json", "{}".to_owned()),
        ("tcp.json", format!("{{{MACHINE},\"latencies\":7}}")),
    ];
    for (name, text) in broken {
        let sheets = Sheets::of(&[(name, text)])?;
        let why = draw(&sheets.run()?).expect_err("it is broken").to_string();
        assert!(why.contains(name) && why.contains("run that bench again"), "{why}");
    }
    Ok(())
}
