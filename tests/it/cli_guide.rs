//! `docs/guide.md` is true: its files are written, its commands run in their order, and they print what it shows.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use activity_relay::config::secret::Environment;
use activity_relay::daemon::clock::Clock;
use activity_relay::sandbox::scenario::Scenario;
use activity_relay::sandbox::{Sandbox, Settings};

/// The ports that the guide gives to the sandbox's API and to its mail inbox.
const PORTS: [&str; 2] = ["8181", "8183"];
/// Stands for any lines, or for any part of one.
const ANYTHING: &str = "…";

/// The folder and the shell of somebody who follows the guide.
struct Walk {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
    /// How many lines were put into which file below which line: what comes next for the same place takes theirs.
    put: HashMap<(String, String), usize>,
    sandbox: Option<Sandbox>,
}

impl Walk {
    /// Writes a block: `FILE` is the whole file, `FILE LINE` what stands below that line.
    fn file(&mut self, place: &str, text: &str) {
        let text = self.with_ports(text);
        let (file, line) = place.split_once(' ').unwrap_or((place, ""));
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if line.is_empty() {
            fs::write(path, text).unwrap();
            return;
        }
        let whole = fs::read_to_string(&path).unwrap();
        let before = self.put.insert((file.to_owned(), line.to_owned()), text.lines().count()).unwrap_or(0);
        let mut lines: Vec<&str> = whole.lines().collect();
        let below =
            lines.iter().position(|other| other.trim() == line).unwrap_or_else(|| panic!("{place}")) + 1;
        lines.splice(below..below + before, text.lines());
        fs::write(path, lines.join("\n") + "\n").unwrap();
    }

    fn with_ports(&self, text: &str) -> String {
        let Some(sandbox) = &self.sandbox else { return text.to_owned() };
        let real = [sandbox.url(), sandbox.mail.url()].map(port);
        PORTS.iter().zip(real).fold(text.to_owned(), |text, (shown, real)| text.replace(shown, &real))
    }

    /// Runs a command as a shell would; what it printed.
    async fn command(&mut self, line: &str) -> String {
        if let Some(variables) = line.strip_prefix("export ") {
            for (name, value) in variables.split(' ').filter_map(|variable| variable.split_once('=')) {
                let value = self.with_ports(value.trim_matches('"'));
                self.variables.push((name.to_owned(), value));
            }
            return String::new();
        }
        if let Some(options) = line.strip_prefix("activity-relay sandbox ") {
            let file = options.split(' ').nth(1).unwrap();
            let scenario = Scenario::load(self.folder.path().join(file).to_str().unwrap()).unwrap();
            let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
            sandbox.play(&scenario);
            self.sandbox = Some(sandbox);
            return String::new();
        }
        let program = Path::new(env!("CARGO_BIN_EXE_activity-relay"));
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(format!("{line} 2>&1")).current_dir(self.folder.path());
        shell.env_clear().env("PATH", program.parent().unwrap()).envs(self.variables.iter().cloned());
        let output = tokio::task::block_in_place(|| shell.output().unwrap());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.trim_end().lines().map(|line| format!("{}\n", line.trim_end()));
        lines.collect()
    }
}

fn port(url: &str) -> String {
    url.rsplit(':').next().unwrap().chars().take_while(char::is_ascii_digit).collect()
}

/// A shown line stands for what was printed.
fn fits(shown: &str, printed: &str) -> bool {
    let Some((start, rest)) = shown.split_once(ANYTHING) else { return shown == printed };
    let Some(left) = printed.strip_prefix(start) else { return false };
    left.char_indices().map(|(at, _)| at).chain([left.len()]).any(|at| fits(rest, &left[at..]))
}

fn all_fit(shown: &[&str], printed: &[&str]) -> bool {
    match shown {
        [] => printed.is_empty(),
        [ANYTHING, rest @ ..] => (0..=printed.len()).any(|from| all_fit(rest, &printed[from..])),
        [line, rest @ ..] => {
            printed.first().is_some_and(|first| fits(line, first)) && all_fit(rest, &printed[1..])
        }
    }
}

/// The guide with what is printed now wherever it shows something else, and the mails that arrived.
async fn walked(guide: &str) -> (String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let mut walk = Walk { folder, variables: Vec::new(), put: HashMap::new(), sandbox: None };
    let mut text = String::new();
    for (number, part) in guide.split("```").enumerate() {
        if number > 0 {
            text.push_str("```");
        }
        let (kind, block) = part.split_once('\n').unwrap_or((part, ""));
        match kind.split_once(' ') {
            Some((_, place)) if number % 2 == 1 => walk.file(place, block),
            None if number % 2 == 1 && kind == "console" => {
                text.push_str("console\n");
                for shown in block.split("$ ").skip(1) {
                    let (line, shown) = shown.split_once('\n').unwrap();
                    let printed = walk.command(line).await;
                    let same =
                        all_fit(&shown.lines().collect::<Vec<_>>(), &printed.lines().collect::<Vec<_>>());
                    text.extend(["$ ", line, "\n", if same { shown } else { &printed }]);
                }
                continue;
            }
            _ => {}
        }
        text.push_str(part);
    }
    let sandbox = walk.sandbox.unwrap();
    let mails = sandbox.mail.arrivals_after(0).into_iter().map(|arrival| arrival.shown).collect();
    sandbox.stop().await;
    (text, mails)
}

/// `just snapshots` writes what is printed now into the guide; read the diff.
#[tokio::test(flavor = "multi_thread")]
async fn the_guide_s_commands_print_what_it_shows() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/guide.md");
    let guide = fs::read_to_string(&path).unwrap();
    let (walked, mails) = walked(&guide).await;
    if Environment::of_process().get("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(&path, &walked).unwrap();
    } else {
        same_or_where(&guide, &walked);
    }
    assert!(mails.len() == 1 && mails[0].contains("Unhappy: Tom O'Hara"), "{mails:?}");
}

/// Equal, or the first line that is not.
fn same_or_where(guide: &str, walked: &str) {
    let differs =
        guide.lines().zip(walked.lines()).enumerate().find(|(_, (shown, printed))| shown != printed);
    if let Some((number, (shown, printed))) = differs {
        panic!(
            "docs/guide.md:{}: shows `{shown}`, but now it is `{printed}`; `just snapshots` mends it",
            number + 1
        );
    }
    assert_eq!(guide, walked);
}
