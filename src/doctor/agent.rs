//! The agent beside it: whether it answers, and what it says itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Finding;

/// It is on this machine: an answer takes milliseconds.
const ANSWER: Duration = Duration::from_secs(3);

/// Longest answer that is read.
const ANSWER_MAX: u64 = 64 << 10;

/// What asking brought: status and body, or why there is none.
pub(super) type Answered = Result<(u16, String), String>;

/// Asks the agent that listens at `listen`.
pub(super) async fn examine(listen: SocketAddr) -> Vec<Finding> {
    if listen.port() == 0 {
        return vec![Finding::skipped(
            "agent",
            "",
            "listen has port 0, so nobody but the agent knows its address",
            "set listen to a fixed port",
        )];
    }
    let address = reachable(listen);
    let health = ask(address, "/healthz").await;
    let ready = match &health {
        Ok((200, _)) => Some(ask(address, "/readyz").await),
        _ => None,
    };
    judge(address, &health, ready.as_ref())
}

/// An address of this machine by which a listening one is reached.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr, path: &str) -> Answered {
    match timeout(ANSWER, exchange(address, path)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {ANSWER:?}")),
    }
}

async fn exchange(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.unwrap_or(0), body.to_owned()))
}

fn judge(address: SocketAddr, health: &Answered, ready: Option<&Answered>) -> Vec<Finding> {
    let foreign = "something else answers at this address";
    match health {
        Err(why) => {
            return vec![Finding::fail(
                "agent.health",
                address,
                format!("the agent does not answer: {why}"),
                "start it, or look at its log; while it is down dumps stay where they are written",
            )];
        }
        Ok((200, body)) if body.trim() == "ok" => {}
        Ok((status, _)) => {
            return vec![Finding::fail(
                "agent.health",
                address,
                format!("{foreign} than an agent (status {status} for /healthz)"),
                "set listen to a free address, and start the agent",
            )];
        }
    }
    let mut findings = vec![Finding::ok("agent.health", address, "the agent answers")];
    match ready {
        Some(Ok((200, _))) => findings.push(Finding::ok(
            "agent.ready",
            address,
            "every part of the agent is ready",
        )),
        Some(Ok((503, body))) => findings.extend(not_ready(body)),
        Some(Ok((status, _))) => findings.push(Finding::fail(
            "agent.ready",
            address,
            format!("{foreign} than an agent (status {status} for /readyz)"),
            "set listen to a free address, and start the agent",
        )),
        Some(Err(why)) => findings.push(Finding::fail(
            "agent.ready",
            address,
            format!("the agent does not say whether it is ready: {why}"),
            "look at its log",
        )),
        None => {}
    }
    findings
}

/// One finding for each part that is not ready, in the agent's own words, which name the remedy.
pub(super) fn not_ready(body: &str) -> impl Iterator<Item = Finding> {
    body.lines().map(|line| {
        let (part, why) = line.split_once(": ").unwrap_or(("agent", line));
        Finding::fail(
            "agent.ready",
            part,
            format!("the agent is not ready: {why}"),
            "",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn judged(health: Answered, ready: Option<Answered>) -> Vec<(&'static str, Verdict, String)> {
        let address = "127.0.0.1:9464".parse().expect("address");
        judge(address, &health, ready.as_ref())
            .into_iter()
            .map(|f| (f.id, f.verdict, format!("{}: {}", f.subject, f.cause)))
            .collect()
    }

    #[test]
    fn an_agent_is_down_somebody_else_ready_or_says_why_not() {
        let down = judged(Err("Connection refused".into()), None);
        assert_eq!(down[0].1, Verdict::Fail);
        assert!(down[0].2.contains("does not answer"), "{down:?}");
        let other = judged(Ok((404, "nginx".into())), None);
        assert!(other[0].2.contains("something else"), "{other:?}");
        let healthy = || Ok((200, "ok\n".to_owned()));
        let ready = judged(healthy(), Some(Ok((200, "ready\n".into()))));
        assert!(ready.iter().all(|f| f.1 == Verdict::Ok), "{ready:?}");
        let body = "source /var/crash: cannot be opened\nstore: s3://b: access denied; grant x\n";
        let not = judged(healthy(), Some(Ok((503, body.into()))));
        assert_eq!(not.len(), 3);
        assert_eq!(not[1].1, Verdict::Fail);
        assert!(
            not[1]
                .2
                .starts_with("source /var/crash: the agent is not ready")
        );
        assert!(not[2].2.contains("s3://b: access denied"), "{not:?}");
    }

    #[test]
    fn an_address_for_everybody_is_asked_on_the_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.7:1", "10.0.0.7:1"),
        ] {
            let listen = listen.parse().expect("address");
            assert_eq!(reachable(listen).to_string(), asked);
        }
    }
}
