//! The engine in memory fails as told: nothing done, half done, or all done and nobody told.

use std::time::Duration;

use futures::StreamExt as _;
use nexus::engine::ContainerState;
use nexus::engine::Engine as _;
use nexus::engine::Error;
use nexus::engine::Labels;
use nexus::engine::Stack;
use nexus::engine::memory::Fault;
use nexus::engine::memory::Memory;
use nexus::engine::memory::When;
use tempfile::TempDir;

fn stack(directory: &TempDir) -> Stack {
    let file = directory.path().join("compose.yaml");
    std::fs::write(&file, "services:\n  a: { image: x }\n  b: { image: x }\n").unwrap();
    Stack { project: "shop".to_owned(), file, directory: directory.path().to_owned() }
}

async fn up(memory: &Memory, stack: &Stack) -> Result<Vec<ContainerState>, Error> {
    memory.up(stack, tokio::sync::mpsc::channel(1).0).await?;
    states(memory).await
}

async fn states(memory: &Memory) -> Result<Vec<ContainerState>, Error> {
    Ok(memory.containers(&Labels::new()).await?.iter().map(|container| container.state).collect())
}

#[tokio::test(start_paused = true)]
async fn each_fault_leaves_what_it_says() {
    const RUNNING: ContainerState = ContainerState::Running;
    for (fault, left) in [
        (Fault::Refuse("no".to_owned()), vec![]),
        (Fault::Drop, vec![]),
        (Fault::Hang, vec![]),
        (Fault::DiskFull, vec![]),
        (Fault::Half, vec![ContainerState::Created]),
        (Fault::Lose, vec![RUNNING, RUNNING]),
    ] {
        let (memory, directory) = (Memory::new(&["x"]), TempDir::new().unwrap());
        let stack = stack(&directory);
        memory.fault(When::Next("up"), fault.clone());
        assert!(up(&memory, &stack).await.is_err(), "{fault:?}");
        assert_eq!(states(&memory).await.unwrap(), left, "{fault:?}");
        assert_eq!(up(&memory, &stack).await.unwrap(), [RUNNING, RUNNING], "{fault:?}");
    }
}

#[tokio::test]
async fn faults_are_counted_and_end() {
    let memory = Memory::new(&[]);
    memory.fault(When::Nth(2), Fault::Drop);
    let mut answered = Vec::new();
    for _ in 0..3 {
        answered.push(memory.about().await.is_ok());
    }
    assert_eq!(answered, [true, false, true]);
    memory.fault(When::Every("about"), Fault::Drop);
    assert!(memory.about().await.is_err() && memory.about().await.is_err());
    memory.heal();
    assert!(memory.about().await.is_ok());
    assert_eq!(memory.calls().len(), 6);
}

#[tokio::test]
async fn an_engine_that_leaves_takes_containers_and_streams_with_it() {
    let (memory, directory) = (Memory::new(&["x"]), TempDir::new().unwrap());
    let stack = stack(&directory);
    up(&memory, &stack).await.unwrap();
    let events = memory.events(&Labels::new()).await.unwrap();
    memory.leave();
    assert!(matches!(memory.about().await, Err(Error::Unreachable { .. })));
    tokio::time::timeout(Duration::from_secs(5), events.count()).await.expect("the stream ends");
    memory.come_back();
    assert_eq!(states(&memory).await.unwrap(), [ContainerState::Exited; 2]);
    assert_eq!(up(&memory, &stack).await.unwrap(), [ContainerState::Running; 2]);
}
