//! Nodes that answer questions with what is no answer.

use std::time::Duration;

use engine::chain::ChainId;
use engine::source::{NoAnswer, Question};
use mainstem_net::endpoint::{self, Limits};
use mainstem_net::question::MAX_BODY_BYTES;
use mainstem_net::server::{Questions, Unanswered};
use quinn::{RecvStream, SendStream, VarInt};

use crate::by_hand::*;
use crate::scene::{NODES, Scene};
use crate::support::*;

const CODE: VarInt = VarInt::from_u32(77);

fn question() -> Question {
    Question::Transaction { chain: ChainId(1), id: vec![7; 32] }
}

/// Connects with streams for `streams` questions, speaks for chain 1, and has the server ask `times` times while
/// `answer` does what it does with each stream. Returns what became of the questions.
fn asked<F>(
    scene: &Scene,
    streams: u32,
    times: usize,
    answer: impl Fn(SendStream, RecvStream) -> F + Send + 'static,
) -> Vec<Unanswered>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (ground, questions) = (scene.ground(), scene.main.server.questions());
    scene.hostile(async move {
        let limits = Limits { stream_window_bytes: 16 << 10, ..Limits::default() };
        let (identity, server) = (identity(NODES[0]), [server_identity().public()]);
        let quic = endpoint::client_config_for(&identity, &server, &limits, streams).unwrap();
        let mut raw = Raw::connect(ground.handle.clone(), ground.server, quic).await.unwrap();
        raw.hello(&[1]).await;
        raw.send(&frame(&[section(1, 1, 3)])).await;
        raw.acked(1, 3).await;
        let asked: Vec<_> = (0..times).map(|_| raw.handle.spawn(ask(questions.clone()))).collect();
        let connection = raw.connection.clone();
        let handle = raw.handle.clone();
        raw.handle.spawn(async move {
            while let Ok((send, receive)) = connection.accept_bi().await {
                handle.spawn(answer(send, receive));
            }
        });
        let mut became = Vec::new();
        for asked in asked {
            became.push(asked.await.unwrap());
        }
        // Whatever it was: the session goes on, and so do its blocks.
        raw.send(&frame(&[section(1, 4, 3)])).await;
        raw.acked(1, 6).await;
        became
    })
}

async fn ask(questions: Questions) -> Unanswered {
    questions.ask(&question()).await.expect_err("none of these is an answer")
}

/// One question.
fn one<F>(answer: impl Fn(SendStream, RecvStream) -> F + Send + 'static) -> Unanswered
where
    F: Future<Output = ()> + Send + 'static,
{
    let scene = Scene::new(|config| config.answer_timeout = Duration::from_millis(500));
    let mut became = asked(&scene, 16, 1, answer);
    scene.calm();
    became.remove(0)
}

/// Answered with these bytes, whole.
fn with(bytes: &[u8]) -> Unanswered {
    let bytes = bytes.to_vec();
    one(move |mut send, mut receive| {
        let bytes = bytes.clone();
        async move {
            assert_eq!(receive.read_to_end(70).await.unwrap().len(), 38);
            send.write_all(&bytes).await.unwrap();
            send.finish().unwrap();
            let _ = send.stopped().await;
        }
    })
}

#[test]
fn answers_that_break_the_format_are_told_by_what_is_wrong() {
    let mut text = vec![4];
    text.extend([b'a'; 513]);
    let cases: [(&[u8], &str); 6] = [
        (&[], "an answer has 0 bytes"),
        (&[5], "the status of an answer is 0x05"),
        (&[1, 1], "what follows this status has 1 bytes"),
        (&[4, 0xff], "no UTF-8"),
        (&text, "the text has 513 bytes"),
        (&[0, 0, 0, 0, 0, 0, 0, 0, 0], "the height is 0"),
    ];
    for (bytes, says) in cases {
        let Unanswered::Broken(told) = with(bytes) else { panic!("{bytes:?}") };
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let scene = Scene::new(|config| config.answer_timeout = Duration::from_secs(30));
    let became = asked(&scene, 16, 1, |mut send, _receive| async move {
        let much = vec![0; 64 << 10];
        // Until the server has enough of it.
        let mut sent = 0;
        while send.write_all(&much).await.is_ok() {
            sent += much.len();
        }
        assert!((MAX_BODY_BYTES..3 * MAX_BODY_BYTES).contains(&sent), "{sent}");
    });
    assert!(matches!(&became[0], Unanswered::Broken(told) if told.contains("more than")), "{became:?}");
    scene.calm();
}

#[test]
fn answers_that_never_come_or_never_end_or_are_reset_cost_the_deadline_at_most() {
    let never = one(|send, receive| async move {
        // Kept, not dropped: a stream that is dropped is reset.
        let (_send, _receive) = (send, receive);
        std::future::pending::<()>().await;
    });
    assert!(matches!(never, Unanswered::TooSlow(_)), "{never:?}");
    let endless = one(|mut send, _receive| async move {
        let _ = send.write_all(&[0; 1_000]).await;
        let _ = send.stopped().await;
    });
    assert!(matches!(endless, Unanswered::TooSlow(_)), "{endless:?}");
    let reset = one(|mut send, _receive| async move {
        send.reset(CODE).unwrap();
    });
    assert!(matches!(reset, Unanswered::Lost(_)), "{reset:?}");
    let cut = one(|mut send, _receive| async move {
        let _ = send.write_all(&[0; 1_000]).await;
        send.reset(CODE).unwrap();
    });
    assert!(matches!(cut, Unanswered::Lost(_)), "{cut:?}");
    // Not even the question is wanted.
    let stopped = one(|mut send, mut receive| async move {
        let _ = receive.stop(CODE);
        let _ = send.finish();
    });
    assert!(matches!(stopped, Unanswered::Lost(_) | Unanswered::Broken(_)), "{stopped:?}");
}

#[test]
fn a_node_that_grants_no_streams_or_takes_one_and_no_more_is_asked_no_further() {
    let scene = Scene::new(|config| config.answer_timeout = Duration::from_millis(500));
    let became = asked(&scene, 0, 3, |_, _| async {});
    assert_eq!(became, vec![Unanswered::Node(NoAnswer::Unsupported); 3]);
    scene.calm();
    let scene = Scene::new(|config| config.answer_timeout = Duration::from_millis(500));
    let became = asked(&scene, 1, 3, |send, receive| async move {
        let (_send, _receive) = (send, receive);
        std::future::pending::<()>().await;
    });
    for why in became {
        // The first stream is opened, and the others wait for one in vain, or see that there is none.
        assert!(matches!(why, Unanswered::TooSlow(_) | Unanswered::Node(NoAnswer::Unsupported)), "{why:?}");
    }
    scene.calm();
}

#[test]
fn a_connection_that_is_lost_ends_its_questions() {
    let scene = Scene::new(|config| config.answer_timeout = Duration::from_secs(30));
    let (ground, questions) = (scene.ground(), scene.main.server.questions());
    let became = scene.hostile(async move {
        let (identity, server) = (identity(NODES[0]), [server_identity().public()]);
        let quic = endpoint::client_config_for(&identity, &server, &Limits::default(), 16).unwrap();
        let mut raw = Raw::connect(ground.handle.clone(), ground.server, quic).await.unwrap();
        raw.hello(&[1]).await;
        let asked = raw.handle.spawn(ask(questions));
        let (_send, _receive) = raw.connection.accept_bi().await.unwrap();
        raw.connection.close(CODE, b"");
        asked.await.unwrap()
    });
    assert!(matches!(became, Unanswered::Lost(_)), "{became:?}");
    scene.calm();
}
