//! The templates that come with the program: what is always there, and what `init` writes for people to change.

/// A file of the templates' folder, taken in when the program is built.
macro_rules! file {
    ($path:literal) => {
        ($path, include_str!(concat!("../../templates/", $path)))
    };
}

/// Layouts, partials and the templates `default` and `backlog`: always there, unless a file of the same path replaces them.
const BUILT_IN: &[(&str, &str)] = &[
    file!("_layouts/mail.hbs"),
    file!("_partials/facts.hbs"),
    file!("_partials/facts-text.hbs"),
    file!("_partials/button.hbs"),
    file!("_partials/also.hbs"),
    file!("_partials/digest.hbs"),
    file!("_partials/digest-text.hbs"),
    file!("_partials/digest-slack.hbs"),
    file!("_partials/notes.hbs"),
    file!("_partials/notes-text.hbs"),
    file!("default/subject.hbs"),
    file!("default/text.hbs"),
    file!("default/html.hbs"),
    file!("default/slack.yaml"),
    file!("backlog/subject.hbs"),
    file!("backlog/text.hbs"),
    file!("backlog/html.hbs"),
    file!("backlog/slack.yaml"),
];

/// One template for each use case.
const USE_CASES: &[(&str, &str)] = &[
    file!("client-cancelled/subject.hbs"),
    file!("client-cancelled/text.hbs"),
    file!("client-cancelled/html.hbs"),
    file!("client-cancelled/slack.yaml"),
    file!("client-message/subject.hbs"),
    file!("client-message/text.hbs"),
    file!("client-message/html.hbs"),
    file!("client-message/slack.yaml"),
    file!("document/subject.hbs"),
    file!("document/text.hbs"),
    file!("document/html.hbs"),
    file!("document/slack.yaml"),
    file!("estimate-decision/subject.hbs"),
    file!("estimate-decision/text.hbs"),
    file!("estimate-decision/html.hbs"),
    file!("estimate-decision/slack.yaml"),
    file!("new-booking/subject.hbs"),
    file!("new-booking/text.hbs"),
    file!("new-booking/html.hbs"),
    file!("new-booking/slack.yaml"),
    file!("payment-failures/subject.hbs"),
    file!("payment-failures/text.hbs"),
    file!("payment-failures/html.hbs"),
    file!("payment-failures/slack.yaml"),
    file!("review/subject.hbs"),
    file!("review/text.hbs"),
    file!("review/html.hbs"),
    file!("review/slack.yaml"),
    file!("waitlist/subject.hbs"),
    file!("waitlist/text.hbs"),
    file!("waitlist/html.hbs"),
    file!("waitlist/slack.yaml"),
];

/// What every configuration has: (path relative to the templates' folder, text).
pub(super) fn built_in() -> Vec<(&'static str, &'static str)> {
    BUILT_IN.to_vec()
}

/// All shipped files, for `init`: (path relative to the templates' folder, text).
pub fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    BUILT_IN.iter().chain(USE_CASES).copied()
}
