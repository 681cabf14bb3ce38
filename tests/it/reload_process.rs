//! The program reads its configuration again: asked by a signal, by a request, by what it sees, under systemd.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use serde_json::Value;

use crate::stage::{ANY, RULES, Running, Stage};
use crate::world::PATIENCE;

const BAD: (&str, &str) = ("match: {}", "match: {}, stopp: true");

/// One request; the status and the body of the answer.
pub(crate) async fn ask(address: &str, method: &str, headers: &str) -> (u16, String) {
    let request =
        format!("{method} /-/reload HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn started(stage: &Stage, line: &str) -> Running {
    let running = stage.start(line);
    stage.until_logged(&running, "running").await;
    running
}

#[tokio::test]
async fn a_hangup_reloads_and_a_bad_file_is_told_of_as_check_does() {
    let stage = Stage::new().await;
    let running = started(&stage, "run --listen none").await;
    stage.rules(&RULES.replace(BAD.0, BAD.1));
    running.signal("HUP");
    stage.until_logged(&running, "not reloaded: the configuration stays as it was").await;
    let checked = stage.output("check").await;
    let checked = String::from_utf8(checked.stdout).unwrap();
    for words in ["R010", "rules.yaml:8:29", "a rule has no key `stopp`"] {
        assert!(checked.contains(words) && stage.logged().contains(words), "{checked} {}", stage.logged());
    }
    stage.receive(1);
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    stage.rules(&RULES.replace("name: all", "name: every"));
    running.signal("HUP");
    stage.until_logged(&running, "rules: +every, -all").await;
    running.ends().await;
}

#[tokio::test]
async fn a_request_is_answered_with_what_came_of_it() {
    let stage = Stage::new().await;
    let running = started(&stage, &format!("run --listen {ANY}")).await;
    let address = stage.address_of(&running).await;
    let (status, body) = ask(&address, "POST", "").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.starts_with("not reloaded: the files say what configuration "), "{body}");
    stage.rules(&RULES.replace("name: all", "name: every"));
    let (status, body) = ask(&address, "POST", "").await;
    assert!(status == 200 && body.ends_with(": rules: +every, -all\n"), "{status} {body}");
    stage.rules(&RULES.replace(BAD.0, BAD.1));
    let (status, body) = ask(&address, "POST", "").await;
    assert_eq!(status, 422);
    assert!(body.contains("error[R010]") && body.contains("--> rules.yaml:8:29"), "{body}");
    let (status, body) = ask(&address, "POST", "Accept: application/json\r\n").await;
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &document["result"], &document["errors"]), (422, &"refused".into(), &1.into()));
    let checked = stage.output("check --format json").await;
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(document["problems"], checked["problems"], "the shape that check has");
    stage.rules(RULES);
    let (_, body) = ask(&address, "POST", "Accept: application/json\r\n").await;
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["result"], "replaced");
    assert_eq!(document["difference"]["rules"]["added"], serde_json::json!(["all"]), "{document}");
    assert_eq!(ask(&address, "GET", "").await.0, 405);
    for from in ["Origin: https://evil.test\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(ask(&address, "POST", from).await.0, 403, "{from}");
    }
    running.ends().await;
}

/// A folder as Kubernetes makes one of a `ConfigMap`: each version in a folder of its own, and a link that is swapped.
fn mounts(stage: &Stage, version: &str, rules: &str) {
    let folder = stage.folder.path().join("etc");
    let inner = folder.join(version);
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("rules.yaml"), rules).unwrap();
    std::os::unix::fs::symlink(version, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn the_watch_sees_a_config_map_that_is_swapped() {
    let stage = Stage::new().await;
    mounts(&stage, "..2026_11_25_01", RULES);
    let link = stage.folder.path().join("etc/rules.yaml");
    std::os::unix::fs::symlink("..data/rules.yaml", &link).unwrap();
    let running = started(&stage, "run --listen none --watch --config etc/rules.yaml").await;
    for (version, name) in [("..2026_11_25_02", "two"), ("..2026_11_25_03", "three")] {
        mounts(&stage, version, &RULES.replace("name: all", &format!("name: {name}")));
        stage.until_logged(&running, &format!("rules: +{name}")).await;
    }
    running.ends().await;
}

#[tokio::test]
async fn the_watch_sees_what_the_file_brings_in_and_waits_for_a_file_that_is_gone_for_a_moment() {
    let stage = Stage::new().await;
    let path = |name: &str| stage.folder.path().join(name);
    std::fs::create_dir(path("rules.d")).unwrap();
    stage.rules(&format!("{RULES}include: rules.d/*.yaml\n"));
    let running = started(&stage, "run --listen none --watch").await;
    std::fs::write(path("rules.d/more.yaml"), "rules: [{ name: more, match: {}, deliver: [{ to: crm }] }]\n")
        .unwrap();
    stage.until_logged(&running, "rules: +more").await;
    std::fs::create_dir_all(path("templates/greeting")).unwrap();
    std::fs::write(path("templates/greeting/text.hbs"), "Hello\n").unwrap();
    stage.until_logged(&running, "templates: +greeting").await;
    std::fs::write(path("templates/greeting/text.hbs"), "Goodbye\n").unwrap();
    stage.until_logged(&running, "templates: ~greeting (text.hbs)").await;
    // As editors do: the old one is moved away, a new one is written beside it and takes its place.
    std::fs::rename(path("rules.yaml"), path("rules.yaml~")).unwrap();
    std::fs::write(path("rules.yaml.new"), RULES).unwrap();
    std::fs::rename(path("rules.yaml.new"), path("rules.yaml")).unwrap();
    stage.until_logged(&running, "rules: -more").await;
    assert!(!stage.logged().contains("ERROR"), "{}", stage.logged());
    stage.rules(&RULES.replace(BAD.0, BAD.1));
    stage.until_logged(&running, "not reloaded").await;
    stage.rules(&RULES.replace("name: all", "name: every"));
    stage.until_logged(&running, "rules: +every, -all").await;
    running.ends().await;
}

/// What systemd is told next.
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("systemd is told something in time");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// The same, its life signs left out.
fn told_of(socket: &UnixDatagram) -> String {
    loop {
        let words = told(socket);
        if words != "WATCHDOG=1" {
            return words;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_how_it_is() {
    let stage = Stage::new().await;
    let path = stage.folder.path().join("notify");
    let hidden = format!("activity-relay-test-{}", std::process::id());
    let abstractly = SocketAddr::from_abstract_name(&hidden).unwrap();
    for (socket, name) in [
        (UnixDatagram::bind(&path).unwrap(), path.display().to_string()),
        (UnixDatagram::bind_addr(&abstractly).unwrap(), format!("@{hidden}")),
    ] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        stage.rules(RULES);
        let mut command = stage.command("run --listen none");
        command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "200000");
        let mut running = stage.launch(command);
        let ready = told_of(&socket);
        let status = "READY=1\nSTATUS=running: accounts 1, targets 1, rules 1, configuration ";
        assert!(ready.starts_with(status), "{ready}");
        stage.rules(&RULES.replace(BAD.0, BAD.1));
        running.signal("HUP");
        let reloading = told_of(&socket);
        let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
        assert!(Duration::from_micros(since.parse().unwrap()) > Duration::ZERO);
        let refused = told_of(&socket);
        let last = "; the last reload was refused: rules.yaml:8:29: R010 a rule has no key `stopp`";
        assert!(refused.starts_with(status) && refused.ends_with(last), "{refused}");
        while told(&socket) != "WATCHDOG=1" {}
        running.signal("TERM");
        assert!(told_of(&socket).starts_with("STOPPING=1\n"));
        assert_eq!(running.ended().await.code(), Some(0));
    }
}
