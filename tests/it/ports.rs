//! Ports that a test gives to a program that it starts later.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the kernel gives to connections going out (from 32768 on): none of those takes one before the program listens.
const FIRST: u16 = 10_000;

/// So many of them.
const PORTS: u16 = 22_000;

/// A port of 127.0.0.1 that nobody has, and that no other test which runs beside this one is given.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Each test is a process of its own; those that run at once have numbers close to each other.
    let own = std::process::id().wrapping_mul(41) % u32::from(PORTS);
    let own = u16::try_from(own).expect("less than the ports there are");
    for _ in 0..PORTS {
        let next = GIVEN.fetch_add(1, Ordering::Relaxed) % PORTS;
        let port = FIRST + (own + next) % PORTS;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
