//! What is said of blocks that Slack would refuse, and that nothing is said of those that it takes.

use super::Templates;

/// `line:column what [help]` of each problem of a `slack.yaml`.
fn said(text: &str) -> Vec<String> {
    let (_, problems) = Templates::compile(&[("t/slack.yaml".to_owned(), text.to_owned())]);
    let line = |problem: super::TemplateProblem| {
        let help = problem.help.unwrap_or_default();
        format!("{}:{} {} [{help}]", problem.line, problem.column, problem.message)
    };
    problems.into_iter().map(line).collect()
}

#[test]
fn what_slack_takes_is_left_alone() {
    let text = r#"
- type: header
  text: "{{who}}"
- { type: divider }
- type: section
  text: { type: plain_text, text: "{{who}}" }
  an_unknown_key: 1
  accessory: { type: image, image_url: "https://example.com/a.png", alt_text: "{{who}}" }
- type: section
  fields: [{ type: mrkdwn, text: "{{who}}" }]
  expand: true
- type: "{{#if client.name}}divider{{else}}section{{/if}}"
- type: image
  slack_file: { id: F1 }
  alt_text: a picture
- type: context
  elements:
    - { type: mrkdwn, text: "{{who}}", when: "{{client.name}}" }
    - { type: image, image_url: "https://example.com/a.png", alt_text: x }
- type: actions
  elements:
    - { type: button, text: Open, url: "{{links.open}}" }
    - { type: users_select, action_id: a }
- type: rich_text
  elements: [{ type: rich_text_section, elements: [{ type: text, text: x }] }]
- { type: markdown, text: "**{{plain who}}**" }
- { type: video, title: { type: plain_text, text: x }, video_url: u, thumbnail_url: u, alt_text: x }
- { type: table, rows: [[{ type: raw_text, text: x }]] }
"#;
    assert_eq!(said(text), Vec::<String>::new());
}

#[test]
fn what_slack_would_refuse_or_nobody_would_see_is_told_at_its_place() {
    let text = r#"- type: sektion
  text: x
- typ: divider
- text: x
- type: table
- just words
- type: section
  text: 5
- type: section
  text: { text: "" }
- type: section
  text: { type: mrkdwn }
- type: section
  text: ""
- type: section
  feilds: [{ type: mrkdwn, text: x }]
- type: context
  elements: x
- type: actions
  elements: []
- type: actions
  elements:
    - { type: buton, text: x }
    - { type: image, image_url: "https://example.com" }
- type: file
- { type: banner, text: x }
"#;
    insta::assert_snapshot!(said(text).join("\n"));
}
