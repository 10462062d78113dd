//! Figures: what a section found, its median and spread, its goal, and the table of them all.

use std::fmt::Write as _;

/// What a section has come to.
#[derive(Default)]
pub struct Section {
    pub figures: Vec<Figure>,
    /// Requests without a whole answer, on whichever side.
    pub lost: u64,
    /// What helps to judge the figures.
    pub notes: Vec<String>,
}

/// A line of the table.
pub struct Figure {
    pub name: String,
    pub everup: String,
    /// What it is compared with: stock, or everup under other conditions.
    pub beside: String,
    pub ratio: String,
    pub goal: String,
    pub verdict: Verdict,
}

pub enum Verdict {
    Met,
    NotMet,
    /// The machine was too noisy to tell.
    Unclear,
    NoGoal,
}

impl Verdict {
    pub fn of(is_met: bool) -> Self {
        if is_met { Self::Met } else { Self::NotMet }
    }
}

/// What was found, one value a round or a sample.
#[derive(Default)]
pub struct Values(Vec<f64>);

impl Values {
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub fn least(&self) -> f64 {
        self.quantile(0.0)
    }

    pub fn most(&self) -> f64 {
        self.quantile(1.0)
    }

    /// By the nearest rank; NaN where there is no value.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let rank = (q * last as f64).round() as usize;
        sorted.get(rank).copied().unwrap_or(f64::NAN)
    }

    /// The median, and the least and the most, with this many decimals.
    pub fn spread(&self, decimals: usize) -> String {
        format!(
            "{:.decimals$} ({:.decimals$} to {:.decimals$})",
            self.median(),
            self.least(),
            self.most()
        )
    }
}

/// Two sides' values of rounds that alternated.
#[derive(Default)]
pub struct Pairs {
    pub ours: Values,
    pub others: Values,
}

impl Pairs {
    pub fn add(&mut self, side: Side, value: f64) {
        match side {
            Side::Ours => self.ours.add(value),
            Side::Other => self.others.add(value),
        }
    }

    /// Of each round on its own: what slows the machine for longer than a round slows both sides.
    pub fn ratios(&self) -> Values {
        let pairs = self.ours.0.iter().zip(&self.others.0);
        Values(pairs.map(|(ours, other)| ours / other).collect())
    }
}

/// The figures of a section that measures how fast each side answers `what`, such as "requests", and
/// what one of them costs.
pub fn rates_and_costs(
    what: &str,
    clients: &str,
    other: &str,
    rates: &Pairs,
    costs: &Pairs,
    goal: f64,
) -> Vec<Figure> {
    let ratios = rates.ratios();
    let one = what.trim_end_matches('s');
    vec![
        Figure {
            name: format!("{what}/s, {clients}"),
            everup: rates.ours.spread(0),
            beside: format!("{other} {}", rates.others.spread(0)),
            ratio: ratios.spread(3),
            goal: format!("at least {goal}"),
            verdict: Verdict::of(ratios.median() >= goal),
        },
        Figure {
            name: format!("CPU µs per {one}"),
            everup: costs.ours.spread(2),
            beside: format!("{other} {}", costs.others.spread(2)),
            ratio: costs.ratios().spread(3),
            goal: String::new(),
            verdict: Verdict::NoGoal,
        },
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    /// Stock, or everup under other conditions.
    Other,
}

impl Side {
    /// The order of a round: neither side is always first.
    pub fn both(round: usize) -> [Self; 2] {
        if round.is_multiple_of(2) {
            [Self::Ours, Self::Other]
        } else {
            [Self::Other, Self::Ours]
        }
    }
}

/// Prints the table: medians, in brackets the least and the most.
pub fn print(figures: &[Figure]) {
    let head = ["figure", "everup", "beside", "ratio", "goal", ""].map(String::from);
    let mut rows = vec![head];
    rows.extend(figures.iter().map(|figure| {
        let verdict = match figure.verdict {
            Verdict::Met => "met",
            Verdict::NotMet => "not met",
            Verdict::Unclear => "unclear",
            Verdict::NoGoal => "",
        };
        [
            figure.name.clone(),
            figure.everup.clone(),
            figure.beside.clone(),
            figure.ratio.clone(),
            figure.goal.clone(),
            verdict.to_owned(),
        ]
    }));
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let width = |row: &[String; 6]| row[column].chars().count();
        rows.iter().map(width).max().unwrap_or(0)
    });
    println!("medians over rounds (least to most)\n");
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        println!("{}", line.trim_end());
    }
    println!();
}
