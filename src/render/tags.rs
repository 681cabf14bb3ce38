//! Finds a template's tags in its text, to say in words and with a place why it cannot be read.

/// A tag's brackets may be nested so deep, and blocks in blocks.
const DEPTH_MAX: usize = 32;
/// A part may be so long.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// A mistake in a template's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Byte offset.
    pub(crate) at: usize,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: Option<String>,
    /// The part can be used all the same.
    pub(crate) warning: bool,
}

/// One `{{…}}`.
#[derive(Debug, Clone, Copy)]
struct Tag<'a> {
    at: usize,
    end: usize,
    /// Between the braces, without whitespace control.
    inner: &'a str,
    braces: usize,
}

/// Checks that tags are closed, blocks are balanced, nothing is nested beyond reason, and no tag puts out raw text.
pub(crate) fn check(text: &str) -> Result<(), Mistake> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(mistake(
            0,
            format!("the part is longer than {} KiB", TEXT_BYTES_MAX / 1024),
            "split it up",
        ));
    }
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut from = 0;
    while let Some(tag) = next_tag(text, from)? {
        from = tag.end;
        if tag.inner.starts_with('!') {
            continue;
        }
        check_inside(&tag)?;
        let word = |rest: &'static str| first_word(tag.inner.trim_start_matches(|c| rest.contains(c)));
        match tag.inner.as_bytes().first() {
            _ if tag.braces == 4 && !tag.inner.starts_with('/') => {
                let name = first_word(tag.inner);
                let close = format!("{{{{{{{{/{name}}}}}}}}}");
                let Some(found) = text[from..].find(&close) else {
                    return Err(unclosed(tag.at, name));
                };
                from += found + close.len();
            }
            Some(b'#') => {
                open.push((tag.at, word("#*> ")));
                if open.len() > DEPTH_MAX {
                    let message = format!("blocks are nested deeper than {DEPTH_MAX}");
                    return Err(mistake(tag.at, message, "move the inner part to a partial"));
                }
            }
            Some(b'/') => close(&mut open, tag.at, word("/ "))?,
            _ if first_word(tag.inner) == "else" && open.is_empty() => {
                return Err(mistake(
                    tag.at,
                    "`{{else}}` stands outside of a block",
                    "put it between {{#if …}} and {{/if}}",
                ));
            }
            _ => {}
        }
    }
    open.pop().map_or(Ok(()), |(at, name)| Err(unclosed(at, name)))
}

fn close(open: &mut Vec<(usize, &str)>, at: usize, name: &str) -> Result<(), Mistake> {
    match open.pop() {
        Some((_, opened)) if opened == name || name.is_empty() => Ok(()),
        Some((_, opened)) => Err(mistake(
            at,
            format!("`{{{{/{name}}}}}` closes a block that was opened as `{{{{#{opened}}}}}`"),
            format!("write {{{{/{opened}}}}} here, or close the inner block first"),
        )),
        None => Err(mistake(at, format!("`{{{{/{name}}}}}` closes a block that is not open"), "remove it")),
    }
}

fn unclosed(at: usize, name: &str) -> Mistake {
    mistake(at, format!("the block `{name}` is never closed"), format!("add {{{{/{name}}}}} where it ends"))
}

/// What can be wrong within one tag.
fn check_inside(tag: &Tag<'_>) -> Result<(), Mistake> {
    if tag.braces == 3 || tag.inner.starts_with('&') || tag.inner.starts_with('{') {
        let name = tag.inner.trim_matches(|c: char| matches!(c, '&' | '{' | '}') || c.is_whitespace());
        return Err(mistake(
            tag.at,
            "three braces would put a message's text out unescaped",
            format!("write {{{{{name}}}}}; helpers such as link and table bring their own markup"),
        ));
    }
    if tag.inner.trim().is_empty() {
        return Err(mistake(tag.at, "the tag is empty", "name a field in it, or remove it"));
    }
    let (mut depth, mut quote) = (0_usize, None);
    for c in tag.inner.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(mistake(tag.at, "brackets in the tag are nested too deep", "simplify it"));
        }
    }
    if quote.is_some() {
        return Err(mistake(
            tag.at,
            "a quotation mark in the tag is never closed",
            "close the text with the same mark",
        ));
    }
    if depth > 0 {
        return Err(mistake(tag.at, "a bracket in the tag is never closed", "close it before the }}"));
    }
    Ok(())
}

/// What to say where the parser refuses a tag that looks balanced.
pub(crate) fn unreadable(text: &str, at: usize) -> Mistake {
    // The parser points to where it stopped, which may be a few characters into a tag or right behind one.
    let start = text[..at.min(text.len())].rfind("{{").unwrap_or(at);
    let tag = text[start..].find("}}").map_or(&text[start..], |end| &text[start..start + end + 2]);
    let shown: String = tag.chars().take(60).collect();
    mistake(
        start,
        format!("the tag `{shown}` cannot be read"),
        "a tag is {{field}}, {{helper argument …}}, {{#if field}}…{{/if}} or {{> partial}}; text goes in quotes",
    )
}

/// The next tag from `from` on; an escaped one (`\{{`) is none.
fn next_tag(text: &str, mut from: usize) -> Result<Option<Tag<'_>>, Mistake> {
    loop {
        let Some(found) = text.get(from..).and_then(|rest| rest.find("{{")) else { return Ok(None) };
        let at = from + found;
        let backslashes = text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        if backslashes == 1 {
            from = at + 2;
            continue;
        }
        let braces = text[at..].bytes().take_while(|byte| *byte == b'{').count().min(4);
        let braces = if braces == 4 { 4 } else { braces.min(3) };
        let body = at + braces;
        let rest = &text[body..];
        let comment = rest.trim_start_matches('~').starts_with("!--");
        let close = if comment { "--}}" } else { &"}}}}"[..braces] };
        let Some(length) = rest.find(close) else {
            return Err(mistake(
                at,
                format!("the tag is opened with {} and never closed", &"{{{{"[..braces]),
                format!("close it with {close}"),
            ));
        };
        if !comment && rest[..length].contains("{{") {
            return Err(mistake(
                at,
                "the tag is not closed before the next one opens",
                format!("close it with {close}"),
            ));
        }
        let inner = rest[..length].trim_matches('~').trim();
        return Ok(Some(Tag { at, end: body + length + close.len(), inner, braces }));
    }
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| c.is_whitespace() || c == '~').find(|word| !word.is_empty()).unwrap_or_default()
}

/// A mistake with its remedy.
pub(crate) fn mistake(at: usize, message: impl Into<String>, help: impl Into<String>) -> Mistake {
    Mistake { at, message: message.into(), help: Some(help.into()), warning: false }
}

/// Line and column (from 1, in characters) of a byte offset.
pub(crate) fn place(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The byte offset of a line and column (from 1, in characters).
pub(crate) fn offset(text: &str, line: usize, column: usize) -> usize {
    let mut start = 0;
    for _ in 1..line {
        match text[start..].find('\n') {
            Some(newline) => start += newline + 1,
            None => return text.len(),
        }
    }
    let rest = &text[start..];
    rest.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| start + at)
}

/// Where `name` stands as a whole word, from `from` on.
pub(crate) fn find_word(text: &str, from: usize, name: &str) -> Option<usize> {
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '/');
    let mut start = from;
    while let Some(found) = text.get(start..)?.find(name) {
        let at = start + found;
        let before = text[..at].chars().next_back().is_some_and(part_of_name);
        let after = text[at + name.len()..].chars().next().is_some_and(part_of_name);
        // A closing tag's slash is no part of a name, but it never comes first.
        if !before && !after {
            return Some(at);
        }
        start = at + name.len().max(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> String {
        match check(text) {
            Ok(()) => "fine".to_owned(),
            Err(mistake) => {
                let (line, column) = place(text, mistake.at);
                format!("{line}:{column} {}", mistake.message)
            }
        }
    }

    #[test]
    fn mistakes_have_words_and_a_place() {
        assert_eq!(says("Hi {{client.name"), "1:4 the tag is opened with {{ and never closed");
        assert_eq!(says("Hi {{client.name\n{{/if}}"), "1:4 the tag is not closed before the next one opens");
        assert_eq!(says("é\n {{#if a}}x"), "2:2 the block `if` is never closed");
        assert_eq!(
            says("{{#if a}}x{{/each}}"),
            "1:11 `{{/each}}` closes a block that was opened as `{{#if}}`"
        );
        assert_eq!(says("x{{/if}}"), "1:2 `{{/if}}` closes a block that is not open");
        assert_eq!(says("{{{client.name}}}"), "1:1 three braces would put a message's text out unescaped");
        assert_eq!(says("{{& client.name}}"), "1:1 three braces would put a message's text out unescaped");
        assert_eq!(says("{{}}"), "1:1 the tag is empty");
        assert_eq!(says("{{link \"a}}"), "1:1 a quotation mark in the tag is never closed");
        assert_eq!(says("{{upper (lower a}}"), "1:1 a bracket in the tag is never closed");
        assert_eq!(says(&"{{#if a}}".repeat(5000)), "1:289 blocks are nested deeper than 32");
        assert_eq!(says("{{else}}"), "1:1 `{{else}}` stands outside of a block");
    }

    #[test]
    fn what_is_right_passes() {
        for text in [
            "{{#if a}}{{else if b}}{{~else~}}{{/if}}",
            "\\{{not a tag}}",
            "{{!-- {{#if}} --}}{{! {x} }}",
            "{{#> mail title=\"a\"}}x{{/mail}}",
            "{{{{raw}}}} {{x}} {{{{/raw}}}}",
        ] {
            assert_eq!(says(text), "fine", "{text}");
        }
    }

    #[test]
    fn places_and_offsets_are_each_others_inverse() {
        let text = "aé\nbü c";
        assert_eq!(place(text, offset(text, 2, 4)), (2, 4));
    }
}
