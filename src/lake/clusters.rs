//! Files that have to be rewritten together because they share symbols.

use super::delta::DataFile;
use super::profile::Profile;

/// A set of files whose symbol ranges overlap; no file outside shares a symbol with them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cluster {
    pub files: Vec<usize>,
    pub first: String,
    pub last: String,
    pub bytes: u64,
}

/// Files in clusters, in symbol order. If the order of any file is unproven, all of them are one cluster.
pub(super) fn clusters(files: &[DataFile], profiles: &[Profile]) -> Vec<Cluster> {
    if profiles.iter().any(|p| !p.sorted) {
        let bytes = files.iter().map(|f| f.meta.size).sum();
        return vec![Cluster {
            files: (0..files.len()).collect(),
            first: String::new(),
            last: "\u{10ffff}".into(),
            bytes,
        }];
    }
    let mut order: Vec<usize> = (0..files.len()).filter(|&i| !profiles[i].runs.is_empty()).collect();
    order.sort_by(|&a, &b| profiles[a].runs[0].symbol.cmp(&profiles[b].runs[0].symbol));
    let mut found: Vec<Cluster> = vec![];
    for i in order {
        let runs = &profiles[i].runs;
        let (first, last) = (&runs[0].symbol, runs[runs.len() - 1].last_symbol());
        let bytes = files[i].meta.size;
        match found.last_mut() {
            Some(cluster) if *first <= cluster.last => {
                cluster.files.push(i);
                cluster.bytes += bytes;
                if cluster.last.as_str() < last {
                    cluster.last = last.to_string();
                }
            }
            _ => found.push(Cluster { files: vec![i], first: first.clone(), last: last.to_string(), bytes }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::profile::Run;
    use super::*;
    use deltalake_core::kernel::Add;
    use object_store::ObjectMeta;

    fn file(size: u64) -> DataFile {
        let meta = ObjectMeta {
            location: "x".into(),
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size,
            e_tag: None,
            version: None,
        };
        let add = Add {
            path: String::new(),
            partition_values: Default::default(),
            size: 0,
            modification_time: 0,
            data_change: true,
            stats: None,
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        };
        DataFile { meta, add }
    }

    fn profile(first: &str, last: &str) -> Profile {
        let run = Run { through: Some(last.to_string()), symbols: 2, ..Run::of(first, 0, 0, 1) };
        Profile { rows: 10, sorted: true, runs: vec![run], row_groups: vec![], schema: 0 }
    }

    #[test]
    fn overlapping_files_are_one_cluster() {
        let profiles = [profile("M", "P"), profile("A", "C"), profile("O", "Z"), profile("C", "D")];
        let found = clusters(&[file(1), file(2), file(4), file(8)], &profiles);
        let shown: Vec<_> =
            found.iter().map(|c| (c.files.clone(), c.first.as_str(), c.last.as_str(), c.bytes)).collect();
        assert_eq!(shown, [(vec![1, 3], "A", "D", 10), (vec![0, 2], "M", "Z", 5)]);
    }
}
