//! How a spot machine hears that it will be taken: it asks the metadata service, with a token, as the machines of
//! every pool must. Shell, as text; it carries no key of anybody.

use std::time::Duration;

use skyward_runtime::model::Notice;

/// What the worker of a spot machine runs.
pub(super) fn of(rebalance: bool) -> Notice {
    Notice::Command { shell: command(METADATA, rebalance), every: EVERY }
}

/// Says the moment at which the machine ends, once that is known. A recommendation to replace it names no moment;
/// it counts as one that is as far away as that of a real notice.
fn command(metadata: &str, rebalance: bool) -> String {
    let recommended = "|| { get events/recommendations/rebalance >/dev/null && echo 120; }";
    format!(
        "token=$(curl -sf --noproxy '*' -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {metadata}/latest/api/token) \
         || exit 1; \
         get() {{ curl -sf --noproxy '*' -m 2 -H \"X-aws-ec2-metadata-token: $token\" \"{metadata}/latest/meta-data/$1\"; }}; \
         get spot/instance-action | sed -n 's/.*\"time\"[^\"]*\"\\([^\"]*\\)\".*/\\1/p' | grep . {}",
        if rebalance { recommended } else { "" }
    )
}

/// Where every machine of AWS finds its metadata.
const METADATA: &str = "http://169.254.169.254";

/// The pause that AWS recommends; a warning comes two minutes ahead.
const EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    use super::*;

    /// A metadata service that gives a token, and to who has it what is behind these paths.
    fn serve(mut stream: TcpStream, there: &[(&str, &str)]) {
        let mut asked = [0; 4096];
        let length = stream.read(&mut asked).expect("a request");
        let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
        let is_token = asked.starts_with("PUT /latest/api/token") && asked.contains("ttl-seconds: 60");
        let has_token = asked.contains("X-aws-ec2-metadata-token: t0ken\r\n");
        let body =
            there.iter().find(|(path, _)| asked.starts_with(&format!("GET /latest/meta-data/{path} ")));
        let (status, body) = match body {
            _ if is_token => (200, "t0ken"),
            _ if !has_token => (401, ""),
            Some((_, body)) => (200, *body),
            None => (404, ""),
        };
        let length = body.len();
        let told =
            format!("HTTP/1.1 {status} Told\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        stream.write_all(told.as_bytes()).expect("somebody who listens");
    }

    /// What the command says, and whether it succeeds.
    fn told(there: &'static [(&'static str, &'static str)], rebalance: bool) -> (bool, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let metadata = format!("http://{}", listener.local_addr().expect("an address"));
        // It ends with this process.
        std::thread::spawn(move || listener.incoming().flatten().for_each(|it| serve(it, there)));
        let command = command(&metadata, rebalance);
        // A machine may have a proxy for everything else.
        let proxied = [("http_proxy", "http://127.0.0.1:9"), ("NO_PROXY", ""), ("no_proxy", "")];
        let ran = Command::new("sh").args(["-c", &command]).envs(proxied).output().expect("a shell");
        (ran.status.success(), String::from_utf8(ran.stdout).expect("text"))
    }

    #[test]
    fn a_notice_is_a_moment_and_a_recommendation_one_only_when_it_is_wanted() {
        const TAKEN: &[(&str, &str)] =
            &[("spot/instance-action", r#"{"action": "terminate", "time": "2026-11-22T08:22:00Z"}"#)];
        const REBALANCE: &[(&str, &str)] =
            &[("events/recommendations/rebalance", r#"{"noticeTime": "2026-11-22T08:14:00Z"}"#)];
        let moment = (true, "2026-11-22T08:22:00Z\n".to_owned());
        let (nothing, soon) = ((false, String::new()), (true, "120\n".to_owned()));
        for (there, wanted, expected) in [
            (TAKEN, false, &moment),
            (TAKEN, true, &moment),
            (REBALANCE, false, &nothing),
            (REBALANCE, true, &soon),
            (&[], true, &nothing),
            (&[("spot/instance-action", "no action")], false, &nothing),
        ] {
            assert_eq!(&told(there, wanted), expected, "{there:?}");
        }
    }
}
