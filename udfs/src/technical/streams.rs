//! TA-Lib's streams: each of its functions as one that stays at the end of a series.
//!
//! The abstract interface of TA-Lib, which [`TaLib`](super::talib::TaLib) is built on, has no streams. The table below names the
//! opener of each function with its inputs, its parameters and its outputs; a test compares every stream with its function over
//! whole series.

use crate::series::{OutputSlice, ParamValue, Standing};
use datafusion_common::{Result, exec_datafusion_err};
use std::fmt::{Debug, Formatter};
use std::iter::Zip;
use std::slice::{Iter, IterMut};
use ta_lib::{Core, MAType, RetCode};

/// How a stream takes a bar, and gives its values.
type Update<S> = fn(&mut S, &[f64], &mut [f64]) -> Result<(), RetCode>;

/// A stream, and how it takes a bar.
#[derive(Clone)]
struct Stream<S> {
    name: &'static str,
    stream: S,
    update: Update<S>,
}

impl<S> Debug for Stream<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "the stream of {}", self.name)
    }
}

impl<S: Clone + Send + Sync + 'static> Standing for Stream<S> {
    fn push(&mut self, bar: &[f64], values: &mut [f64]) -> Result<()> {
        let updated = (self.update)(&mut self.stream, bar, values);
        updated.map_err(|code| exec_datafusion_err!("{} failed in TA-Lib: {code:?}", self.name))
    }

    fn fork(&self) -> Box<dyn Standing> {
        Box::new(self.clone())
    }
}

/// What a stream gives for a bar.
trait Values {
    fn put(self, values: &mut [f64]);
}

impl Values for f64 {
    fn put(self, values: &mut [f64]) {
        values[0] = self;
    }
}

impl Values for i32 {
    fn put(self, values: &mut [f64]) {
        values[0] = self.into();
    }
}

macro_rules! values {
    ($($type:ident $at:tt),*) => {
        impl Values for ($($type),*) {
            fn put(self, values: &mut [f64]) {
                $(values[$at] = self.$at.into();)*
            }
        }
    };
}

values!(f64 0, f64 1);
values!(f64 0, f64 1, f64 2);
values!(f64 0, f64 1, f64 2, f64 3);
values!(f64 0, i32 1);
values!(f64 0, i32 1, i32 2);
values!(i32 0, i32 1);

/// The parameters of a call, one after the other.
struct Given<'p>(Iter<'p, ParamValue>);

impl Given<'_> {
    fn int(&mut self) -> Result<i32, RetCode> {
        match self.0.next() {
            Some(ParamValue::Int(value)) => i32::try_from(*value).map_err(|_| RetCode::BadParam),
            _ => Err(RetCode::BadParam),
        }
    }

    fn real(&mut self) -> Result<f64, RetCode> {
        match self.0.next() {
            Some(ParamValue::Real(value)) => Ok(*value),
            _ => Err(RetCode::BadParam),
        }
    }

    fn average(&mut self) -> Result<MAType, RetCode> {
        MAType::try_from(self.int()?)
    }
}

/// Where values go that nobody reads, by their type.
type Spare = (Vec<f64>, Vec<i32>);

/// The cells of the outputs behind the warm-up, one output after the other.
struct Cells<'o, 'a> {
    outputs: Zip<IterMut<'o, OutputSlice<'a>>, IterMut<'o, Spare>>,
    warm_up: usize,
    rows: usize,
}

impl<'o> Cells<'o, '_> {
    fn real(&mut self) -> Result<&'o mut [f64], RetCode> {
        match self.outputs.next() {
            Some((OutputSlice::Float(cells), _)) => Ok(&mut cells[self.warm_up..]),
            Some((OutputSlice::Unrequested, (spare, _))) => {
                spare.resize(self.rows - self.warm_up, 0.0);
                Ok(spare)
            }
            _ => Err(RetCode::BadParam),
        }
    }

    fn int(&mut self) -> Result<&'o mut [i32], RetCode> {
        match self.outputs.next() {
            Some((OutputSlice::Int(cells), _)) => Ok(&mut cells[self.warm_up..]),
            Some((OutputSlice::Unrequested, (_, spare))) => {
                spare.resize(self.rows - self.warm_up, 0);
                Ok(spare)
            }
            _ => Err(RetCode::BadParam),
        }
    }
}

macro_rules! streams {
    ($($name:ident: $open:ident($($input:ident)+; $($param:ident)*; $($output:ident)+),)*) => {
        /// Computes a function over a series of more bars than its warm-up, and stays at the end.
        pub(super) fn open(
            core: &Core,
            name: &str,
            inputs: &[&[f64]],
            params: &[ParamValue],
            warm_up: usize,
            outputs: &mut [OutputSlice<'_>],
        ) -> Result<Box<dyn Standing>, RetCode> {
            let rows = inputs.first().map_or(0, |input| input.len());
            let mut spare = vec![Spare::default(); outputs.len()];
            let mut params = Given(params.iter());
            let mut cells = Cells { outputs: outputs.iter_mut().zip(&mut spare), warm_up, rows };
            match name {
                $(stringify!($name) => {
                    let &[$($input),+] = inputs else { return Err(RetCode::BadParam) };
                    let (stream, _) = core.$open($($input,)+ $(params.$param()?,)* $(cells.$output()?),+)?;
                    Ok(Box::new(Stream {
                        name: stringify!($name),
                        stream,
                        update: |stream, bar, values| {
                            let &[$($input,)+ ..] = bar else { return Err(RetCode::BadParam) };
                            stream.update($($input),+)?.put(values);
                            Ok(())
                        },
                    }))
                })*
                _ => Err(RetCode::BadParam),
            }
        }
    };
}

streams! {
    AC: ac_open_and_fill(a b; int int int; real),
    ACCBANDS: accbands_open_and_fill(a b c; int; real real real),
    ACOS: acos_open_and_fill(a; ; real),
    AD: ad_open_and_fill(a b c d; ; real),
    ADD: add_open_and_fill(a b; ; real),
    ADOSC: adosc_open_and_fill(a b c d; int int; real),
    ADR: adr_open_and_fill(a b; int; real),
    ADX: adx_open_and_fill(a b c; int; real),
    ADXR: adxr_open_and_fill(a b c; int; real),
    ALMA: alma_open_and_fill(a; int real real; real),
    AO: ao_open_and_fill(a b; int int; real),
    APO: apo_open_and_fill(a; int int average; real),
    AROON: aroon_open_and_fill(a b; int; real real),
    AROONOSC: aroonosc_open_and_fill(a b; int; real),
    ASI: asi_open_and_fill(a b c d; real; real),
    ASIN: asin_open_and_fill(a; ; real),
    ATAN: atan_open_and_fill(a; ; real),
    ATR: atr_open_and_fill(a b c; int; real),
    AVGDEV: avgdev_open_and_fill(a; int; real),
    AVGPRICE: avgprice_open_and_fill(a b c d; ; real),
    BBANDS: bbands_open_and_fill(a; int real real average; real real real),
    BBW: bbw_open_and_fill(a; int real real average; real),
    BETA: beta_open_and_fill(a b; int; real),
    BOP: bop_open_and_fill(a b c d; ; real),
    CCI: cci_open_and_fill(a b c; int; real),
    CDL2CROWS: cdl2crows_open_and_fill(a b c d; ; int),
    CDL3BLACKCROWS: cdl3blackcrows_open_and_fill(a b c d; ; int),
    CDL3INSIDE: cdl3inside_open_and_fill(a b c d; ; int),
    CDL3LINESTRIKE: cdl3linestrike_open_and_fill(a b c d; ; int),
    CDL3OUTSIDE: cdl3outside_open_and_fill(a b c d; ; int),
    CDL3STARSINSOUTH: cdl3starsinsouth_open_and_fill(a b c d; ; int),
    CDL3WHITESOLDIERS: cdl3whitesoldiers_open_and_fill(a b c d; ; int),
    CDLABANDONEDBABY: cdlabandonedbaby_open_and_fill(a b c d; real; int),
    CDLADVANCEBLOCK: cdladvanceblock_open_and_fill(a b c d; ; int),
    CDLBELTHOLD: cdlbelthold_open_and_fill(a b c d; ; int),
    CDLBREAKAWAY: cdlbreakaway_open_and_fill(a b c d; ; int),
    CDLCLOSINGMARUBOZU: cdlclosingmarubozu_open_and_fill(a b c d; ; int),
    CDLCONCEALBABYSWALL: cdlconcealbabyswall_open_and_fill(a b c d; ; int),
    CDLCOUNTERATTACK: cdlcounterattack_open_and_fill(a b c d; ; int),
    CDLDARKCLOUDCOVER: cdldarkcloudcover_open_and_fill(a b c d; real; int),
    CDLDOJI: cdldoji_open_and_fill(a b c d; ; int),
    CDLDOJISTAR: cdldojistar_open_and_fill(a b c d; ; int),
    CDLDRAGONFLYDOJI: cdldragonflydoji_open_and_fill(a b c d; ; int),
    CDLENGULFING: cdlengulfing_open_and_fill(a b c d; ; int),
    CDLEVENINGDOJISTAR: cdleveningdojistar_open_and_fill(a b c d; real; int),
    CDLEVENINGSTAR: cdleveningstar_open_and_fill(a b c d; real; int),
    CDLGAPSIDESIDEWHITE: cdlgapsidesidewhite_open_and_fill(a b c d; ; int),
    CDLGRAVESTONEDOJI: cdlgravestonedoji_open_and_fill(a b c d; ; int),
    CDLHAMMER: cdlhammer_open_and_fill(a b c d; ; int),
    CDLHANGINGMAN: cdlhangingman_open_and_fill(a b c d; ; int),
    CDLHARAMI: cdlharami_open_and_fill(a b c d; ; int),
    CDLHARAMICROSS: cdlharamicross_open_and_fill(a b c d; ; int),
    CDLHIGHWAVE: cdlhighwave_open_and_fill(a b c d; ; int),
    CDLHIKKAKE: cdlhikkake_open_and_fill(a b c d; ; int),
    CDLHIKKAKEMOD: cdlhikkakemod_open_and_fill(a b c d; ; int),
    CDLHOMINGPIGEON: cdlhomingpigeon_open_and_fill(a b c d; ; int),
    CDLIDENTICAL3CROWS: cdlidentical3crows_open_and_fill(a b c d; ; int),
    CDLINNECK: cdlinneck_open_and_fill(a b c d; ; int),
    CDLINVERTEDHAMMER: cdlinvertedhammer_open_and_fill(a b c d; ; int),
    CDLKICKING: cdlkicking_open_and_fill(a b c d; ; int),
    CDLKICKINGBYLENGTH: cdlkickingbylength_open_and_fill(a b c d; ; int),
    CDLLADDERBOTTOM: cdlladderbottom_open_and_fill(a b c d; ; int),
    CDLLONGLEGGEDDOJI: cdllongleggeddoji_open_and_fill(a b c d; ; int),
    CDLLONGLINE: cdllongline_open_and_fill(a b c d; ; int),
    CDLMARUBOZU: cdlmarubozu_open_and_fill(a b c d; ; int),
    CDLMATCHINGLOW: cdlmatchinglow_open_and_fill(a b c d; ; int),
    CDLMATHOLD: cdlmathold_open_and_fill(a b c d; real; int),
    CDLMORNINGDOJISTAR: cdlmorningdojistar_open_and_fill(a b c d; real; int),
    CDLMORNINGSTAR: cdlmorningstar_open_and_fill(a b c d; real; int),
    CDLONNECK: cdlonneck_open_and_fill(a b c d; ; int),
    CDLPIERCING: cdlpiercing_open_and_fill(a b c d; ; int),
    CDLRICKSHAWMAN: cdlrickshawman_open_and_fill(a b c d; ; int),
    CDLRISEFALL3METHODS: cdlrisefall3methods_open_and_fill(a b c d; ; int),
    CDLSEPARATINGLINES: cdlseparatinglines_open_and_fill(a b c d; ; int),
    CDLSHOOTINGSTAR: cdlshootingstar_open_and_fill(a b c d; ; int),
    CDLSHORTLINE: cdlshortline_open_and_fill(a b c d; ; int),
    CDLSPINNINGTOP: cdlspinningtop_open_and_fill(a b c d; ; int),
    CDLSTALLEDPATTERN: cdlstalledpattern_open_and_fill(a b c d; ; int),
    CDLSTICKSANDWICH: cdlsticksandwich_open_and_fill(a b c d; ; int),
    CDLTAKURI: cdltakuri_open_and_fill(a b c d; ; int),
    CDLTASUKIGAP: cdltasukigap_open_and_fill(a b c d; ; int),
    CDLTHRUSTING: cdlthrusting_open_and_fill(a b c d; ; int),
    CDLTRISTAR: cdltristar_open_and_fill(a b c d; ; int),
    CDLUNIQUE3RIVER: cdlunique3river_open_and_fill(a b c d; ; int),
    CDLUPSIDEGAP2CROWS: cdlupsidegap2crows_open_and_fill(a b c d; ; int),
    CDLXSIDEGAP3METHODS: cdlxsidegap3methods_open_and_fill(a b c d; ; int),
    CEIL: ceil_open_and_fill(a; ; real),
    CG: cg_open_and_fill(a; int; real),
    CHOP: chop_open_and_fill(a b c; int; real),
    CHOPTR: choptr_open_and_fill(a b c; int; real),
    CKSP: cksp_open_and_fill(a b c; int real int; real real),
    CMF: cmf_open_and_fill(a b c d; int; real),
    CMO: cmo_open_and_fill(a; int; real),
    CMOU: cmou_open_and_fill(a; int; real),
    COPPOCK: coppock_open_and_fill(a; int int int; real),
    CORREL: correl_open_and_fill(a b; int; real),
    COS: cos_open_and_fill(a; ; real),
    COSH: cosh_open_and_fill(a; ; real),
    CRSI: crsi_open_and_fill(a; int int int; real),
    CTI: cti_open_and_fill(a; int; real),
    CUMSUM: cumsum_open_and_fill(a; ; real),
    CVI: cvi_open_and_fill(a b; int int; real),
    DEMA: dema_open_and_fill(a; int; real),
    DIV: div_open_and_fill(a b; ; real),
    DONCHIAN: donchian_open_and_fill(a b; int; real real real),
    DOSC: dosc_open_and_fill(a; int int int int; real),
    DPO: dpo_open_and_fill(a; int; real),
    DX: dx_open_and_fill(a b c; int; real),
    EFI: efi_open_and_fill(a b; int; real),
    EMA: ema_open_and_fill(a; int; real),
    EMV: emv_open_and_fill(a b c; int real; real),
    ER: er_open_and_fill(a; int; real),
    ERI: eri_open_and_fill(a b c; int; real real),
    EXP: exp_open_and_fill(a; ; real),
    FISHER: fisher_open_and_fill(a b; int; real real),
    FLOOR: floor_open_and_fill(a; ; real),
    FOSC: fosc_open_and_fill(a; int; real),
    FRACTAL: fractal_open_and_fill(a b; int int; int int),
    FRAMA: frama_open_and_fill(a b; int; real),
    HA: ha_open_and_fill(a b c d; ; real real real real),
    HMA: hma_open_and_fill(a; int; real),
    HT_DCPERIOD: ht_dcperiod_open_and_fill(a; ; real),
    HT_DCPHASE: ht_dcphase_open_and_fill(a; ; real),
    HT_PHASOR: ht_phasor_open_and_fill(a; ; real real),
    HT_SINE: ht_sine_open_and_fill(a; ; real real),
    HT_TRENDLINE: ht_trendline_open_and_fill(a; ; real),
    HT_TRENDMODE: ht_trendmode_open_and_fill(a; ; int),
    IBS: ibs_open_and_fill(a b c; ; real),
    ICHIMOKU: ichimoku_open_and_fill(a b; int int int; real real real real),
    IMI: imi_open_and_fill(a b; int; real),
    KAMA: kama_open_and_fill(a; int; real),
    KC: kc_open_and_fill(a b c; int int real; real real real),
    KDJ: kdj_open_and_fill(a b c; int int average int average; real real real),
    KST: kst_open_and_fill(a; int int int int int int int int int; real real),
    KSTEXT: kstext_open_and_fill(a; int int int int int int int int int average average; real real),
    KURTOSIS: kurtosis_open_and_fill(a; int; real),
    KVO: kvo_open_and_fill(a b c d; int int int; real real),
    LINEARREG: linearreg_open_and_fill(a; int; real),
    LINEARREG_ANGLE: linearreg_angle_open_and_fill(a; int; real),
    LINEARREG_INTERCEPT: linearreg_intercept_open_and_fill(a; int; real),
    LINEARREG_SLOPE: linearreg_slope_open_and_fill(a; int; real),
    LN: ln_open_and_fill(a; ; real),
    LOG10: log10_open_and_fill(a; ; real),
    MA: ma_open_and_fill(a; int average; real),
    MACD: macd_open_and_fill(a; int int int; real real real),
    MACDEXT: macdext_open_and_fill(a; int average int average int average; real real real),
    MACDFIX: macdfix_open_and_fill(a; int; real real real),
    MAMA: mama_open_and_fill(a; real real; real real),
    MARKETFI: marketfi_open_and_fill(a b c; ; real),
    MASSI: massi_open_and_fill(a b; int int; real),
    MAVP: mavp_open_and_fill(a b; int int average; real),
    MAX: max_open_and_fill(a; int; real),
    MAXINDEX: maxindex_open_and_fill(a; int; int),
    MCGD: mcgd_open_and_fill(a; int; real),
    MEDIAN: median_open_and_fill(a; int; real),
    MEDPRICE: medprice_open_and_fill(a b; ; real),
    MFI: mfi_open_and_fill(a b c d; int; real),
    MIDPOINT: midpoint_open_and_fill(a; int; real),
    MIDPRICE: midprice_open_and_fill(a b; int; real),
    MIN: min_open_and_fill(a; int; real),
    MININDEX: minindex_open_and_fill(a; int; int),
    MINMAX: minmax_open_and_fill(a; int; real real),
    MINMAXINDEX: minmaxindex_open_and_fill(a; int; int int),
    MINUS_DI: minus_di_open_and_fill(a b c; int; real),
    MINUS_DM: minus_dm_open_and_fill(a b; int; real),
    MOM: mom_open_and_fill(a; int; real),
    MULT: mult_open_and_fill(a b; ; real),
    NATR: natr_open_and_fill(a b c; int; real),
    NVI: nvi_open_and_fill(a b; ; real),
    OBV: obv_open_and_fill(a b; ; real),
    PERCENTB: percentb_open_and_fill(a; int real real average; real),
    PERCENTILE: percentile_open_and_fill(a; int real; real),
    PERCENTRANK: percentrank_open_and_fill(a; int; real),
    PLUS_DI: plus_di_open_and_fill(a b c; int; real),
    PLUS_DM: plus_dm_open_and_fill(a b; int; real),
    PPO: ppo_open_and_fill(a; int int average; real),
    PSO: pso_open_and_fill(a b c; int int; real),
    PVI: pvi_open_and_fill(a b; ; real),
    PVO: pvo_open_and_fill(a; int int average; real),
    PVT: pvt_open_and_fill(a b; ; real),
    QSTICK: qstick_open_and_fill(a b; int; real),
    RMA: rma_open_and_fill(a; int; real),
    ROC: roc_open_and_fill(a; int; real),
    ROCP: rocp_open_and_fill(a; int; real),
    ROCR: rocr_open_and_fill(a; int; real),
    ROCR100: rocr100_open_and_fill(a; int; real),
    ROGERSSATCHELL: rogerssatchell_open_and_fill(a b c d; int real; real),
    RSI: rsi_open_and_fill(a; int; real),
    RVI: rvi_open_and_fill(a; int int; real),
    RVIR: rvir_open_and_fill(a b; int int; real),
    RVOL: rvol_open_and_fill(a; int; real),
    SAR: sar_open_and_fill(a b; real real; real),
    SAREXT: sarext_open_and_fill(a b; real real real real real real real real; real),
    SI: si_open_and_fill(a b c d; real; real),
    SIN: sin_open_and_fill(a; ; real),
    SINH: sinh_open_and_fill(a; ; real),
    SMA: sma_open_and_fill(a; int; real),
    SMI: smi_open_and_fill(a b c; int int int int; real real),
    SQRT: sqrt_open_and_fill(a; ; real),
    SQZMOM: sqzmom_open_and_fill(a b c; int real int real real real; real int),
    STC: stc_open_and_fill(a; int int int; real),
    STDDEV: stddev_open_and_fill(a; int real; real),
    STOCH: stoch_open_and_fill(a b c; int int average int average; real real),
    STOCHF: stochf_open_and_fill(a b c; int int average; real real),
    STOCHRSI: stochrsi_open_and_fill(a; int int int average; real real),
    SUB: sub_open_and_fill(a b; ; real),
    SUM: sum_open_and_fill(a; int; real),
    SUPERTREND: supertrend_open_and_fill(a b c; int real; real int),
    SWAK_2PHP: swak_2php_open_and_fill(a; int; real),
    SWAK_BP: swak_bp_open_and_fill(a; int real; real),
    SWAK_BUTTER: swak_butter_open_and_fill(a; int; real),
    SWAK_GAUSS: swak_gauss_open_and_fill(a; int; real),
    SWAK_HP: swak_hp_open_and_fill(a; int; real),
    T3: t3_open_and_fill(a; int real; real),
    TAN: tan_open_and_fill(a; ; real),
    TANH: tanh_open_and_fill(a; ; real),
    TEMA: tema_open_and_fill(a; int; real),
    TRANGE: trange_open_and_fill(a b c; ; real),
    TRIMA: trima_open_and_fill(a; int; real),
    TRIX: trix_open_and_fill(a; int; real),
    TSF: tsf_open_and_fill(a; int; real),
    TSI: tsi_open_and_fill(a; int int; real),
    TYPPRICE: typprice_open_and_fill(a b c; ; real),
    ULTOSC: ultosc_open_and_fill(a b c; int int int; real),
    VAR: var_open_and_fill(a; int real; real),
    VHF: vhf_open_and_fill(a; int; real),
    VIDYA: vidya_open_and_fill(a; int int; real),
    VORTEX: vortex_open_and_fill(a b c; int; real real),
    VWAP: vwap_open_and_fill(a b c d; ; real),
    VWMA: vwma_open_and_fill(a b; int; real),
    WAD: wad_open_and_fill(a b c; ; real),
    WAVETREND: wavetrend_open_and_fill(a b c; int int int; real real),
    WCLPRICE: wclprice_open_and_fill(a b c; ; real),
    WILLR: willr_open_and_fill(a b c; int; real),
    WMA: wma_open_and_fill(a; int; real),
    ZIGZAG: zigzag_open_and_fill(a b; real int; real int int),
    ZLEMA: zlema_open_and_fill(a; int; real),
}
