//! Calls of browsers become gRPC, and its answers what browsers can read.

use selvedge_http::framing::Framing;
use selvedge_http::grpc;
use selvedge_http::known::HeaderId;

use super::{FilterId, Kept};
use crate::request::attempt::undecodable;
use crate::request::body::RequestBody;
use crate::request::coding::Stage;
use crate::request::exchange::{Ended, Exchange};
use crate::request::grpc_web::{Respond, Untext};

const BINARY: [&[u8]; 2] = [b"application/grpc-web", b"application/grpc-web+proto"];
const TEXT: [&[u8]; 2] = [b"application/grpc-web-text", b"application/grpc-web-text+proto"];

#[derive(Debug)]
pub(crate) struct GrpcWeb {
    id: FilterId,
}

impl GrpcWeb {
    pub(super) fn new() -> Self {
        Self { id: FilterId::next() }
    }

    pub(super) fn shared(&self) -> Self {
        Self { id: self.id }
    }

    pub(super) fn request(&self, x: &mut Exchange<'_>, body: &mut RequestBody) -> Result<(), Ended> {
        let fields = &mut x.heads.request.fields;
        let Some(content_type) = fields.get(HeaderId::ContentType) else { return Ok(()) };
        let text = TEXT.contains(&content_type);
        if !text && !BINARY.contains(&content_type) {
            return Ok(());
        }
        let wants_text = fields.named("accept").is_some_and(|accept| TEXT.contains(&accept));
        x.kept.push((self.id, Kept::Web { text: wants_text }));
        fields.remove(HeaderId::ContentLength);
        fields.set_id(HeaderId::ContentType, b"application/grpc");
        fields.set_id(HeaderId::Te, b"trailers");
        fields.set("grpc-accept-encoding", b"identity");
        x.facts.framing = if x.facts.framing.has_body() { Framing::Chunked } else { Framing::None };
        if text && x.facts.framing.has_body() {
            let stage = Stage::WebRequest(Untext::default());
            body.recode(stage).map_err(|error| Ended::Reply(undecodable(error)))?;
        }
        Ok(())
    }

    pub(super) fn response(&self, x: &mut Exchange<'_>) {
        let kept = x.kept.iter().find_map(|(id, kept)| match kept {
            Kept::Web { text } if *id == self.id => Some(*text),
            _ => None,
        });
        let Some(text) = kept else { return };
        let fields = &mut x.heads.response.fields;
        if !grpc::is_grpc(fields) {
            // An answer of plain HTTP: the client reads its status.
            return;
        }
        let content_type = if text { TEXT[1] } else { BINARY[1] };
        fields.set_id(HeaderId::ContentType, content_type);
        fields.remove(HeaderId::ContentLength);
        if x.response_has_body {
            x.recode(Stage::WebResponse(Respond::new(text)));
        }
    }
}
