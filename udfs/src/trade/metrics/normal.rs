//! The normal distribution.

/// The share of it below a value.
pub fn below(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// The value that a share of it is below: M. Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988).
pub fn quantile(share: f64) -> Option<f64> {
    if !(share > 0.0 && share < 1.0) {
        return None;
    }
    let q = share - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return Some(q * polynomial(&CENTRE.0, r) / polynomial(&CENTRE.1, r));
    }
    let r = (-share.min(1.0 - share).ln()).sqrt();
    let (x, (above, under)) = if r <= 5.0 { (r - 1.6, &SIDE) } else { (r - 5.0, &TAIL) };
    Some((polynomial(above, x) / polynomial(under, x)).copysign(q))
}

/// The coefficients of the powers 0 to 7.
fn polynomial(of: &[f64; 8], x: f64) -> f64 {
    of.iter().rev().fold(0.0, |sum, coefficient| sum * x + coefficient)
}

type Fraction = ([f64; 8], [f64; 8]);

const CENTRE: Fraction = (
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
);

const SIDE: Fraction = (
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
);

const TAIL: Fraction = (
    [
        6.657_904_643_501_104,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_9,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_488e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
);

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of the paper, and of tables.
    #[test]
    fn quantiles_are_those_of_the_paper() {
        for (share, value) in
            [(0.25, -0.674_489_750_196_081_7), (0.001, -3.090_232_306_167_813_5), (1e-20, -9.262_340_089_798_408)]
        {
            let got = quantile(share).unwrap();
            assert!((got / value - 1.0).abs() < 1e-15, "{share}: {got}");
        }
        assert_eq!((quantile(0.5), quantile(0.0), quantile(1.0)), (Some(0.0), None, None));
        assert!((below(1.959_963_984_540_054) - 0.975).abs() < 1e-15);
        assert!((below(quantile(0.9).unwrap()) - 0.9).abs() < 1e-15);
    }
}
