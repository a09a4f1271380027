//! What stands for guests, the hypervisor and xenstored in tests.

mod guests;
mod page;
mod store;

pub use guests::{FakeGuest, FakeMachine, Guests};
pub use page::SharedPage;
pub use store::FakeStore;
