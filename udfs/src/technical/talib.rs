//! Every TA-Lib function as a series function, built from TA-Lib's own metadata.

use super::{names, streams};
use crate::series::{
    Input, Inputs, NO_INT, Number, OutputField, OutputKind, OutputSlice, Outputs, ParamKind, ParamValue, Parameter,
    Params, Reach, SeriesFunction, SeriesSignature, Standing,
};
use datafusion_common::{Result, exec_err, internal_err, plan_err};
use std::sync::LazyLock;
use ta_lib::abstract_api::{FUNCS, FuncFlags, FuncInfo, InputType, OptInputType, OutputType, ParamHolder};
use ta_lib::{Core, FuncUnstId, RetCode};

/// TA-Lib with its default settings.
static CORE: LazyLock<Core> = LazyLock::new(Core::new);

/// TA-Lib with unstable periods long enough that the start of the data no longer shows in 8 digits.
static SETTLED: LazyLock<Core> = LazyLock::new(|| {
    Core::builder().unstable_period(FuncUnstId::ALL, Core::UNSTABLE_AUTO_PREC_8).build().unwrap_or_default()
});

/// Components of a price input, in TA-Lib's order.
const COMPONENTS: [&str; 5] = ["open", "high", "low", "close", "volume"];

/// Where a series argument goes: which TA-Lib input, and which component of it if that is a price bundle.
#[derive(Debug, Clone, Copy)]
struct Slot {
    series: Input<Number>,
    input: usize,
    component: Option<usize>,
}

/// A period to show what has none by default.
const PERIOD: ParamValue = ParamValue::Int(20);

/// One TA-Lib function.
#[derive(Debug)]
pub(super) struct TaLib {
    info: &'static FuncInfo,
    signature: SeriesSignature,
    slots: Vec<Slot>,
}

/// All functions of TA-Lib.
pub(super) fn all() -> impl Iterator<Item = TaLib> {
    FUNCS.iter().map(TaLib::new)
}

impl TaLib {
    fn new(info: &'static FuncInfo) -> Self {
        let (name, aliases) = names::of(info);
        let mut signature = SeriesSignature::new(&name, info.group.as_str(), info.hint, "TA-Lib");
        signature.aliases = aliases;
        let mut slots = Vec::new();
        let plain = info.inputs.iter().filter(|i| i.kind != InputType::Price).count();
        for (input, described) in info.inputs.iter().enumerate() {
            if described.kind == InputType::Price {
                for (component, column) in COMPONENTS.iter().enumerate() {
                    if described.flags.bits() & (1 << component) != 0 {
                        let series = signature.input(column, Some(column));
                        slots.push(Slot { series, input, component: Some(component) });
                    }
                }
            } else {
                let default = (plain == 1).then_some("close");
                let series = signature.input(&names::input(described.param_name), default);
                slots.push(Slot { series, input, component: None });
            }
        }
        for opt in info.opt_inputs {
            let name = names::parameter(opt.param_name);
            let (kind, default) = match opt.kind {
                OptInputType::IntegerRange { min, max, default, .. } => {
                    (ParamKind::Integer { min: min.into(), max: max.into() }, ParamValue::Int(default.into()))
                }
                OptInputType::RealRange { min, max, default, .. } => {
                    (ParamKind::Real { min, max }, ParamValue::Real(default))
                }
                OptInputType::IntegerList { values, default } => {
                    (ParamKind::Choice(values.to_vec()), ParamValue::Int(default))
                }
                OptInputType::RealList { default, .. } => {
                    (ParamKind::Real { min: f64::MIN, max: f64::MAX }, ParamValue::Real(default))
                }
            };
            let required = name == "timeperiod" && names::requires_period(info);
            let (default, example) = if required { (None, Some(PERIOD)) } else { (Some(default), None) };
            signature.params.push(Parameter { name, kind, default, example, doc: opt.hint });
        }
        for output in info.outputs {
            let kind = match output.kind {
                OutputType::Real => OutputKind::Float,
                OutputType::Integer => OutputKind::Int,
            };
            signature.outputs.push(OutputField { name: names::output(output.param_name), kind });
        }
        Self { info, signature, slots }
    }

    /// The function with TA-Lib's own name.
    pub(super) fn named(name: &str) -> Option<Self> {
        FUNCS.iter().find(|info| info.name == name).map(Self::new)
    }

    /// TA-Lib's own name of the function.
    pub(super) fn name(&self) -> &'static str {
        self.info.name
    }

    fn call<'a>(&self, core: &'a Core, params: &Params) -> Result<ParamHolder<'a>> {
        let mut call = self.info.id.new_call(core);
        for (i, value) in params.values().iter().take(self.info.opt_inputs.len()).enumerate() {
            let set = match value {
                ParamValue::Int(v) => call.set_opt_input(i, i32::try_from(*v).unwrap_or(i32::MAX)).map(|_| ()),
                ParamValue::Real(v) => call.set_opt_input(i, *v).map(|_| ()),
                ParamValue::Text(_) => return internal_err!("{}: TA-Lib has no texts", self.signature.name),
            };
            set.or_else(|code| self.refused(code, params))?;
        }
        Ok(call)
    }

    fn lookback(&self, core: &Core, params: &Params) -> Result<usize> {
        self.call(core, params)?.lookback().or_else(|code| self.refused(code, params))
    }

    /// The outputs that TA-Lib gives as indexes into the series.
    fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let outputs = self.info.outputs.iter().enumerate();
        outputs.filter(|(_, output)| names::is_position(self.info.name, output.param_name)).map(|(index, _)| index)
    }

    fn refused<T>(&self, code: RetCode, params: &Params) -> Result<T> {
        let given: Vec<_> = params.values().iter().map(ToString::to_string).collect();
        plan_err!(
            "{}({}) refused by TA-Lib: {code:?}: {}",
            self.signature.name,
            given.join(", "),
            self.signature.usage()
        )
    }
}

impl SeriesFunction for TaLib {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        if self.info.flags.contains(FuncFlags::PATH_DEPENDENT) || names::is_unfading(self.info) {
            return Reach::history();
        }
        match (self.lookback(&CORE, params), self.lookback(&SETTLED, params)) {
            // The settled lookback covers 8 digits; as much again covers 1e-9 of the scale.
            (Ok(first), Ok(settled)) => Reach::back(first + 2 * settled.saturating_sub(first)),
            _ => Reach::history(),
        }
    }

    fn fades_by_movement(&self, _: &Params) -> bool {
        names::fades_by_movement(self.info)
    }

    fn is_total(&self) -> bool {
        names::is_total(self.info)
    }

    fn check(&self, params: &Params) -> Result<()> {
        self.lookback(&CORE, params).map(|_| ())
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let rows = inputs.len();
        let mut call = self.call(&CORE, params)?;
        let warm_up = self.lookback(&CORE, params)?;
        if warm_up >= rows {
            return Ok(());
        }
        let mut prices = [[None; 5]; 2];
        for slot in &self.slots {
            let series = inputs.get(slot.series);
            let bound = match slot.component {
                Some(component) => {
                    prices[slot.input][component] = Some(series);
                    Ok(())
                }
                None => call.set_input(slot.input, series).map(|_| ()),
            };
            bound.or_else(|code| self.refused(code, params))?;
        }
        for (index, input) in self.info.inputs.iter().enumerate() {
            if input.kind == InputType::Price {
                let [open, high, low, close, volume] = prices[index];
                call.set_price_input(index, open, high, low, close, volume, None)
                    .map(|_| ())
                    .or_else(|code| self.refused(code, params))?;
            }
        }
        // TA-Lib computes all outputs of a function together; what nobody reads goes to a scratch buffer.
        let mut spare: Vec<(Vec<f64>, Vec<i32>)> = self
            .info
            .outputs
            .iter()
            .zip(outputs.slices().iter())
            .map(|(output, slice)| match (slice, output.kind) {
                (OutputSlice::Unrequested, OutputType::Real) => (vec![0.0; rows - warm_up], vec![]),
                (OutputSlice::Unrequested, OutputType::Integer) => (vec![], vec![0; rows - warm_up]),
                _ => (vec![], vec![]),
            })
            .collect();
        for (index, (slice, (reals, ints))) in outputs.slices().iter_mut().zip(&mut spare).enumerate() {
            let bound = match (slice, self.info.outputs[index].kind) {
                (OutputSlice::Float(values), _) => call.set_output(index, &mut values[warm_up..]).map(|_| ()),
                (OutputSlice::Int(values), _) => call.set_int_output(index, &mut values[warm_up..]).map(|_| ()),
                (_, OutputType::Real) => call.set_output(index, reals).map(|_| ()),
                (_, OutputType::Integer) => call.set_int_output(index, ints).map(|_| ()),
            };
            bound.or_else(|code| self.refused(code, params))?;
        }
        let range = match call.call(0, rows - 1) {
            Ok(range) => range,
            Err(code) => return exec_err!("{} failed in TA-Lib: {code:?}", self.signature.usage()),
        };
        if range.count > 0 && (range.beg_idx != warm_up || range.count != rows - warm_up) {
            return exec_err!(
                "{}: TA-Lib announced its first value at bar {warm_up} and delivered {} from bar {}",
                self.signature.name,
                range.count,
                range.beg_idx
            );
        }
        for index in self.positions() {
            if let OutputSlice::Int(values) = &mut outputs.slices()[index] {
                bars_ago(&mut values[warm_up..], warm_up);
            }
        }
        Ok(())
    }

    fn stands_after(&self, params: &Params) -> Option<usize> {
        Some(self.lookback(&CORE, params).ok()? + 1)
    }

    fn stand(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<Box<dyn Standing>> {
        let warm_up = self.lookback(&CORE, params)?;
        let series: Vec<_> = self.slots.iter().map(|slot| inputs.get(slot.series)).collect();
        let params_of = &params.values()[..self.info.opt_inputs.len()];
        let opened = streams::open(&CORE, self.info.name, &series, params_of, warm_up, outputs.slices());
        let stream = opened.or_else(|code| self.refused(code, params))?;
        let positions: Vec<usize> = self.positions().collect();
        if positions.is_empty() {
            return Ok(stream);
        }
        for &index in &positions {
            if let OutputSlice::Int(values) = &mut outputs.slices()[index] {
                bars_ago(&mut values[warm_up..], warm_up);
            }
        }
        Ok(Box::new(BarsAgo { stream, positions, bars: inputs.len() }))
    }
}

/// A stream that gives indexes into its series, which are turned into distances from the bar.
#[derive(Debug)]
struct BarsAgo {
    stream: Box<dyn Standing>,
    /// Which of the outputs are indexes.
    positions: Vec<usize>,
    bars: usize,
}

impl Standing for BarsAgo {
    fn push(&mut self, bar: &[f64], values: &mut [f64]) -> Result<()> {
        self.stream.push(bar, values)?;
        for &index in &self.positions {
            let ago = self.bars as f64 - values[index];
            values[index] = if values[index] >= 0.0 && ago >= 0.0 { ago } else { f64::NAN };
        }
        self.bars += 1;
        Ok(())
    }

    fn fork(&self) -> Box<dyn Standing> {
        Box::new(BarsAgo { stream: self.stream.fork(), positions: self.positions.clone(), bars: self.bars })
    }
}

/// Turns indexes into the series into distances from the row they stand in.
fn bars_ago(positions: &mut [i32], first_row: usize) {
    for (row, position) in positions.iter_mut().enumerate() {
        *position = match usize::try_from(*position) {
            Ok(index) if index <= first_row + row => i32::try_from(first_row + row - index).unwrap_or(NO_INT),
            _ => NO_INT,
        };
    }
}
