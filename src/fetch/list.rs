//! Finding crashes by LIST alone, newest first.
//!
//! A small bucket is one page. A large one is walked cluster by cluster, namespace by namespace, and then day by day from the newest
//! one back, over all of them at once, until enough is found: a day is one prefix, and everything in it is newer than everything in
//! the days before. At most `limit` keys are held while a day is paged, or one day's where there is no limit.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use jiff::civil::Date;

use super::days::{Days, ROOT, date_level, day_prefix, level};
use super::error::Result;
use super::filter::Filter;
use crate::model::CrashKey;
use crate::store::{Error as StoreError, ListQuery, Operation, Page, Problem, Store};

/// Listings in flight at once: a page takes tens of milliseconds, and hundreds of namespaces are common.
const IN_FLIGHT: usize = 16;

/// What a search met besides crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Names below `crashes/` that are not salvage's, in the places that were looked at.
    pub foreign: usize,
    /// Whether the limit ended the search, so that there may be more.
    pub may_be_more: bool,
}

/// Gives the crashes that `filter` admits to `found`, newest first, a batch at a time, until it breaks off.
pub async fn list(
    store: &dyn Store,
    filter: &Filter,
    mut found: impl FnMut(Vec<CrashKey>) -> ControlFlow<()>,
) -> Result<Listed> {
    let filter = filter.in_keys();
    let mut listed = Listed::default();
    let Some(days) = Days::of(filter.since, filter.until) else {
        return Ok(listed);
    };
    let everything = ListQuery {
        prefix: ROOT.to_owned(),
        ..ListQuery::default()
    };
    let page = store.list(&everything).await?;
    if page.next.is_none() {
        let mut newest = Newest::new(filter.limit);
        newest.offer_page(page, &filter, &mut listed);
        listed.may_be_more = newest.dropped;
        if !newest.heap.is_empty() {
            let _ = found(newest.into_newest_first());
        }
        return Ok(listed);
    }

    let scopes = scopes(store, &filter, &mut listed).await?;
    let plan = days_of(store, &scopes, days, &mut listed).await?;
    let mut left = filter.limit;
    let mut groups = plan.chunk_by(|a, b| a.date == b.date).peekable();
    while let Some(group) = groups.next() {
        let mut newest = Newest::new(left);
        let prefixes = group.iter().map(|day| {
            day_prefix(
                &scopes[day.scope as usize],
                day.date,
                filter.since,
                filter.until,
            )
        });
        let mut pages = stream::iter(prefixes)
            .map(|prefix| Box::pin(pages(store, prefix, false)))
            .flatten_unordered(IN_FLIGHT);
        while let Some(page) = pages.try_next().await? {
            newest.offer_page(page, &filter, &mut listed);
        }
        listed.may_be_more = newest.dropped;
        let batch = newest.into_newest_first();
        let rest = left.map(|left| left.get().saturating_sub(batch.len()));
        if !batch.is_empty() && found(batch).is_break() {
            return Ok(listed);
        }
        if let Some(rest) = rest {
            left = NonZeroUsize::new(rest);
            if left.is_none() {
                listed.may_be_more |= groups.peek().is_some();
                break;
            }
        }
    }
    Ok(listed)
}

/// One day of one scope. Eight bytes: years of days times thousands of namespaces fit in memory.
#[derive(Clone, Copy, Debug)]
struct Day {
    date: Date,
    /// Index into the scopes.
    scope: u32,
}

/// The prefixes `crashes/cluster=<c>/namespace=<ns>/` to look below.
async fn scopes(store: &dyn Store, filter: &Filter, listed: &mut Listed) -> Result<Vec<String>> {
    let mut clusters = Vec::new();
    let mut folders = Box::pin(pages(store, ROOT.to_owned(), true));
    while let Some(page) = folders.try_next().await? {
        listed.foreign += page.foreign + page.objects.len();
        for folder in page.folders {
            match level(&folder, ROOT, "cluster=") {
                Some(_) => clusters.push(folder),
                None => listed.foreign += 1,
            }
        }
    }
    if let Some(namespace) = &filter.namespace {
        return Ok(clusters
            .iter()
            .map(|cluster| format!("{cluster}namespace={namespace}/"))
            .collect());
    }
    let mut scopes = Vec::new();
    let mut folders = stream::iter(clusters)
        .map(|cluster| {
            Box::pin(
                pages(store, cluster.clone(), true).map_ok(move |page| (cluster.clone(), page)),
            )
        })
        .flatten_unordered(IN_FLIGHT);
    while let Some((cluster, page)) = folders.try_next().await? {
        listed.foreign += page.foreign + page.objects.len();
        for folder in page.folders {
            match level(&folder, &cluster, "namespace=") {
                Some(_) => scopes.push(folder),
                None => listed.foreign += 1,
            }
        }
    }
    Ok(scopes)
}

/// The days to look at, newest first.
async fn days_of(
    store: &dyn Store,
    scopes: &[String],
    days: Days,
    listed: &mut Listed,
) -> Result<Vec<Day>> {
    let numbered = (0u32..).zip(scopes);
    if let Some(few) = days.few() {
        let each = |date: &Date| {
            let date = *date;
            numbered.clone().map(move |(scope, _)| Day { date, scope })
        };
        return Ok(few.iter().flat_map(each).collect());
    }
    let mut plan = Vec::new();
    let mut folders = stream::iter(numbered)
        .map(|(number, scope)| {
            Box::pin(pages(store, scope.clone(), true).map_ok(move |page| (number, scope, page)))
        })
        .flatten_unordered(IN_FLIGHT);
    while let Some((number, scope, page)) = folders.try_next().await? {
        listed.foreign += page.foreign + page.objects.len();
        for folder in page.folders {
            match date_level(&folder, scope) {
                Some(date) if days.contains(date) => plan.push(Day {
                    date,
                    scope: number,
                }),
                Some(_) => {}
                None => listed.foreign += 1,
            }
        }
    }
    plan.sort_unstable_by_key(|day| Reverse(day.date));
    Ok(plan)
}

/// The pages of one listing, one after the other.
fn pages(
    store: &dyn Store,
    prefix: String,
    folders: bool,
) -> impl Stream<Item = Result<Page>> + Send + '_ {
    let first = ListQuery {
        prefix,
        folders,
        next: None,
    };
    stream::try_unfold(Some(first), async move |query| {
        let Some(query) = query else {
            return Ok(None);
        };
        let mut page = store.list(&query).await?;
        if page.next.is_some() && page.next == query.next {
            let problem = Problem::Failed("it answers the same page again and again".to_owned());
            return Err(StoreError::new(Operation::List, &query.prefix, problem).into());
        }
        let next = page.next.take().map(|next| ListQuery {
            next: Some(next),
            ..query
        });
        Ok(Some((page, next)))
    })
}

/// The newest crashes offered so far, at most `limit`.
struct Newest {
    limit: Option<NonZeroUsize>,
    /// The oldest on top.
    heap: BinaryHeap<Reverse<ByAge>>,
    /// Whether an admitted crash was let go for a newer one.
    dropped: bool,
}

impl Newest {
    fn new(limit: Option<NonZeroUsize>) -> Self {
        Self {
            limit,
            heap: BinaryHeap::new(),
            dropped: false,
        }
    }

    fn offer_page(&mut self, page: Page, filter: &Filter, listed: &mut Listed) {
        listed.foreign += page.foreign;
        for object in page.objects {
            match CrashKey::try_from(object.key) {
                Ok(key) if filter.admits(&key) => self.offer(key),
                Ok(_) => {}
                Err(_) => listed.foreign += 1,
            }
        }
    }

    fn offer(&mut self, key: CrashKey) {
        self.heap.push(Reverse(ByAge(key)));
        if self
            .limit
            .is_some_and(|limit| self.heap.len() > limit.get())
        {
            self.heap.pop();
            self.dropped = true;
        }
    }

    fn into_newest_first(self) -> Vec<CrashKey> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|Reverse(ByAge(key))| key).collect()
    }
}

/// A key ordered by the crash's time; ids begin with it. Two keys of one id, which only a forger makes, stay in a fixed order.
struct ByAge(CrashKey);

impl Ord for ByAge {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.0, &other.0);
        let by_id = a.id().cmp(&b.id());
        by_id.then_with(|| a.to_string().cmp(&b.to_string()))
    }
}

impl PartialOrd for ByAge {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByAge {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByAge {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::memory::MemoryStore;
    use crate::model::{CrashId, CrashKeyParts, Reason, crash_key_of};
    use jiff::{Timestamp, ToSpan};

    fn time(text: &str) -> Timestamp {
        text.parse().expect("time")
    }

    /// 60 crashes, every seven hours, spread over two clusters, three namespaces, pods and reasons.
    fn crashes() -> Vec<CrashKey> {
        let first = time("2026-11-01T00:30:00.250Z");
        let crash = |n: i64| {
            crash_key_of(CrashKeyParts {
                cluster: ["east", "west"][n as usize % 2],
                namespace: [Some("shop"), Some("bank"), None][n as usize % 3],
                pod: [Some("cart-0"), Some("cart-1"), Some("till-0"), None][n as usize % 4],
                container: Some(["app", "proxy"][n as usize / 2 % 2]),
                reason: [Reason::Signal(11), Reason::OomKilled][n as usize / 3 % 2],
                stored_bytes: 100,
                id: CrashId::new(first + (7 * n).hours(), n as u128),
            })
        };
        (0..60).map(crash).collect()
    }

    fn filled(store: MemoryStore, crashes: &[CrashKey]) -> MemoryStore {
        for key in crashes {
            store.insert(&key.to_string(), b"{}");
        }
        store
    }

    async fn search(store: &MemoryStore, filter: &Filter) -> (Vec<CrashKey>, Listed) {
        let mut all = Vec::new();
        let listed = list(store, filter, |batch| {
            all.extend(batch);
            ControlFlow::Continue(())
        })
        .await
        .expect("lists");
        (all, listed)
    }

    fn filters() -> Vec<Filter> {
        let all = Filter::default;
        let limit = |n| NonZeroUsize::new(n);
        let noon = Some(time("2026-11-08T12:00:00Z"));
        vec![
            all(),
            Filter {
                namespace: Some("shop".into()),
                ..all()
            },
            Filter {
                namespace: Some("-".into()),
                ..all()
            },
            Filter {
                namespace: Some("nowhere".into()),
                ..all()
            },
            Filter {
                pod: Some("cart-*".parse().expect("pattern")),
                ..all()
            },
            Filter {
                pod: Some("till-0".parse().expect("pattern")),
                limit: limit(4),
                ..all()
            },
            Filter {
                container: Some("proxy".parse().expect("pattern")),
                ..all()
            },
            Filter {
                reason: Some(Reason::OomKilled),
                ..all()
            },
            Filter {
                limit: limit(1),
                ..all()
            },
            Filter {
                limit: limit(7),
                ..all()
            },
            Filter {
                limit: limit(1_000),
                ..all()
            },
            Filter {
                since: noon,
                ..all()
            },
            Filter {
                until: noon,
                limit: limit(9),
                ..all()
            },
            Filter {
                since: noon,
                until: Some(time("2026-11-09T12:00:00Z")),
                ..all()
            },
            Filter {
                since: noon,
                until: Some(time("2026-11-08T19:30:00Z")),
                ..all()
            },
            Filter {
                since: noon,
                until: noon,
                ..all()
            },
            Filter {
                namespace: Some("bank".into()),
                reason: Some(Reason::Signal(11)),
                since: noon,
                limit: limit(2),
                ..all()
            },
        ]
    }

    #[tokio::test]
    async fn a_walk_finds_what_one_page_shows_and_both_are_right() {
        let crashes = crashes();
        let flat = filled(MemoryStore::default(), &crashes);
        let walked = filled(MemoryStore::with_pages_of(3), &crashes);
        for filter in filters() {
            let in_keys = filter.in_keys();
            let mut expected: Vec<_> = crashes.iter().filter(|key| in_keys.admits(key)).collect();
            expected.sort_by_key(|key| Reverse(key.id()));
            let all = expected.len();
            let limit = filter.limit.map_or(usize::MAX, NonZeroUsize::get);
            expected.truncate(limit);
            for store in [&flat, &walked] {
                let (found, listed) = search(store, &filter).await;
                assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
                assert!(listed.may_be_more || all <= limit, "{filter:?}");
                assert_eq!(listed.foreign, 0);
            }
        }
        assert!(flat.lists().iter().all(|query| query.prefix == ROOT));
    }

    #[tokio::test]
    async fn a_limit_is_met_from_the_newest_days() {
        let store = filled(MemoryStore::with_pages_of(5), &crashes());
        let filter = Filter {
            limit: NonZeroUsize::new(2),
            ..Filter::default()
        };
        let (found, listed) = search(&store, &filter).await;
        assert_eq!(found.len(), 2);
        assert!(listed.may_be_more);
        // One crash on the 18th, the newest day, and more than one on the 17th.
        let mut days = store.lists();
        days.retain(|query| query.prefix.contains("date="));
        let is_new = |day: &ListQuery| {
            ["date=2026-11-18/", "date=2026-11-17/"]
                .iter()
                .any(|new| day.prefix.ends_with(new))
        };
        assert!(!days.is_empty() && days.iter().all(is_new), "{days:?}");
    }

    #[tokio::test]
    async fn an_instant_is_looked_up_without_listing_days() {
        let crashes = crashes();
        let store = filled(MemoryStore::with_pages_of(5), &crashes);
        let id = crashes[30].id();
        let filter = Filter {
            since: Some(id.time()),
            until: Some(id.time() + 1.millisecond()),
            ..Filter::default()
        };
        let (found, _) = search(&store, &filter).await;
        assert_eq!(found, [crashes[30].clone()]);
        let second = id.time().strftime("/%Y%m%dT%H%M%SZ").to_string();
        let mut below = store.lists();
        below.retain(|query| query.prefix.contains("date="));
        assert!(!below.is_empty() && below.iter().all(|query| query.prefix.ends_with(&second)));
    }

    #[tokio::test]
    async fn foreign_names_are_counted_and_left_out() {
        let foreign = [
            "crashes/README",
            "crashes/cluster=east/x.json",
            "crashes/cluster=east/namespace=shop/date=yesterday/x.json",
            "crashes/cluster=east/namespace=shop/date=2026-11-01/x y.json",
            "crashes/cluster=east/namespace=shop/date=2026-11-01/x.json",
            "crashes/stray/y/z",
        ];
        for store in [MemoryStore::default(), MemoryStore::with_pages_of(4)] {
            let crashes = crashes();
            filled(store.clone(), &crashes);
            for name in foreign {
                store.insert(name, b"");
            }
            let (found, listed) = search(&store, &Filter::default()).await;
            assert_eq!(found.len(), crashes.len());
            assert_eq!(listed.foreign, foreign.len());
        }
    }

    #[tokio::test]
    async fn breaking_off_ends_the_search() {
        let store = filled(MemoryStore::with_pages_of(3), &crashes());
        let mut batches = 0;
        let stop = |_| {
            batches += 1;
            ControlFlow::Break(())
        };
        list(&store, &Filter::default(), stop).await.expect("lists");
        assert_eq!(batches, 1);
    }

    #[tokio::test]
    async fn an_empty_store_has_no_crashes() {
        let (found, listed) = search(&MemoryStore::default(), &Filter::default()).await;
        assert_eq!((found.len(), listed), (0, Listed::default()));
    }
}
