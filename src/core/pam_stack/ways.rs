//! All ways through a stack, as Linux-PAM goes them, that leave the second step out or have it fail.

use std::collections::HashSet;

use super::{Action, Line, OURS, ours};

/// What a stack would come to, were it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Impression {
    Undefined,
    Positive,
    Negative,
}

/// Where a way through a stack ends.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub impression: Impression,
    /// Nothing after it counts.
    pub over: bool,
    /// The module that left the second step out.
    pub by: Option<String>,
}

/// All ends of a stack in which the second step did not succeed.
pub(super) fn follow(lines: &[Line], from: &End) -> Vec<End> {
    let mut ends = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![(0, from.clone())];
    while let Some((at, state)) = open.pop() {
        let Some(line) = lines.get(at).filter(|_| !state.over) else {
            ends.push(state);
            continue;
        };
        if !seen.insert((at, state.impression)) {
            continue;
        }
        match line {
            Line::Substack(inner) => {
                // What is over in a substack is not over for the stack around it.
                open.extend(follow(inner, &state).into_iter().map(|end| (at + 1, End { over: false, ..end })));
            }
            Line::Module { name, actions, .. } => {
                let skips =
                    |count: usize| lines.iter().skip(at + 1).take(count).any(|line| ours(std::slice::from_ref(line)).next().is_some());
                let later = || skips(lines.len());
                let mut go = |action: Action| match step(action, &state, from.impression) {
                    // libpam takes it for an error of the configuration: nothing more counts, and nobody gets in.
                    (jump, None) if jump > lines.len() - at - 1 => {
                        open.push((lines.len(), End { impression: Impression::Negative, ..state.clone() }));
                    }
                    (jump, None) => {
                        let by = if skips(jump) { Some(name.clone()) } else { state.by.clone() };
                        open.push((at + 1 + jump, End { by, ..state.clone() }));
                    }
                    (_, Some(mut end)) => {
                        if end.over && later() {
                            end.by = Some(name.clone());
                        }
                        open.push((at + 1, end));
                    }
                };
                match name.as_str() {
                    OURS | "pam_deny.so" | "pam_rootok.so" => actions.failures.iter().copied().for_each(&mut go),
                    "pam_permit.so" => go(actions.success),
                    _ => actions.failures.iter().copied().chain([actions.ignore, actions.renew, actions.success]).for_each(&mut go),
                }
            }
        }
    }
    ends
}

/// One outcome: the lines to skip, or the state after it. `first` is what the stack, or the substack, began with.
fn step(action: Action, state: &End, first: Impression) -> (usize, Option<End>) {
    let after = |impression, over| Some(End { impression, over, ..state.clone() });
    let good = if state.impression == Impression::Negative { Impression::Negative } else { Impression::Positive };
    match action {
        Action::Jump(count) => (count, None),
        Action::Ignore => (0, after(state.impression, false)),
        Action::Reset => (0, after(first, false)),
        Action::Bad => (0, after(Impression::Negative, false)),
        Action::Die => (0, after(Impression::Negative, true)),
        Action::Ok => (0, after(good, false)),
        Action::Done => (0, after(good, good == Impression::Positive)),
    }
}
