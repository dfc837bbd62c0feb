//! HTTP/2 on either side, and gRPC across.
