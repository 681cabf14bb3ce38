//! Whatever a client or a template's author writes: payloads stay whole and nothing panics.

use proptest::prelude::*;
use serde_json::Value;

use crate::model::payload::{Format, Payload};

use super::Templates;
use super::tests::{FORMATS, assert_within_limits, cancelled, mail, shipped_templates, slack, strings};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_a_client_writes_breaks_a_payload(name in hostile(), subject in hostile(), body in hostile()) {
        let templates = TEMPLATES.with(Clone::clone);
        let mut view = cancelled(&name);
        view.messages[0].message.subject = subject;
        view.messages[0].message.body = body;
        for template in ["default", "client-cancelled", "client-message"] {
            let value = slack(templates.render(template, Format::Slack, &view));
            assert_within_limits(&value);
            let mut all = Vec::new();
            strings(&value, &mut all);
            for text in all {
                for (at, _) in text.match_indices('<') {
                    let rest = &text[at..];
                    prop_assert!(rest.starts_with("<mailto:ann@") || rest.starts_with("<tel:+39"), "{}", rest);
                }
            }
            let mail = mail(templates.render(template, Format::Email, &view));
            prop_assert!(!mail.subject.contains(['\r', '\n']));
            prop_assert!(!mail.html.unwrap().contains("<script"));
        }
        for format in FORMATS {
            if let Payload::Http(body) = templates.render("default", format, &view).payload {
                prop_assert!(serde_json::from_str::<Value>(&body.body).is_ok());
            }
        }
    }

    #[test]
    fn no_text_of_a_template_brings_compiling_down(text in template_text()) {
        let (templates, _) = Templates::compile(&[("t/text.hbs".to_owned(), text)]);
        let rendered = templates.render("t", Format::Slack, &cancelled("Ann"));
        prop_assert!(matches!(rendered.payload, Payload::Slack(_)));
    }
}

thread_local! {
    static TEMPLATES: std::rc::Rc<Templates> = std::rc::Rc::new(shipped_templates());
}

pub(super) fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<!channel>".to_owned()),
        Just("<@U1|x>".to_owned()),
        Just("<script>".to_owned()),
        Just("{{client.name}}".to_owned()),
        Just("```".to_owned()),
        Just("\r\n".to_owned()),
        Just("&lt;".to_owned()),
        Just("\u{202e}🙂".to_owned()),
        "\\PC{0,12}",
        "[<>&|*_~\"\\\\]{1,6}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn template_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{{".to_owned()),
        Just("}}".to_owned()),
        Just("{{client.name}}".to_owned()),
        Just("{{#if who}}".to_owned()),
        Just("{{~else~}}".to_owned()),
        Just("{{else if count}}".to_owned()),
        Just("{{/if}}".to_owned()),
        Just("{{#each items}}".to_owned()),
        Just("{{/each}}".to_owned()),
        Just("{{> facts}}".to_owned()),
        Just("{{!-- x".to_owned()),
        Just("\\".to_owned()),
        "[ a-z#/>(){}~.\"@|!\n]{0,6}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}
