//! Message bodies as clean text: markup gone, entities decoded, whatever only looks like markup left alone. Linear time.

/// How often a text is decoded and stripped again: bodies arrive escaped once or twice.
const ROUNDS_MAX: usize = 3;
/// The longest entity name looked at, in bytes.
const ENTITY_BYTES_MAX: usize = 32;
/// Elements that stand on lines of their own.
const BLOCKS: &[&str] = &[
    "p",
    "div",
    "li",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
    "tr",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "blockquote",
    "section",
    "article",
    "header",
    "footer",
    "pre",
    "html",
    "body",
    "main",
    "center",
    "address",
];
/// Elements that leave no line break.
const INLINES: &[&str] = &[
    "a", "abbr", "b", "big", "cite", "code", "del", "em", "font", "i", "img", "input", "ins", "kbd", "label",
    "link", "mark", "meta", "o:p", "q", "s", "small", "span", "strike", "strong", "sub", "sup", "svg",
    "tbody", "td", "tfoot", "th", "thead", "tt", "u", "button", "form", "iframe", "wbr", "nobr", "figure",
    "picture",
];
/// Elements whose content is not text.
const DROPPED: &[&str] = &["script", "style", "head", "title", "template"];
/// Names of the characters U+00A0 to U+00FF, in order.
const LATIN: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf", "laquo",
    "not", "shy", "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot",
    "cedil", "sup1", "ordm", "raquo", "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc",
    "Atilde", "Auml", "Aring", "AElig", "Ccedil", "Egrave", "Eacute", "Ecirc", "Euml", "Igrave", "Iacute",
    "Icirc", "Iuml", "ETH", "Ntilde", "Ograve", "Oacute", "Ocirc", "Otilde", "Ouml", "times", "Oslash",
    "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN", "szlig", "agrave", "aacute", "acirc", "atilde",
    "auml", "aring", "aelig", "ccedil", "egrave", "eacute", "ecirc", "euml", "igrave", "iacute", "icirc",
    "iuml", "eth", "ntilde", "ograve", "oacute", "ocirc", "otilde", "ouml", "divide", "oslash", "ugrave",
    "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
];
/// Further named characters.
const NAMED: &[(&str, char)] = &[
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("euro", '€'),
    ("hellip", '…'),
    ("mdash", '—'),
    ("ndash", '–'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("lsaquo", '‹'),
    ("rsaquo", '›'),
    ("bull", '•'),
    ("trade", '™'),
    ("rarr", '→'),
    ("larr", '←'),
    ("check", '✓'),
    ("ensp", ' '),
    ("emsp", ' '),
    ("thinsp", ' '),
    ("zwj", '\u{200d}'),
    ("zwnj", '\u{200c}'),
];

/// The text of a body that may be plain, HTML, or HTML escaped once or twice. Lines are kept, `<br>` and block
/// elements become line breaks; `<3`, `a < b` and `<ann@example.com>` stay; control characters go.
pub fn text_of(body: &str) -> String {
    let mut text = strip(body);
    for _ in 0..ROUNDS_MAX {
        if !text.contains('&') {
            break;
        }
        let decoded = decode(&text);
        if decoded == text {
            break;
        }
        text = if decoded.contains('<') { strip(&decoded) } else { decoded };
    }
    tidy(&text)
}

/// The same on one line.
pub fn line_of(text: &str) -> String {
    text_of(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Break,
    Block,
    Inline,
    Cell,
    Dropped(&'static str),
}

/// What a tag's name and the text up to its `>` say; `None` if it is no tag but text.
fn tag_of(inside: &str) -> Option<Kind> {
    let (closing, rest) = inside.strip_prefix('/').map_or((false, inside), |rest| (true, rest));
    let end = rest.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(rest.len());
    let (name, attributes) = rest.split_at(end);
    if name.is_empty() || name.len() > 12 {
        return None;
    }
    let attributes = attributes.trim_matches(|c: char| c.is_whitespace() || c == '/');
    if !attributes.is_empty() && (closing || !attributes.contains('=')) {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let name = name.as_str();
    match name {
        "br" => Some(Kind::Break),
        "td" | "th" => Some(Kind::Cell),
        _ if BLOCKS.contains(&name) => Some(Kind::Block),
        _ if INLINES.contains(&name) => Some(Kind::Inline),
        _ => {
            let dropped = DROPPED.iter().find(|known| **known == name)?;
            Some(if closing { Kind::Inline } else { Kind::Dropped(dropped) })
        }
    }
}

/// Cuts a text at its tags. Every search goes on from where the last one ended, so that time stays linear.
struct Cutter<'a> {
    text: &'a str,
    at: usize,
    next_close: usize,
    unclosed: Vec<&'static str>,
}

enum Piece<'a> {
    Text(&'a str),
    Tag(Kind),
}

impl<'a> Iterator for Cutter<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let start = self.at;
        let mut from = start;
        while let Some(open) = self.text[from..].find('<').map(|found| from + found) {
            match self.tag_at(open) {
                Some(_) if open > start => {
                    self.at = open;
                    return Some(Piece::Text(&self.text[start..open]));
                }
                Some((kind, end)) => {
                    self.at = end;
                    return Some(Piece::Tag(kind));
                }
                None => from = open + 1,
            }
        }
        self.at = self.text.len();
        (start < self.text.len()).then(|| Piece::Text(&self.text[start..]))
    }
}

impl<'a> Cutter<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, next_close: 0, unclosed: Vec::new() }
    }

    /// The tag that opens at `open`, and where it ends with all that belongs to it.
    fn tag_at(&mut self, open: usize) -> Option<(Kind, usize)> {
        let rest = &self.text[open + 1..];
        if rest.starts_with("!--") {
            let end = self.find_after(open + 4, "-->", "!--")?;
            return Some((Kind::Inline, end + 3));
        }
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!') {
            return None;
        }
        if self.next_close <= open {
            let from = open + 1;
            self.next_close = self.text[from..].find('>').map_or(usize::MAX, |found| from + found);
        }
        let close = (self.next_close < usize::MAX).then_some(self.next_close)?;
        let inside = &self.text[open + 1..close];
        if inside.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("!doctype")) {
            return Some((Kind::Inline, close + 1));
        }
        // A look at what precedes the next "<" only: two of them in one tag are text, and the look stays short.
        if inside.as_bytes().contains(&b'<') {
            return None;
        }
        match tag_of(inside)? {
            Kind::Dropped(name) => {
                let end = self.find_after(close + 1, &format!("</{name}"), name).map_or(close + 1, |end| {
                    self.text[end..].find('>').map_or(self.text.len(), |found| end + found + 1)
                });
                Some((Kind::Dropped(name), end))
            }
            kind => Some((kind, close + 1)),
        }
    }

    /// Where `needle` (ASCII, any case) begins from `from` on; a name that has no more end is remembered.
    fn find_after(&mut self, from: usize, needle: &str, name: &'static str) -> Option<usize> {
        if self.unclosed.contains(&name) {
            return None;
        }
        let haystack = self.text.as_bytes().get(from.min(self.text.len())..)?;
        let found =
            haystack.windows(needle.len()).position(|part| part.eq_ignore_ascii_case(needle.as_bytes()));
        if found.is_none() {
            self.unclosed.push(name);
        }
        found.map(|found| from + found)
    }
}

/// Takes the tags out. In a text with line-breaking tags, line ends of its own are only spaces, as browsers have it.
fn strip(text: &str) -> String {
    if !text.contains('<') {
        return text.to_owned();
    }
    let flows = Cutter::new(text).any(|piece| matches!(piece, Piece::Tag(Kind::Break | Kind::Block)));
    let mut out = String::with_capacity(text.len());
    for piece in Cutter::new(text) {
        match piece {
            Piece::Text(part) if flows => push_flowing(&mut out, part),
            Piece::Text(part) => out.push_str(part),
            Piece::Tag(Kind::Break) => out.push('\n'),
            Piece::Tag(Kind::Block) => {
                out.truncate(out.trim_end_matches(' ').len());
                if !out.is_empty() && !out.ends_with('\n') {
                    out.push('\n');
                }
            }
            Piece::Tag(Kind::Cell) => push_flowing(&mut out, " "),
            Piece::Tag(Kind::Inline | Kind::Dropped(_)) => {}
        }
    }
    out
}

/// Adds a text with every run of white space as one space, none at a line's beginning.
fn push_flowing(out: &mut String, part: &str) {
    for c in part.chars() {
        if c.is_ascii_whitespace() {
            if !out.is_empty() && !out.ends_with([' ', '\n']) {
                out.push(' ');
            }
        } else {
            out.push(c);
        }
    }
}

/// Decodes entities once; what is none stays.
fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let window = rest.as_bytes().get(1..(ENTITY_BYTES_MAX + 2).min(rest.len())).unwrap_or_default();
        let end = window.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'#');
        let decoded =
            end.filter(|end| window[*end] == b';').and_then(|end| Some((entity(&rest[1..=end])?, end)));
        if let Some((c, end)) = decoded {
            out.push(c);
            rest = &rest[end + 2..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    if let Some(index) = LATIN.iter().position(|known| *known == name) {
        return char::from_u32(0xA0 + u32::try_from(index).ok()?);
    }
    NAMED.iter().find(|(known, _)| *known == name).map(|(_, c)| *c)
}

/// Removes control characters, blanks at line ends and more than one empty line in a row.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut breaks = 0_usize;
    let unified = text.replace("\r\n", "\n");
    for line in unified.split(['\n', '\r', '\u{2028}', '\u{2029}']) {
        let mut clean = String::with_capacity(line.len());
        clean.extend(line.chars().filter_map(|c| match c {
            '\u{a0}' => Some(' '),
            '\t' => Some('\t'),
            '\u{feff}' | '\u{200b}' | '\u{ad}' => None,
            c if c.is_control() => None,
            c => Some(c),
        }));
        let clean = clean.trim_end();
        if clean.is_empty() {
            breaks += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if breaks > 0 { "\n\n" } else { "\n" });
        }
        breaks = 0;
        out.push_str(clean);
    }
    let start = out.len() - out.trim_start().len();
    out.drain(..start);
    out
}

#[cfg(test)]
mod tests {

    use super::{line_of, text_of};

    #[test]
    fn markup_goes_and_its_line_breaks_stay() {
        assert_eq!(
            text_of("<p>Hello <b>Ann</b>,</p><p>see&nbsp;you<br/>soon</p>"),
            "Hello Ann,\nsee you\nsoon"
        );
        assert_eq!(text_of("<ul>\n <li>one</li>\n <li class=\"x\">two</li>\n</ul>"), "one\ntwo");
        assert_eq!(text_of("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>"), "a b\nc");
    }

    #[test]
    fn escaped_and_twice_escaped_markup_goes_too() {
        assert_eq!(text_of("&lt;div&gt;Can I come at 5?&lt;/div&gt;"), "Can I come at 5?");
        assert_eq!(text_of("&amp;lt;div&amp;gt;Tea &amp;amp;amp; cake&amp;lt;/div&amp;gt;"), "Tea & cake");
    }

    #[test]
    fn what_only_looks_like_markup_survives() {
        for text in [
            "I <3 you",
            "a < b",
            "a <b and c> d",
            "1 < 2 > 0",
            "Ann <ann@example.com>",
            "see <https://example.com/a>",
            "<",
            "x <b",
            "AT&T; R&D &unknown; &#; &",
            "if (a <b && c> d)",
        ] {
            assert_eq!(text_of(text), text);
        }
        assert_eq!(text_of("a &lt; b"), "a < b");
    }

    #[test]
    fn scripts_styles_and_comments_leave_nothing() {
        assert_eq!(
            text_of("<style>p{color:red}</style>Hi<SCRIPT>alert('<b>')</SCRIPT > there<!-- x -->!"),
            "Hi there!"
        );
        assert_eq!(text_of("the <script> tag is not closed"), "the  tag is not closed");
        assert_eq!(text_of("<!DOCTYPE html><html><head><title>T</title></head><body>B</body></html>"), "B");
    }

    #[test]
    fn plain_text_keeps_its_lines_and_loses_control_characters() {
        assert_eq!(text_of("one\r\ntwo  \n\n\n\nthree\u{0}\u{7}\u{1b}[31m"), "one\ntwo\n\nthree[31m");
        assert_eq!(text_of("keep\n<b>lines</b>"), "keep\nlines");
        assert_eq!(text_of("caf&eacute; &euro;5 &#39;x&#x27; &#0;\u{1f600}"), "café €5 'x' \u{1f600}");
        assert_eq!(line_of("Invoice\n #1042 &amp; more"), "Invoice #1042 & more");
    }

    /// What took quadratic time would not come to an end.
    #[test]
    fn huge_hostile_bodies_are_read_to_their_end() {
        for piece in
            ["<b ", "<!-- ", "<script>", "<style><", "&", "&amp", "<a href=\"", "< ", "<p>", "&lt;", "<b <i>"]
        {
            let body = piece.repeat(2_000_000 / piece.len());
            assert!(text_of(&body).len() <= body.len());
        }
    }
}
