//! Who may in: logins, tokens of our own and of others, API keys, roles and grants.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headcount_api::ApiConfig;
use headcount_api::access::{Grant, Permission, Role};
use headcount_api::auth::accounts::{self, NewAccount};
use headcount_api::auth::{Algorithm, AuthConfig, IssuerConfig};
use headcount_api::endpoints::{self, ENDPOINTS};
use headcount_api::tenant::Tenant;
use jsonwebtoken::{EncodingKey, Header};
use rstest::rstest;
use serde_json::{Value, json};
use support::database::{Rows, noon_and};
use support::{Answer, get, send, send_json};

const PASSWORD: &str = "correct horse battery";
const CAMERAS: &str = "/api/v1/cameras";

/// The service, as it must be called from elsewhere.
fn app(rows: &Rows, issuers: Vec<IssuerConfig>) -> Router {
    let auth = AuthConfig { required: Some(true), issuers, ..AuthConfig::default() };
    let config = ApiConfig { default_tenant: rows.tenant.clone(), auth, ..ApiConfig::default() };
    let pools = rows.reader(&config);
    support::app(config, pools)
}

fn tenant(rows: &Rows) -> Tenant {
    Tenant::new(&rows.tenant).expect("a tenant")
}

async fn user(rows: &Rows, username: &str, role: Role) {
    user_with(rows, &NewAccount { username, role, ..NewAccount::default() }).await;
}

async fn user_with(rows: &Rows, new: &NewAccount<'_>) {
    accounts::add_by_command(&rows.writer, &tenant(rows), new, PASSWORD).await.expect("a user");
}

async fn log_in(app: &Router, username: &str, password: &str) -> Answer {
    let login = json!({"username": username, "password": password});
    send_json(app, Method::POST, "/api/v1/auth/token", &[], &login).await
}

async fn tokens(app: &Router, username: &str) -> (String, String) {
    let answer = log_in(app, username, PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), "no-store");
    let of = |name: &str| answer.json()[name].as_str().expect(name).to_owned();
    (of("access_token"), of("refresh_token"))
}

async fn with_token(app: &Router, path: &str, token: &str) -> Answer {
    send(app, Method::GET, path, &[("authorization", &format!("Bearer {token}"))]).await
}

async fn refresh(app: &Router, token: &str) -> Answer {
    let body = json!({"refresh_token": token});
    send_json(app, Method::POST, "/api/v1/auth/refresh", &[], &body).await
}

#[tokio::test]
async fn without_credentials_nothing_is_answered() {
    let rows = Rows::new().await;
    let app = app(&rows, Vec::new());
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.needs_caller()) {
        let method = Method::from_bytes(endpoint.method.as_str().as_bytes()).expect("a method");
        let path = endpoint.path.replace("{id}", "door");
        let answer = send(&app, method, &path, &[("x-tenant", &rows.tenant)]).await;
        answer.problem(401, "AUTHENTICATION_REQUIRED");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let open = |one: &&endpoints::Endpoint| one.is_api() && !one.needs_caller();
    let open: Vec<_> = ENDPOINTS.iter().filter(open).map(|one| one.operation_id).collect();
    assert_eq!(open, ["createToken", "refreshToken", "revokeToken"]);
    assert_eq!(get(&app, "/healthz").await.status, StatusCode::OK);
    assert_eq!(get(&app, "/openapi.json").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_password_opens_the_api_until_the_login_is_revoked() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    user(&rows, "Ann", Role::Viewer).await;
    let app = app(&rows, Vec::new());
    let (access, refresh_token) = tokens(&app, "ann").await;
    let cameras = with_token(&app, CAMERAS, &access).await;
    assert_eq!(cameras.status, StatusCode::OK, "{}", cameras.text);
    assert_eq!(cameras.json()["data"][0]["camera_id"], "door");

    let renewed = refresh(&app, &refresh_token).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text);
    let renewed = renewed.json();
    let (access, next) = (
        renewed["access_token"].as_str().expect("a token"),
        renewed["refresh_token"].as_str().expect("a token"),
    );
    assert_eq!(with_token(&app, CAMERAS, access).await.status, StatusCode::OK);

    let body = json!({"refresh_token": next});
    let revoked = send_json(&app, Method::POST, "/api/v1/auth/revoke", &[], &body).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    with_token(&app, CAMERAS, access).await.problem(401, "AUTHENTICATION_REQUIRED");
    refresh(&app, next).await.problem(401, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_ends_the_login() {
    let rows = Rows::new().await;
    user(&rows, "ann", Role::Viewer).await;
    let app = app(&rows, Vec::new());
    let (_, first) = tokens(&app, "ann").await;
    let second = refresh(&app, &first).await.json();
    let (access, second) = (
        second["access_token"].as_str().expect("a token"),
        second["refresh_token"].as_str().expect("a token"),
    );
    assert_eq!(with_token(&app, CAMERAS, access).await.status, StatusCode::OK);
    refresh(&app, &first).await.problem(401, "INVALID_CREDENTIALS");
    refresh(&app, second).await.problem(401, "INVALID_CREDENTIALS");
    with_token(&app, CAMERAS, access).await.problem(401, "AUTHENTICATION_REQUIRED");
}

#[rstest]
#[case("ann", "wrong horse battery")]
#[case("nobody", PASSWORD)]
#[case("ann", "")]
#[tokio::test]
async fn who_is_refused_learns_nothing(#[case] username: &str, #[case] password: &str) {
    let rows = Rows::new().await;
    user(&rows, "ann", Role::Viewer).await;
    let answer = log_in(&app(&rows, Vec::new()), username, password).await;
    let problem = answer.problem(401, "INVALID_CREDENTIALS");
    assert_eq!(problem["detail"], "tenant, user or password is wrong");
}

#[rstest]
#[case(json!({}), 400, "")]
#[case(json!({"username": "ann"}), 400, "")]
#[case(json!({"username": 1, "password": "x"}), 400, "/username")]
#[case(json!({"username": "a\0", "password": "x"}), 400, "/username")]
#[case(json!({"username": "ann", "password": "x", "otp": 1}), 400, "/otp")]
#[case(json!([]), 400, "")]
#[tokio::test]
async fn bad_logins_are_named(#[case] body: Value, #[case] status: u16, #[case] pointer: &str) {
    let app = support::app_without_database(ApiConfig::default());
    let answer = send_json(&app, Method::POST, "/api/v1/auth/token", &[], &body).await;
    let problem = answer.problem(status, "VALIDATION_ERROR");
    assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    let answer = send(&app, Method::POST, "/api/v1/auth/token", &[]).await;
    answer.problem(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn roles_and_permissions_decide() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    user(&rows, "viewer", Role::Viewer).await;
    user(&rows, "analyst", Role::Analyst).await;
    let permissions = [Permission::DetectionsRead];
    let special =
        NewAccount { username: "special", permissions: &permissions, ..NewAccount::default() };
    user_with(&rows, &special).await;
    let app = app(&rows, Vec::new());
    let detections = "/api/v1/cameras/door/detections";
    let (viewer, _) = tokens(&app, "viewer").await;
    with_token(&app, detections, &viewer).await.problem(403, "INSUFFICIENT_PERMISSIONS");
    for allowed in ["analyst", "special"] {
        let (token, _) = tokens(&app, allowed).await;
        let answer = with_token(&app, detections, &token).await;
        assert_eq!(answer.status, StatusCode::OK, "{allowed}: {}", answer.text);
    }
    // Another tenant is not a caller's to name.
    let headers =
        [("authorization", format!("Bearer {viewer}")), ("x-tenant", "another".to_owned())];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    send(&app, Method::GET, CAMERAS, &headers).await.problem(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test]
async fn grants_narrow_what_a_user_sees() {
    let rows = Rows::new().await;
    for camera in ["door", "yard"] {
        rows.camera(camera).await;
        rows.crossing(camera, noon_and(0), "in").await;
    }
    let grants = [Grant { camera_id: "yard".to_owned(), site: None }];
    let new = NewAccount { username: "ann", grants: Some(&grants), ..NewAccount::default() };
    user_with(&rows, &new).await;
    let app = app(&rows, Vec::new());
    let (token, _) = tokens(&app, "ann").await;
    let cameras = with_token(&app, CAMERAS, &token).await.json();
    assert_eq!(cameras["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(cameras["data"][0]["camera_id"], "yard");
    let events = with_token(&app, "/api/v1/cameras/yard/counting/events", &token).await;
    assert_eq!(events.json()["data"].as_array().map(Vec::len), Some(1), "{}", events.text);
    // As if it did not exist.
    let other = with_token(&app, "/api/v1/cameras/door/counting/events", &token).await;
    other.problem(404, "CAMERA_NOT_FOUND");
}

#[rstest]
#[case::no_scheme("authorization", "abc")]
#[case::basic("authorization", "Basic YW5uOmFubg==")]
#[case::not_a_token("authorization", "Bearer abc")]
#[case::empty("authorization", "Bearer ")]
#[case::unknown_key("x-api-key", "hck_abc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
#[case::torn_key("x-api-key", "hck_abc")]
// {"alg":"none"} . {"iss":"headcount","sub":"x"} .
#[case::none(
    "authorization",
    "Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJoZWFkY291bnQiLCJzdWIiOiJ4In0."
)]
#[tokio::test]
async fn what_is_no_credential_is_refused(#[case] header: &str, #[case] value: &str) {
    let rows = Rows::new().await;
    let app = app(&rows, Vec::new());
    let answer = send(&app, Method::GET, CAMERAS, &[(header, value)]).await;
    let problem = answer.problem(401, "AUTHENTICATION_REQUIRED");
    assert_eq!(problem["detail"], "the credentials are not valid");
    let open = ApiConfig { default_tenant: rows.tenant.clone(), ..ApiConfig::default() };
    let pools = rows.reader(&open);
    let open = support::app(open, pools);
    // Also where none are needed: who shows some means them.
    send(&open, Method::GET, CAMERAS, &[(header, value)])
        .await
        .problem(401, "AUTHENTICATION_REQUIRED");
    let both = [("authorization", "Bearer a"), ("x-api-key", "b")];
    send(&app, Method::GET, CAMERAS, &both).await.problem(401, "AUTHENTICATION_REQUIRED");
}

#[tokio::test]
async fn an_open_api_is_open_to_this_machine_alone() {
    let rows = Rows::new().await;
    let config = ApiConfig { default_tenant: rows.tenant.clone(), ..ApiConfig::default() };
    let app = support::app(config.clone(), rows.reader(&config));
    let local = send(&app, Method::GET, CAMERAS, &[("host", "localhost:8080")]).await;
    assert_eq!(local.status, StatusCode::OK);
    let rebound = send(&app, Method::GET, CAMERAS, &[("host", "evil.example:8080")]).await;
    rebound.problem(401, "AUTHENTICATION_REQUIRED");
    let elsewhere = ApiConfig { listen: ([0, 0, 0, 0], 8080).into(), ..config };
    let pools = rows.reader(&elsewhere);
    let app = support::app(elsewhere, pools);
    get(&app, CAMERAS).await.problem(401, "AUTHENTICATION_REQUIRED");
}

/// An identity provider: its keys are what the test says at the moment.
struct Provider {
    address: String,
    keys: Arc<Mutex<Value>>,
    asked: Arc<Mutex<usize>>,
}

impl Provider {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let keys = Arc::new(Mutex::new(json!({"keys": []})));
        let asked = Arc::new(Mutex::new(0));
        let (served, counted) = (keys.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                *counted.lock().expect("a count") += 1;
                let body = served.lock().expect("keys").to_string();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        Self { address, keys, asked }
    }

    fn config(&self) -> IssuerConfig {
        IssuerConfig {
            issuer: "https://id.example".to_owned(),
            jwks_url: self.address.clone(),
            algorithms: vec![Algorithm::EdDSA, Algorithm::RS256],
            ..IssuerConfig::default()
        }
    }

    fn publish(&self, keys: &[&Signer]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        *self.keys.lock().expect("keys") = json!({"keys": keys});
    }
}

struct Signer {
    kid: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Ed25519KeyPair::generate().expect("a key") }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": x})
    }

    fn sign(&self, claims: &Value) -> String {
        let private = self.pair.to_pkcs8v1().expect("a key");
        let mut header = Header::new(jsonwebtoken::Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let key = EncodingKey::from_ed_der(private.as_ref());
        jsonwebtoken::encode(&header, claims, &key).expect("a token")
    }
}

fn now_s() -> i64 {
    chrono::Utc::now().timestamp()
}

fn claims(rows: &Rows) -> Value {
    json!({
        "iss": "https://id.example", "aud": "headcount", "sub": "u1", "tenant": rows.tenant,
        "role": ["unheard-of", "viewer", "operator"], "exp": now_s() + 600, "iat": now_s(),
    })
}

#[tokio::test]
async fn tokens_of_a_configured_issuer_are_believed() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    rows.camera("yard").await;
    let (provider, signer) = (Provider::start(), Signer::new("one"));
    provider.publish(&[&signer]);
    let app = app(&rows, vec![provider.config()]);
    let all = with_token(&app, CAMERAS, &signer.sign(&claims(&rows))).await;
    assert_eq!(all.json()["data"].as_array().map(Vec::len), Some(2), "{}", all.text);
    let mut narrow = claims(&rows);
    narrow["cameras"] = json!(["yard"]);
    let narrow = with_token(&app, CAMERAS, &signer.sign(&narrow)).await.json();
    assert_eq!(narrow["data"][0]["camera_id"], "yard");
    assert_eq!(narrow["data"].as_array().map(Vec::len), Some(1));
}

#[rstest]
#[case::expired("exp", json!(now_s() - 3600))]
#[case::no_end("exp", Value::Null)]
#[case::end_of_another_kind("exp", json!("tomorrow"))]
#[case::not_yet("nbf", json!(now_s() + 3600))]
#[case::another_audience("aud", json!("others"))]
#[case::another_issuer("iss", json!("https://evil.example"))]
#[case::our_own_name("iss", json!("headcount"))]
#[case::no_tenant("tenant", Value::Null)]
#[case::no_such_tenant("tenant", json!("a/b"))]
#[case::no_role("role", json!(["root"]))]
#[tokio::test]
async fn tokens_with_a_fault_are_refused(#[case] claim: &str, #[case] value: Value) {
    let rows = Rows::new().await;
    let (provider, signer) = (Provider::start(), Signer::new("one"));
    provider.publish(&[&signer]);
    let app = app(&rows, vec![provider.config()]);
    let mut claims = claims(&rows);
    claims[claim] = value;
    if claims[claim].is_null() {
        claims.as_object_mut().expect("claims").remove(claim);
    }
    let answer = with_token(&app, CAMERAS, &signer.sign(&claims)).await;
    answer.problem(401, "AUTHENTICATION_REQUIRED");
}

#[tokio::test]
async fn keys_are_rotated_and_kinds_are_not_confused() {
    let rows = Rows::new().await;
    let provider = Provider::start();
    let (old, new, stranger) = (Signer::new("old"), Signer::new("new"), Signer::new("old"));
    provider.publish(&[&old]);
    let app = app(&rows, vec![provider.config()]);
    let status = async |token: &str| with_token(&app, CAMERAS, token).await.status;
    assert_eq!(status(&old.sign(&claims(&rows))).await, StatusCode::OK);
    assert_eq!(status(&old.sign(&claims(&rows))).await, StatusCode::OK);
    assert_eq!(*provider.asked.lock().expect("a count"), 1, "keys are kept");
    // Of the same name, by another hand.
    assert_eq!(status(&stranger.sign(&claims(&rows))).await, StatusCode::UNAUTHORIZED);
    // An unknown key is asked for, but not again and again.
    for _ in 0..5 {
        assert_eq!(status(&new.sign(&claims(&rows))).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(*provider.asked.lock().expect("a count"), 1);

    // The public key, taken for a shared secret.
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some("old".to_owned());
    let secret = EncodingKey::from_secret(old.pair.public_key().as_ref());
    let forged = jsonwebtoken::encode(&header, &claims(&rows), &secret).expect("a token");
    assert_eq!(status(&forged).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_so() {
    let rows = Rows::new().await;
    let signer = Signer::new("one");
    let issuer = IssuerConfig {
        issuer: "https://id.example".to_owned(),
        jwks_url: "http://127.0.0.1:1/keys".to_owned(),
        ..IssuerConfig::default()
    };
    let app = app(&rows, vec![issuer]);
    let answer = with_token(&app, CAMERAS, &signer.sign(&claims(&rows))).await;
    answer.problem(503, "IDENTITY_PROVIDER_ERROR");
    assert_eq!(answer.header("retry-after"), "5");
}

#[tokio::test]
async fn our_own_tokens_are_only_ours() {
    let rows = Rows::new().await;
    user(&rows, "ann", Role::Admin).await;
    let app = app(&rows, Vec::new());
    let (access, _) = tokens(&app, "ann").await;
    let keys = get(&app, "/.well-known/jwks.json").await.json();
    let kid = keys["keys"][0]["kid"].as_str().expect("a key").to_owned();
    assert!(keys["keys"][0].get("d").is_none(), "the private half is nobody's: {keys}");

    // The same claims under the same name by another key, and by the public key as a secret.
    let payload = access.split('.').nth(1).expect("claims");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64");
    let payload: Value = serde_json::from_slice(&payload).expect("json");
    let forged = Signer::new(&kid).sign(&payload);
    with_token(&app, CAMERAS, &forged).await.problem(401, "AUTHENTICATION_REQUIRED");
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some(kid);
    let public = keys["keys"][0]["x"].as_str().expect("a key");
    let public = URL_SAFE_NO_PAD.decode(public).expect("base64");
    let secret = EncodingKey::from_secret(&public);
    let forged = jsonwebtoken::encode(&header, &payload, &secret).expect("a token");
    with_token(&app, CAMERAS, &forged).await.problem(401, "AUTHENTICATION_REQUIRED");
    assert_eq!(with_token(&app, CAMERAS, &access).await.status, StatusCode::OK);
}
