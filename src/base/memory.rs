//! Memory that was freed and has not gone back to the system.

use std::hint::black_box;
use std::time::Duration;

/// Gives back what has been freed, for as long as it is polled.
///
/// The allocator does that only while it frees something large, a second after what there is to give back was freed: with
/// the last of a crowd, when nothing more happens, it never comes to it. So something large is freed.
pub(crate) async fn give_back() {
    loop {
        tokio::time::sleep(GIVE_BACK_SPACING).await;
        drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
    }
}

/// Longer than the second that the allocator keeps what was freed, in case it is needed again, and so long that an idle daemon
/// hardly wakes for it.
const GIVE_BACK_SPACING: Duration = Duration::from_secs(10);
/// What the allocator takes from the system by itself, and not out of a page that others share. It is never written to.
const LARGE_BYTES: usize = 1 << 20;
