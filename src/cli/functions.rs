//! `tallow functions`.

use super::Failure;
use super::commands::{Context, Run};
use super::output::out;
use crate::Error;
use crate::pipeline::functions as listing;
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(super) struct FunctionsArgs {
    /// Part of a name, family or description
    pub pattern: Option<String>,
    /// As JSON, with every parameter
    #[arg(long)]
    pub json: bool,
}

impl Run for FunctionsArgs {
    async fn run(self, _: &Context) -> Result<(), Failure> {
        let pattern = self.pattern.unwrap_or_default().to_ascii_lowercase();
        let matches = |f: &listing::FunctionDoc| {
            let names = std::iter::once(&f.name).chain(&f.aliases);
            names.chain([&f.family, &f.doc]).any(|text| text.to_ascii_lowercase().contains(&pattern))
        };
        let found: Vec<_> = listing::describe_all().into_iter().filter(matches).collect();
        if self.json {
            let text = serde_json::to_string_pretty(&found).map_err(|e| Error::invalid(e.to_string()))?;
            out!("{text}");
            return Ok(());
        }
        if found.is_empty() {
            return Err(Error::invalid(format!("no function matches `{pattern}`")).into());
        }
        let mut family = String::new();
        for function in &found {
            if function.family != family {
                out!("{}{}", if family.is_empty() { "" } else { "\n" }, function.family);
                family.clone_from(&function.family);
            }
            out!("  {}", function.usage);
            let reach = function.reach_back.as_ref().map_or_else(String::new, |r| format!("; looks back {r} bars"));
            let ahead = function.reach_ahead.as_ref().filter(|bars| *bars != "0");
            let ahead = ahead.map_or_else(String::new, |bars| format!(" and ahead {bars}"));
            out!("      {}; returns {}{reach}{ahead}", function.doc, function.returns);
            if !function.options.is_empty() {
                let options: Vec<_> = function.options.iter().map(|o| format!("{} ({})", o.name, o.doc)).collect();
                out!("      series that may be given besides, by name: {}", options.join("; "));
            }
            let aliases: Vec<_> = function.aliases.iter().filter(|a| **a != format!("ta_{}", function.name)).collect();
            if !aliases.is_empty() {
                let aliases: Vec<_> = aliases.into_iter().map(String::as_str).collect();
                out!("      also: {}", aliases.join(", "));
            }
        }
        Ok(())
    }
}
