//! What a run tells of itself: to whoever asks, and what is not as it should be.

use super::{Running, now};
use crate::alerts::{Loads, WORSE, alerts, baseline, regressions};
use crate::core::{Event, Micros};
use crate::door::{Ask, Letter};
use crate::watch::{Alert, Recent, Severity, Status, health, named};
use tallow_common::Result;
use tallow_common::time::shown;

impl Running {
    pub(super) fn answer(&mut self, ask: Ask) -> Result<()> {
        match ask {
            Ask::Status(to) => drop(to.send(self.status())),
            Ask::Flush(to) if self.live.core.is_flushed() => {
                let _ = to.send(());
            }
            Ask::Flush(to) if self.live.core.is_being_flushed() => self.wait_for_running.push(to),
            Ask::Flush(to) => {
                self.wait_for_flush.push(to);
                self.step(Event::Flush)?;
            }
            Ask::DeadLetters(to) => drop(to.send(self.letters(None).collect())),
            Ask::Retry(symbol, to) => {
                let count = self.letters(symbol.as_deref()).count();
                match symbol.map(|name| self.live.symbols.known(&name)) {
                    // There is no letter of a symbol that is not known.
                    Some(None) => {}
                    symbol => self.step(Event::Retry { symbol: symbol.flatten() })?,
                }
                let _ = to.send(count);
            }
            Ask::Drop(symbol, to) => {
                let count = self.letters(symbol.as_deref()).count();
                match symbol.map(|name| self.live.symbols.known(&name)) {
                    Some(None) => {}
                    symbol => self.step(Event::Drop { symbol: symbol.flatten() })?,
                }
                let _ = to.send(count);
            }
        }
        Ok(())
    }

    /// Dead letters, of a symbol or all.
    fn letters(&self, symbol: Option<&str>) -> impl Iterator<Item = Letter> {
        let names = self.live.symbols.names();
        let letters = self.live.core.dead_letters().filter(|letter| letter.gone_with.is_none());
        let all = letters.map(|letter| Letter {
            symbol: names.of(letter.candle.symbol).to_string(),
            ts: shown(letter.candle.bar.ts),
            bar: letter.candle.bar.values.map(|value| Some(value).filter(|value| !value.is_nan())),
            error: letter.error.clone(),
            attempts: letter.attempts,
            since: shown(letter.since),
        });
        all.filter(move |letter| symbol.is_none_or(|symbol| letter.symbol == symbol))
    }

    pub(super) fn status(&mut self) -> Status {
        let (now, core) = (now(), &self.live.core);
        let since = |then: Option<Micros>| then.map_or(0.0, |then| (now - then).max(0) as f64 / 1e6);
        let recent = self.watch.recent(now);
        let (memory, cpu) = self.usage.now();
        let loads = self.loads(memory, cpu);
        Status {
            name: self.live.target.name.clone(),
            table: self.live.plan.table.clone(),
            uptime: since(Some(self.watch.begun)),
            symbols: self.live.symbols.len(),
            bar_by_bar: self.live.is_bar_by_bar(),
            queue: core.pending(),
            queue_capacity: core.capacity(),
            oldest_ms: since(core.oldest()) * 1e3,
            unflushed: core.unflushed(),
            flush_lag: since(self.flushing_since.or(self.unflushed_since)),
            dead_letters: core.dead_letters().filter(|letter| letter.gone_with.is_none()).count(),
            unreadable: self.unreadable,
            rows: self.rows,
            rebuilds: self.watch.rebuilds,
            reconnects: self.reconnects,
            counters: named(core.counters()),
            latency: self.watch.latency(),
            queue_time: self.watch.queue_time(),
            memory: memory as f64 / (1 << 20) as f64,
            health: health(&recent, loads.waits),
            alerts: self.found(now, &recent, &loads),
            recent,
        }
    }

    fn loads(&self, memory: u64, cpu: f64) -> Loads {
        let core = &self.live.core;
        let may = self.live.session.engine().memory().max(1) as f64;
        Loads {
            queue: 100.0 * core.pending() as f64 / core.capacity().max(1) as f64,
            memory: 100.0 * memory as f64 / may,
            cpu,
            waits: core.pending() > 0,
        }
    }

    /// What is not as it should be.
    fn found(&self, now: Micros, recent: &Recent, loads: &Loads) -> Vec<Alert> {
        let mut found = alerts(recent, loads);
        if let Some(baseline) = baseline(&self.live.folder()) {
            found.extend(regressions(&baseline, &self.watch.last(now, WORSE)));
        }
        found
    }

    /// Tells what is not as it should be.
    pub(super) fn alert(&mut self) {
        let now = now();
        let (memory, cpu) = self.usage.now();
        let found = self.found(now, &self.watch.recent(now), &self.loads(memory, cpu));
        for alert in self.told.news(now, &found) {
            let Alert { what, severity, value, limit } = alert;
            match severity {
                Severity::Warning => tracing::warn!("{what}: {value:.1}, which passes {limit}"),
                Severity::Critical => tracing::error!("{what}: {value:.1}, which passes {limit}"),
            }
            self.live.notices.iter_mut().for_each(|notice| notice.tell(&self.live.target.name, alert));
        }
    }
}
