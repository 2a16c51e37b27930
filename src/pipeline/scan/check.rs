//! What a scan may look for: a condition that can be decided when a bar has ended.

use super::{MATCH, Rank, Scan};
use crate::Session;
use crate::relation::{Relation, one, relation};
use crate::symbols::beside_symbols;
use tallow_common::{Code, Error, Result};
use tallow_engine::dialect::{Checked, Formula, FormulaKind, Params};
use tallow_engine::reach::PlanReach;
use tallow_udfs::series::Bars;

impl Scan {
    /// The formula with its parameters, after everything in it was checked against the table.
    pub(super) async fn checked(&self, session: &Session, from: &Relation) -> Result<(Formula, Checked)> {
        let (state, schema) = (session.context().state(), &from.schema);
        let mut checked = self.formula.check_in(&state, schema, &self.own_params())?;
        if checked.kind != FormulaKind::Condition {
            return Err(Error::invalid(format!(
                "`{}` is a number, not a condition: compare it, as `{} > 0`",
                self.formula, self.formula
            )));
        }
        if let Some(rank) = self.ranked()? {
            let of_rank = rank.by.check_in(&state, schema, &Params::default())?;
            if of_rank.kind != FormulaKind::Number {
                return Err(Error::invalid(format!("the rank `{}` is a condition, not a number", rank.by)));
            }
            checked.columns.extend(of_rank.columns);
        }
        if let Some(members) = &self.members {
            checked.columns.extend(members.check_in(&state, schema, &Params::default())?.columns);
        }
        Ok((self.formula.bind(&self.own_params())?, checked))
    }

    /// The bars, with what the formulas read of the table `symbols`.
    pub(super) async fn with_symbols(&self, session: &Session, from: Relation) -> Result<Relation> {
        let formulas = [&self.formula].into_iter().chain(self.rank.as_ref().map(|rank| &rank.by)).chain(&self.members);
        beside_symbols(session, from, formulas).await
    }

    /// The parameters without those that only the rank has.
    fn own_params(&self) -> Params {
        let own = self.formula.parameters();
        let of_rank = self.rank.as_ref().map(|r| r.by.parameters()).unwrap_or_default();
        let is_ranks = |name: &str| of_rank.iter().any(|p| p.name == name) && !own.iter().any(|p| p.name == name);
        let mut params = Params::default();
        self.params.iter().filter(|(name, _)| !is_ranks(name)).for_each(|(name, value)| params.set(name, value));
        params
    }

    /// The rank with its parameters, which it shares with the formula.
    pub(super) fn ranked(&self) -> Result<Option<Rank>> {
        let Some(rank) = &self.rank else { return Ok(None) };
        let mut params = self.params.clone();
        for parameter in self.formula.parameters() {
            if let (None, Some(default)) = (self.params.get(&parameter.name), parameter.default_text()) {
                params.set(&parameter.name, &default);
            }
        }
        Ok(Some(Rank { by: rank.by.bind(&params)?.first_field(), descending: rank.descending }))
    }

    pub(super) fn refuse_lookahead(&self, reach_of_plan: &PlanReach) -> Result<()> {
        let ahead = |bars: Bars| (bars != Bars::Count(0)).then(|| bars.to_string());
        let Some(bars) = ahead(reach_of_plan.total().furthest().ahead) else { return Ok(()) };
        let of = reach_of_plan
            .columns
            .iter()
            .find(|(name, sources)| name != MATCH && ahead(sources.furthest().ahead).is_some());
        let what = of.map_or_else(|| self.formula.to_string(), |(name, _)| name.clone());
        let how_far = if bars == "1" { " (1 bar)".to_string() } else { format!(" ({bars} bars)") };
        let said = format!("`{what}` looks into the future{how_far}: at the time of a match it was not known");
        Err(Error::known(Code::LookAhead, said).with_hint("the option `allow_lookahead` scans it anyway"))
    }

    /// The formula with its parameters and where its bars come from, if it can be decided at the time of a bar.
    pub(crate) async fn decidable(&self, session: &Session) -> Result<(Formula, Relation)> {
        let from = self.with_symbols(session, relation(session, &self.table).await?).await?;
        let (formula, _) = self.checked(session, &from).await?;
        let (_, plan) = one(session, &self.base(&from.sql, &formula, &from.schema)?.0).await?.into_parts();
        self.refuse_lookahead(&from.reach(&session.optimized(&plan).await?))?;
        Ok((formula, from))
    }
}
