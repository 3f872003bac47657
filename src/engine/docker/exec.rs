//! Programs inside containers: run, joined to a pipe, asked for their exit code.

use bollard::models::ExecConfig;
use futures::StreamExt as _;
use hyper::Method;
use hyper::StatusCode;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::BufReader;
use tokio_util::codec::FramedRead;

use super::failure;
use super::failure::Subject;
use super::frames::Frames;
use super::frames::Joined;
use super::socket::Socket;
use crate::engine::Error;
use crate::engine::Exec;
use crate::engine::ExecSession;
use crate::engine::Pipe;

/// The engine writes frames of up to 32 KiB; one read takes one of them with its header.
const BUFFER: usize = 33 << 10;

/// Runs a program in a running container.
pub async fn exec(socket: &Socket, container: &str, exec: &Exec) -> Result<ExecSession, Error> {
    let (id, stream) = begin(socket, container, exec, exec.stdin).await?;
    let (read, write) = tokio::io::split(stream);
    let output = FramedRead::with_capacity(read, Frames::new(false), 8 << 10);
    let output = output.map(|item| item.map_err(failure::garbled));
    let stdin =
        exec.stdin.then(|| -> std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>> { Box::pin(write) });
    Ok(ExecSession { stdin, output: output.boxed(), id })
}

/// Runs a program in a running container as a byte stream.
pub async fn pipe(socket: &Socket, container: &str, exec: &Exec) -> Result<Box<dyn Pipe>, Error> {
    let (_, stream) = begin(socket, container, exec, true).await?;
    Ok(Box::new(Joined::new(BufReader::with_capacity(BUFFER, stream))))
}

/// The exit code of a program; `None` while it runs.
pub async fn exit(socket: &Socket, id: &str) -> Result<Option<i64>, Error> {
    let found = socket.call(Subject::exec(id), |api| async move { api.inspect_exec(id).await }).await?;
    Ok(found.exit_code.filter(|_| !found.running.unwrap_or_default()))
}

async fn begin(
    socket: &Socket,
    container: &str,
    exec: &Exec,
    stdin: bool,
) -> Result<(String, TokioIo<Upgraded>), Error> {
    let env = exec.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let config = ExecConfig {
        attach_stdin: Some(stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(exec.argv.clone()),
        env: Some(env),
        user: exec.user.clone(),
        working_dir: exec.directory.clone(),
        ..Default::default()
    };
    let subject = Subject::container(container);
    let made = socket.call(subject, |api| async move { api.create_exec(container, config).await }).await?;
    let path = format!("/exec/{}/start", made.id);
    let body = r#"{"Detach":false,"Tty":false}"#.to_owned();
    let response = socket.open(Subject::exec(&made.id), Method::POST, &path, Some(body)).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(failure::garbled("the engine did not open a stream"));
    }
    let upgraded = tokio::time::timeout(socket.call_timeout(), hyper::upgrade::on(response)).await;
    match upgraded {
        Ok(Ok(upgraded)) => Ok((made.id, TokioIo::new(upgraded))),
        Ok(Err(error)) => Err(failure::garbled(error)),
        Err(late) => Err(failure::unreachable(socket.address(), socket.call_timeout(), late)),
    }
}
