//! Zipf-distributed ranks: rank `k` of `1..=n` is drawn with probability proportional to `1 / k^alpha`.
//!
//! Rejection-inversion (W. Hoermann, G. Derflinger, "Rejection-inversion to generate variates from monotone discrete
//! distributions", ACM TOMACS 6(3), 1996): the histogram is covered by the integral of `x^-alpha`, which can be
//! inverted; a draw takes constant time and no table, whatever `n` is.

use crate::rng::Rng;

/// A Zipf distribution over `1..=n`.
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    n: f64,
    alpha: f64,
    /// Integral up to the left end of the first bar (1.5 less one bar's height).
    low: f64,
    /// Integral up to `n + 0.5`.
    high: f64,
    /// A candidate this near to its unrounded value is accepted without the second look.
    squeeze: f64,
}

impl Zipf {
    /// `n` is taken as at least 1, `alpha` as at least 0.01 (nearly uniform).
    pub(crate) fn new(n: u64, alpha: f64) -> Self {
        let (n, alpha) = (n.max(1) as f64, alpha.max(0.01));
        let mut zipf = Zipf { n, alpha, low: 0.0, high: 0.0, squeeze: 0.0 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(n + 0.5);
        zipf.squeeze = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// Draws a rank, the most popular being 1.
    #[inline]
    pub(crate) fn draw(&self, rng: &mut Rng) -> u64 {
        loop {
            let u = self.high + rng.fraction() * (self.low - self.high);
            let x = self.inverse(u);
            let k = x.round().clamp(1.0, self.n);
            if k - x <= self.squeeze || u >= self.integral(k + 0.5) - self.weight(k) {
                return k as u64;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        x.powf(-self.alpha)
    }

    fn integral(&self, x: f64) -> f64 {
        let exponent = 1.0 - self.alpha;
        if exponent.abs() < 1e-9 { x.ln() } else { (x.powf(exponent) - 1.0) / exponent }
    }

    fn inverse(&self, area: f64) -> f64 {
        let exponent = 1.0 - self.alpha;
        if exponent.abs() < 1e-9 { area.exp() } else { (1.0 + area * exponent).max(0.0).powf(1.0 / exponent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_follow_the_law() {
        for alpha in [0.7, 0.95, 1.0, 1.3] {
            let n = 1000u64;
            let (zipf, mut rng, draws) = (Zipf::new(n, alpha), Rng::new(1), 400_000);
            let mut seen = vec![0f64; n as usize + 1];
            for _ in 0..draws {
                seen[zipf.draw(&mut rng) as usize] += 1.0;
            }
            let total: f64 = (1..=n).map(|k| (k as f64).powf(-alpha)).sum();
            for k in [1usize, 2, 3, 10, 30] {
                let expected = f64::from(draws) * (k as f64).powf(-alpha) / total;
                let tolerance = 5.0 * expected.sqrt();
                assert!((seen[k] - expected).abs() < tolerance, "alpha {alpha} rank {k}: {} for {expected}", seen[k]);
            }
            assert_eq!(seen[0], 0.0);
        }
    }

    #[test]
    fn one_rank_is_always_that_rank() {
        let (zipf, mut rng) = (Zipf::new(1, 0.9), Rng::new(3));
        assert!((0..100).all(|_| zipf.draw(&mut rng) == 1));
    }
}
