//! One worker process, as the search sees it.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::protocol::{FromWorker, ToWorker, read_line};

/// Bytes of a message. A reason is the longest part of one.
const MESSAGE_BYTES: usize = 1 << 20;
/// Bytes of a line on standard error, lines that are kept of them, and characters of those in a reason.
const WORDS_BYTES: usize = 4096;
const LAST_LINES: usize = 6;
const LAST_CHARACTERS: usize = 300;
/// How long a process that has closed its output may take to end by itself. One that dies does so at once; on a busy
/// machine that may be seconds.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// How long the search waits for a process that it has killed. One in the midst of a driver's call takes its time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who sees what workers print on standard error, line by line.
pub(super) type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// What was read from a worker.
#[derive(Debug)]
pub(super) enum Event {
    Said(FromWorker),
    /// A line that is no message. Nothing is read after it.
    Garbage(String),
    /// The end of its output.
    Closed,
}

/// A worker. It is killed and reaped when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    messages: Sender<ToWorker>,
    events: Receiver<Event>,
    words: Words,
    /// Collects the words.
    collector: Option<JoinHandle<()>>,
    /// [`GRACE`].
    grace: Duration,
}

impl Process {
    /// Starts a command as a worker.
    pub(super) fn start(mut command: Command, listener: Option<Listener>, grace: Duration) -> io::Result<Process> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: signal(2) and setrlimit(2) are system calls, which may be made between fork and exec (signal-safety(7)).
        unsafe {
            command.pre_exec(|| {
                // Ctrl-C goes to the whole process group; the search lets running trials finish.
                if libc::signal(libc::SIGINT, libc::SIG_IGN) == libc::SIG_ERR {
                    return Err(io::Error::last_os_error());
                }
                // A worker's death is recorded; an image of its memory in the user's folder helps nobody.
                let none = libc::rlimit {
                    rlim_cur: 0,
                    rlim_max: 0,
                };
                match libc::setrlimit(libc::RLIMIT_CORE, &none) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        }
        let mut child = command.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            unreachable!("all three are piped");
        };
        let (messages, to_write) = mpsc::channel();
        let (read, events) = mpsc::sync_channel(16);
        let words = Words::default();
        let mut process = Process {
            child,
            messages,
            events,
            words: words.clone(),
            collector: None,
            grace,
        };
        // Each pipe has a thread of its own: a worker that reads or writes nothing blocks nobody else.
        spawn("worker stdin", move || write(stdin, &to_write))?;
        spawn("worker stdout", move || listen(stdout, &read))?;
        let collector = spawn("worker stderr", move || words.collect(stderr, listener.as_ref()))?;
        process.collector = Some(collector);
        Ok(process)
    }

    /// Sends a message. What a dead worker is told is lost; its death is the next event.
    pub(super) fn say(&self, message: ToWorker) {
        if self.messages.send(message).is_err() {
            tracing::debug!(worker = self.child.id(), "does not listen any more");
        }
    }

    /// The next event, awaited for so long.
    pub(super) fn next(&self, patience: Duration) -> Option<Event> {
        match self.events.recv_timeout(patience) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Closed),
        }
    }

    /// What it takes in memory; `None` where nobody knows.
    pub(super) fn taken_bytes(&self) -> Option<u64> {
        alcop_system::usage::taken_bytes(self.child.id())
    }

    /// Whether it has not ended.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it prints from now on are its last words.
    pub(super) fn forget_words(&self) {
        self.words.lines().clear();
    }

    /// Ends it. How it ended if that was not by us, and the last lines of its standard error, for a reader.
    pub(super) fn obituary(mut self) -> String {
        let by_itself = wait(&mut self.child, self.grace);
        // In any case nothing is said any more.
        reap(&mut self.child);
        let how = match by_itself {
            Some(status) => status.to_string(),
            None => "it closed its standard output".to_owned(),
        };
        // Whoever inherited its standard error may go on writing there, and is not waited for.
        let started = Instant::now();
        while self
            .collector
            .as_ref()
            .is_some_and(|collector| !collector.is_finished())
            && started.elapsed() < self.grace
        {
            thread::sleep(Duration::from_millis(1));
        }
        format!("{how}{}", self.words.last())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !reap(&mut self.child) {
            tracing::warn!(worker = self.child.id(), "does not end, and is left behind");
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// How a process ended, within so long.
fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if started.elapsed() < patience => thread::sleep(Duration::from_millis(1)),
            Ok(None) => return None,
            Err(error) => {
                tracing::debug!(worker = child.id(), %error, "cannot be waited for");
                return None;
            }
        }
    }
}

/// Kills a process and takes its exit status, so that no zombie stays; whether that came in time.
fn reap(child: &mut Child) -> bool {
    if let Err(error) = child.kill() {
        tracing::debug!(worker = child.id(), %error, "cannot be killed");
    }
    wait(child, PATIENCE).is_some()
}

fn write(mut stdin: ChildStdin, messages: &Receiver<ToWorker>) {
    for message in messages {
        let line = crate::journal::json(&message) + "\n";
        // The worker is gone, which the reader of its output tells.
        if stdin.write_all(line.as_bytes()).is_err() {
            return;
        }
    }
}

fn listen(stdout: impl Read, events: &SyncSender<Event>) {
    let mut stdout = BufReader::new(stdout);
    while let Ok(Some(line)) = read_line(&mut stdout, MESSAGE_BYTES) {
        let event = match serde_json::from_slice(&line.bytes) {
            Ok(message) if !line.cut => Event::Said(message),
            _ => Event::Garbage(line.text(LAST_CHARACTERS)),
        };
        let last = matches!(event, Event::Garbage(_));
        // Who does not listen has ended the worker.
        if events.send(event).is_err() || last {
            return;
        }
    }
}

/// The last lines of a worker's standard error.
#[derive(Clone, Debug, Default)]
struct Words(Arc<Mutex<VecDeque<String>>>);

impl Words {
    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, stderr: impl Read, listener: Option<&Listener>) {
        let mut stderr = BufReader::new(stderr);
        let mut inside = false;
        while let Ok(Some(line)) = read_line(&mut stderr, WORDS_BYTES) {
            // Of a long line the beginning.
            if std::mem::replace(&mut inside, line.cut) {
                continue;
            }
            if let Some(listener) = listener {
                listener(&line.text(WORDS_BYTES));
            }
            let text = line.text(LAST_CHARACTERS);
            let mut lines = self.lines();
            if text.is_empty() {
                continue;
            }
            if lines.len() == LAST_LINES {
                lines.pop_front();
            }
            lines.push_back(text);
        }
    }

    /// `; its last words: …`.
    fn last(&self) -> String {
        let lines = self.lines();
        if lines.is_empty() {
            return String::new();
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!("; its last words: {}", lines.join(" | "))
    }
}
