//! Whatever a stranger sends, reading it ends with a call or an answer; what we write reads back.

use proptest::prelude::*;
use selvedge_aws::{Protocol, Request, decode, encode, encode_error};
use selvedge_model::{Value, json};

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Requests of all protocols, most of them nearly right.
fn request_parts()
-> impl Strategy<Value = (String, String, String, Option<String>, Option<String>, bool, Vec<u8>)> {
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        document().prop_map(|value| value.to_string().into_bytes()),
        "Action=CreateMesh(&[a-z]{1,8}(\\.[a-z0-9]{1,6}){0,4}=[a-z%+]{0,6}){0,6}"
            .prop_map(String::into_bytes),
    ];
    (
        "GET|PUT|POST|DELETE|[A-Z]{0,4}",
        "(/v20190125)?(/meshes|/tags|/)?(/[a-z%/]{0,12})?|/service/AppMesh_20190125/operation/CreateMesh|/",
        "([a-zA-Z]{0,9}=[a-z%0-9]{0,4}&?){0,3}",
        prop::option::of(
            "application/(json|x-www-form-urlencoded|x-amz-json-1\\.[01])".prop_map(String::from),
        ),
        prop::option::weighted(0.2, "AppMesh_20190125\\.(CreateMesh|[A-Za-z]{0,8})".prop_map(String::from)),
        prop::bool::weighted(0.2),
        body,
    )
}

proptest! {
    #[test]
    fn json_that_is_written_reads_back(value in document()) {
        prop_assert_eq!(json::parse(value.to_string().as_bytes()), Ok(value));
    }

    #[test]
    fn json_is_read_as_the_standard_reader_reads_it(text in "[\\[{\",:0-9]{0,3}[\\[\\]{}\",:0-9truefalsn\\\\.eE+ -]{0,16}[\\]}]{0,3}") {
        // Ours refuses more (duplicates, half surrogates); it must never take what the other refuses, or read it otherwise.
        if let Ok(value) = json::parse(text.as_bytes()) {
            prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
        }
    }

    #[test]
    fn every_request_gets_a_call_or_an_answer(parts in request_parts()) {
        let (method, path, query, content_type, target, is_cbor, body) = parts;
        let request = Request {
            method: &method,
            path: &path,
            query: &query,
            content_type: content_type.as_deref(),
            target: target.as_deref(),
            authorization: None,
            smithy_protocol: is_cbor.then_some("rpc-v2-cbor"),
            body: &body,
        };
        match decode(&request) {
            Ok(call) => {
                // The check may find anything, but it ends.
                let _ = call.check(selvedge_model::Strictness::Strict);
                prop_assert_eq!(encode(&call, &Value::Object(call.input.clone()), "id").status, 200);
            }
            Err(refused) => {
                let answer = encode_error(refused.protocol, &refused.error, "id");
                prop_assert!((400..500).contains(&answer.status));
                if refused.protocol == Protocol::RestJson1 {
                    let document = json::parse(&answer.body).expect("an error is JSON");
                    prop_assert_eq!(&document["__type"], refused.error.shape.code);
                }
            }
        }
    }
}
