//! Medians, the table and the JSON.

use std::fmt::Write;

/// One measured number.
#[derive(Clone)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    better: Better,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Lower,
    Higher,
    Neither,
}

impl Metric {
    pub(crate) fn lower(name: &'static str, unit: &'static str, value: f64) -> Self {
        Metric::new(name, unit, value, Better::Lower)
    }

    pub(crate) fn higher(name: &'static str, unit: &'static str, value: f64) -> Self {
        Metric::new(name, unit, value, Better::Higher)
    }

    /// A number that is no merit of the broker's.
    pub(crate) fn neutral(name: &'static str, unit: &'static str, value: f64) -> Self {
        Metric::new(name, unit, value, Better::Neither)
    }

    fn new(name: &'static str, unit: &'static str, value: f64, better: Better) -> Self {
        Metric {
            name,
            unit,
            value,
            better,
        }
    }
}

/// The median of each metric over the rounds; empty where no round ended.
pub(crate) fn medians(rounds: &[Vec<Metric>]) -> Vec<Metric> {
    let Some(first) = rounds.first() else {
        return Vec::new();
    };
    let median = |at: usize| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[at].value).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        }
    };
    first
        .iter()
        .enumerate()
        .map(|(at, metric)| Metric {
            value: median(at),
            ..metric.clone()
        })
        .collect()
}

/// What a row came to.
pub(crate) struct Line {
    pub(crate) row: &'static str,
    pub(crate) footbridge: Vec<Metric>,
    pub(crate) mosquitto: Vec<Metric>,
}

impl Line {
    /// The metrics of both sides, paired by name.
    fn pairs(&self) -> impl Iterator<Item = (&Metric, Option<&Metric>, Option<&Metric>)> {
        let names = if self.footbridge.is_empty() {
            &self.mosquitto
        } else {
            &self.footbridge
        };
        names.iter().map(|metric| {
            let find = |side: &'static str| {
                let metrics = if side == "footbridge" {
                    &self.footbridge
                } else {
                    &self.mosquitto
                };
                metrics.iter().find(|m| m.name == metric.name)
            };
            (metric, find("footbridge"), find("mosquitto"))
        })
    }

    /// The row as lines of the table.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        for (metric, ours, theirs) in self.pairs() {
            let shown = |m: Option<&Metric>| m.map_or("-".to_owned(), |m| number(m.value));
            let ratio = ratio(ours, theirs).map_or("-".to_owned(), |r| format!("{r:.2}"));
            let mark = match metric.better {
                Better::Lower => "lower is better",
                Better::Higher => "higher is better",
                Better::Neither => "",
            };
            let label = format!("{} ({})", metric.name, metric.unit);
            let (ours, theirs) = (shown(ours), shown(theirs));
            let row = self.row;
            let _ = writeln!(
                out,
                "{row:<14} {label:<26} {ours:>12} {theirs:>12} {ratio:>7}  {mark}"
            );
        }
        out
    }
}

/// The head of the table.
pub(crate) fn head() -> String {
    format!(
        "{:<14} {:<26} {:>12} {:>12} {:>7}",
        "row", "metric", "footbridge", "mosquitto", "ratio"
    )
}

/// All rows as JSON: row, metric, unit, both values, their ratio.
pub(crate) fn json(lines: &[Line]) -> String {
    let mut objects = Vec::new();
    for line in lines {
        for (metric, ours, theirs) in line.pairs() {
            let value = |v: Option<f64>| v.map_or("null".to_owned(), |v| format!("{v:.4}"));
            objects.push(format!(
                "  {{\"row\": \"{}\", \"metric\": \"{}\", \"unit\": \"{}\", \
                 \"footbridge\": {}, \"mosquitto\": {}, \"ratio\": {}}}",
                line.row,
                metric.name,
                metric.unit,
                value(ours.map(|m| m.value)),
                value(theirs.map(|m| m.value)),
                value(ratio(ours, theirs)),
            ));
        }
    }
    format!("[\n{}\n]\n", objects.join(",\n"))
}

fn ratio(ours: Option<&Metric>, theirs: Option<&Metric>) -> Option<f64> {
    let (ours, theirs) = (ours?.value, theirs?.value);
    (theirs > 0.0).then(|| ours / theirs)
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
