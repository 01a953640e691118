//! The cells as a table in Markdown and as JSON.

use std::fmt::Write;

use crate::outage::{Cell, Subject};

/// The table: a line for each load, a column for each broker.
pub(crate) fn markdown(cells: &[Cell], subjects: &[Subject]) -> String {
    let mut out = String::from("| bytes written a message (times its size), syncs a second |");
    for subject in subjects {
        let _ = write!(out, " {} |", subject.name());
    }
    let _ = write!(out, "\n|---|{}", "---|".repeat(subjects.len()));
    let mut lines: Vec<String> = Vec::new();
    for state in ["up", "down", "draining", "retained"] {
        let of_state = cells.iter().filter(|cell| cell.state == state).map(load);
        for line in of_state {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    for line in lines {
        let _ = write!(out, "\n| {line} |");
        for subject in subjects {
            let cell = cells
                .iter()
                .find(|c| c.subject == *subject && load(c) == line);
            let _ = write!(out, " {} |", cell.map_or("-".to_owned(), shown));
        }
    }
    out + "\n"
}

/// What a cell's load is called.
fn load(cell: &Cell) -> String {
    let (rate, qos) = (thousands(cell.traffic.rate), cell.traffic.qos);
    match cell.state {
        "retained" => format!("100 retained values, each new every second, QoS {qos}"),
        state if qos == 1 => format!("uplink {state}, {rate} msg/s"),
        state => format!("uplink {state}, {rate} msg/s, QoS {qos}"),
    }
}

fn shown(cell: &Cell) -> String {
    let bytes = thousands(cell.bytes_per_message().round() as u64);
    let times = number(cell.amplification());
    let syncs = cell.syncs_per_second().map_or("?".to_owned(), number);
    let (sent, acked) = cell.paced;
    let slow = match cell.kept_pace() {
        _ if !cell.drained => " (**no end in sight**)".to_owned(),
        true => String::new(),
        false => format!(" (only {} % acknowledged)", acked * 100 / sent),
    };
    format!("{bytes} B (×{times}), {syncs}/s{slow}")
}

/// A cell on a line, with what the table leaves out.
pub(crate) fn detail(cell: &Cell) -> String {
    let mut out = format!(
        "{}: {}: {} in {:.1} s, {} messages, {} bytes written",
        cell.subject.name(),
        load(cell),
        shown(cell),
        cell.seconds,
        cell.messages,
        cell.written
    );
    if cell.cancelled > 0 {
        let _ = write!(out, ", {} of them cancelled", cell.cancelled);
    }
    if let [Some(bytes), syncs] = cell.sys {
        let _ = write!(out, "; $SYS says {bytes} bytes");
        let _ = write!(out, " ({:+})", bytes as i64 - cell.written as i64);
        if let (Some(ours), Some(theirs)) = (syncs, cell.syncs) {
            let _ = write!(out, ", {ours} syncs ({:+})", ours as i64 - theirs as i64);
        }
    }
    out
}

/// All cells as JSON.
pub(crate) fn json(cells: &[Cell]) -> String {
    let object = |cell: &Cell| {
        let or_null = |v: Option<u64>| v.map_or("null".to_owned(), |v| v.to_string());
        format!(
            "  {{\"broker\": \"{}\", \"state\": \"{}\", \"rate\": {}, \"qos\": {}, \
             \"seconds\": {:.1}, \"messages\": {}, \"published\": {}, \
             \"acknowledged\": {}, \"drained\": {}, \"message_bytes\": {}, \"written_bytes\": {}, \"cancelled_bytes\": {}, \
             \"syncs\": {}, \"sys_written_bytes\": {}, \"sys_syncs\": {}, \
             \"bytes_per_message\": {:.2}, \"amplification\": {:.3}}}",
            cell.subject.name(),
            cell.state,
            cell.traffic.rate,
            cell.traffic.qos,
            cell.seconds,
            cell.messages,
            cell.paced.0,
            cell.paced.1,
            cell.drained,
            cell.message_bytes,
            cell.written,
            cell.cancelled,
            or_null(cell.syncs),
            or_null(cell.sys[0]),
            or_null(cell.sys[1]),
            cell.bytes_per_message(),
            cell.amplification(),
        )
    };
    let objects: Vec<String> = cells.iter().map(object).collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}

fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v >= 10.0 => thousands(v.round() as u64),
        v if v >= 0.1 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// A number with a comma after every third digit.
fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
