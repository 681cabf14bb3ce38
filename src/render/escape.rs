//! Makes a message's words inert in the part they are put into.

/// Where rendered text ends up, which decides how values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Plain text and JSON leaves: values are put in as they are.
    Plain,
    /// An HTML mail.
    Html,
    /// Slack's mrkdwn and plain text objects.
    Slack,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Html, Self::Slack];

    /// A value, escaped for this kind.
    pub(crate) fn escape(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Html => html(text),
            Self::Slack => slack(text),
        }
    }
}

/// Slack's control characters, and nothing else: any other entity would be shown as it stands.
pub(crate) fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// For HTML text and quoted attributes.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => {}
            c => out.push(c),
        }
    }
    out
}

/// One line without control characters: what a subject, a header, a name or a title may be.
pub(crate) fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control() || is_direction_mark(c)) {
        if word.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Marks that turn the reading direction and can make a name show as another.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text of several lines without control characters but line ends and tabs.
pub(crate) fn clean(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| if c == '\r' { '\n' } else { c })
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// A link's address if it leads to the web, a mail or a telephone; spaces, quotes and angle brackets are
/// percent-encoded, so that it can be put between any delimiters.
pub(crate) fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let known = ["https://", "http://", "mailto:", "tel:"];
    if !known.iter().any(|scheme| lower.starts_with(scheme) && lower.len() > scheme.len()) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("%3C"),
            '>' => out.push_str("%3E"),
            '"' => out.push_str("%22"),
            '\'' => out.push_str("%27"),
            '|' => out.push_str("%7C"),
            '`' => out.push_str("%60"),
            c if c.is_whitespace() || c.is_control() => out.push_str("%20"),
            c => out.push(c),
        }
    }
    Some(out)
}

/// Keeps Slack from reading `*`, `_`, `~` and backticks in a value as formatting: a zero-width space parts each from
/// what follows. For a value inside a template's own `*…*`.
pub(crate) fn unformatted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    let mut chars = text.chars().peekable();
    let within_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    while let Some(c) = chars.next() {
        // Within a word Slack reads none of them, and a copied address stays right.
        let formats = matches!(c, '*' | '_' | '~' | '`')
            && !(within_word(before) && within_word(chars.peek().copied()));
        if formats {
            out.push('\u{200b}');
        }
        out.push(c);
        if formats {
            out.push('\u{200b}');
        }
        before = Some(c);
    }
    out
}

/// At most `max` grapheme clusters, the last of them `…` where something was left out.
pub(crate) fn truncate(text: &str, max: usize) -> String {
    use unicode_segmentation::UnicodeSegmentation;
    if text.len() <= max || text.graphemes(true).nth(max).is_none() {
        return text.to_owned();
    }
    let mut out: String = text.graphemes(true).take(max.saturating_sub(1)).collect();
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

/// Cuts at a grapheme's end so that at most `max` UTF-16 units stay, which no way of counting characters exceeds.
/// Returns the head and the rest.
pub(crate) fn split_units(text: &str, max: usize) -> (&str, &str) {
    use unicode_segmentation::UnicodeSegmentation;
    let (mut units, mut end) = (0, 0);
    for (start, grapheme) in text.grapheme_indices(true) {
        units += grapheme.encode_utf16().count();
        if units > max {
            break;
        }
        end = start + grapheme.len();
    }
    text.split_at(end)
}

/// How long a text is in UTF-16 units.
pub(crate) fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_escapes_three_characters_and_no_other() {
        assert_eq!(slack(r#"<!channel> & "Bob" 'x' = `y`"#), r#"&lt;!channel&gt; &amp; "Bob" 'x' = `y`"#);
    }

    #[test]
    fn asterisks_at_a_words_edge_are_parted_and_others_are_left() {
        assert_eq!(unformatted("ann_b@x.org *A*"), "ann_b@x.org \u{200b}*\u{200b}A\u{200b}*\u{200b}");
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line("Ann\r\nBcc: all@example.com\u{7}\u{202e}"), "Ann Bcc: all@example.com");
    }

    #[test]
    fn truncating_never_cuts_a_family_in_two() {
        assert_eq!(truncate("👨‍👩‍👧👨‍👩‍👧👨‍👩‍👧", 2), "👨‍👩‍👧…");
        assert_eq!(truncate("abc", 3), "abc");
        assert_eq!(split_units("a👨‍👩‍👧b", 4).0, "a");
    }

    #[test]
    fn only_links_that_lead_somewhere_known_are_links() {
        assert_eq!(address("javascript:alert(1)"), None);
        assert_eq!(address("https://x/<a b|c>").as_deref(), Some("https://x/%3Ca%20b%7Cc%3E"));
        assert_eq!(address("https://"), None);
    }
}
