//! The names that templates may use, and how they hang together.

/// What stands behind a name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Text, a number or a boolean: can be put out as it is.
    Leaf,
    /// Named fields.
    Object(&'static [(&'static str, Shape)]),
    /// Several of the same.
    List(&'static Shape),
    /// Unknown below this point: the API's own data.
    Any,
}

const MEETING: &[(&str, Shape)] = &[
    ("service_uid", Shape::Leaf),
    ("service_name", Shape::Leaf),
    ("start_time", Shape::Leaf),
    ("duration", Shape::Leaf),
    ("interaction_type", Shape::Leaf),
];

const MESSAGE: &[(&str, Shape)] = &[
    ("uid", Shape::Leaf),
    ("activity_type", Shape::Leaf),
    ("message_type", Shape::Leaf),
    ("direction", Shape::Leaf),
    ("label", Shape::Leaf),
    ("emoji", Shape::Leaf),
    ("use_cases", Shape::List(&Shape::Leaf)),
    ("subject", Shape::Leaf),
    ("body", Shape::Leaf),
    ("channels", Shape::List(&Shape::Leaf)),
    ("business_uid", Shape::Leaf),
    ("staff_uid", Shape::Leaf),
    ("client_uid", Shape::Leaf),
    ("created_at", Shape::Leaf),
    ("updated_at", Shape::Leaf),
    ("meeting", Shape::Object(MEETING)),
    ("raw", Shape::Any),
];

const CLIENT: &[(&str, Shape)] =
    &[("uid", Shape::Leaf), ("name", Shape::Leaf), ("email", Shape::Leaf), ("phone", Shape::Leaf)];

const STAFF: &[(&str, Shape)] = &[("uid", Shape::Leaf), ("name", Shape::Leaf), ("email", Shape::Leaf)];

const ACCOUNT: &[(&str, Shape)] = &[
    ("name", Shape::Leaf),
    ("business_uid", Shape::Leaf),
    ("business_name", Shape::Leaf),
    ("time_zone", Shape::Leaf),
];

const LINKS: &[(&str, Shape)] = &[
    ("open", Shape::Leaf),
    ("client", Shape::Leaf),
    ("conversations", Shape::Leaf),
    ("calendar", Shape::Leaf),
    ("clients", Shape::Leaf),
    ("dashboard", Shape::Leaf),
];

const NAMED: &[(&str, Shape)] = &[("name", Shape::Leaf)];

const DELIVERY: &[(&str, Shape)] =
    &[("id", Shape::Leaf), ("attempt", Shape::Leaf), ("throttled", Shape::Leaf)];

const ITEM: Shape = Shape::Object(&[
    ("message", Shape::Object(MESSAGE)),
    ("client", Shape::Object(CLIENT)),
    ("staff", Shape::Object(STAFF)),
    ("links", Shape::Object(LINKS)),
    ("who", Shape::Leaf),
]);

/// A message that is told, with what else tells of its event.
const TOLD: Shape = Shape::Object(&[
    ("message", Shape::Object(MESSAGE)),
    ("client", Shape::Object(CLIENT)),
    ("staff", Shape::Object(STAFF)),
    ("links", Shape::Object(LINKS)),
    ("who", Shape::Leaf),
    ("also", Shape::List(&ITEM)),
]);

/// A message that another one made good.
const RESOLVED: Shape = Shape::Object(&[
    ("message", Shape::Object(MESSAGE)),
    ("client", Shape::Object(CLIENT)),
    ("staff", Shape::Object(STAFF)),
    ("links", Shape::Object(LINKS)),
    ("who", Shape::Leaf),
    ("also", Shape::List(&ITEM)),
    ("by", ITEM),
    ("delivery", Shape::Object(&[("id", Shape::Leaf)])),
    ("rule", Shape::Object(NAMED)),
    ("target", Shape::Object(NAMED)),
]);

const WINDOW: &[(&str, Shape)] =
    &[("from", Shape::Leaf), ("to", Shape::Leaf), ("span", Shape::Leaf), ("day", Shape::Leaf)];

const LATE: &[(&str, Shape)] = &[("text", Shape::Leaf), ("seconds", Shape::Leaf), ("due", Shape::Leaf)];

const BY_TYPE: Shape = Shape::Object(&[("label", Shape::Leaf), ("count", Shape::Leaf)]);

/// Everything a template sees at its top level.
pub(crate) const ROOT: Shape = Shape::Object(&[
    ("message", Shape::Object(MESSAGE)),
    ("client", Shape::Object(CLIENT)),
    ("staff", Shape::Object(STAFF)),
    ("account", Shape::Object(ACCOUNT)),
    ("rule", Shape::Object(NAMED)),
    ("target", Shape::Object(NAMED)),
    ("links", Shape::Object(LINKS)),
    ("delivery", Shape::Object(DELIVERY)),
    ("who", Shape::Leaf),
    ("also", Shape::List(&ITEM)),
    ("items", Shape::List(&TOLD)),
    ("count", Shape::Leaf),
    ("by_type", Shape::List(&BY_TYPE)),
    ("omitted", Shape::Leaf),
    ("window", Shape::Object(WINDOW)),
    ("digest", Shape::Leaf),
    ("summary", Shape::Leaf),
    ("attachment", Shape::Leaf),
    ("late", Shape::Object(LATE)),
    ("expired", Shape::Leaf),
    ("resolved", Shape::List(&RESOLVED)),
    ("resolved_count", Shape::Leaf),
    ("resolved_by", ITEM),
    ("zone", Shape::Leaf),
    ("now", Shape::Leaf),
]);

impl Shape {
    /// What stands behind a field of this.
    pub(crate) fn field(self, name: &str) -> Option<Shape> {
        match self {
            Self::Object(fields) => fields.iter().find(|(field, _)| *field == name).map(|(_, shape)| *shape),
            Self::List(item) => name.parse::<usize>().ok().map(|_| *item),
            Self::Any => Some(Self::Any),
            Self::Leaf => None,
        }
    }

    /// The names of its fields.
    pub(crate) fn names(self) -> Vec<&'static str> {
        match self {
            Self::Object(fields) => fields.iter().map(|(name, _)| *name).collect(),
            Self::List(_) | Self::Any | Self::Leaf => Vec::new(),
        }
    }

    /// Every dotted name below the top level that ends in `last`, for suggestions.
    pub(crate) fn paths_to(last: &str) -> Vec<String> {
        let mut found = Vec::new();
        if let Self::Object(fields) = ROOT {
            for (name, shape) in fields {
                if shape.field(last).is_some() && matches!(shape, Self::Object(_)) {
                    found.push(format!("{name}.{last}"));
                }
            }
        }
        found
    }
}

/// The nearest of `known` to `name`, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            // A third of the letters may be wrong, or the end may be missing.
            *distance <= (length.max(candidate.chars().count()) / 3).max(1)
                || length > 3 && candidate.starts_with(name)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
