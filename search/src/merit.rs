//! Figures of merit of a ranking: how well predicted times order measured ones.

use std::collections::BTreeMap;

/// One kernel of a problem, measured and predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Kernels of the same problem are compared with each other.
    pub problem: String,
    /// What a kernel has besides its number of stages; kernels of one problem with equal configurations differ in
    /// stages only.
    pub configuration: [u32; 4],
    /// Number of stages.
    pub stages: u32,
    /// Measured time, in any unit.
    pub measured: f64,
    /// Predicted time, in any unit.
    pub predicted: f64,
}

/// How well predictions rank kernels. All are shares of 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merit {
    /// Problems.
    pub problems: usize,
    /// Mean over problems with at least eight kernels of Spearman's ρ, with average ranks.
    pub spearman: f64,
    /// Mean over problems of the best time / the time of the kernel predicted fastest; ties to the earlier row.
    pub top1: f64,
    /// The same for the best of the three predicted fastest.
    pub top3: f64,
    /// The same for the best of the five predicted fastest.
    pub top5: f64,
    /// Over pairs that differ in stages only and in measured time by over 5 %: the share with the right sign; a
    /// predicted tie is wrong. `None` without such pairs.
    pub stage_sign: Option<f64>,
}

/// Judges a ranking; `None` without rows.
pub fn merit(rows: &[Ranked]) -> Option<Merit> {
    let mut problems: BTreeMap<&str, Vec<&Ranked>> = BTreeMap::new();
    for row in rows {
        problems.entry(&row.problem).or_default().push(row);
    }
    let correlations: Vec<f64> = problems
        .values()
        .filter(|rows| rows.len() >= 8)
        .map(|rows| {
            let of = |time: fn(&Ranked) -> f64| rows.iter().map(|row| time(row)).collect::<Vec<_>>();
            spearman(&of(|row| row.measured), &of(|row| row.predicted))
        })
        .collect();
    let signs: Vec<bool> = problems.values().flat_map(|rows| stage_signs(rows)).collect();
    let top = |picks| mean(&problems.values().map(|rows| top(rows, picks)).collect::<Vec<_>>());
    Some(Merit {
        problems: problems.len(),
        spearman: mean(&correlations).unwrap_or(f64::NAN),
        top1: top(1)?,
        top3: top(3)?,
        top5: top(5)?,
        stage_sign: mean(
            &signs
                .iter()
                .map(|&right| f64::from(u8::from(right)))
                .collect::<Vec<_>>(),
        ),
    })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn top(rows: &[&Ranked], picks: usize) -> f64 {
    let mut order: Vec<&&Ranked> = rows.iter().collect();
    order.sort_by(|a, b| a.predicted.total_cmp(&b.predicted));
    let fastest = |rows: &[&&Ranked]| rows.iter().map(|row| row.measured).fold(f64::INFINITY, f64::min);
    fastest(&order) / fastest(&order[..picks.min(order.len())])
}

fn stage_signs(rows: &[&Ranked]) -> Vec<bool> {
    let mut signs = Vec::new();
    for (index, a) in rows.iter().enumerate() {
        for b in &rows[index + 1..] {
            let ratio = a.measured / b.measured;
            if a.configuration == b.configuration && a.stages != b.stages && ratio.max(ratio.recip()) > 1.05 {
                signs.push(a.predicted != b.predicted && (a.predicted > b.predicted) == (a.measured > b.measured));
            }
        }
    }
    signs
}

/// Spearman's ρ with average ranks; 0 where one of both is constant.
pub fn spearman(measured: &[f64], predicted: &[f64]) -> f64 {
    let (measured, predicted) = (average_ranks(measured), average_ranks(predicted));
    let centre = (measured.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - centre) * (b - centre)).sum::<f64>();
    let scale = (product(&measured, &measured) * product(&predicted, &predicted)).sqrt();
    if scale == 0.0 {
        0.0
    } else {
        product(&measured, &predicted) / scale
    }
}

fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let tied = order[start..]
            .iter()
            .take_while(|&&index| values[index] == values[order[start]])
            .count();
        // Ranks start + 1 … start + tied, on average.
        let rank = start as f64 + (tied as f64 + 1.0) / 2.0;
        for &index in &order[start..start + tied] {
            ranks[index] = rank;
        }
        start += tied;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(times: &[(u32, f64, f64)]) -> Vec<Ranked> {
        let row = |&(stages, measured, predicted): &(u32, f64, f64)| Ranked {
            problem: "p".to_owned(),
            configuration: [1, 2, 3, 4],
            stages,
            measured,
            predicted,
        };
        times.iter().map(row).collect()
    }

    #[test]
    fn ties_share_their_average_rank() {
        assert_eq!(average_ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }

    #[test]
    fn a_right_and_a_reversed_ranking() {
        let right: Vec<_> = (1..=8)
            .map(|stage| (stage, f64::from(stage), f64::from(stage) * 2.0))
            .collect();
        let judged = merit(&rows(&right)).unwrap();
        assert_eq!((judged.spearman, judged.top1, judged.stage_sign), (1.0, 1.0, Some(1.0)));

        let reversed: Vec<_> = (1..=8)
            .map(|stage| (stage, f64::from(stage), -f64::from(stage)))
            .collect();
        let judged = merit(&rows(&reversed)).unwrap();
        assert_eq!(
            (judged.spearman, judged.top1, judged.stage_sign),
            (-1.0, 1.0 / 8.0, Some(0.0))
        );
        assert_eq!(judged.top5, 0.25);
    }

    #[test]
    fn a_predicted_tie_is_a_wrong_sign_and_close_times_do_not_count() {
        let judged = merit(&rows(&[(1, 1.0, 5.0), (2, 2.0, 5.0)])).unwrap();
        assert_eq!(judged.stage_sign, Some(0.0));
        let judged = merit(&rows(&[(1, 1.0, 5.0), (2, 1.04, 5.0)])).unwrap();
        assert_eq!(judged.stage_sign, None);
        assert_eq!(merit(&[]), None);
    }
}
