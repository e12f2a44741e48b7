//! What asking the API costs the pipeline, and how soon it answers while the pipeline works.
//!
//! `mainstem bench` flat out, by turns alone, while its API is asked, and while the same questions go to a server that knows
//! one answer; and then at half of that speed. The load's own side, which asks, takes its part of the processors too: what the API takes is
//! the difference to that server. Questions are due at a fixed rate, whatever the answers take, and an answer's time counts from
//! when its question was due.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::bench::{Outcome, Program, flags};
use crate::http::{Connection, Random};
use crate::table::{Output, Progress, Spread, Table};

/// Measure what asking the API costs the pipeline, and how soon it answers.
#[derive(Args)]
pub(crate) struct Api {
    /// Side chains
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    chains: u32,
    /// Connections that send them
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Questions a second
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Connections that ask
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=200))]
    askers: u32,
    /// Seconds of each measurement
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Runs of each kind
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Measure this program instead of the release build of this commit
    #[arg(long, value_name = "FILE")]
    program: Option<std::path::PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Flat out in each way, one after the other.
#[derive(Serialize)]
struct Turn {
    alone: f64,
    /// Side blocks a second while questions go elsewhere.
    elsewhere: f64,
    asked: f64,
    answers: Answers,
}

/// What else happens while the pipeline is flat out.
#[derive(Clone, Copy)]
enum Way {
    Alone,
    Elsewhere,
    Asked,
}

/// At half speed.
#[derive(Serialize)]
struct Half {
    offered: f64,
    blocks_per_second: f64,
    answers: Answers,
}

/// What was answered, and how soon.
#[derive(Serialize)]
struct Answers {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// How the side that asks behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// It stands back, so that what it takes itself is not taken from what is measured.
    Meek,
    /// It is as quick as any.
    Plain,
}

#[derive(Deserialize)]
struct Page {
    chains: Vec<Chain>,
}

#[derive(Deserialize, Clone, Copy)]
struct Chain {
    #[serde(rename = "chain_id")]
    id: u32,
    first_height: u64,
    durable: u64,
}

impl Api {
    pub(crate) fn run(&self) -> Result<()> {
        let program = Program::new(self.program.as_deref())?;
        let progress = Progress::new(4 * u64::from(self.runs));
        let mut turns = Vec::new();
        for run in 0..self.runs as usize {
            let (mut alone, mut elsewhere, mut asked) = (None, None, None);
            // By turns, so that what changes on the machine meanwhile meets all.
            let mut ways = [Way::Alone, Way::Elsewhere, Way::Asked];
            ways.rotate_left(run % 3);
            for way in ways {
                progress.say(match way {
                    Way::Alone => "flat out",
                    Way::Elsewhere => "flat out, questions elsewhere",
                    Way::Asked => "flat out, asked",
                });
                match way {
                    Way::Alone => alone = Some(self.bench(&program, None, None)?.blocks_per_second),
                    Way::Elsewhere => elsewhere = Some(self.elsewhere(&program)?.blocks_per_second),
                    Way::Asked => asked = Some(self.asked(&program, None, Manner::Meek)?),
                }
                progress.step();
            }
            let (Some(alone), Some(elsewhere), Some((outcome, answers))) = (alone, elsewhere, asked) else {
                unreachable!("each was measured")
            };
            let turn = Turn { alone, elsewhere, asked: outcome.blocks_per_second, answers };
            progress.note(&format!(
                "flat out: {alone:.0} side blocks/s, questions elsewhere {elsewhere:.0}, asked {:.0}",
                turn.asked
            ));
            turns.push(turn);
        }
        let full = Spread::of(turns.iter().map(|turn| turn.alone)).median;
        let mut halves = Vec::new();
        for _ in 0..self.runs {
            progress.say("at half speed, asked");
            let (outcome, answers) = self.asked(&program, Some(full / 2.0), Manner::Plain)?;
            progress.note(&format!("half speed: p99 {:.2} ms", answers.p99_ms));
            halves.push(Half { offered: full / 2.0, blocks_per_second: outcome.blocks_per_second, answers });
            progress.step();
        }
        drop(progress);
        self.show(&turns, &halves)
    }

    fn show(&self, turns: &[Turn], halves: &[Half]) -> Result<()> {
        let mut table = Table::new(&[
            "pipeline",
            "M side blocks/s",
            "of alone",
            "of elsewhere",
            "questions/s",
            "p50, ms",
            "p99, ms",
            "longest, ms",
        ]);
        let millions = |of: fn(&Turn) -> f64| Spread::of(turns.iter().map(|turn| of(turn) / 1e6)).to_string();
        let ratio = |of: fn(&Turn) -> f64| format!("{:.3}", Spread::of(turns.iter().map(of)));
        let none = String::new;
        let unanswered = || [none(), none(), none(), none()];
        let alone = ["flat out, alone".into(), millions(|turn| turn.alone), none(), none()];
        table.row(alone.into_iter().chain(unanswered()), &())?;
        let elsewhere = [
            "flat out, questions elsewhere".into(),
            millions(|turn| turn.elsewhere),
            ratio(|turn| turn.elsewhere / turn.alone),
            none(),
        ];
        table.row(elsewhere.into_iter().chain(unanswered()), &())?;
        let first = [
            "flat out, asked".into(),
            millions(|turn| turn.asked),
            ratio(|turn| turn.asked / turn.alone),
            ratio(|turn| turn.asked / turn.elsewhere),
        ];
        table.row(first.into_iter().chain(answered(&turns.iter().map(|turn| &turn.answers))), &turns)?;
        let rate = Spread::of(halves.iter().map(|half| half.blocks_per_second / 1e6));
        let cells = answered(&halves.iter().map(|half| &half.answers));
        let first = ["at half speed, asked".into(), rate.to_string(), none(), none()];
        table.row(first.into_iter().chain(cells), &halves)?;
        let method = format!(
            "{} chains, {} connections; {} questions a second due, by turns for figures, a page of 100 chains, one chain, a \
             proof, the newest header and the status; times from when each was due; {} s a run, {} runs",
            self.chains, self.connections, self.rate, self.seconds, self.runs
        );
        table.finish(&self.output, &method)
    }

    fn bench(&self, program: &Program, rate: Option<f64>, api: Option<u16>) -> Result<Outcome> {
        let mut flags = flags(self.chains, self.connections, self.seconds);
        if let Some(rate) = rate {
            flags.extend(["--rate".into(), format!("{rate:.0}")]);
        }
        if let Some(port) = api {
            flags.extend(["--api".into(), format!("127.0.0.1:{port}")]);
        }
        program.bench(&flags)
    }

    /// Runs a bench and asks its node from its first block to its end.
    fn asked(&self, program: &Program, rate: Option<f64>, manner: Manner) -> Result<(Outcome, Answers)> {
        // Free a moment ago.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let asking = scope.spawn(|| self.ask(port, manner, &ended));
            let outcome = self.bench(program, rate, Some(port));
            ended.store(true, Ordering::Relaxed);
            let answers = asking.join().map_err(|_| anyhow!("the side that asks panicked"))?;
            Ok((outcome?, answers?))
        })
    }

    /// Runs a bench while the same questions go to another server, which knows one answer.
    fn elsewhere(&self, program: &Program) -> Result<Outcome> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (ended, chains) = (AtomicBool::new(false), [Chain { id: 1, first_height: 1, durable: 1 }]);
        thread::scope(|scope| {
            scope.spawn(|| answer_each(&listener));
            let asking = scope.spawn(|| self.ask_all(address, &chains, Manner::Meek, &ended));
            let outcome = self.bench(program, None, None);
            ended.store(true, Ordering::Relaxed);
            let answers = asking.join().map_err(|_| anyhow!("the side that asks panicked"));
            // One that says nothing ends it.
            drop(TcpStream::connect(address)?);
            answers??;
            outcome
        })
    }

    fn ask(&self, port: u16, manner: Manner, ended: &AtomicBool) -> Result<Answers> {
        let node = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let chains = loop {
            ensure!(!ended.load(Ordering::Relaxed), "the node was never there to be asked");
            if let Ok(chains) = begun(&node.to_string()) {
                break chains;
            }
            thread::sleep(Duration::from_millis(20));
        };
        self.ask_all(node, &chains, manner, ended)
    }

    fn ask_all(
        &self,
        node: SocketAddr,
        chains: &[Chain],
        manner: Manner,
        ended: &AtomicBool,
    ) -> Result<Answers> {
        let node = node.to_string();
        let (next, begin) = (AtomicU64::new(0), Instant::now());
        let results: Vec<Result<Histogram<u64>>> = thread::scope(|scope| {
            let ask = |seed| {
                let (node, chains, next) = (&node, chains, &next);
                scope.spawn(move || self.asker(node, chains, manner, seed, next, begin, ended))
            };
            let askers: Vec<_> = (0..u64::from(self.askers)).map(ask).collect();
            askers.into_iter().map(|asker| asker.join().map_err(|_| anyhow!("a thread panicked"))?).collect()
        });
        let seconds = begin.elapsed().as_secs_f64();
        let mut times = histogram()?;
        for result in results {
            times.add(result?)?;
        }
        ensure!(!times.is_empty(), "nothing was answered");
        let ms = |micros: u64| micros as f64 / 1e3;
        Ok(Answers {
            per_second: times.len() as f64 / seconds,
            p50_ms: ms(times.value_at_quantile(0.5)),
            p99_ms: ms(times.value_at_quantile(0.99)),
            max_ms: ms(times.max()),
        })
    }

    /// Asks what is due next, again and again, until the node goes.
    #[expect(clippy::too_many_arguments, reason = "what one thread of many is told")]
    fn asker(
        &self,
        node: &str,
        chains: &[Chain],
        manner: Manner,
        seed: u64,
        next: &AtomicU64,
        begin: Instant,
        ended: &AtomicBool,
    ) -> Result<Histogram<u64>> {
        if manner == Manner::Meek {
            // Of this thread alone, on Linux.
            rustix::process::nice(19)?;
        }
        let (mut connection, mut times) = (Connection::new(node)?, histogram()?);
        let mut random = Random(seed);
        while !ended.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let due = begin + Duration::from_secs_f64(number as f64 / f64::from(self.rate));
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let chain = chains[random.below(chains.len() as u64) as usize];
            let path = match number % 6 {
                0 => "/v1/stats".to_owned(),
                1 => format!("/v1/chains?limit=100&after={}", chain.id),
                2 => format!("/v1/chains/{}", chain.id),
                3 => {
                    let height = chain.first_height + random.below(chain.durable + 1 - chain.first_height);
                    format!("/v1/proofs/{}/{height}", chain.id)
                }
                4 => "/v1/headers/latest".to_owned(),
                _ => "/v1/status".to_owned(),
            };
            match connection.ask(&path, false) {
                Ok(_) => times.saturating_record(due.elapsed().as_micros() as u64),
                // The bench has ended and its node with it: whoever runs it tells whether that was well.
                Err(error) if error.is::<std::io::Error>() || gone(&error) => break,
                Err(error) => return Err(error.context(path)),
            }
        }
        Ok(times)
    }
}

/// Answers all that is asked on each connection, with what is as long as most answers of a node, until one says nothing.
fn answer_each(listener: &TcpListener) {
    let body = "0".repeat(700);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    thread::scope(|scope| {
        for stream in listener.incoming().map_while(Result::ok) {
            let (answer, mut stream) = (&answer, stream);
            let mut question = [0; 1 << 10];
            // The first one is waited for here: a connection without one is the end.
            let Ok(1..) = stream.read(&mut question) else { break };
            scope.spawn(move || {
                // Back like those of the node. A question comes in one piece: it is short.
                let _ = rustix::process::nice(19);
                let _ = stream.set_nodelay(true);
                while stream.write_all(answer.as_bytes()).is_ok()
                    && matches!(stream.read(&mut question), Ok(1..))
                {}
            });
        }
    });
}

/// Whether the node has closed the connection, as it does when it stops.
fn gone(error: &anyhow::Error) -> bool {
    error.to_string().contains("closed a connection")
}

/// The chains, once all on the first page have something to prove.
fn begun(node: &str) -> Result<Vec<Chain>> {
    let mut connection = Connection::new(node)?;
    let page: Page = serde_json::from_slice(connection.ask("/v1/chains?limit=1000", false)?)?;
    let begun = page.chains.iter().all(|chain| chain.durable >= chain.first_height);
    ensure!(begun && !page.chains.is_empty(), "nothing is indexed yet");
    Ok(page.chains)
}

/// Of microseconds, up to a minute.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).context("the bounds are in order")
}

fn answered<'a, I>(answers: &I) -> [String; 4]
where
    I: Iterator<Item = &'a Answers> + Clone,
{
    let of = |value: fn(&Answers) -> f64| Spread::of(answers.clone().map(value));
    [
        format!("{:.0}", of(|answers| answers.per_second)),
        of(|answers| answers.p50_ms).to_string(),
        of(|answers| answers.p99_ms).to_string(),
        format!("{:.0}", of(|answers| answers.max_ms)),
    ]
}
