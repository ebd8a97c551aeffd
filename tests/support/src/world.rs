//! The whole local stack, started as a real process. Filled in with the system tests.
