//! Calls and the replies to them.

use loom::sync::Arc;
use loom::thread;
use samemap_core::queue::{Answer, Grip, Shape};

use super::{Hand, Line, Route, bounded, line, shape};
use crate::drive::{tag, until_done};

fn service(places: usize) -> Arc<Line> {
    line(Shape { lanes: 2, once: true, ..shape(2, places, 0) })
}

/// Replies to a call in the only lane, if it is awaited.
fn reply(line: &Line, who: usize, number: u32, value: u64) {
    if line.store().is_awaited(1, number) {
        let _ = Hand::new(who).send(line, value, Route { lane: 1, number, reply: None });
    }
}

/// The reply to a call: what was sent to earlier ones is thrown away.
fn receive(line: &Line, who: usize, number: u32) -> Option<u64> {
    let mut client = Hand::new(who);
    while let Some((grip, _)) = line.store().take(&mut client.memory, 1, tag(who), 0, 0) {
        let (label, value) = (line.jobs[grip.at].read(), line.read(grip));
        assert!(client.end(line, grip, || {}));
        if label.number == number {
            return Some(value);
        }
    }
    None
}

/// One gives up its call while another one calls: that gets the reply to its own.
#[test]
fn a_reply_goes_to_the_call_that_it_was_sent_to() {
    bounded(3, || {
        let line = service(3);
        let (lane, first) = line.store().claim_lane(line.roster.caller(0)).unwrap();
        reply(&line, 2, first, 1);
        let leaver = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.store().release_lane(lane, first, tag(0));
            })
        };
        line.order.point();
        if let Some((lane, second)) = line.store().claim_lane(line.roster.caller(1)) {
            assert_eq!((lane, second), (1, first + 1));
            reply(&line, 2, second, 3);
            assert_eq!(receive(&line, 1, second), Some(3));
            line.store().release_lane(lane, second, tag(1));
        }
        leaver.join().unwrap();
        line.bury(2);
        line.is_as_new();
    });
}

/// What a server sends to one who gives up is thrown away, by the time that anybody looks after it.
#[test]
fn a_reply_that_nobody_waits_for_is_thrown_away() {
    bounded(3, || {
        let line = service(2);
        let (lane, number) = line.store().claim_lane(line.roster.caller(0)).unwrap();
        let server = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                reply(&line, 1, number, 5);
            })
        };
        line.order.point();
        line.store().release_lane(lane, number, tag(0));
        server.join().unwrap();
        line.bury(2);
        line.is_as_new();
        assert_eq!(line.store().claim_lane(line.roster.caller(0)), Some((1, number + 1)));
    });
}

/// A call of participant 0: the number, and its request.
fn call(line: &Line) -> (u32, Grip) {
    let (lane, number) = line.store().claim_lane(line.roster.caller(0)).unwrap();
    let reply = Some((lane as u16, number));
    let (grip, _) = Hand::new(0).send(line, 1, Route { reply, ..Route::default() }).unwrap();
    (number, grip)
}

fn answer(line: &Line, grip: Grip) -> Answer {
    let request = (grip.at, grip.state.generation());
    let mut had = None;
    until_done(|| line.store().attempt_reply(1, request, &mut had, line.roster.caller(0), false))
}

#[test]
fn one_who_waits_for_a_reply_gets_it() {
    bounded(2, || {
        let line = service(2);
        let (number, request) = call(&line);
        let server = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                let mut server = Hand::new(1);
                let (grip, _) = server.lease(&line).unwrap();
                assert_eq!(line.jobs[grip.at].reply_to(), (1, number));
                line.order.point();
                reply(&line, 1, number, 5);
                assert!(server.end(&line, grip, || {}));
            })
        };
        line.order.point();
        assert_eq!(answer(&line, request), Answer::There);
        assert_eq!(receive(&line, 0, number), Some(5));
        server.join().unwrap();
        line.is_as_new();
    });
}

/// Who has the request dies; another one finds out, and a third uses the place anew.
#[test]
fn one_who_waits_for_a_reply_of_the_dead_is_told() {
    bounded(2, || {
        let line = service(1);
        let (_, request) = call(&line);
        Hand::new(1).lease(&line).unwrap();
        line.roster.die(tag(1));
        let burier = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.bury(2);
            })
        };
        let producer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                let _ = Hand::new(3).send(&line, 2, Route { reply: Some((0, 0)), ..Route::default() });
            })
        };
        line.order.point();
        assert!(matches!(answer(&line, request), Answer::Died(_)));
        burier.join().unwrap();
        producer.join().unwrap();
    });
}
