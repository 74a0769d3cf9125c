//! Gets requests to the services: the only part of the program that speaks HTTP.
//!
//! A destination hands over a [`plan::Plan`], which is data: requests, what may be repeated, and how a reply is to be
//! understood. What is common to all (attempts, budget, backoff, logins, bounds, redaction) happens here, once.

pub mod client;
pub mod courier;
pub mod curl;
pub mod limits;
pub mod plan;
pub mod reply;
pub mod request;
pub mod result;
pub mod session;
pub mod signature;
