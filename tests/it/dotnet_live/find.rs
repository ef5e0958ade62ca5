//! Finding the runtime of a container.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use salvage::dotnet::find::{self, Found, NoSocket};
use salvage::dotnet::ipc;

use super::on_each;
use crate::support::container::{Dotnet, Launch, USER};

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_runtime_is_found_and_says_what_it_is() -> Result<()> {
    on_each(
        |launch| launch.read_only_root(),
        |container| {
            let process = find::process(Path::new("/proc"), container.pid())?;
            ensure!(process.inner_pid == 1 && process.uid == USER, "{process:?}");
            ensure!(
                process.rss > 10 << 20 && process.rss_anon < process.rss && process.threads > 5,
                "{process:?}"
            );
            let target = container.target()?;
            ensure!(target.is_alive());
            match ipc::process_info(&target) {
                Err(error) if container.dotnet() == Dotnet::Core31 => {
                    ensure!(error.reason() == "Unsupported", "{error}")
                }
                info => {
                    let info = info?;
                    ensure!(
                        info.operating_system == "Linux"
                            && info.entry_assembly.as_deref() == Some("loop"),
                        "{info:?}"
                    );
                    let version = info.clr_version.context("a version")?;
                    ensure!(
                        version
                            == if container.dotnet() == Dotnet::Net8 {
                                "8.0.15"
                            } else {
                                "9.0.1"
                            },
                        "{version}"
                    );
                }
            }
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_temp_directory_elsewhere_is_looked_into_even_through_a_symlink_on_the_way() -> Result<()> {
    on_each(
        |launch| {
            launch
                .temp_dir("real/t")
                .setup("ln -s /opt/real /opt/via")
                .env("TMPDIR", "/opt/via/t/")
        },
        |container| container.target().map(drop),
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn diagnostics_that_are_switched_off_are_named_by_their_variable() -> Result<()> {
    for dotnet in Dotnet::provisioned() {
        // 3.1 knows only the old prefix.
        let variable = if dotnet == Dotnet::Core31 {
            "COMPlus_EnableDiagnostics"
        } else {
            "DOTNET_EnableDiagnostics"
        };
        let mut container = Launch::of(dotnet)
            .env(variable, "0")
            .without_socket()
            .start()?;
        let found = container.look_for(container.pid())?;
        ensure!(
            matches!(found, Found::DiagnosticsDisabled(named) if named == variable),
            "{found:?}"
        );
        container.ensure_alive()?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn two_runtimes_of_a_container_are_told_apart() -> Result<()> {
    on_each(
        |launch| launch.processes(2),
        |container| {
            let proc = Path::new("/proc");
            let both = container
                .pids()
                .iter()
                .map(|pid| Ok(find::process(proc, *pid)?))
                .collect::<Result<Vec<_>>>()?;
            for process in both {
                let target = find::inspect(proc, &process).target(process.pid)?;
                ensure!(target.inner_pid() == process.inner_pid);
                if container.dotnet().tells_what_it_is() {
                    ensure!(
                        i64::try_from(ipc::process_info(&target)?.pid)?
                            == i64::from(process.inner_pid)
                    );
                }
            }
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn what_is_not_the_runtimes_own_socket_is_refused_with_what_it_is() -> Result<()> {
    let hide = "S=$(ls -d /tmp/dotnet-diagnostic-1-*-socket)";
    for (commands, undo, expected) in [
        // The socket's name leads elsewhere, if only to the very socket.
        (
            format!("{hide}; mv $S /tmp/real; ln -s /tmp/real $S"),
            "mv /tmp/real $S",
            "is a symlink",
        ),
        (
            format!("{hide}; mv $S /tmp/real; touch $S"),
            "mv /tmp/real $S",
            "is no socket",
        ),
        // Another process listens under the name.
        (
            format!(
                "{hide}; mv $S /tmp/real; python3 -c 'import socket,sys,os; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); \
                 open(\"/tmp/up\",\"w\"); s.accept(); s.accept()' $S </dev/null >/dev/null 2>&1 & while [ ! -e /tmp/up ]; do :; done; rm /tmp/up"
            ),
            "mv -f /tmp/real $S",
            "listens at",
        ),
        // A socket that nobody listens at any more.
        (
            format!(
                "{hide}; mv $S /tmp/real; python3 -c 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' $S"
            ),
            "mv -f /tmp/real $S",
            "Stale",
        ),
        // Only that of an earlier start.
        (
            format!("{hide}; mv $S /tmp/dotnet-diagnostic-1-7-socket"),
            "mv /tmp/dotnet-diagnostic-1-7-socket $S",
            "OthersOnly",
        ),
        (
            format!("{hide}; mkdir /tmp/aside; mv $S /tmp/aside/s"),
            "mv /tmp/aside/s $S",
            "Absent",
        ),
    ] {
        let mut container = Launch::of(Dotnet::Net8).start()?;
        let found = container.target()?;
        let name = format!("/tmp/dotnet-diagnostic-1-{}-socket", found.start_time());
        container
            .as_root(&commands)
            .with_context(|| expected.to_owned())?;
        let refused = container.look_for(container.pid())?;
        ensure!(
            !matches!(refused, Found::Runtime(_)),
            "{expected}: {refused:?}"
        );
        ensure!(
            format!("{refused:?}").contains(expected),
            "{expected}: {refused:?}"
        );
        container.as_root(&format!("S={name}; {undo}"))?;
        container
            .ensure_alive()
            .with_context(|| expected.to_owned())?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_temp_directory_that_is_a_symlink_is_refused() -> Result<()> {
    let launch = Launch::of(Dotnet::Net8)
        .temp_dir("real")
        .setup("ln -s /opt/real /opt/link");
    let mut container = launch.env("TMPDIR", "/opt/link").without_socket().start()?;
    let found = container.look_for(container.pid())?;
    ensure!(
        matches!(&found, Found::Untrusted(why) if why.contains("symlink")),
        "{found:?}"
    );
    container.ensure_alive()?;
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_missing_socket_is_explained_by_its_directory() -> Result<()> {
    let missing = Launch::of(Dotnet::Net8)
        .env("TMPDIR", "/nowhere")
        .without_socket()
        .start()?;
    let found = missing.look_for(missing.pid())?;
    ensure!(
        matches!(found, Found::NoSocket(NoSocket::TempDirMissing(_))),
        "{found:?}"
    );

    let read_only = Launch::of(Dotnet::Net8)
        .setup("mount -o remount,ro /tmp")
        .without_socket()
        .start()?;
    let found = read_only.look_for(read_only.pid())?;
    ensure!(
        matches!(found, Found::NoSocket(NoSocket::ReadOnly(_))),
        "{found:?}"
    );
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_runtime_that_ended_is_gone_and_its_target_answers_so() -> Result<()> {
    let mut container = Launch::of(Dotnet::Net8).start()?;
    let target = container.target()?;
    let process = find::process(Path::new("/proc"), container.pid())?;
    container.process().kill()?;
    let mut ended = container;
    ended.wait_until("it has ended", |_| Ok(!target.is_alive()))?;
    let Err(error) = ipc::process_info(&target) else {
        bail!("it answered")
    };
    ensure!(error.reason() == "TargetDied", "{error}");
    ensure!(matches!(
        find::inspect(Path::new("/proc"), &process),
        Found::Gone
    ));
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn another_program_is_no_runtime() -> Result<()> {
    let us = find::process(Path::new("/proc"), i32::try_from(std::process::id())?)?;
    let found = find::inspect(Path::new("/proc"), &us);
    ensure!(matches!(found, Found::NotDotnet), "{found:?}");
    Ok(())
}
