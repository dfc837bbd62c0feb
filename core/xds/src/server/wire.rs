//! Responses, put together from encodings that many streams share.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use selvedge_traffic::ResourceKind;

use super::outstanding::Batch;
use crate::{Encoded, type_url};

/// `DiscoveryResponse`: version_info = 1, resources = 2 (`Any`), type_url = 4, nonce = 5.
pub(super) fn sotw(kind: ResourceKind, version: &str, nonce: &str, batch: &Batch) -> Bytes {
    let mut buffer = BytesMut::with_capacity(size_hint(batch));
    put(&mut buffer, 1, version.as_bytes());
    for encoded in &batch.resources {
        put_header(&mut buffer, 2, any_len(encoded));
        put_any(&mut buffer, encoded);
    }
    put(&mut buffer, 4, type_url::of(kind).as_bytes());
    put(&mut buffer, 5, nonce.as_bytes());
    buffer.freeze()
}

/// `DeltaDiscoveryResponse`: resources = 2 (`Resource`: version = 1, resource = 2, name = 3), type_url = 4, nonce = 5,
/// removed_resources = 6.
pub(super) fn delta(kind: ResourceKind, nonce: &str, batch: &Batch) -> Bytes {
    let mut buffer = BytesMut::with_capacity(size_hint(batch));
    for encoded in &batch.resources {
        let any = any_len(encoded);
        let length =
            field_len(1, encoded.version.len()) + field_len(2, any) + field_len(3, encoded.name.len());
        put_header(&mut buffer, 2, length);
        put(&mut buffer, 1, encoded.version.as_bytes());
        put_header(&mut buffer, 2, any);
        put_any(&mut buffer, encoded);
        put(&mut buffer, 3, encoded.name.as_bytes());
    }
    put(&mut buffer, 4, type_url::of(kind).as_bytes());
    put(&mut buffer, 5, nonce.as_bytes());
    for name in &batch.removed {
        put(&mut buffer, 6, name.as_bytes());
    }
    buffer.freeze()
}

fn size_hint(batch: &Batch) -> usize {
    let each = |encoded: &Arc<Encoded>| encoded.value.len() + encoded.name.len() + 128;
    128 + batch.resources.iter().map(each).sum::<usize>()
        + batch.removed.iter().map(|name| name.len() + 8).sum::<usize>()
}

/// `Any`: type_url = 1, value = 2.
fn put_any(buffer: &mut BytesMut, encoded: &Encoded) {
    put(buffer, 1, encoded.type_url().as_bytes());
    put(buffer, 2, &encoded.value);
}

fn any_len(encoded: &Encoded) -> usize {
    field_len(1, encoded.type_url().len()) + field_len(2, encoded.value.len())
}

fn field_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

fn put(buffer: &mut BytesMut, tag: u32, value: &[u8]) {
    put_header(buffer, tag, value.len());
    buffer.put_slice(value);
}

fn put_header(buffer: &mut BytesMut, tag: u32, length: usize) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(length as u64, buffer);
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use selvedge_xds_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};

    use super::*;

    fn batch() -> Batch {
        let encoded = |name: &str, value: &'static [u8]| {
            Arc::new(Encoded::received(ResourceKind::Cluster, name, "v1", value.into()))
        };
        Batch {
            resources: vec![encoded("a", b"first"), encoded("b", &[7; 300])],
            removed: vec!["gone".into()],
            whole: false,
        }
    }

    #[test]
    fn a_state_of_the_world_response_reads_as_the_message_it_is() {
        let bytes = sotw(ResourceKind::Cluster, "v", "n", &batch());
        let message = DiscoveryResponse::decode(bytes).expect("it is one");
        assert_eq!((message.version_info.as_str(), message.nonce.as_str()), ("v", "n"));
        assert_eq!(message.type_url, type_url::of(ResourceKind::Cluster));
        assert_eq!(message.resources.len(), 2);
        assert_eq!(message.resources[1].value, vec![7; 300]);
        assert_eq!(message.resources[1].type_url, message.type_url);
    }

    #[test]
    fn a_delta_response_reads_as_the_message_it_is() {
        let bytes = delta(ResourceKind::Cluster, "n", &batch());
        let message = DeltaDiscoveryResponse::decode(bytes).expect("it is one");
        assert_eq!(message.removed_resources, ["gone"]);
        assert_eq!(message.nonce, "n");
        let first = &message.resources[0];
        assert_eq!((first.name.as_str(), first.version.as_str()), ("a", "v1"));
        assert_eq!(first.resource.as_ref().map(|any| any.value.as_slice()), Some(&b"first"[..]));
    }
}
