//! The end of a queue: it is over when nothing is left, and nothing is being put.

use samemap_core::job::{Label, Phase};
use samemap_core::layout::Kind;
use samemap_core::objects::{self, Parameters};
use samemap_core::queue::{Grip, Memory, Store};
use samemap_core::segment::{New, Segment};
use samemap_core::storage::Storage;
use samemap_core::tag::Tag;

fn put(store: &Store<'_>, me: Tag, lane: u16) -> Grip {
    let mut memory = Memory::default();
    let grip = store.take_place(&mut memory, me).expect("there is one");
    store.label(grip, Label { length: 0, first: 0, blocks: 0, lane, flags: 0, number: 1 }, 1);
    store.commit(&mut memory, usize::from(lane), grip, me).expect("there is room");
    grip
}

/// A request that is being written when a service is shut down is still served, also in a place that had a reply before.
#[test]
fn a_service_is_not_over_while_a_request_is_being_put() {
    let (kind, parameters) = (Kind::Service, Parameters([4, 0, 0]));
    let body_size = objects::size(kind, 2, parameters).expect("the parameters are valid");
    let new = New { kind, body_size, participants: 2, schema: "", perm: 0o600 };
    let handle = Segment::create(None, new, |segment| objects::initialise(segment, 0, kind, parameters));
    let handle = handle.expect("it can be made");
    let segment = handle.segment();
    let store = Storage::of(segment).and_then(|storage| storage.store(segment)).expect("it is whole");
    let me = segment.tag().expect("it can join");
    let (lane, number) =
        segment.as_caller(|caller| store.claim_lane(caller)).expect("it can join").expect("one is free");
    let reply = put(&store, me, u16::try_from(lane).expect("there are not so many"));
    store.release_lane(lane, number, me);
    assert_eq!(store.jobs()[reply.at].state().phase(), Phase::Free, "it was thrown away");

    let mut memory = Memory::default();
    let request = store.take_place(&mut memory, me).expect("there is one");
    assert_eq!(request.at, reply.at);
    store.shut_down(false);
    assert!(!store.is_over(), "a request is being put");
    store.abandon(request, me);
    assert!(store.is_over());
}
