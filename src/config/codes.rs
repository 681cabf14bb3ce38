//! The codes of problems: stable, one meaning each.

/// A code with what it means. Codes are never reused; new ones are added at the end of their group.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `R` and three digits.
    pub id: &'static str,
    /// One line: what is wrong with the file.
    pub meaning: &'static str,
    explanation: &'static str,
}

impl Code {
    /// What it means, why it matters, an example that has it, one that has not, and the remedy; Markdown.
    pub fn explanation(&self) -> &'static str {
        self.explanation
    }
}

macro_rules! codes {
    ($($name:ident $id:literal $meaning:literal)*) => {
        $(#[doc = $meaning] pub const $name: &Code = &Code {
            id: $id,
            meaning: $meaning,
            explanation: include_str!(concat!("explain/", $id, ".md")),
        };)*
        /// All of them, in the order of their numbers.
        pub const ALL: &[&Code] = &[$($name),*];
    };
}

codes! {
    FILE "R001" "A file cannot be read, is too large, or is not UTF-8."
    SYNTAX "R002" "The text is not YAML."
    TAB "R003" "A line is indented with a tab; YAML wants spaces."
    DUPLICATE_KEY "R004" "A key stands twice in one mapping."
    TOO_MUCH "R005" "The file nests too deeply or its aliases multiply beyond reason."
    YAML_FEATURE "R006" "A part of YAML that the rules file does not use: tags, several documents, keys that are no plain text."
    ODD_BLANK "R007" "A line is indented with a character that looks like a space and is none."
    TYPOGRAPHIC "R008" "Typographic quotation marks, which are no quotation marks to YAML."
    CUT_OFF "R009" "A `#` cuts a value off that is probably meant as a whole."
    UNKNOWN_KEY "R010" "A key that does not exist at this place."
    MISSING_KEY "R011" "A key that must be there is not."
    WRONG_TYPE "R012" "A value of the wrong kind, such as a list where text is wanted."
    QUOTE_IT "R013" "A number, a truth value or nothing where text is wanted: put it in quotes."
    UNKNOWN_NAME "R014" "An activity type, message type or direction that is not in the catalogue."
    NO_SUCH_COMBINATION "R015" "No known message has this combination of activity type, message type and direction."
    EMPTY_WILDCARD "R016" "A wildcard that no known name fits."
    UNKNOWN_TYPE "R017" "An activity type that neither the catalogue nor the API's list has; `allow_unknown: true` accepts it."
    UNQUOTED "R018" "A value that YAML reads as something else unless it stands in quotes, such as `*_failed` or `a: b`, or one that goes on behind its quotes."
    SPACING "R019" "A space is missing behind a colon or a dash."
    UNSET_VARIABLE "R020" "A ${NAME} whose variable is not set."
    SUBSTITUTION "R021" "A ${…} that is not well formed, or a `$NAME` that lacks its braces."
    SECRET_FILE "R022" "A ${file:…} or `token_file` that cannot be read."
    PLACEHOLDER "R023" "A value that init put there to be replaced by your own."
    UNEVEN "R024" "A line is indented unlike those that it belongs to."
    UNCLOSED "R025" "A quotation mark or a bracket that is opened and not closed."
    TRUTH_WORD "R026" "A word such as `no` or `on` that other YAML readers take for a truth value."
    DURATION "R030" "Not a duration such as 30s, 10m, 1h30m or 2d, or out of range."
    TIMEZONE "R031" "Not an IANA time zone."
    RATE "R032" "Not a rate such as 1/s or 60/m, or a burst without a rate."
    NUMBER "R033" "A number that is out of range."
    CHOICE "R034" "A value that is none of the possible ones."
    MOMENT "R035" "Not a starting point: now, a duration, a moment, or beginning."
    ADDRESS "R036" "Not a mail address."
    URL "R037" "Not a usable URL."
    HEADER "R038" "Not a valid HTTP header or method."
    SIGNING_SECRET "R039" "Not a Standard Webhooks secret of 24 to 64 bytes."
    INSECURE_LOGIN "R040" "Credentials would travel in plain text over a network."
    PRIVATE_ADDRESS "R041" "A private or loopback address without `allow_private`."
    SLACK_HOST "R042" "A Slack webhook that does not lead to Slack."
    URL_PASSWORD "R043" "A user or password inside a URL."
    UNCONFINED "R044" "A URL or header made of message data."
    NETWORK "R045" "Not a network such as 10.1.0.0/16."
    NAME "R046" "A name that cannot be used."
    TIME_OF_DAY "R047" "Not a time of day such as \"08:00\"."
    DAYS "R048" "Not days of the week such as mon-fri or [sat, sun]."
    HOLIDAYS "R049" "Not a date, or a file of holidays that cannot be read."
    DUPLICATE_NAME "R050" "Two accounts, targets, schedules or rules of one name."
    UNKNOWN_TARGET "R051" "A target that does not exist."
    UNKNOWN_TEMPLATE "R052" "A template that does not exist."
    UNKNOWN_ACCOUNT "R053" "An account that does not exist."
    UNKNOWN_SCHEDULE "R054" "A schedule that does not exist."
    UNUSED_TARGET "R055" "A target that nothing uses."
    NOTHING_TO_DO "R056" "There are no rules or no targets."
    TAKES_NOTHING "R057" "A rule, or a condition of it, that takes nothing because `except` takes it all away."
    IDLE_EXCEPT "R058" "An `except` that takes nothing away."
    CONSTANT_WHERE "R059" "A where: that is always true, always false, or cannot be judged on any message that the rule takes."
    EXPRESSION "R060" "A where: expression that does not compile."
    TEMPLATE "R061" "A template that does not compile or names something that does not exist."
    TEMPLATE_FILES "R062" "The templates' folder, or a file in it, cannot be read."
    SAMPLE "R063" "A template fails on a message that the rule can match."
    MISSING_VALUE "R064" "A template shows a field that a message which the rule can match does not have."
    SHADOWED "R065" "A rule, or a name in it, that no message reaches because earlier rules stop them all."
    TWICE "R066" "Two rules take the same and send the same to one target, so that people get it twice."
    UNUSED_TEMPLATE "R067" "A template that nothing uses, or a partial that no template includes."
    UNUSED_ACCOUNT "R068" "An account that no rule is for."
    CUT "R069" "A template makes more than the target takes, so that something is cut or left out."
    NOT_YET "R070" "Part of the format, but not available in this version."
    INCLUDE "R071" "An include that leads nowhere or round in a circle."
    MAIN_FILE_ONLY "R072" "A key that belongs into the main file, not into an included one."
    UNKNOWN_RULE "R073" "A rule that does not exist."
    KEY "R074" "A key made of fields that does not hold any, or names one that does not exist."
    TIMING "R075" "Settings of a digest, a throttle, hours or `collapse` that contradict each other."
    NEVER "R076" "A schedule that never opens, or a digest that is never sent."
    CRON "R077" "Not a cron pattern of five fields."
    KEY_FIELD "R078" "A key with a field that messages which the rule takes never have."
    UNUSED_SCHEDULE "R079" "A schedule that nothing uses."
    API "R080" "The API cannot be reached, or refuses the account's token."
    TOKEN_KIND "R081" "The token is not that of a staff member."
    UNREACHABLE "R082" "A target cannot be reached, or refuses the login."
    SAME_BUSINESS "R083" "Two accounts belong to one business, so that its messages are sent twice."
    LITERAL_SECRET "R084" "A secret that stands in the file itself."
    ALIKE_NAMES "R085" "Two names that differ in case and punctuation only."
    SAME_TOKEN "R086" "Two accounts with one token, so that its messages are sent twice."
    SAME_TARGET "R087" "Two targets that lead to the same place."
    EXPIRES_EARLY "R088" "An `expires_after` so short that nothing, or no second attempt, is ever sent."
    NO_RETRY "R089" "A `give_up_after` so short that nothing is tried again."
    BEGINNING "R090" "A first run that sends the whole unread history."
    SHORT_MEMORY "R091" "An `overlap` longer than what the relay remembers."
    SWITCHED_OFF "R092" "A target that is switched off and named all the same."
    EXPIRES_WAITING "R093" "An `expires_after` shorter than the time that a delivery waits for a digest or for its hours."
    TEST_MESSAGE "R100" "A test's message that cannot be made: an unknown sample, or a file that cannot be read."
    TEST_FIELD "R101" "A field under `with` that no message has, or a value that it cannot have."
    TEST_TIME "R102" "A moment in a test that is none, or to which the clock cannot go."
    TEST_NAME "R103" "A test names a rule, target, recipient, template or account that does not exist."
    TEST_PART "R104" "A test looks at a part that the delivery does not have."
    TEST_PATTERN "R105" "Not a regular expression."
    TEST_TWICE "R106" "Two tests, or two snapshots, of one name."
    TEST_FILE "R107" "A file named under `tests:` that does not exist."
    TEST_RULES "R110" "A test's messages were taken by other rules than expected."
    TEST_NOT_MATCHED "R111" "A rule took a test's message although it was not to, or left it for another reason than expected."
    TEST_SENT "R112" "A delivery that a test expects was not made."
    TEST_UNEXPECTED "R113" "A delivery was made that a test does not expect."
    TEST_DELIVERY "R114" "A delivery was made otherwise than a test expects: another rule, moment, template, recipient or number of messages."
    TEST_TEXT "R115" "A text was rendered otherwise than a test expects."
    TEST_SNAPSHOT "R116" "A snapshot is missing, or a text was rendered otherwise."
    TEST_TEMPLATE "R117" "A template failed in a test, so that the plain fallback went out."
}

/// The code of that id, if there is one.
pub fn find(id: &str) -> Option<&'static Code> {
    ALL.iter().copied().find(|code| code.id.eq_ignore_ascii_case(id))
}

/// The codes that look most like what was written, the nearest first.
pub fn near(written: &str) -> Vec<&'static str> {
    const SHOWN: usize = 3;
    let upper = written.to_uppercase();
    let mut ids: Vec<&'static str> = ALL.iter().map(|code| code.id).collect();
    ids.sort_by_key(|id| strsim::damerau_levenshtein(&upper, id));
    ids.truncate(SHOWN);
    ids
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn ids_ascend_so_none_stands_twice() {
        assert!(ALL.is_sorted_by(|a, b| a.id < b.id));
        assert!(ALL.iter().all(|code| code.id.len() == 4 && code.id.starts_with('R')));
    }
}
