//! The store that several typingd share: what `fleet` asks of it, done by an existing server, Redis 7 or Valkey.
//!
//! Each command of [`crate::fleet::protocol`] but a scan is one script, executed whole. The scripts do what the model
//! of the tests does; a test holds both against each other. They know nothing of typing, and no message text can enter.

mod codec;
mod inspection;
mod link;
mod lookup;
mod place;
mod server;
mod timing;

pub use codec::{Call, Keys, Script, Strange, Who, call, read_mail, read_reply};
pub use inspection::{Inspection, inspect};
pub use link::{Link, LinkState, News};
pub use lookup::{Holder, Lookup};
pub use place::{Address, EXPECTED, Place, Settings};
pub use server::Failure;
pub use timing::SharedText;
