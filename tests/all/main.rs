//! Scenario tests over the whole engine: one binary, because each links DataFusion.

mod common;
mod dialect;
mod golden;
mod layouts;
mod limits;
mod mistakes;
mod plans;
mod properties;
mod registry;
mod slt;
