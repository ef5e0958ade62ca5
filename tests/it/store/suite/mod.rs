//! What every store does. Each behaviour runs against each kind of store.

mod listings;
mod objects;
mod uploads;

use bytes::Bytes;
use salvage::store::PutMode;

use self::listings::*;
use self::objects::*;
use self::uploads::*;
use super::bench::{Bench, key};

macro_rules! every_store {
    (@test [$($attribute:tt)*] $kind:ident $behaviour:ident) => {
        #[tokio::test]
        $($attribute)*
        async fn $behaviour() {
            super::$behaviour(crate::store::bench::$kind().await).await;
        }
    };
    (@kind $attributes:tt $kind:ident [$($behaviour:ident)*]) => {
        mod $kind {
            $(every_store!(@test $attributes $kind $behaviour);)*
        }
    };
    (@kinds $($kind:ident)* => $behaviours:tt) => {
        $(every_store!(@kind [] $kind $behaviours);)*
    };
    ($($behaviour:ident)*) => {
        every_store!(@kind [#[ignore = "needs a real Garage: tests/garage"]] garage [$($behaviour)*]);
        every_store! {
            @kinds
            files
            s3
            s3_probed
            s3_equal_parts
            s3_no_if_none_match
            s3_no_checksums
            s3_completion_answer_lost
            s3_upload_forgotten
            s3_with_md5_only
            s3_with_length_only
            => [$($behaviour)*]
        }
    };
}

every_store! {
    an_object_is_read_back_whole_and_in_ranges
    an_empty_object_is_an_object
    what_was_never_put_is_not_there
    what_exists_is_replaced_or_kept_as_asked
    parts_become_one_object
    an_upload_of_one_part_is_an_object
    an_upload_shows_nothing_until_it_is_complete
    an_aborted_upload_leaves_nothing
    completing_again_changes_nothing
    parts_that_do_not_add_up_are_refused
    open_uploads_are_told_by_their_key
    what_has_arrived_of_an_upload_is_told
    verifying_sees_what_differs
    deleting_what_is_not_there_is_no_error
    a_listing_is_in_order_and_folds_folders
    a_listing_of_thousands_comes_in_pages
    names_that_are_no_keys_are_left_out_and_counted
    long_keys_are_keys
    a_probe_finds_nothing_wrong_and_leaves_nothing
    its_url_is_for_people
}

async fn put(bench: &Bench, name: &str, content: &Bytes, mode: PutMode) {
    let done = bench.store.put(&key(name), content.clone(), mode).await;
    done.expect("put");
}
