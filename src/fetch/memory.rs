//! A store in memory, for tests of what reads from one: pages as small as a test wants, and failures on demand.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::ObjectKey;
use crate::store::{
    Error, Expected, ListQuery, ObjectInfo, Operation, Page, Part, PartInfo, Probe, Problem,
    PutMode, Result, Store, Upload, Verified,
};

#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Bytes>,
    page_size: Option<usize>,
    failures: VecDeque<Problem>,
    gets: usize,
    lists: Vec<ListQuery>,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds it")
    }

    pub(crate) fn with_pages_of(size: usize) -> Self {
        let store = Self::default();
        store.state().page_size = Some(size);
        store
    }

    /// Any name, ours or not.
    pub(crate) fn insert(&self, name: &str, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.state().objects.insert(name.to_owned(), bytes);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.state().objects.remove(name);
    }

    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let object = state.objects.get_mut(name).expect("is there");
        let mut bytes = object.to_vec();
        change(&mut bytes);
        *object = bytes.into();
    }

    /// The next `count` reads fail.
    pub(crate) fn fail_next(&self, count: usize, problem: Problem) {
        let failures = std::iter::repeat_n(problem, count);
        self.state().failures.extend(failures);
    }

    pub(crate) fn gets(&self) -> usize {
        self.state().gets
    }

    pub(crate) fn lists(&self) -> Vec<ListQuery> {
        self.state().lists.clone()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn url(&self) -> String {
        "memory:".to_owned()
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let mut state = self.state();
        state.gets += 1;
        let fail = |problem| Err(Error::new(Operation::Get, key, problem));
        if let Some(problem) = state.failures.pop_front() {
            return fail(problem);
        }
        let Some(object) = state.objects.get(key.as_str()) else {
            return fail(Problem::NotFound);
        };
        let length = object.len() as u64;
        let (start, end) = (range.start.min(length), range.end.min(length));
        Ok(object.slice(start as usize..end as usize))
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        let mut state = self.state();
        state.lists.push(query.clone());
        if let Some(problem) = state.failures.pop_front() {
            return Err(Error::new(Operation::List, &query.prefix, problem));
        }
        let size = state.page_size.unwrap_or(1_000);
        let mut page = Page::default();
        let mut last = String::new();
        for (name, bytes) in &state.objects {
            let Some(below) = name.strip_prefix(&query.prefix) else {
                continue;
            };
            let folder = below.find('/').filter(|_| query.folders);
            let entry = match folder {
                Some(end) => format!("{}{}", query.prefix, &below[..=end]),
                None => name.clone(),
            };
            let is_seen = query.next.as_ref().is_some_and(|next| entry <= *next);
            if is_seen || page.folders.last() == Some(&entry) {
                continue;
            }
            if page.objects.len() + page.folders.len() + page.foreign == size {
                page.next = Some(last);
                break;
            }
            last.clone_from(&entry);
            match (folder, name.parse()) {
                (Some(_), _) => page.folders.push(entry),
                (None, Ok(key)) => page.objects.push(ObjectInfo {
                    key,
                    bytes: bytes.len() as u64,
                }),
                (None, Err(_)) => page.foreign += 1,
            }
        }
        Ok(page)
    }

    async fn put(&self, _: &ObjectKey, _: Bytes, _: PutMode) -> Result<()> {
        unreachable!("nothing in fetch writes")
    }

    async fn begin(&self, _: &ObjectKey, _: u64) -> Result<Upload> {
        unreachable!("nothing in fetch writes")
    }

    async fn put_part(&self, _: &Upload, _: u32, _: Bytes) -> Result<Part> {
        unreachable!("nothing in fetch writes")
    }

    async fn complete(&self, _: &Upload, _: &[Part], _: &Expected, _: PutMode) -> Result<()> {
        unreachable!("nothing in fetch writes")
    }

    async fn abort(&self, _: &Upload) -> Result<()> {
        unreachable!("nothing in fetch writes")
    }

    async fn uploads(&self, _: &ObjectKey) -> Result<Vec<Upload>> {
        unreachable!("nothing in fetch writes")
    }

    async fn parts(&self, _: &Upload) -> Result<Vec<PartInfo>> {
        unreachable!("nothing in fetch writes")
    }

    async fn verify(&self, _: &ObjectKey, _: &Expected) -> Result<Verified> {
        unreachable!("nothing in fetch writes")
    }

    async fn delete(&self, _: &ObjectKey) -> Result<()> {
        unreachable!("nothing in fetch deletes")
    }

    async fn probe(&self, _: &ObjectKey) -> Probe {
        unreachable!("nothing in fetch probes")
    }
}
