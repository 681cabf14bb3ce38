//! Who reaches the console by a link, whatever cookie he has.

use crate::console::{get, post, started};
use crate::stage::Stage;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn who_follows_a_link_is_known_and_the_door_opens_whatever_cookie_there_is() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, &format!("--console-token {TOKEN}")).await;
    let own = format!("Origin: http://{address}\r\n");
    let deep = "/deliveries?state=dead";
    let enter = async |seen: &str, sent: &str| {
        let door = get(&address, "/login?next=%2Fdeliveries%3Fstate%3Ddead", seen).await;
        let form = format!("csrf={}&token={TOKEN}&next=%2Fdeliveries%3Fstate%3Ddead", door.proof());
        post(&address, "/login", &format!("{own}{sent}"), &form).await
    };
    let opened = enter("", "").await;
    let session = format!("Cookie: {}\r\n", opened.header("set-cookie").unwrap().split(';').next().unwrap());
    let linked = format!("{session}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n");
    assert_eq!(get(&address, deep, &linked).await.status, 200, "a link leads to its page");
    let ended = "Cookie: relay_session=1.00\r\n";
    for (seen, sent) in [("", &*session), (&session, ""), ("", ended), (ended, &session)] {
        let opened = enter(seen, sent).await;
        assert_eq!((opened.status, opened.header("location")), (303, Some(deep)), "{seen:?} {sent:?}");
    }
    let door = get(&address, "/login", "").await;
    let form = format!("csrf={}&name=crm&reason=x", door.proof());
    let forged = post(&address, "/targets/pause", &format!("{own}{session}"), &form).await;
    assert_eq!(forged.status, 403, "the door's proof opens nothing else");
    running.ends().await;
}
