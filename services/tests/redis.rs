//! The private Redis answers, forgets when killed, and comes back on its port.

use headcount_services::Redis;

#[test]
fn it_starts_dies_and_comes_back_on_its_port() {
    let mut redis = Redis::start_temporary().expect("starts");
    let url = redis.url();
    redis.kill().expect("dies");
    redis.restart().expect("comes back");
    assert_eq!(redis.url(), url);
}
