//! The files in which the AWS CLI keeps keys and regions, as far as we read them.

/// What a profile says of a name. `config` writes `[profile name]` where `credentials` writes `[name]`.
pub(super) fn value(text: &str, profile: &str, name: &str) -> Option<String> {
    let mut here = false;
    for line in text.lines() {
        // What is indented belongs to the name before it.
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[').and_then(|it| it.split(']').next()) {
            let section = section.trim();
            here = section.strip_prefix("profile ").map_or(section, str::trim) == profile;
        } else if here
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case(name)
        {
            return Some(value.trim().to_owned()).filter(|it| !it.is_empty());
        }
    }
    None
}

#[test]
fn a_profile_is_read_from_either_file() {
    let text = "# mine\n[default]\naws_access_key_id = AKIA1\nregion=us-east-2\ns3 =\n  region = no\n\
                [profile work]\nregion = eu-west-1\n[ other ]\naws_secret_access_key = a=b\n";
    for (profile, name, expected) in [
        ("default", "region", Some("us-east-2")),
        ("default", "aws_access_key_id", Some("AKIA1")),
        ("default", "aws_secret_access_key", None),
        ("default", "s3", None),
        ("work", "region", Some("eu-west-1")),
        ("other", "aws_secret_access_key", Some("a=b")),
        ("nobody", "region", None),
    ] {
        assert_eq!(value(text, profile, name).as_deref(), expected, "{profile} {name}");
    }
}
