//! What a scalar function or an aggregate says of itself.

use datafusion_expr::{DocSection, Documentation, Signature, Volatility};

/// The documentation of a function. Every field has to be filled in; `tests/registry.rs` looks at the texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Described<'a> {
    /// Family in listings.
    pub group: &'static str,
    /// The call, with defaults: `bar_floor(ts, timeframe, origin => 'utc')`.
    pub usage: &'a str,
    /// What it gives, and in which unit or shape.
    pub doc: &'a str,
    /// What becomes of nulls.
    pub nulls: &'a str,
    /// Where the definition comes from; empty where it is ours.
    pub source: &'a str,
    /// Name and meaning of every argument, in call order.
    pub arguments: &'a [(&'a str, &'a str)],
    /// A statement that runs in any session that has `candles(symbol, ts, open, high, low, close, volume)`.
    pub example: &'a str,
}

impl Described<'_> {
    /// A signature whose types the function itself checks; arguments may be given by name.
    pub fn signature(&self) -> Signature {
        let signature = Signature::user_defined(Volatility::Immutable);
        let names: Vec<&str> = self.arguments.iter().map(|(name, _)| *name).collect();
        signature.clone().with_parameter_names(names).unwrap_or(signature)
    }

    pub fn documentation(&self) -> Documentation {
        let section = DocSection { include: true, label: self.group, description: None };
        let mut text = format!("{}. {}", self.doc, self.nulls);
        if !self.source.is_empty() {
            text = format!("{text}. Source: {}", self.source);
        }
        let mut documentation =
            Documentation::builder(section, text, self.usage).with_sql_example(sql_block(self.example));
        for (name, meaning) in self.arguments {
            documentation = documentation.with_argument(*name, *meaning);
        }
        documentation.build()
    }
}

/// A statement as Markdown shows it.
pub(crate) fn sql_block(statement: &str) -> String {
    format!("```sql\n{statement}\n```")
}
