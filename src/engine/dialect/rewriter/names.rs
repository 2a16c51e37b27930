//! Names of columns, and fields of what has several results.

use super::{CONSTANTS, Rewriter, SHORT};
use crate::dialect::habits;
use crate::dialect::scope::normal;
use crate::dialect::suggest::closest;
use crate::dialect::syntax::subscript;
use crate::dialect::timeframe::typed;
use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Ident, ObjectNamePart};
use tallow_common::Problem;

impl Rewriter<'_> {
    /// An unqualified name: a column, a short form of one, or a slip.
    pub(super) fn name(&mut self, ident: &mut Ident) {
        let Some(scope) = self.scopes.last() else { return };
        let name = normal(ident);
        if scope.has(&name) || ident.quote_style.is_some() && scope.columns().is_none() {
            return;
        }
        if let Some((_, long)) = SHORT.iter().find(|(short, long)| *short == name && scope.has(long))
            && ident.quote_style.is_none()
        {
            ident.value = (*long).to_string();
            return;
        }
        let outer = self.scopes.iter().rev();
        let known_elsewhere = outer.clone().any(|s| s.aliases.contains(&name) || s.has(&name) || s.columns().is_none());
        if known_elsewhere || CONSTANTS.contains(&name.as_str()) {
            return;
        }
        let Some(columns) = scope.columns().filter(|c| !c.is_empty()) else { return };
        let similar = closest(&name, columns.iter().copied().chain(scope.aliases.iter().map(String::as_str)));
        let problem = Problem::new(format!("unknown column `{}`", ident.value), ident.span);
        let shown: Vec<_> = columns.iter().copied().collect();
        let problem = match (self.without_parentheses(&name), similar) {
            (Some(help), _) => problem.help(help),
            (None, Some(similar)) => problem.maybe(Some(similar)),
            (None, None) => problem.help(format!("columns: {}", shown.join(", "))),
        };
        self.problems.push(problem);
    }

    /// `c.close`, whose table is known.
    pub(super) fn qualified_name(&mut self, parts: &[Ident]) {
        let ([table, column], Some(scope)) = (parts, self.scopes.last()) else { return };
        let Some(columns) = scope.relation(&normal(table)).and_then(|relation| relation.columns.as_ref()) else {
            return;
        };
        let name = normal(column);
        if columns.is_empty() || columns.contains(&name) {
            return;
        }
        let problem = Problem::new(format!("`{table}` has no column `{column}`"), column.span);
        self.problems.push(match closest(&name, columns.iter().map(String::as_str)) {
            Some(similar) => problem.maybe(Some(similar)),
            None => problem.help(format!("columns: {}", columns.join(", "))),
        });
    }

    /// Whether a value is one number for every bar.
    pub(super) fn is_number(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Function(call) => match self.calls.called(expr) {
                Some(function) => function.signature().outputs.len() == 1,
                None => self.calls.is_window(call) && call.over.is_none(),
            },
            Expr::Nested(inner) => self.is_number(inner),
            _ => {
                let of = |e: &Expr| {
                    self.scopes.last().and_then(|scope| scope.data_type(e)).is_some_and(DataType::is_numeric)
                };
                let long = match expr {
                    Expr::Identifier(ident) => {
                        SHORT.iter().find(|(short, _)| *short == normal(ident)).map(|(_, long)| long)
                    }
                    _ => None,
                };
                of(expr) || long.is_some_and(|long| of(&Expr::Identifier(Ident::new(*long))))
            }
        }
    }

    /// `f(..).field` becomes `(f(..) OVER ..)['field']`.
    pub(super) fn field(&mut self, root: &Expr, chain: &mut [AccessExpr]) {
        self.methods(root, chain);
        for access in chain.iter_mut() {
            let AccessExpr::Dot(Expr::Identifier(field)) = access else { continue };
            let name = normal(field);
            if let Some(signature) = self.calls.called(root).map(|f| f.signature())
                && signature.output_index(&name).is_none()
            {
                let known: Vec<_> = signature.outputs.iter().map(|o| o.name.as_str()).collect();
                let problem = Problem::new(format!("{} has no field `{field}`", signature.name), field.span);
                self.problems.push(match closest(&name, known.iter().copied()) {
                    _ if signature.outputs.len() == 1 => problem.help(format!("{} is a plain column", signature.name)),
                    Some(similar) => problem.maybe(Some(similar)),
                    None => problem.help(format!("fields: {}", known.join(", "))),
                });
            }
            *access = subscript(&name);
        }
    }

    /// `rsi(14).shift(1)`; of `close.rolling(20).mean()` the first call is reported.
    fn methods(&mut self, root: &Expr, chain: &mut [AccessExpr]) {
        let mut reported = matches!(root, Expr::Function(first) if first.name.0.len() > 1);
        let mut of = typed(root);
        for access in chain.iter_mut() {
            let shown = access.to_string();
            if let AccessExpr::Dot(Expr::Function(call)) = access {
                if !std::mem::replace(&mut reported, true) {
                    let mut method = call.clone();
                    method.name.0.insert(0, ObjectNamePart::Identifier(Ident::new(of.clone())));
                    let problem = habits::method(&method, |name| self.is_function(name));
                    self.problems.extend(problem);
                }
                *access = subscript("");
            }
            of += &shown;
        }
    }
}
