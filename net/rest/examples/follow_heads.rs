//! Follows the main chain as it grows, and goes on where it was when the connection is lost.
//!
//! `cargo run -p mainstem-client --example follow_heads -- 127.0.0.1:9480 [HOW-MANY]`

use std::error::Error;
use std::thread;
use std::time::Duration;

use rest::{Client, Event, Topic};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let client = Client::new(&args.next().ok_or("the node's address is missing")?);
    let mut left: u64 = args.next().map_or(Ok(u64::MAX), |count| count.parse())?;
    let mut last = None;
    while left > 0 {
        // With the id of the last event, main blocks since then come first.
        match client.events(&[Topic::Heads], last.as_deref()) {
            Ok(mut events) => {
                for event in events.by_ref() {
                    match event {
                        Ok(Event::Head(head)) => {
                            println!("{:>10} {} {} side blocks", head.height, head.hash, head.leaf_count);
                            left -= 1;
                            if left == 0 {
                                return Ok(());
                            }
                        }
                        Ok(_) => {}
                        Err(error) => eprintln!("{error}"),
                    }
                }
                last = events.last_id().map(str::to_owned);
            }
            Err(error) => eprintln!("{error}"),
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
