//! The kinds of problems: their codes, statuses and sentences.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// What kind of problem it is. The name is a contract with clients; a message is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// No camera of the caller's tenant has this id.
    CameraNotFound,
    /// The camera is disabled; nothing can be posted for it.
    CameraInactive,
    /// The camera's configuration breaks a rule; `errors` names each place.
    InvalidCameraConfig,
    /// The camera's stream cannot be reached.
    StreamConnectionFailed,
    /// Detections could not be handed on.
    DetectionFailed,
    /// Counting events could not be handed on.
    CountingError,
    /// The caller is known and may not do this.
    InsufficientPermissions,
    /// The caller asks more often than agreed.
    RateLimitExceeded,
    /// The database cannot be reached, or took too long to answer.
    DatabaseConnectionError,
    /// Something in the request is not as documented; `errors` names each place.
    ValidationError,
    /// Nothing lives at this path.
    RouteNotFound,
    /// The path exists, but not for this method; `Allow` says which ones it has.
    MethodNotAllowed,
    /// The request's body is larger than this service takes.
    BodyTooLarge,
    /// The request was not answered in time.
    RequestTimeout,
    /// More requests are under way than this service works on at once.
    ServiceOverloaded,
    /// The request has no credentials, or none that are valid.
    AuthenticationRequired,
    /// Tenant, user, password or refresh token is wrong.
    InvalidCredentials,
    /// Nothing of the caller's tenant has this id.
    ResourceNotFound,
    /// What the request asks for is taken, or was changed at the same time.
    Conflict,
    /// A configuration is only changed by who knows it: send its `ETag` as `If-Match`.
    PreconditionRequired,
    /// What is there is not what `If-Match` names.
    PreconditionFailed,
    /// The `Idempotency-Key` came with another request before.
    IdempotencyKeyReused,
    /// The body is not of a content type that this endpoint takes.
    UnsupportedMediaType,
    /// The endpoint has no format that `Accept` allows.
    NotAcceptable,
    /// What was posted could not be handed over; nothing of it is promised.
    EventBusError,
    /// The keys of the token's issuer cannot be had.
    IdentityProviderError,
    /// Requests cannot be counted, and are configured to be refused then.
    RateLimiterUnavailable,
    /// An operator has closed this endpoint.
    EndpointDisabled,
    /// Any other request that could not be understood.
    BadRequest,
    /// Something broke inside; the log has it under the request's id.
    InternalError,
}

impl Code {
    /// Every code, for documentation and tests.
    pub const ALL: [Code; 30] = [
        Code::CameraNotFound,
        Code::CameraInactive,
        Code::InvalidCameraConfig,
        Code::StreamConnectionFailed,
        Code::DetectionFailed,
        Code::CountingError,
        Code::InsufficientPermissions,
        Code::RateLimitExceeded,
        Code::DatabaseConnectionError,
        Code::ValidationError,
        Code::RouteNotFound,
        Code::MethodNotAllowed,
        Code::BodyTooLarge,
        Code::RequestTimeout,
        Code::ServiceOverloaded,
        Code::AuthenticationRequired,
        Code::InvalidCredentials,
        Code::ResourceNotFound,
        Code::Conflict,
        Code::PreconditionRequired,
        Code::PreconditionFailed,
        Code::IdempotencyKeyReused,
        Code::UnsupportedMediaType,
        Code::NotAcceptable,
        Code::EventBusError,
        Code::IdentityProviderError,
        Code::RateLimiterUnavailable,
        Code::EndpointDisabled,
        Code::BadRequest,
        Code::InternalError,
    ];

    /// The code as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::CameraNotFound => "CAMERA_NOT_FOUND",
            Code::CameraInactive => "CAMERA_INACTIVE",
            Code::InvalidCameraConfig => "INVALID_CAMERA_CONFIG",
            Code::StreamConnectionFailed => "STREAM_CONNECTION_FAILED",
            Code::DetectionFailed => "DETECTION_FAILED",
            Code::CountingError => "COUNTING_ERROR",
            Code::InsufficientPermissions => "INSUFFICIENT_PERMISSIONS",
            Code::RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
            Code::DatabaseConnectionError => "DATABASE_CONNECTION_ERROR",
            Code::ValidationError => "VALIDATION_ERROR",
            Code::RouteNotFound => "ROUTE_NOT_FOUND",
            Code::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Code::BodyTooLarge => "BODY_TOO_LARGE",
            Code::RequestTimeout => "REQUEST_TIMEOUT",
            Code::ServiceOverloaded => "SERVICE_OVERLOADED",
            Code::AuthenticationRequired => "AUTHENTICATION_REQUIRED",
            Code::InvalidCredentials => "INVALID_CREDENTIALS",
            Code::ResourceNotFound => "RESOURCE_NOT_FOUND",
            Code::Conflict => "CONFLICT",
            Code::PreconditionRequired => "PRECONDITION_REQUIRED",
            Code::PreconditionFailed => "PRECONDITION_FAILED",
            Code::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Code::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Code::NotAcceptable => "NOT_ACCEPTABLE",
            Code::EventBusError => "EVENT_BUS_ERROR",
            Code::IdentityProviderError => "IDENTITY_PROVIDER_ERROR",
            Code::RateLimiterUnavailable => "RATE_LIMITER_UNAVAILABLE",
            Code::EndpointDisabled => "ENDPOINT_DISABLED",
            Code::BadRequest => "BAD_REQUEST",
            Code::InternalError => "INTERNAL_ERROR",
        }
    }

    /// The status that goes with it.
    pub fn status(self) -> StatusCode {
        match self {
            Code::CameraNotFound | Code::RouteNotFound | Code::ResourceNotFound => {
                StatusCode::NOT_FOUND
            }
            Code::CameraInactive
            | Code::InvalidCameraConfig
            | Code::ValidationError
            | Code::BadRequest => StatusCode::BAD_REQUEST,
            Code::StreamConnectionFailed
            | Code::DatabaseConnectionError
            | Code::RequestTimeout
            | Code::ServiceOverloaded
            | Code::EventBusError
            | Code::IdentityProviderError
            | Code::RateLimiterUnavailable
            | Code::EndpointDisabled => StatusCode::SERVICE_UNAVAILABLE,
            Code::DetectionFailed | Code::CountingError | Code::InternalError => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Code::InsufficientPermissions => StatusCode::FORBIDDEN,
            Code::RateLimitExceeded => StatusCode::TOO_MANY_REQUESTS,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::AuthenticationRequired | Code::InvalidCredentials => StatusCode::UNAUTHORIZED,
            Code::Conflict => StatusCode::CONFLICT,
            Code::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Code::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Code::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        }
    }

    /// A short sentence for people, the same for every occurrence; in English, where the database has
    /// no other.
    pub fn title(self) -> &'static str {
        match self {
            Code::CameraNotFound => "Camera with specified ID not found",
            Code::CameraInactive => "Camera is currently inactive",
            Code::InvalidCameraConfig => "Invalid camera configuration provided",
            Code::StreamConnectionFailed => "Failed to connect to camera stream",
            Code::DetectionFailed => "Person detection failed",
            Code::CountingError => "People counting error occurred",
            Code::InsufficientPermissions => "Insufficient permissions to access resource",
            Code::RateLimitExceeded => "Rate limit exceeded",
            Code::DatabaseConnectionError => "Database connection error",
            Code::ValidationError => "Request validation failed",
            Code::RouteNotFound => "Nothing lives at this path",
            Code::MethodNotAllowed => "The method is not allowed here",
            Code::BodyTooLarge => "The request body is too large",
            Code::RequestTimeout => "The request was not answered in time",
            Code::ServiceOverloaded => "The service is overloaded",
            Code::AuthenticationRequired => "The caller is not known",
            Code::InvalidCredentials => "The credentials are wrong",
            Code::ResourceNotFound => "There is no such thing",
            Code::Conflict => "The request contradicts what is there",
            Code::PreconditionRequired => "The request must say what it changes",
            Code::PreconditionFailed => "It was changed in the meantime",
            Code::IdempotencyKeyReused => "The idempotency key belongs to another request",
            Code::UnsupportedMediaType => "The body is of another kind",
            Code::NotAcceptable => "The answer is not to be had in this format",
            Code::EventBusError => "The event bus is away",
            Code::IdentityProviderError => "The identity provider does not answer",
            Code::RateLimiterUnavailable => "Requests cannot be counted",
            Code::EndpointDisabled => "The endpoint is closed",
            Code::BadRequest => "The request could not be understood",
            Code::InternalError => "Internal error",
        }
    }

    /// What a client may do about it; in English, where the database has no other.
    pub fn action(self) -> &'static str {
        match self {
            Code::CameraNotFound => "Check the id against the list of cameras",
            Code::CameraInactive => "Activate the camera, then try again",
            Code::InvalidCameraConfig => "Correct what `errors` names and send it again",
            Code::StreamConnectionFailed => "Check that the camera is on and its address is right",
            Code::DetectionFailed => "Try again later; tell the operator if it goes on",
            Code::CountingError => "Try again later; tell the operator if it goes on",
            Code::InsufficientPermissions => "Ask an administrator for the permission",
            Code::RateLimitExceeded => "Wait as long as `Retry-After` says",
            Code::DatabaseConnectionError => "Try again after the time in `Retry-After`",
            Code::ValidationError => "Correct what `errors` names and send it again",
            Code::RouteNotFound => "See /openapi.json for the paths",
            Code::MethodNotAllowed => "Use a method that `Allow` names",
            Code::BodyTooLarge => "Send less at once",
            Code::RequestTimeout => "Ask for less at once, or try again later",
            Code::ServiceOverloaded => "Wait as long as `Retry-After` says",
            Code::AuthenticationRequired => "Send a valid token or API key",
            Code::InvalidCredentials => "Check tenant, user and password, or log in again",
            Code::ResourceNotFound => "Check the id against the list",
            Code::Conflict => "Read what is there, then decide anew",
            Code::PreconditionRequired => "Read it, and send its `ETag` as `If-Match`",
            Code::PreconditionFailed => "Read it again, and repeat the change",
            Code::IdempotencyKeyReused => "Use a new key for a new request",
            Code::UnsupportedMediaType => "Send a content type that /openapi.json names",
            Code::NotAcceptable => "Accept a content type that /openapi.json names",
            Code::EventBusError => "Send it again after the time in `Retry-After`",
            Code::IdentityProviderError => "Try again after the time in `Retry-After`",
            Code::RateLimiterUnavailable => "Try again after the time in `Retry-After`",
            Code::EndpointDisabled => "Ask the operator",
            Code::BadRequest => "See /openapi.json for what is understood",
            Code::InternalError => {
                "Try again later; give the operator the request id if it goes on"
            }
        }
    }

    /// The problem type: an identifier, not an address.
    pub fn type_uri(self) -> String {
        format!("urn:headcount:problem:{}", self.as_str().to_ascii_lowercase().replace('_', "-"))
    }

    /// After how many seconds a client may try again, where trying again can help.
    pub(super) fn retry_after_s(self) -> Option<u32> {
        match self {
            Code::DatabaseConnectionError | Code::EventBusError | Code::IdentityProviderError => {
                Some(5)
            }
            Code::RequestTimeout | Code::ServiceOverloaded | Code::RateLimiterUnavailable => {
                Some(1)
            }
            _ => None,
        }
    }

    /// The code for an answer that a layer below gave without saying more than its status.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Code::RouteNotFound,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
            status if status.is_client_error() => Code::BadRequest,
            _ => Code::InternalError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire_are_the_documented_ones() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).expect("a string"), code.as_str());
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
        assert_eq!(Code::CameraNotFound.type_uri(), "urn:headcount:problem:camera-not-found");
    }
}
