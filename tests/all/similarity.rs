//! Likeness: the kernels against others' values, the search against brute force.

use crate::common::{DAY, START, numbers, query, settings};
use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use tallow::pipeline::control::Control;
use tallow::{Session, Settings};
use tallow_lake::IngestOptions;
use tallow_udfs::similarity::band::Band;
use tallow_udfs::similarity::compare::null_distances;
use tallow_udfs::similarity::descriptor::{resample, slope};
use tallow_udfs::similarity::dtw::dtw;
use tallow_udfs::similarity::random::{Null, RandomWindows, percentile};
use tallow_udfs::similarity::reference::{Channels, Reference, SLOPE_POINTS};
use tallow_udfs::similarity::search::{Excluded, Match, Search, Spacing, Windowing, Worker};
use tallow_udfs::similarity::znorm::znorm;

/// splitmix64, as in `golden/dtw.py`.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn step(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
    }

    pub fn walk(&mut self, length: usize) -> Vec<f64> {
        let mut level = 0.0;
        (0..length)
            .map(|_| {
                level += self.step();
                level
            })
            .collect()
    }

    /// About normal.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.step()).sum::<f64>() / 2.0
    }

    pub fn prices(&mut self, length: usize) -> Vec<f64> {
        let mut price = 100.0;
        (0..length)
            .map(|_| {
                price *= (0.015 * self.normal()).exp();
                price
            })
            .collect()
    }
}

#[test]
fn dtw_is_that_of_dtaidistance() {
    let golden = include_str!("../golden/dtw.csv");
    let mut pairs = 0;
    for (pair, line) in golden.lines().skip(1).enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let mut random = Random(pair as u64);
        let (n, mut m) = (1 + random.below(300), 1 + random.below(300));
        if pair % 3 == 0 {
            m = n;
        }
        let window = random.below(n.max(m) + 1);
        assert_eq!([n, m, window].map(|x| x.to_string()), [cells[0], cells[1], cells[2]]);
        let (a, b) = (random.walk(n), random.walk(m));
        let band = if window == 0 { Band::open(n, m) } else { Band::window(n, m, window) };
        let expected: f64 = cells[3].parse().unwrap();
        let found = dtw(&a, &b, band);
        assert!((found - expected).abs() <= 1e-12 * expected.max(1.0), "pair {pair}: {found} instead of {expected}");
        pairs += 1;
    }
    assert_eq!(pairs, 10_000);
}

/// Bars of symbols: name, times, closes.
pub type Bars = Vec<(String, Vec<i64>, Vec<f64>)>;

pub fn walks(random: &mut Random, symbols: usize, bars: usize) -> Bars {
    let of = |i: usize, random: &mut Random| {
        let bars = bars / 2 + random.below(bars / 2 + 1);
        (format!("S{i:03}"), (0..bars as i64).map(|d| START + d * DAY).collect(), random.prices(bars))
    };
    (0..symbols).map(|i| of(i, random)).collect()
}

/// The distance as the definition says it.
fn by_definition(reference: &[f64], lead: usize, channels: &Channels, window: &[f64]) -> f64 {
    let (m, n) = (reference.len() - lead, window.len() - lead);
    let longer = (n.max(m) as f64).sqrt();
    let apart = |a: &[f64], b: &[f64], band: f64| dtw(&znorm(a), &znorm(b), Band::fraction(n, m, band)) / longer;
    let price = apart(&window[lead..], &reference[lead..], channels.price_band);
    let mut combined = channels.price * price;
    if channels.averages > 0.0 {
        let relative = |closes: &[f64], period: usize| -> Vec<f64> {
            let average = |i: usize| closes[i + 1 - period..=i].iter().sum::<f64>() / period as f64;
            (lead..closes.len()).map(|i| closes[i] / average(i) - 1.0).collect()
        };
        let of = |period| apart(&relative(window, period), &relative(reference, period), channels.averages_band);
        combined += channels.averages * (of(30) + of(45) + of(60)) / 3.0;
    }
    combined /= channels.price + channels.averages;
    if channels.slopes > 0.0 {
        let own = slope(&resample(&znorm(&window[lead..]), m), SLOPE_POINTS);
        let theirs = slope(&znorm(&reference[lead..]), SLOPE_POINTS);
        let squares: f64 = own.iter().zip(&theirs).map(|(a, b)| (a - b).powi(2)).sum();
        combined += channels.slopes * (squares / m as f64).sqrt();
    }
    combined
}

/// Every window of every symbol, the nearest that share no bar.
fn brute_force(
    bars: &Bars,
    reference: &[f64],
    lead: usize,
    channels: &Channels,
    scales: &[f64],
    k: usize,
    excluded: Option<&Excluded>,
) -> Vec<(String, usize, usize, f64)> {
    let m = reference.len() - lead;
    let lengths: Vec<usize> = scales.iter().map(|s| ((m as f64 * s).round() as usize).max(2)).collect();
    let mut all = vec![];
    for (symbol, ts, closes) in bars {
        let mut own = vec![];
        for n in &lengths {
            for start in lead..(closes.len() + 1).saturating_sub(*n) {
                let excluded =
                    excluded.is_some_and(|e| e.symbol == *symbol && ts[start] <= e.to && ts[start + n - 1] >= e.from);
                if !excluded {
                    let window = &closes[start - lead..start + n];
                    own.push((by_definition(reference, lead, channels, window), start, *n));
                }
            }
        }
        own.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1 + a.2, a.2).cmp(&(b.1 + b.2, b.2))));
        let mut chosen: Vec<(f64, usize, usize)> = vec![];
        for one in own {
            if chosen.iter().all(|c| one.1 >= c.1 + c.2 || c.1 >= one.1 + one.2) {
                chosen.push(one);
            }
        }
        all.extend(chosen.into_iter().take(k).map(|(d, start, n)| (symbol.clone(), start, n, d)));
    }
    all.sort_by(|a, b| a.3.total_cmp(&b.3).then_with(|| a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

fn found(search: &Search) -> Vec<(String, usize, usize, f64)> {
    let one = |m: Match| (m.symbol, m.start, m.bars, m.distance.combined);
    search.best().into_iter().map(one).collect()
}

fn assert_same(found: &[(String, usize, usize, f64)], expected: &[(String, usize, usize, f64)]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert_eq!((&f.0, f.1, f.2), (&e.0, e.1, e.2), "{found:?}\n{expected:?}");
        assert!((f.3 - e.3).abs() < 1e-12, "{f:?} {e:?}");
    }
}

#[test]
fn the_pruned_search_finds_what_brute_force_finds() {
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let cases = (any::<u64>(), 1usize..8, 5usize..40, 1usize..6, any::<bool>(), any::<bool>(), 1usize..4);
    runner
        .run(&cases, |(seed, symbols, length, k, both, several, parts)| {
            let mut random = Random(seed);
            let bars = walks(&mut random, symbols, 200);
            let lead = if both { 59 } else { 0 };
            let channels = if both { Channels::BOTH } else { Channels::PRICE };
            let scales = if several { vec![0.9, 0.95, 1.0, 1.05, 1.1] } else { vec![1.0] };
            // Cut from one of the symbols, or from none.
            let (symbol, ts, closes) = &bars[random.below(symbols)];
            let cut = closes.len() > lead + length && random.below(2) == 0;
            let at = lead + if cut { random.below(closes.len() - lead - length) } else { 0 };
            let reference = if cut { closes[at - lead..at + length].to_vec() } else { random.prices(lead + length) };
            let excluded = (cut && random.below(2) == 0).then(|| Excluded {
                symbol: symbol.clone(),
                from: ts[at],
                to: ts[at + length - 1],
            });
            let expected = brute_force(&bars, &reference, lead, &channels, &scales, k, excluded.as_ref());
            let prepared = Reference::new(&reference, lead, channels, &scales).unwrap();
            let search = Search::new(prepared, Windowing::History, k, excluded);
            // Symbols go to any worker, in any order.
            let mut workers: Vec<Worker> = (0..parts).map(|_| Worker::default()).collect();
            let mut order: Vec<usize> = (0..symbols).collect();
            order.sort_by_key(|_| random.next());
            for i in order {
                let (symbol, ts, closes) = &bars[i];
                workers[random.below(parts)].symbol(&search, symbol, ts, closes);
            }
            assert_same(&found(&search), &expected);
            Ok(())
        })
        .unwrap();
}

#[test]
fn thinned_matches_keep_their_ends_apart() {
    let mut random = Random(13);
    let bars = walks(&mut random, 6, 400);
    let reference = Reference::new(&random.prices(40), 0, Channels::PRICE, &[0.9, 1.0, 1.1]).unwrap();
    let spacing = Spacing::Thinned { stride: 10, apart: 20 };
    let search = Search::new(reference, Windowing::History, 1_000, None).with_spacing(spacing);
    let mut worker = Worker::default();
    for (symbol, ts, closes) in &bars {
        worker.symbol(&search, symbol, ts, closes);
    }
    let best = search.best();
    // About one for every twenty bars.
    let room: usize = bars.iter().map(|b| (b.2.len() - 40) / 20).sum();
    assert!(best.len() > room * 2 / 3, "{} of {room}", best.len());
    assert!(best.iter().all(|m| m.start % 10 == 0));
    for (i, a) in best.iter().enumerate() {
        let near = |b: &&Match| b.symbol == a.symbol && (a.start + a.bars).abs_diff(b.start + b.bars) < 20;
        assert_eq!(best[i + 1..].iter().find(near), None);
    }
}

/// A stretched, scaled and noisy copy of a shape.
fn copy(random: &mut Random, shape: &[f64], stretch: f64, noise: f64) -> Vec<f64> {
    let length = (shape.len() as f64 * stretch).round() as usize;
    let (level, size) = (20.0 + 200.0 * random.step().abs(), 0.02 + 0.05 * random.step().abs());
    resample(&znorm(shape), length).iter().map(|z| level * (1.0 + size * (z + noise * random.normal()))).collect()
}

#[test]
fn planted_patterns_are_unusual_and_walks_are_not() {
    let mut random = Random(11);
    // Shoulder, head, shoulder.
    let shape: Vec<f64> = (0..100)
        .map(|i| {
            let bump = |center: f64, height: f64| height * (-((i as f64 - center) / 9.0).powi(2)).exp();
            bump(20.0, 1.0) + bump(50.0, 1.8) + bump(80.0, 1.0)
        })
        .collect();
    let mut bars = walks(&mut random, 300, 800);
    let mut planted = HashSet::new();
    for (i, stretch) in [0.9, 0.95, 1.0, 1.05, 1.1, 0.92, 1.03, 1.08].into_iter().enumerate() {
        let copied = copy(&mut random, &shape, stretch, 0.15);
        let (symbol, _, closes) = &mut bars[7 + 30 * i];
        let at = 150 + 10 * i;
        let factor = closes[at] / copied[0];
        closes.iter_mut().skip(at).zip(&copied).for_each(|(close, value)| *close = value * factor);
        planted.insert(symbol.clone());
    }
    let scales = [0.9, 0.95, 1.0, 1.05, 1.1];
    let reference = Reference::new(&shape, 0, Channels::PRICE, &scales).unwrap();
    let search = Search::new(reference.clone(), Windowing::History, 20, None);
    let mut sample = {
        let (least, most) = reference.needs();
        RandomWindows::new(Null { size: 4_000, seed: 5 }, least, most)
    };
    let mut worker = Worker::default();
    for (symbol, ts, closes) in &bars {
        worker.symbol(&search, symbol, ts, closes);
        sample.symbol(symbol, ts, closes);
    }
    let null = null_distances(&reference, None, &sample.into_windows());
    let best = search.best();
    let first: HashSet<String> = best.iter().take(planted.len()).map(|m| m.symbol.clone()).collect();
    assert_eq!(first, planted);
    assert!(best.iter().take(planted.len()).all(|m| percentile(&null, m.distance.combined).unwrap() > 0.999));
    // Windows of symbols that hold none, ended at random, are as unusual as chance has it.
    let mut windows = vec![];
    for (symbol, _, closes) in bars.iter().filter(|b| !planted.contains(&b.0)).take(200) {
        let end = 110 + random.below(closes.len() - 110);
        let search = Search::new(reference.clone(), Windowing::Latest, 1, None);
        let ts: Vec<i64> = (0..end as i64).collect();
        Worker::default().symbol(&search, symbol, &ts, &closes[..end]);
        windows.push(percentile(&null, search.best()[0].distance.combined).unwrap());
    }
    assert!(windows.iter().filter(|p| **p > 0.999).count() <= 2, "{windows:?}");
    let mean = windows.iter().sum::<f64>() / windows.len() as f64;
    assert!((0.4..0.6).contains(&mean), "{mean}");
}

/// A Parquet file of bars.
pub fn write(path: &Path, bars: &Bars) {
    let rows = bars.iter().flat_map(|(symbol, ts, closes)| ts.iter().zip(closes).map(move |(t, c)| (symbol, *t, *c)));
    let rows: Vec<(&String, i64, f64)> = rows.collect();
    let rows = || rows.iter();
    let close = || rows().map(|r| r.2);
    let number = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
    let columns = vec![
        ("symbol", Arc::new(StringArray::from_iter_values(rows().map(|r| r.0))) as ArrayRef),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(rows().map(|r| r.1)).with_timezone("UTC")) as _),
        ("open", number(close().map(|c| c * 0.999).collect())),
        ("high", number(close().map(|c| c * 1.01).collect())),
        ("low", number(close().map(|c| c * 0.99).collect())),
        ("close", number(close().collect())),
        ("volume", number(rows().map(|r| 1000.0 + (r.1 / DAY % 17) as f64).collect())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = datafusion::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

pub async fn lake(folder: &Path, bars: &Bars) -> Session {
    let file = folder.join("bars.parquet");
    write(&file, bars);
    let lake = folder.join("lake").display().to_string();
    let session = tallow::open(Settings { lake, ..settings() }).await.unwrap();
    let options = IngestOptions { sources: vec![file.display().to_string()], ..IngestOptions::default() };
    session.ingest("1d".parse().unwrap(), options, &Control::default()).await.unwrap();
    session
}

#[tokio::test]
async fn a_search_is_the_same_however_its_rows_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(3);
    let bars = walks(&mut random, 40, 300);
    write(&folder.path().join("one.parquet"), &bars);
    let many = folder.path().join("many");
    std::fs::create_dir(&many).unwrap();
    for (i, chunk) in bars.chunks(3).enumerate() {
        write(&many.join(format!("{i}.parquet")), &chunk.to_vec());
    }
    let reference = bars[5].2[50..140].to_vec();
    let list = reference.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
    let expected = brute_force(&bars, &reference, 0, &Channels::PRICE, &[0.9, 1.0, 1.1], 7, None);
    for (table, threads, batch_size) in
        [("one.parquet", 1, 8192), ("one.parquet", 2, 7), ("many/", 1, 100), ("many/", 2, 8192), ("many/", 3, 33)]
    {
        let path = folder.path().join(table).display().to_string();
        let session = tallow::open(Settings { threads, batch_size, ..settings() }).await.unwrap();
        let sql = format!(
            "select * from dtw_search('{path}{}', [{list}], k => 7, scales => '0.9,1,1.1', null => 500)",
            if table.ends_with('/') { "/" } else { "" }
        );
        let rows = query(&session, &sql).await;
        let symbols: Vec<_> = rows["symbol"].as_string::<i32>().iter().map(|s| s.unwrap().to_string()).collect();
        let starts = rows["start_ts"].as_primitive::<TimestampMicrosecondType>();
        let (bars, distances) = (numbers(&rows, "bars"), numbers(&rows, "distance"));
        let found: Vec<_> = (0..rows.num_rows())
            .map(|i| (symbols[i].clone(), ((starts.value(i) - START) / DAY) as usize, bars[i] as usize, distances[i]))
            .collect();
        assert_same(&found, &expected);
        // The random windows are the same ones, too.
        let percentiles = numbers(&rows, "percentile");
        assert_eq!(percentiles[0], 1.0);
        assert!(percentiles.iter().all(|p| *p > 0.9), "{percentiles:?}");
    }
}

/// One nearest neighbour under DTW, as the archive's tables have it.
#[test]
#[ignore = "needs a Python with aeon, named by TALLOW_TEST_PYTHON"]
fn nearest_neighbours_err_as_published() {
    let python = std::env::var("TALLOW_TEST_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/ucr.py");
    let read = |name: &str, part: &str| -> Vec<(String, Vec<f64>)> {
        let said = std::process::Command::new(&python).args([script, name, part]).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let text = String::from_utf8(said.stdout).unwrap();
        let line = |l: &str| {
            let mut cells = l.split(' ');
            (cells.next().unwrap().to_string(), cells.map(|c| c.parse().unwrap()).collect())
        };
        text.lines().map(line).collect()
    };
    // Errors of 1-NN: Euclidean, and DTW without a window, from the UCR archive's summary.
    for (name, euclidean, dtw_free) in [("GunPoint", 0.0867, 0.0933), ("ItalyPowerDemand", 0.0447, 0.0496)] {
        let (train, test) = (read(name, "train"), read(name, "test"));
        let error = |band: fn(usize, usize) -> Band| {
            let wrong = test.iter().filter(|(class, series)| {
                let distance = |other: &[f64]| dtw(series, other, band(series.len(), other.len()));
                let nearest = train.iter().map(|(c, s)| (distance(s), c)).min_by(|a, b| a.0.total_cmp(&b.0));
                nearest.unwrap().1 != class
            });
            (wrong.count() as f64 / test.len() as f64 * 1e4).round() / 1e4
        };
        assert_eq!(error(|n, m| Band::window(n, m, 1)), euclidean, "{name}");
        assert_eq!(error(Band::open), dtw_free, "{name}");
    }
}
