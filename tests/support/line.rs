//! A line to a server that lets so many bytes through and then holds: a state in which a test can look around, and no race.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::Result;

/// A line on a port of its own.
pub(crate) struct Line {
    address: SocketAddr,
    gate: Arc<Gate>,
}

/// What is let through towards the server.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes that may still pass; none for all.
    left: Option<usize>,
    /// Whether somebody waits for more.
    held: bool,
}

impl Line {
    /// Opens one to `server`. It stays for as long as the process of the test.
    pub(crate) fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let gate = Arc::new(Gate::default());
        let shared = Arc::clone(&gate);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // A connection that breaks is what a line is for.
                let _ = connect(near, server, &shared);
            }
        });
        Ok(Self { address, gate })
    }

    /// Its address, for `store.endpoint`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Holds after this many bytes more.
    pub(crate) fn hold_after(&self, bytes: usize) {
        self.gate.set(Some(bytes));
    }

    /// Lets everything through again.
    pub(crate) fn release(&self) {
        self.gate.set(None);
    }

    /// Whether something waits on it.
    pub(crate) fn is_held(&self) -> bool {
        let state = self.gate.state.lock();
        state.unwrap_or_else(PoisonError::into_inner).held
    }
}

impl Gate {
    fn set(&self, left: Option<usize>) {
        let state = State { left, held: false };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_all();
    }

    /// Waits until some of `wanted` bytes may pass, and says how many.
    fn pass(&self, wanted: usize) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &mut state.left {
                None => return wanted,
                Some(0) => {}
                Some(left) => {
                    let now = wanted.min(*left);
                    *left -= now;
                    return now;
                }
            }
            state.held = true;
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn connect(near: TcpStream, server: SocketAddr, gate: &Arc<Gate>) -> Result<()> {
    let far = TcpStream::connect(server)?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    let (mut from, mut to) = (far.try_clone()?, near.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let gate = Arc::clone(gate);
    std::thread::spawn(move || {
        let _ = send(near, &far, &gate);
        let _ = far.shutdown(Shutdown::Write);
    });
    Ok(())
}

fn send(mut from: TcpStream, mut to: &TcpStream, gate: &Gate) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(gate.pass(rest.len()));
            to.write_all(now)?;
            rest = later;
        }
    }
}
