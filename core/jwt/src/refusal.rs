//! Why a token is not accepted, in Envoy's words.

/// What is wrong with a token or with the keys that it was checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Jwt is missing")]
    Missing,
    #[error("Jwt not yet valid")]
    NotYetValid,
    #[error("Jwt is expired")]
    Expired,
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    BadFormat,
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderBase64,
    #[error("Jwt header is an invalid JSON")]
    HeaderJson,
    #[error("Jwt header [alg] field is required and must be a string")]
    HeaderAlg,
    #[error("Jwt header [alg] is not supported")]
    HeaderAlgUnknown,
    #[error("Jwt header [kid] field is not a string")]
    HeaderKid,
    /// Extensions that must be understood and are not (RFC 7515 §4.1.11).
    #[error("Jwt header [crit] is not supported")]
    HeaderCrit,
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadBase64,
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson,
    #[error("Jwt payload [iss] field is not a string")]
    PayloadIss,
    #[error("Jwt payload [sub] field is not a string")]
    PayloadSub,
    #[error("Jwt payload [iat] field is not an integer or is out of range")]
    PayloadIat,
    #[error("Jwt payload [nbf] field is not an integer or is out of range")]
    PayloadNbf,
    #[error("Jwt payload [exp] field is not an integer or is out of range")]
    PayloadExp,
    #[error("Jwt payload [aud] field is not a string or string list")]
    PayloadAud,
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureBase64,
    #[error("Jwt issuer is not configured")]
    UnknownIssuer,
    #[error("Jwt subject is not allowed")]
    SubjectNotAllowed,
    #[error("Jwt has no expiration, and one is required")]
    NoExpiration,
    #[error("Jwt lasts longer than is allowed")]
    LifetimeTooLong,
    #[error("Audiences in Jwt are not allowed")]
    AudienceNotAllowed,
    #[error("Jwt verification fails")]
    VerificationFails,
    #[error("Jwks is an invalid JSON")]
    KeysJson,
    #[error("Jwks does not have [keys] field")]
    KeysMissing,
    #[error("[keys] in Jwks is not an array")]
    KeysNotAList,
    #[error("Jwks doesn't have any valid public key")]
    NoValidKeys,
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoKeyMatches,
    #[error("Jwks remote fetch is failed")]
    FetchFailed,
}
