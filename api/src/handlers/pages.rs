//! What a browser is shown: the cameras with today's counts, and the API's documentation.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::state::ApiState;

const INDEX: &str = include_str!("../../assets/index.html");
const CAMERAS_JS: &str = include_str!("../../assets/cameras.js");

/// The pages. They are no part of the API's contract and not in its document.
pub fn router() -> Router<ApiState> {
    let documentation = SwaggerUi::new("/docs")
        // No address but our own is asked, not even to validate the document.
        .config(Config::new(["/openapi.json"]).validator_url("none").deep_linking(true));
    Router::new()
        .route("/", get(|| async { asset("text/html; charset=utf-8", INDEX) }))
        .route("/cameras.js", get(|| async { asset("text/javascript; charset=utf-8", CAMERAS_JS) }))
        .merge(documentation)
}

fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], text)
}
