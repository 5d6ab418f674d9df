//! Published schemas stay as they are, and every version can be read by readers of its neighbours.

use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use headcount_schemas::registry;
use headcount_schemas::topic::{Topic, TopicNames};

/// A reader of `old` reads what `new` writes, and the other way round.
fn full_compatibility(old: &Schema, new: &Schema) -> Result<(), String> {
    for (writer, reader, who) in [
        (old, new, "the new version cannot read old records"),
        (new, old, "readers of the old version cannot read new records"),
    ] {
        match SchemaCompatibility::can_read(writer, reader) {
            Ok(Compatibility::Full) => {}
            Ok(partial) => return Err(format!("{who}: only {partial:?}")),
            Err(error) => return Err(format!("{who}: {error}")),
        }
    }
    Ok(())
}

#[test]
fn every_version_is_compatible_with_the_one_before() {
    for topic in Topic::ALL {
        let versions: Vec<_> = registry::versions(topic).collect();
        for pair in versions.windows(2) {
            full_compatibility(pair[0].schema, pair[1].schema)
                .unwrap_or_else(|why| panic!("{topic} v{}: {why}", pair[1].version));
        }
    }
}

#[test]
fn the_check_refuses_what_would_break_a_reader() {
    let old = registry::current(Topic::Crossings).text;
    let parse = |text: &str| Schema::parse_str(text).expect("a schema");
    let breaking = [
        (
            "a field without a default",
            old.replacen("\"fields\": [", r#""fields": [{"name":"lane","type":"int"},"#, 1),
        ),
        (
            "a changed type",
            old.replacen(
                "\"name\": \"track\",\n      \"type\": \"long\"",
                "\"name\": \"track\",\n      \"type\": \"string\"",
                1,
            ),
        ),
        ("a removed symbol", old.replacen("\"in\",", "", 1)),
    ];
    for (what, text) in breaking {
        assert_ne!(text, old, "{what}: the test changed nothing");
        assert!(full_compatibility(&parse(old), &parse(&text)).is_err(), "{what} was let through");
    }
    let harmless =
        old.replacen("\"fields\": [", r#""fields": [{"name":"lane","type":"int","default":0},"#, 1);
    assert_eq!(full_compatibility(&parse(old), &parse(&harmless)), Ok(()));
}

/// The fingerprints of all published schemas. A changed line here is a broken promise;
/// a new line is a new version.
#[test]
fn published_schemas_never_change() {
    let rows: Vec<String> = registry::all()
        .iter()
        .map(|published| {
            let fingerprint = published.schema.fingerprint::<apache_avro::rabin::Rabin>();
            format!("{} v{} id {} {fingerprint}", published.topic, published.version, published.id)
        })
        .collect();
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn subjects_follow_the_topic_name_strategy() {
    let names = TopicNames::default();
    for topic in Topic::ALL {
        let subject = registry::subject(&names, topic);
        assert_eq!(registry::parse_subject(&names, &subject), Some(topic));
    }
    assert_eq!(registry::subject(&names, Topic::Crossings), "headcount.crossings-value");
    assert_eq!(registry::parse_subject(&names, "headcount.crossings-key"), None);
}
