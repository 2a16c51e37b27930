//! `dtw_latest(x, reference, band)`: how far the bars up to each bar are from a reference.

use super::SIMILARITY;
use super::many::{LANES, dtw_many, side_by_side};
use super::reference::{Channels, Reference};
use super::znorm::znorm_into;
use crate::series::{
    Input, Inputs, Number, Output, Outputs, Param, ParamValue, Params, Reach, SeriesFunction, SeriesSignature, Text,
};
use datafusion_common::{Result, plan_datafusion_err};

/// DTW of the window that ends with each bar, over the root of its length; windows are as long as the reference.
#[derive(Debug)]
pub(super) struct DtwLatest {
    signature: SeriesSignature,
    real: Input<Number>,
    reference: Param<Text>,
    band: Param<f64>,
    distance: Output<f64>,
}

impl DtwLatest {
    pub fn new() -> Self {
        let doc = "Distance of the bars up to this one from a reference of as many values, such as '1 3 2 4 3': DTW of \
                   z-normalised values under a band, over the root of the length";
        let source = "Sakoe and Chiba, IEEE TASSP 26 (1978)";
        let mut signature = SeriesSignature::new("dtw_latest", SIMILARITY, doc, source);
        let real = signature.input("real", Some("close"));
        let reference = signature.text("reference", None, "Its values, with spaces or commas between them");
        signature.example(reference, ParamValue::Text("1 3 2 4 3 5 4 2 1 2".to_string()));
        let band = signature.real(
            "band",
            0.0..=1.0,
            Some(Channels::PRICE.price_band),
            "Share of the length that a path may stray from the diagonal",
        );
        let distance = signature.output("distance");
        Self { signature, real, reference, band, distance }
    }
}

/// The numbers of a text such as `[1, 2.5, 3]` or `1 2.5 3`.
///
/// # Errors
/// Names what is no number.
pub fn numbers_of(text: &str) -> Result<Vec<f64>, String> {
    let inner = text.trim();
    let inner = inner.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(inner);
    let words = inner.split(|c: char| c == ',' || c == ';' || c.is_whitespace()).filter(|w| !w.is_empty());
    words
        .map(|word| match word.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(format!("'{word}' is no number: expected values such as '1 3 2 4 3'")),
        })
        .collect()
}

impl DtwLatest {
    fn reference(&self, params: &Params) -> Result<Reference> {
        let channels = Channels { price_band: params.get(self.band), ..Channels::PRICE };
        let values = numbers_of(params.get(self.reference));
        let reference = values.and_then(|values| Reference::new(&values, 0, channels, &[1.0]));
        reference.map_err(|reason| plan_datafusion_err!("`reference` of dtw_latest: {reason}"))
    }
}

impl SeriesFunction for DtwLatest {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach::back(self.reference(params).map_or(0, |r| r.length - 1))
    }

    fn check(&self, params: &Params) -> Result<()> {
        self.reference(params).map(|_| ())
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let (x, reference) = (inputs.get(self.real), self.reference(params)?);
        let n = reference.length;
        let Some(out) = outputs.get(self.distance).filter(|out| out.len() >= n) else { return Ok(()) };
        let band = super::band::Band::fraction(n, n, params.get(self.band));
        let mut windows = vec![vec![]; LANES];
        let (mut batch, mut line) = (vec![], vec![]);
        for (group, out) in out[n - 1..].chunks_mut(LANES).enumerate() {
            for (i, window) in windows.iter_mut().enumerate().take(out.len()) {
                let start = group * LANES + i;
                znorm_into(&x[start..start + n], window);
            }
            side_by_side(windows[..out.len()].iter().map(Vec::as_slice), &mut batch);
            let distances = dtw_many(&reference.closes, &batch, band, &mut line);
            out.iter_mut().zip(distances).for_each(|(out, distance)| *out = distance / (n as f64).sqrt());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_or_without_brackets() {
        assert_eq!(numbers_of("[1, 2.5,-3]"), Ok(vec![1.0, 2.5, -3.0]));
        assert_eq!(numbers_of("1 2.5\n-3"), Ok(vec![1.0, 2.5, -3.0]));
        assert!(numbers_of("1 x").unwrap_err().contains("'x' is no number"));
        assert!(numbers_of("1 nan").is_err());
    }
}
