//! Whether a camera's URL leads where pictures may be fetched from.

use std::time::Duration;

use headcount_schemas::camera::AddressPolicy;
use url::Url;

/// How long a name server may take. `ingest` asks again before it connects, so silence lets a name pass.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why `url` may not be fetched from, by every address that its host has; none where it may, or where it is no URL.
pub async fn problem(url: &str, policy: &AddressPolicy) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = match policy.check_url(&url) {
        Ok(host) => host?,
        Err(refused) => return Some(refused.to_string()),
    };
    let lookup = tokio::net::lookup_host((host.name.as_str(), host.port));
    let addresses = tokio::time::timeout(PATIENCE, lookup).await.ok()?.ok()?;
    let refused = addresses.map(|address| policy.check(address.ip())).find_map(Result::err);
    refused.map(|refused| refused.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("rtsp://10.0.0.7/main", false)]
    #[case("rtsp://127.0.0.1:8554/main", true)]
    #[case("http://localhost/live.m3u8", true)]
    #[case("rtsp://nobody.invalid/main", false)]
    #[case("/dev/video0", false)]
    #[tokio::test]
    async fn names_are_judged_by_their_addresses(#[case] url: &str, #[case] refused: bool) {
        assert_eq!(problem(url, &AddressPolicy::default()).await.is_some(), refused);
    }
}
