//! What the operator asks of the running broker, and has it do: about clients and their sessions, and what
//! is retained. Lists are walked in pieces, so that nobody waits for a long one.

mod clients;
mod retained;
mod steer;

pub use clients::{ClientView, TopicRights};
pub use retained::RetainedView;
pub use steer::{Steered, Unsteered};
