//! The picture: a state in, a frame out.

use std::{fmt::Write, time::Duration};

use control::report::{Report, Server, ServerState, Service};
use ipvsadm::{NoNames, listing};
use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Paragraph, Row, Table, TableState},
};

use super::{
    rates::{Rate, count, short},
    state::{Screen, State},
};
use crate::list::duration;

/// A report that is older is stale: one comes each second.
const STALE: Duration = Duration::from_millis(2500);

/// Draws the state as it is at `now`, since the begin.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &State, now: Duration) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(4), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(header(state, now, head.width)), head);
    match &state.screen {
        Screen::Services => services(frame, state, body),
        Screen::Servers(_) => servers(frame, state, body),
        Screen::Connections(_) => connections(frame, state, body),
    }
    frame.render_widget(Paragraph::new(footer(state)), foot);
}

fn colour(state: &State, colour: Color) -> Style {
    if state.colours { Style::new().fg(colour) } else { Style::new() }
}

fn header(state: &State, now: Duration, width: u16) -> Vec<Line<'static>> {
    let Some(report) = &state.report else {
        let waiting = state.error.clone().unwrap_or_else(|| "waiting for the daemon".to_owned());
        return vec![Line::styled(waiting, colour(state, Color::Red))];
    };
    let mut lines = vec![title(report, state, now)];
    let Rate { connections, in_packets, in_bits, out_packets, out_bits } = state.rates.total;
    let tables = &report.tables;
    lines.push(Line::raw(format!(
        "{} new/s   in {} pps {}bps   out {} pps {}bps   half-open {}",
        short(connections),
        short(in_packets),
        short(in_bits),
        short(out_packets),
        short(out_bits),
        tables.half_open.now,
    )));
    lines.push(Line::raw(workers(report, state)));
    lines.push(troubles(report, state, width));
    lines
}

fn title(report: &Report, state: &State, now: Duration) -> Line<'static> {
    let tables = &report.tables;
    let mut text = format!(
        "xlvs {}  up {}  conns {}/{} v6 {}/{}",
        report.version,
        duration(report.uptime_s),
        tables.ipv4.connections,
        tables.ipv4.capacity,
        tables.ipv6.connections,
        tables.ipv6.capacity
    );
    let age = now.saturating_sub(state.at);
    let style = if state.paused {
        let _ = write!(text, "  PAUSED for {} s", age.as_secs());
        colour(state, Color::Yellow)
    } else if age > STALE || state.error.is_some() {
        let _ = write!(text, "  STALE: {} s old", age.as_secs());
        colour(state, Color::Red)
    } else {
        Style::new()
    };
    let stopping = if report.stopping { "  STOPPING" } else { "" };
    Line::styled(text + stopping, style.add_modifier(Modifier::BOLD))
}

fn workers(report: &Report, state: &State) -> String {
    let mut text = String::from("busy");
    for worker in &report.workers {
        let busy = state.rates.busy.get(worker.worker).copied().unwrap_or(0.0);
        match worker.alive {
            true => {
                let _ = write!(text, " {}:{:.0}%", worker.worker, busy * 100.0);
            }
            false => {
                let _ = write!(text, " {}:NO ANSWER", worker.worker);
            }
        }
    }
    for interface in &report.interfaces {
        let link = if interface.up { "up" } else { "DOWN" };
        let mode = interface.xdp_mode.map_or("NOT ATTACHED", |mode| mode.name());
        let copy = if interface.zero_copy { " zero-copy" } else { "" };
        let _ = write!(text, "  {} {link} {mode}{copy}", interface.name);
    }
    text
}

fn troubles(report: &Report, state: &State, width: u16) -> Line<'static> {
    if let Some(error) = &state.error {
        return Line::styled(error.clone(), colour(state, Color::Red));
    }
    let mut text = String::from("drops/s");
    for (reason, rate) in &state.rates.drops {
        let more = format!(" {reason} {}", short(*rate));
        if text.len() + more.len() > usize::from(width).saturating_sub(4) {
            text.push_str(" ...");
            break;
        }
        text.push_str(&more);
    }
    if state.rates.drops.is_empty() {
        let total: u64 = report.totals.drops.values().sum();
        let _ = write!(text, " none ({total} since the start)");
        return Line::raw(text);
    }
    Line::styled(text, colour(state, Color::Yellow))
}

/// Titles of numbers, right-aligned.
fn titled(words: &[&str], widths: &[usize]) -> Row<'static> {
    let cells = words.iter().zip(widths).enumerate().map(|(at, (word, width))| match at {
        0 => (*word).to_owned(),
        _ => format!("{word:>width$}"),
    });
    Row::new(cells.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::REVERSED))
}

fn row(first: String, numbers: &[String], widths: &[usize]) -> Row<'static> {
    let right = numbers.iter().zip(&widths[1..]).map(|(word, width)| format!("{word:>width$}"));
    Row::new(std::iter::once(first).chain(right).collect::<Vec<_>>())
}

fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    widths: &[usize],
    table: (Row<'static>, Vec<Row<'static>>),
    selected: usize,
) {
    let mut columns = vec![Constraint::Min(10)];
    columns.extend(widths[1..].iter().map(|width| Constraint::Length(*width as u16)));
    let (head, rows) = table;
    let table = Table::new(rows, columns)
        .header(head)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::BOLD))
        .highlight_symbol("> ");
    let mut at = TableState::new().with_selected(Some(selected));
    frame.render_stateful_widget(table, area, &mut at);
}

const SERVICES: [&str; 8] =
    ["SERVICE", "UP", "CONNS", "NEW/S", "PPS IN", "BPS IN", "OUT", "BPS OUT"];
const SERVICE_WIDTHS: [usize; 8] = [0, 6, 7, 6, 6, 6, 6, 7];

fn services(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let all = state.services();
    let rows = all.iter().map(|service| {
        let up = service.servers.iter().filter(|server| serves(server)).count();
        let counts = &service.counts;
        let rate = state.rates.service(&service.key);
        let numbers = [
            format!("{up}/{}", service.servers.len()),
            count(counts.active + counts.inactive),
            short(rate.connections),
            short(rate.in_packets),
            short(rate.in_bits),
            short(rate.out_packets),
            short(rate.out_bits),
        ];
        let ill =
            service.standing.as_ref().is_some_and(|standing| !standing.quorum && !standing.waiting);
        let style = match (ill, up < service.servers.len()) {
            (true, _) => colour(state, Color::Red),
            (false, true) => colour(state, Color::Yellow),
            (false, false) => Style::new(),
        };
        row(shown(service), &numbers, &SERVICE_WIDTHS).style(style)
    });
    let rows = rows.collect();
    table(frame, area, &SERVICE_WIDTHS, (titled(&SERVICES, &SERVICE_WIDTHS), rows), state.selected);
}

fn serves(server: &Server) -> bool {
    server.state == ServerState::Up && server.weight > 0
}

/// The name, and what it takes unless the name says it.
fn shown(service: &Service) -> String {
    match service.name == service.key {
        true => service.key.clone(),
        false => format!("{} {}", service.name, service.key),
    }
}

const SERVERS: [&str; 9] =
    ["SERVER", "STATE", "WEIGHT", "ACTIVE", "INACT", "NEW/S", "PPS IN", "BPS IN", "BPS OUT"];
const SERVER_WIDTHS: [usize; 9] = [0, 8, 6, 6, 6, 6, 6, 6, 7];

fn servers(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let Some(service) = state.service() else {
        frame.render_widget(Paragraph::new("this service is not there any more; Esc: back"), area);
        return;
    };
    let last_words = words(state);
    let height = (last_words.len() as u16).min(area.height / 2);
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(2), Constraint::Length(height)])
            .areas(area);
    frame.render_widget(Paragraph::new(standing(service)), top);
    let rows = service.servers.iter().map(|server| {
        let rate = state.rates.server(&service.key, server.endpoint());
        let numbers = [
            server.state.name().to_owned(),
            server.weight.to_string(),
            count(server.counts.active),
            count(server.counts.inactive),
            short(rate.connections),
            short(rate.in_packets),
            short(rate.in_bits),
            short(rate.out_bits),
        ];
        let style = match server.state {
            ServerState::Up => Style::new(),
            ServerState::Down => colour(state, Color::Red),
            ServerState::Standby => colour(state, Color::Cyan),
            _ => colour(state, Color::Yellow),
        };
        row(server.endpoint().to_string(), &numbers, &SERVER_WIDTHS).style(style)
    });
    let rows = rows.collect();
    table(frame, middle, &SERVER_WIDTHS, (titled(&SERVERS, &SERVER_WIDTHS), rows), state.selected);
    frame.render_widget(Paragraph::new(last_words), bottom);
}

fn standing(service: &Service) -> Line<'static> {
    let mut text = format!("{}  {}", shown(service), service.scheduler);
    if let Some(standing) = &service.standing {
        let met = if standing.quorum { "met" } else { "LOST" };
        let _ = write!(text, "  quorum {met}: {} of {}", standing.weight, standing.needed);
        if standing.sorry {
            text.push_str("  SORRY SERVER SERVES");
        }
    }
    Line::styled(text, Style::new().add_modifier(Modifier::BOLD))
}

/// Why the selected server is as it is, and its checks' last words.
fn words(state: &State) -> Vec<Line<'static>> {
    let Some(server) = state.server() else { return Vec::new() };
    let Some(health) = &server.health else {
        return vec![Line::raw(format!("{}: nobody asks it", server.endpoint()))];
    };
    let paused = if health.paused { ", checks pause" } else { "" };
    let held = if health.held { ", held down" } else { "" };
    let first = format!(
        "{} {} for {}{paused}{held}: {}",
        server.endpoint(),
        health.state,
        duration(health.for_s),
        health.why
    );
    let mut lines = vec![Line::raw(first)];
    for check in &health.checks {
        let mut text = format!("  {} ({}) {}", check.name, check.kind, check.state);
        if let Some(last) = &check.last {
            let _ = write!(text, ": {last}");
        }
        if let (Some(took), Some(ago)) = (check.took_ms, check.ago_s) {
            let _ = write!(text, ", {took} ms, {ago} s ago");
        }
        lines.push(Line::raw(text));
    }
    lines
}

fn connections(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let Some((rows, more)) = &state.rows else {
        frame.render_widget(Paragraph::new("connections are read ..."), area);
        return;
    };
    let title = listing::connections_title(false).lines().nth(1).unwrap_or_default().to_owned();
    let mut lines = vec![Line::styled(title, Style::new().add_modifier(Modifier::REVERSED))];
    if rows.is_empty() {
        lines.push(Line::raw("none; Esc: back, c: look again"));
    }
    let room = usize::from(area.height).saturating_sub(2);
    let from = state.selected.min(rows.len().saturating_sub(room));
    for row in rows.iter().skip(from).take(room) {
        lines
            .push(Line::raw(listing::connection(row, true, false, &NoNames).trim_end().to_owned()));
    }
    let more = if *more { ", and more: xlvs conn list has all" } else { "" };
    lines.push(Line::raw(format!(
        "{} from {} of {}{more}",
        rows.len().min(room),
        from + 1,
        rows.len()
    )));
    frame.render_widget(Paragraph::new(lines), area);
}

fn footer(state: &State) -> Line<'static> {
    if let Some(question) = &state.question {
        let text = format!("{} {}? y: yes, any other key: no", question.to, question.server);
        return Line::styled(text, colour(state, Color::Yellow).add_modifier(Modifier::BOLD));
    }
    if state.typing {
        return Line::raw(format!("filter: {}_   Enter: keep, Esc: all", state.filter));
    }
    if let Some(message) = &state.message {
        return Line::raw(message.clone());
    }
    let mut text = match &state.screen {
        Screen::Services => {
            let order = if state.reversed { ", reversed" } else { "" };
            format!(
                "q quit  Enter servers  c conns  / filter  s sort ({}{order})  r reverse  Space pause",
                state.sort.name()
            )
        }
        Screen::Servers(_) => "Esc back  d drain  u ready  c conns  Space pause  q quit".to_owned(),
        Screen::Connections(_) => "Esc back  c again  PgUp PgDn  q quit".to_owned(),
    };
    if !state.filter.is_empty() && state.screen == Screen::Services {
        text = format!("[{}] {text}", state.filter);
    }
    Line::raw(text)
}

/// The letters of a picture, without the empty lines in front of the last one.
pub(crate) fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let line = |y: u16| {
        let letters = (area.left()..area.right()).map(|x| buffer[(x, y)].symbol());
        letters.collect::<String>().trim_end().to_owned()
    };
    let lines: Vec<String> = (area.top()..area.bottom()).map(line).collect();
    // The keys on the last line mean nothing on paper.
    let body = lines.split_last().map_or(&[][..], |(_, body)| body);
    body.join("\n").trim_end().to_owned()
}
