//! Variables that set nothing and were probably meant to: one `_` where two belong, or a misspelt
//! name of the variable that names the profile. Variables of other programs are not looked at.

use super::diagnostic::{Diagnostic, Fault};
use super::environment::Environment;
use super::shape::Shape;
use serde_json::Value as Json;
use std::sync::LazyLock;

/// Bytes of a name that is looked at; the work grows with the ways to split it.
const LONGEST: usize = 128;

/// Letters that a misspelt name has wrong at the most.
const SLIPS: usize = 2;

/// What follows the prefix in the name of the variable that names the profile.
const PROFILE: &str = "PROFILE";

/// A warning for each variable that is nearly one of the service's own.
pub(super) fn near_misses(environment: &Environment, schema: &LazyLock<Json>) -> Vec<Diagnostic> {
    let prefix = environment.prefix();
    let others = environment.others();
    let near = others.filter_map(|(name, rest)| {
        let meant = match is_nearly_profile(&rest) {
            true => format!("{prefix}_{PROFILE}"),
            false => format!("{prefix}__{}", segments(&rest, schema)?.join("__")),
        };
        let message = format!("sets nothing (did you mean `{meant}`?)");
        Some(Diagnostic::source(name, message, Fault::Settings))
    });
    near.collect()
}

fn is_nearly_profile(rest: &str) -> bool {
    rest.len() <= PROFILE.len() + SLIPS
        && (1..=SLIPS).contains(&strsim::damerau_levenshtein(rest, PROFILE))
}

/// The keys that a name stands for if each `_` in it may be a `__`; `None` where there are none.
fn segments<'n>(rest: &'n str, schema: &LazyLock<Json>) -> Option<Vec<&'n str>> {
    if rest.len() > LONGEST {
        return None;
    }
    let (first, behind) =
        cuts(rest).find(|(first, _)| Shape::new(schema).known(first).is_some())?;
    let table = Shape::new(schema).under(first)?;
    let mut segments = vec![first];
    leads_to_a_value(behind, &table, &mut segments).then_some(segments)
}

/// Whether a name leads from a table to a value, and by which segments, which are added.
fn leads_to_a_value<'n>(rest: &'n str, table: &Shape<'_>, segments: &mut Vec<&'n str>) -> bool {
    if table.under(rest).is_some_and(|shape| !shape.is_table()) {
        segments.push(rest);
        return true;
    }
    cuts(rest).any(|(segment, behind)| {
        let Some(inner) = table.under(segment) else {
            return false;
        };
        segments.push(segment);
        let leads = leads_to_a_value(behind, &inner, segments);
        if !leads {
            segments.pop();
        }
        leads
    })
}

/// The ways to cut a name in two at an `_`.
fn cuts(name: &str) -> impl Iterator<Item = (&str, &str)> {
    let cuts = name.match_indices('_').map(|(at, _)| {
        let (segment, behind) = name.split_at(at);
        (segment, behind.trim_start_matches('_'))
    });
    cuts.filter(|(segment, behind)| !segment.is_empty() && !behind.is_empty())
}
