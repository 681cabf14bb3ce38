//! Cron patterns, read in local time: which times of a day one fits.

use croner::Weekday;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{Date, DateTime};

/// A pattern of five fields: minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron(Box<croner::Cron>);

impl Cron {
    /// A pattern as `cron` reads it, or a word such as `@daily`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        parser.parse(text).map(|cron| Self(Box::new(cron))).map_err(|error| error.to_string())
    }

    /// The times of a day that it fits, in order. It is asked about the calendar alone: what the clocks do on that day is
    /// not its matter.
    pub fn on(&self, day: Date) -> Vec<DateTime> {
        let pattern = &self.0.pattern;
        let fits = |found: Result<bool, croner::errors::CronError>| found.unwrap_or(false);
        let (month, number) = (day.month().unsigned_abs().into(), day.day().unsigned_abs().into());
        let weekday =
            Weekday::from_days_from_sunday(day.weekday().to_sunday_zero_offset().unsigned_abs().into());
        let due = fits(pattern.month_match(month))
            && fits(pattern.day_match(day.year().into(), month, number, weekday));
        let hours = (0_i8..24).filter(|hour| due && fits(pattern.hour_match(hour.unsigned_abs().into())));
        let minutes = (0_i8..60).filter(|minute| fits(pattern.minute_match(minute.unsigned_abs().into())));
        hours.flat_map(|hour| minutes.clone().map(move |minute| day.at(hour, minute, 0, 0))).collect()
    }
}
