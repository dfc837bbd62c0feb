//! Each kind of data set, and what is wrong with one.

use std::io::Cursor;
use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::objects::{LIST_PAGE_MAX, Listed, Nowhere};

/// Objects in memory, by bucket and key.
#[derive(Default)]
struct Shelf(Mutex<std::collections::BTreeMap<(String, String), Vec<u8>>>);

impl Shelf {
    fn with(objects: &[(&str, &[u8])]) -> Arc<dyn Objects> {
        let shelf = Self::default();
        for (key, bytes) in objects {
            shelf.put("b", key, bytes).unwrap();
        }
        Arc::new(shelf)
    }
}

impl Objects for Shelf {
    fn open(&self, bucket: &str, key: &str, _: Option<&str>) -> Result<Box<dyn Read + Send>, ObjectError> {
        match self.0.lock().unwrap().get(&(bucket.to_owned(), key.to_owned())) {
            Some(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
            None => Err(ObjectError::Missing { bucket: bucket.to_owned(), key: key.to_owned() }),
        }
    }

    fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, ObjectError> {
        let objects = self.0.lock().unwrap();
        let found = objects.iter().filter(|((in_bucket, key), _)| {
            in_bucket == bucket && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
        });
        let listed = found.map(|((_, key), bytes)| Listed {
            storage_class: "STANDARD".into(),
            key: key.clone(),
            size: bytes.len() as u64,
            etag: "\"e\"".into(),
            modified_ms: 5000,
        });
        Ok(listed.take(LIST_PAGE_MAX).collect())
    }

    fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        self.0.lock().unwrap().insert((bucket.to_owned(), key.to_owned()), bytes.to_vec());
        Ok(())
    }
}

fn read(
    objects: &Arc<dyn Objects>,
    resource: &str,
    arguments: Value,
    config: Value,
) -> Result<Vec<Value>, String> {
    let source =
        ItemSource::Reader { resource: format!("arn:aws:states:::{resource}").into(), arguments, config };
    let mut items = open(&source, objects).map_err(|error| error.to_string())?;
    let mut read = Vec::new();
    while let Some(item) = items.next().map_err(|error| error.to_string())? {
        read.push(match item.key {
            Some(key) => json!([key, item.value]),
            None => item.value,
        });
    }
    Ok(read)
}

fn object(text: &str, config: Value) -> Result<Vec<Value>, String> {
    let objects = Shelf::with(&[("k", text.as_bytes())]);
    read(&objects, "s3:getObject", json!({"Bucket": "b", "Key": "k"}), config)
}

#[test]
fn json_elements_and_members_are_items() {
    let json = |text| object(text, json!({"InputType": "JSON"}));
    assert_eq!(
        json(" [1, \"a,]\\\"\", {\"x\": [1]} ,null]").unwrap(),
        [json!(1), json!("a,]\""), json!({"x": [1]}), json!(null)]
    );
    assert_eq!(json("[]").unwrap(), Vec::<Value>::new());
    assert_eq!(json("{\"a\": 1, \"b\": {}}").unwrap(), [json!(["a", 1]), json!(["b", {}])]);
    for broken in ["", "7", "[1 2]", "[1,", "[1,}", "[tru]", "[\"a]", "{\"a\" 1}", "[,]"] {
        assert!(json(broken).is_err(), "{broken}: {:?}", json(broken));
    }
    let deep = format!("[{}", "[".repeat(100_000));
    assert!(json(&deep).unwrap_err().contains("deep"));
}

#[test]
fn a_pointer_leads_to_the_items_without_keeping_what_is_before() {
    let at = |pointer: &str| {
        object(
            "{\"skip\": [1, {\"a\": \"}\"}], \"a/b\": [[], [7, 8]]}",
            json!({"InputType": "JSON", "ItemsPointer": pointer}),
        )
    };
    assert_eq!(at("/a~1b/1").unwrap(), [json!(7), json!(8)]);
    assert!(at("/none").unwrap_err().contains("/none"));
    assert!(at("/skip/0").is_err());
}

#[test]
fn json_lines_are_items_and_a_broken_one_is_named() {
    let lines = |text| object(text, json!({"InputType": "JSONL"}));
    assert_eq!(lines("{\"a\":1}\n\n2\r\n\"x\"").unwrap(), [json!({"a": 1}), json!(2), json!("x")]);
    assert!(lines("1\n{").unwrap_err().contains("line 2"));
}

#[test]
fn rows_are_objects_of_their_columns() {
    let rows = |text, config: Value| {
        let mut whole = json!({"InputType": "CSV"});
        whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        object(text, whole)
    };
    assert_eq!(
        rows("\u{feff}a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\r\n2\r\n3,4,5", json!({})).unwrap(),
        [json!({"a": "1", "b": "x, \"y\"\nz"}), json!({"a": "2", "b": ""}), json!({"a": "3", "b": "4"})]
    );
    let given = json!({"CSVHeaderLocation": "GIVEN", "CSVHeaders": ["p"], "CSVDelimiter": "PIPE"});
    assert_eq!(rows("1|2\n", given).unwrap(), [json!({"p": "1"})]);
    assert!(rows("a\n\"x", json!({})).unwrap_err().contains("quote"));
    assert!(rows("", json!({"CSVHeaderLocation": "GIVEN"})).unwrap_err().contains("CSVHeaders"));
    assert_eq!(rows("a\n1\n2\n3", json!({"MaxItems": 2})).unwrap().len(), 2);
}

#[test]
fn a_listing_goes_over_its_pages_and_may_be_flattened() {
    let keys: Vec<String> = (0..2500).map(|n| format!("p/{n:04}")).collect();
    let objects: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), b"[1,2]".as_slice())).collect();
    let objects = Shelf::with(&objects);
    let listed =
        read(&objects, "s3:listObjectsV2", json!({"Bucket": "b", "Prefix": "p/"}), json!(null)).unwrap();
    assert_eq!(listed.len(), 2500);
    assert_eq!(
        listed[2499],
        json!({"Etag": "\"e\"", "Key": "p/2499", "LastModified": 5, "Size": 5, "StorageClass": "STANDARD"})
    );
    let config = json!({"Transformation": "LOAD_AND_FLATTEN", "InputType": "JSON"});
    let flat = read(&objects, "s3:listObjectsV2", json!({"Bucket": "b", "Prefix": "p/000"}), config).unwrap();
    assert_eq!(flat.len(), 20);
}

#[test]
fn manifests_lead_to_packed_files() {
    use std::io::Write as _;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"\"b\",\"x\",\"7\"\n\"b\",\"y\",\"8\"\n").unwrap();
    let packed = packed.finish().unwrap();
    let manifest = json!({"sourceBucket": "s", "destinationBucket": "arn:aws:s3:::b", "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size", "files": [{"key": "data/1.csv.gz", "size": 1}]});
    let manifest = manifest.to_string();
    let objects = Shelf::with(&[
        ("manifest.json", manifest.as_bytes()),
        ("data/1.csv.gz", &packed),
        ("list.csv", b"\"s3://b/l1\"\ns3://b/l2\n"),
        ("l1", b"1\n2\n"),
        ("l2", b"3"),
    ]);
    let inventory = read(
        &objects,
        "s3:getObject",
        json!({"Bucket": "b", "Key": "manifest.json"}),
        json!({"InputType": "MANIFEST"}),
    );
    assert_eq!(inventory.unwrap()[1], json!({"Bucket": "b", "Key": "y", "Size": "8"}));
    let config = json!({"ManifestType": "ATHENA_DATA", "InputType": "JSONL"});
    let athena = read(&objects, "s3:getObject", json!({"Bucket": "b", "Key": "list.csv"}), config);
    assert_eq!(athena.unwrap(), [json!(1), json!(2), json!(3)]);
}

#[test]
fn rows_of_parquet_are_items() {
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::writer::SerializedFileWriter;
    let schema = ::parquet::schema::parser::parse_message_type(
        "message rows { REQUIRED INT64 n; OPTIONAL BYTE_ARRAY name (UTF8); }",
    );
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, Arc::new(schema.unwrap()), Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[1, 2], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[ByteArray::from("x")], Some(&[1, 0]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let objects = Shelf::with(&[("k", &bytes), ("broken", &bytes[..20])]);
    let rows = |key| {
        read(&objects, "s3:getObject", json!({"Bucket": "b", "Key": key}), json!({"InputType": "PARQUET"}))
    };
    assert_eq!(rows("k").unwrap(), [json!({"n": 1, "name": "x"}), json!({"n": 2, "name": null})]);
    assert!(rows("broken").unwrap_err().contains("Parquet"));
}

#[test]
fn what_is_not_there_or_not_understood_says_so() {
    let objects = Shelf::with(&[]);
    let get =
        |config| read(&objects, "s3:getObject", json!({"Bucket": "b", "Key": "k"}), config).unwrap_err();
    assert!(get(json!({"InputType": "JSON"})).contains("'k'"));
    assert!(get(json!({"InputType": "XML"})).contains("XML"));
    assert!(read(&objects, "s3:getObject", json!({"Key": "k"}), json!({})).unwrap_err().contains("Bucket"));
    assert!(
        read(&objects, "dynamodb:scan", json!({"Bucket": "b"}), json!({}))
            .unwrap_err()
            .contains("dynamodb:scan")
    );
    let nowhere: Arc<dyn Objects> = Arc::new(Nowhere);
    let error =
        read(&nowhere, "s3:getObject", json!({"Bucket": "b", "Key": "k"}), json!({"InputType": "JSON"}));
    assert!(error.unwrap_err().contains("--workflow-objects"));
}
