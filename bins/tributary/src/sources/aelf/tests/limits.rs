//! Who is given the main chain's blocks, and how many at a time.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex};

use super::*;

#[test]
fn blocks_are_given_to_the_node_that_the_operator_names_and_to_no_other_address() {
    let (api, _) = main_api(main_blocks(3));
    // At an address that is not the one that asks.
    let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 9));
    let source = AelfSource::start(AelfConfig { node: Some(other), ..config(local(), &api) }).unwrap();
    let mut node = side(&source, 2);
    let status = request(&mut node, ID, 1).unwrap_err();
    assert!(status.code() == Code::PermissionDenied && status.message().contains("127.0.0.2"), "{status}");
    let named = AelfConfig { node: Some(node.addr), ..config(local(), &api) };
    let source = AelfSource::start(named).unwrap();
    let mut node = side(&source, 2);
    assert_eq!(request(&mut node, ID, 1).unwrap(), [1, 2, 3]);
}

#[test]
fn one_address_has_two_requests_for_blocks_at_a_time_though_it_breaks_them_off() {
    let entered = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (count, closed) = (Arc::clone(&entered), Arc::clone(&gate));
    let page = json!({ "blocks": main_blocks(3), "next": null }).to_string();
    let api = Http::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let open = closed.0.lock().unwrap();
        drop(closed.1.wait_while(open, |open| !*open).unwrap());
        (200, page.clone())
    });
    let timeout = Duration::from_secs(60);
    let source = AelfSource::start(AelfConfig { timeout, ..config(local(), &api) }).unwrap();
    let mut node = side(&source, 2);
    greet(&mut node);
    // The node gives up early; what it asked for is read on.
    let early = |node: &mut StandIn| {
        node.call(async |mut client| {
            let request = CrossChainRequest { chain_id: ID, next_height: 1 };
            let asked = client.request_indexing_from_parent_chain(request);
            let answer = tokio::time::timeout(Duration::from_millis(300), asked).await;
            answer.map_or(Code::DeadlineExceeded, |answer| {
                answer.map_or_else(|status| status.code(), |_| Code::Ok)
            })
        })
    };
    until("no other is taken", || early(&mut node) == Code::ResourceExhausted);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    until("both were read", || entered.load(Ordering::SeqCst) == 2);
    until("the places are free again", || {
        request(&mut node, ID, 1).is_ok_and(|heights| heights == [1, 2, 3])
    });
    assert!(entered.load(Ordering::SeqCst) >= 3);
}
