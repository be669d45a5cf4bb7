//! The real binary against HubSpot's stand-in over HTTP, with real SQLite files: the promises of the manual, and what
//! other connectors got wrong.

mod alone;
mod along;
mod associations;
mod both_ways;
mod commands;
mod crashes;
mod daemon;
mod decisions;
mod doctor;
mod existence;
mod files;
mod floors;
mod gap;
mod guard;
mod histories;
mod init;
mod keys;
mod links;
mod lost;
mod manual;
mod oauth;
mod objects;
mod plan;
mod portal;
mod quotas;
mod reads;
mod regressions;
mod rows;
mod stages;
mod subscriptions;
mod troubles;
mod undo;
mod waits;
mod webhooks;
mod written;
