//! What participants count: none is forgotten, and none that is done hides another.

use loom::sync::Arc;
use loom::thread;
use samemap_core::queue::Shape;
use samemap_core::tag::Tag;

use super::{bounded, join_all, line, shape};
use crate::drive::tag;

/// Two threads of one process get their first jobs at once, where another participant had the place before.
#[test]
fn what_threads_count_at_once_is_not_forgotten() {
    bounded(3, || {
        let line = line(Shape { workers: 1, ..shape(1, 1, 0) });
        line.store().count_gets(Tag::new(0, 2), 1);
        let threads = [(); 2].map(|()| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.store().count_gets(tag(0), 1);
            })
        });
        join_all(threads);
        let work = line.store().work().next().unwrap();
        assert_eq!((work.tag, work.gets, work.open), (Some(tag(0)), 3, 2));
    });
}

/// One has a job in work, while another one gets one and says that it is done: all is not done at any time.
#[test]
fn a_job_that_is_done_hides_none_that_is_not() {
    bounded(3, || {
        let line = line(Shape { workers: 2, ..shape(1, 1, 0) });
        line.store().count_gets(tag(0), 1);
        let other = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.store().count_gets(tag(1), 1);
                line.store().count_done(tag(1));
            })
        };
        line.order.point();
        assert!(line.store().unfinished(&line.roster, false) > 0);
        other.join().unwrap();
        assert_eq!(line.store().unfinished(&line.roster, false), 1);
    });
}

/// The same where one gets it, and another says that it is done.
#[test]
fn a_job_that_another_says_is_done_hides_none_that_is_not() {
    bounded(3, || {
        let line = line(Shape { workers: 3, ..shape(1, 1, 0) });
        line.store().count_gets(tag(1), 1);
        let other = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.store().count_gets(tag(0), 1);
                line.store().count_done(tag(2));
            })
        };
        line.order.point();
        assert!(line.store().unfinished(&line.roster, false) > 0);
        other.join().unwrap();
        assert_eq!(line.store().unfinished(&line.roster, false), 1);
    });
}

/// A place changes hands, with jobs that the one before never said were done: at no time that looks as if less were open.
#[test]
fn a_place_that_changes_hands_hides_no_job() {
    bounded(3, || {
        let line = line(Shape { workers: 2, ..shape(1, 1, 0) });
        line.store().count_gets(tag(0), 1);
        let before = Tag::new(1, 2);
        line.store().count_gets(before, 2);
        line.store().count_done(before);
        let other = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.store().count_gets(tag(1), 1);
            })
        };
        line.order.point();
        assert!(line.store().unfinished(&line.roster, false) > 0);
        other.join().unwrap();
        assert_eq!(line.store().unfinished(&line.roster, false), 2);
    });
}
