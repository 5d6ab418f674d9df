//! The codes' sentences: built in, and replaced by the rows of `api_error_codes` and
//! `api_error_messages` as soon as those have been read.

use std::collections::HashMap;

use sqlx::PgPool;

use super::language;
use crate::problem::Code;

/// A code in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wording {
    /// What it means.
    pub title: String,
    /// What the client may do about it.
    pub action: Option<String>,
}

/// Every code in every language that somebody entered.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// By language, then by code.
    worded: HashMap<String, HashMap<String, Wording>>,
}

impl Catalogue {
    /// `code` in the best language for an `Accept-Language`, and that language's tag. English
    /// has every code.
    pub fn word(&self, code: Code, accept_language: &str) -> (&str, Wording) {
        let available = |tag: &str| {
            let (tag, codes) = self.worded.get_key_value(tag)?;
            codes.contains_key(code.as_str()).then_some(tag.as_str())
        };
        let english = || (available(language::DEFAULT)).unwrap_or(language::DEFAULT);
        let chosen = match language::negotiate(accept_language, available) {
            language::DEFAULT => english(),
            other => other,
        };
        let wording = self.worded.get(chosen).and_then(|codes| codes.get(code.as_str()));
        let built_in =
            || Wording { title: code.title().to_owned(), action: Some(code.action().to_owned()) };
        (chosen, wording.cloned().unwrap_or_else(built_in))
    }

    /// Reads the rows.
    pub async fn load(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let rows: Vec<(String, String, String, Option<String>)> = sqlx::query_as(
            "SELECT 'en', error_code, error_message, suggested_action FROM api_error_codes \
             UNION ALL \
             SELECT language, error_code, error_message, suggested_action FROM api_error_messages \
             ORDER BY 1, 2",
        )
        .fetch_all(pool)
        .await?;
        let mut worded: HashMap<String, HashMap<String, Wording>> = HashMap::new();
        for (language, code, title, action) in rows {
            worded.entry(language).or_default().insert(code, Wording { title, action });
        }
        Ok(Self { worded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_without_a_translation_is_said_in_english() {
        let wording = Wording { title: "Không tìm thấy".to_owned(), action: None };
        let mut catalogue = Catalogue::default();
        let codes = HashMap::from([(Code::CameraNotFound.as_str().to_owned(), wording.clone())]);
        catalogue.worded.insert("vi".to_owned(), codes);
        assert_eq!(catalogue.word(Code::CameraNotFound, "vi"), ("vi", wording));
        let (language, wording) = catalogue.word(Code::BadRequest, "vi");
        assert_eq!((language, wording.title.as_str()), ("en", Code::BadRequest.title()));
    }
}
