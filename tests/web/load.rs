//! Many phones at once, on the real engine.

use std::time::Duration;

use crate::crowd::{Crowd, Took};
use crate::skip::{Lack, skipped};

const PHONES: usize = 200;
const LOGINS: usize = 100;
/// Fifty a second.
const PACE: Duration = Duration::from_millis(20);
/// For twostep-web and for the engine, in KiB. A debug build has more to hold than a released one, and so has a machine with larger pages.
const MOST: [u64; 2] = [64 * 1024, 96 * 1024];

/// All at one address, as phones are behind one router, or in one IPv6 network.
#[test]
fn two_hundred_phones_of_one_address_wait_and_each_login_is_verified_by_its_own() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let crowd = Crowd::start(PHONES).await;
        let before = crowd.nas.memory();
        let mut waiting = crowd.wait(PHONES, true).await;
        let mut took = crowd.log_in(LOGINS, PHONES, (PACE, PHONES)).await;
        assert_eq!(took.len(), LOGINS);
        assert!(waiting.are_all_there(), "no phone lost its stream");
        took.sort_unstable_by_key(|took| took.approved);
        let Took { approved, whole } = &took[LOGINS / 2];
        println!("ready after {:?}; approved -> verified p50 {approved:?}, of a login of {whole:?}", crowd.nas.ready);
        let Some((before, after)) = before.zip(crowd.nas.memory()) else {
            return skipped(Lack::Root, "only root can read how much memory a confined process has");
        };
        println!("PSS of twostep-web and of the engine: {before:?} KiB before, {after:?} KiB after");
        assert!(after[0] < MOST[0] && after[1] < MOST[1], "{after:?} KiB");
    });
}
