-- Errors: the codes that clients meet, what was answered with them, what the database's own errors mean
-- and what is done about each, and the alerts that come of it.

CREATE TABLE api_error_codes (
    id                  serial      PRIMARY KEY,
    error_code          varchar(64) UNIQUE NOT NULL,
    error_message       text        NOT NULL,
    error_category      varchar(50) NOT NULL CHECK (error_category IN ('validation', 'database', 'auth', 'business')),
    http_status_code    integer     NOT NULL CHECK (http_status_code BETWEEN 400 AND 599),
    error_details       jsonb,
    suggested_action    text,
    localized_messages  jsonb       NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN api_error_codes.error_message IS 'English; `title` of the problem.';
COMMENT ON COLUMN api_error_codes.error_details IS 'Whatever an integrator should know beside; shown nowhere.';
COMMENT ON COLUMN api_error_codes.localized_messages IS 'Kept from api_error_messages: {"vi": {"message": …, "action": …}}.';

CREATE TABLE api_error_messages (
    error_code        varchar(64) NOT NULL REFERENCES api_error_codes (error_code) ON UPDATE CASCADE ON DELETE CASCADE,
    language          varchar(35) NOT NULL CHECK (language ~ '^[a-z]{2,8}(-[a-z0-9]{1,8})*$'),
    error_message     text        NOT NULL,
    suggested_action  text,
    PRIMARY KEY (error_code, language)
);
COMMENT ON TABLE api_error_messages IS 'Codes in other languages than English: a row adds a language to a code.';
COMMENT ON COLUMN api_error_messages.language IS 'A language tag (RFC 5646), in lower case.';

CREATE FUNCTION api_error_messages_mirror() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A changed key touches two codes.
    UPDATE api_error_codes AS codes
    SET localized_messages = coalesce(
        (SELECT jsonb_object_agg(m.language, jsonb_build_object('message', m.error_message, 'action', m.suggested_action))
         FROM api_error_messages AS m WHERE m.error_code = codes.error_code), '{}')
    WHERE codes.error_code IN (OLD.error_code, NEW.error_code);
    RETURN NULL;
END;
$$;
CREATE TRIGGER api_error_messages_mirror AFTER INSERT OR UPDATE OR DELETE ON api_error_messages
    FOR EACH ROW EXECUTE FUNCTION api_error_messages_mirror();

INSERT INTO api_error_codes (error_code, error_message, error_category, http_status_code, suggested_action) VALUES
('CAMERA_NOT_FOUND', 'Camera with specified ID not found', 'business', 404, 'Check the id against the list of cameras'),
('CAMERA_INACTIVE', 'Camera is currently inactive', 'business', 400, 'Activate the camera, then try again'),
('INVALID_CAMERA_CONFIG', 'Invalid camera configuration provided', 'validation', 400, 'Correct what `errors` names and send it again'),
('STREAM_CONNECTION_FAILED', 'Failed to connect to camera stream', 'business', 503, 'Check that the camera is on and its address is right'),
('DETECTION_FAILED', 'Person detection failed', 'business', 500, 'Try again later; tell the operator if it goes on'),
('COUNTING_ERROR', 'People counting error occurred', 'business', 500, 'Try again later; tell the operator if it goes on'),
('INSUFFICIENT_PERMISSIONS', 'Insufficient permissions to access resource', 'auth', 403, 'Ask an administrator for the permission'),
('RATE_LIMIT_EXCEEDED', 'Rate limit exceeded', 'business', 429, 'Wait as long as `Retry-After` says'),
('DATABASE_CONNECTION_ERROR', 'Database connection error', 'database', 503, 'Try again after the time in `Retry-After`'),
('VALIDATION_ERROR', 'Request validation failed', 'validation', 400, 'Correct what `errors` names and send it again'),
('ROUTE_NOT_FOUND', 'Nothing lives at this path', 'validation', 404, 'See /openapi.json for the paths'),
('METHOD_NOT_ALLOWED', 'The method is not allowed here', 'validation', 405, 'Use a method that `Allow` names'),
('BODY_TOO_LARGE', 'The request body is too large', 'validation', 413, 'Send less at once'),
('REQUEST_TIMEOUT', 'The request was not answered in time', 'business', 503, 'Ask for less at once, or try again later'),
('SERVICE_OVERLOADED', 'The service is overloaded', 'business', 503, 'Wait as long as `Retry-After` says'),
('AUTHENTICATION_REQUIRED', 'The caller is not known', 'auth', 401, 'Send a valid token or API key'),
('INVALID_CREDENTIALS', 'The credentials are wrong', 'auth', 401, 'Check tenant, user and password, or log in again'),
('RESOURCE_NOT_FOUND', 'There is no such thing', 'business', 404, 'Check the id against the list'),
('CONFLICT', 'The request contradicts what is there', 'business', 409, 'Read what is there, then decide anew'),
('PRECONDITION_REQUIRED', 'The request must say what it changes', 'validation', 428, 'Read it, and send its `ETag` as `If-Match`'),
('PRECONDITION_FAILED', 'It was changed in the meantime', 'business', 412, 'Read it again, and repeat the change'),
('IDEMPOTENCY_KEY_REUSED', 'The idempotency key belongs to another request', 'validation', 422, 'Use a new key for a new request'),
('UNSUPPORTED_MEDIA_TYPE', 'The body is of another kind', 'validation', 415, 'Send a content type that /openapi.json names'),
('EVENT_BUS_ERROR', 'The event bus is away', 'business', 503, 'Send it again after the time in `Retry-After`'),
('IDENTITY_PROVIDER_ERROR', 'The identity provider does not answer', 'auth', 503, 'Try again after the time in `Retry-After`'),
('BAD_REQUEST', 'The request could not be understood', 'validation', 400, 'See /openapi.json for what is understood'),
('INTERNAL_ERROR', 'Internal error', 'business', 500, 'Try again later; give the operator the request id if it goes on');

INSERT INTO api_error_messages (language, error_code, error_message, suggested_action) VALUES
('vi', 'CAMERA_NOT_FOUND', 'Không tìm thấy camera có ID đã cho', 'Hãy kiểm tra ID trong danh sách camera'),
('vi', 'CAMERA_INACTIVE', 'Camera hiện không hoạt động', 'Hãy kích hoạt camera rồi thử lại'),
('vi', 'INVALID_CAMERA_CONFIG', 'Cấu hình camera không hợp lệ', 'Hãy sửa những gì `errors` nêu và gửi lại'),
('vi', 'STREAM_CONNECTION_FAILED', 'Không kết nối được với luồng video của camera', 'Hãy kiểm tra camera đã bật và địa chỉ đúng'),
('vi', 'DETECTION_FAILED', 'Phát hiện người thất bại', 'Hãy thử lại sau; nếu còn lỗi, hãy báo cho người vận hành'),
('vi', 'COUNTING_ERROR', 'Đã xảy ra lỗi khi đếm người', 'Hãy thử lại sau; nếu còn lỗi, hãy báo cho người vận hành'),
('vi', 'INSUFFICIENT_PERMISSIONS', 'Không đủ quyền truy cập tài nguyên', 'Hãy xin quản trị viên cấp quyền'),
('vi', 'RATE_LIMIT_EXCEEDED', 'Đã vượt quá giới hạn số yêu cầu', 'Hãy chờ theo thời gian trong `Retry-After`'),
('vi', 'DATABASE_CONNECTION_ERROR', 'Lỗi kết nối cơ sở dữ liệu', 'Hãy thử lại sau thời gian trong `Retry-After`'),
('vi', 'VALIDATION_ERROR', 'Yêu cầu không hợp lệ', 'Hãy sửa những gì `errors` nêu và gửi lại'),
('vi', 'ROUTE_NOT_FOUND', 'Không có gì ở đường dẫn này', 'Xem các đường dẫn tại /openapi.json'),
('vi', 'METHOD_NOT_ALLOWED', 'Phương thức không được phép ở đây', 'Hãy dùng phương thức mà `Allow` nêu'),
('vi', 'BODY_TOO_LARGE', 'Nội dung yêu cầu quá lớn', 'Hãy gửi ít hơn trong mỗi lần'),
('vi', 'REQUEST_TIMEOUT', 'Yêu cầu không được trả lời kịp thời', 'Hãy yêu cầu ít dữ liệu hơn hoặc thử lại sau'),
('vi', 'SERVICE_OVERLOADED', 'Dịch vụ đang quá tải', 'Hãy chờ theo thời gian trong `Retry-After`'),
('vi', 'AUTHENTICATION_REQUIRED', 'Không xác định được người gọi', 'Hãy gửi token hoặc khóa API hợp lệ'),
('vi', 'INVALID_CREDENTIALS', 'Thông tin đăng nhập không đúng', 'Hãy kiểm tra đơn vị, người dùng và mật khẩu, hoặc đăng nhập lại'),
('vi', 'RESOURCE_NOT_FOUND', 'Không có đối tượng này', 'Hãy kiểm tra ID trong danh sách'),
('vi', 'CONFLICT', 'Yêu cầu mâu thuẫn với dữ liệu hiện có', 'Hãy đọc lại dữ liệu hiện có rồi quyết định'),
('vi', 'PRECONDITION_REQUIRED', 'Yêu cầu phải nêu rõ phiên bản cần thay đổi', 'Hãy đọc dữ liệu và gửi `ETag` của nó trong `If-Match`'),
('vi', 'PRECONDITION_FAILED', 'Dữ liệu đã thay đổi trong lúc đó', 'Hãy đọc lại rồi thực hiện lại thay đổi'),
('vi', 'IDEMPOTENCY_KEY_REUSED', 'Khóa bất biến thuộc về một yêu cầu khác', 'Hãy dùng khóa mới cho yêu cầu mới'),
('vi', 'UNSUPPORTED_MEDIA_TYPE', 'Loại nội dung không được hỗ trợ', 'Hãy gửi loại nội dung nêu trong /openapi.json'),
('vi', 'EVENT_BUS_ERROR', 'Hệ thống sự kiện hiện không khả dụng', 'Hãy gửi lại sau thời gian trong `Retry-After`'),
('vi', 'IDENTITY_PROVIDER_ERROR', 'Nhà cung cấp danh tính không phản hồi', 'Hãy thử lại sau thời gian trong `Retry-After`'),
('vi', 'BAD_REQUEST', 'Không hiểu được yêu cầu', 'Xem những gì được hỗ trợ tại /openapi.json'),
('vi', 'INTERNAL_ERROR', 'Lỗi nội bộ', 'Hãy thử lại sau; nếu còn lỗi, hãy gửi mã yêu cầu cho người vận hành');

-- What the database's own errors mean. SQLSTATE decides; the text only where there is none, because the
-- server speaks the language of its own settings.
CREATE TABLE database_error_patterns (
    id                   serial       PRIMARY KEY,
    error_pattern        varchar(200) UNIQUE NOT NULL,
    error_type           varchar(50)  NOT NULL,
    pattern_regex        varchar(500),
    sqlstates            text[]       NOT NULL DEFAULT '{}'
        CHECK (array_to_string(sqlstates, ',') ~ '^([0-9A-Z]{2}([0-9A-Z]{3})?(,[0-9A-Z]{2}([0-9A-Z]{3})?)*)?$'),
    pattern_description  text,
    suggested_action     text,
    retry_strategy       varchar(50)  NOT NULL DEFAULT 'none' CHECK (retry_strategy IN ('immediate', 'exponential_backoff', 'none')),
    max_retries          integer      NOT NULL DEFAULT 3 CHECK (max_retries BETWEEN 0 AND 10),
    alert_threshold      integer      NOT NULL DEFAULT 10 CHECK (alert_threshold > 0),
    alert_severity       varchar(20)  NOT NULL DEFAULT 'warning' CHECK (alert_severity IN ('info', 'warning', 'error', 'critical')),
    created_at           timestamptz  NOT NULL DEFAULT now()
);
COMMENT ON COLUMN database_error_patterns.sqlstates IS 'Codes of five characters, or classes of two; the longer one wins.';
COMMENT ON COLUMN database_error_patterns.pattern_regex IS 'For errors that come without a SQLSTATE.';
COMMENT ON COLUMN database_error_patterns.alert_threshold IS 'Errors of this kind within an hour that raise an alert.';

INSERT INTO database_error_patterns
    (error_pattern, error_type, pattern_regex, sqlstates, suggested_action, retry_strategy, max_retries, alert_severity) VALUES
('duplicate key value violates unique constraint', 'constraint_violation',
 'duplicate key value violates unique constraint', '{23505}', 'Check for existing record before insert', 'none', 0, 'info'),
('foreign key constraint violation', 'constraint_violation',
 'foreign key constraint violation|violates foreign key constraint', '{23503}', 'Verify referenced record exists', 'none', 0, 'info'),
('connection to server at .* failed', 'connection_error',
 'connection to server at .* failed|error communicating with database|pool timed out|Connection refused|terminating connection',
 '{08,57P01,57P02,57P03,28,3D}', 'Check database connectivity', 'exponential_backoff', 2, 'critical'),
('query execution timeout', 'timeout',
 'query execution timeout|statement timeout|lock timeout', '{57014,55P03}', 'Optimize query or increase timeout', 'none', 0, 'warning'),
('insufficient memory', 'resource_error',
 'insufficient memory|out of memory|too many clients|remaining connection slots', '{53}', 'Check database memory usage', 'exponential_backoff', 2, 'critical'),
('table .* does not exist', 'schema_error',
 '(table|relation|column) .* does not exist', '{42P01,42703,42883}', 'Verify database schema', 'none', 0, 'error'),
('could not serialize access', 'transaction_conflict',
 'could not serialize access|deadlock detected', '{40}', 'Let whoever lost try again', 'immediate', 3, 'warning');

-- What is done about them, in the order of `priority`.
CREATE TABLE error_recovery_strategies (
    id                         serial       PRIMARY KEY,
    error_pattern_id           integer      NOT NULL REFERENCES database_error_patterns (id) ON DELETE CASCADE,
    strategy_name              varchar(100) UNIQUE NOT NULL,
    priority                   integer      NOT NULL DEFAULT 1,
    recovery_action            varchar(50)  NOT NULL
        CHECK (recovery_action IN ('retry', 'fallback', 'circuit_breaker', 'manual_intervention')),
    recovery_config            jsonb        NOT NULL DEFAULT '{}',
    retry_delay_ms             integer      NOT NULL DEFAULT 1000 CHECK (retry_delay_ms BETWEEN 0 AND 60000),
    max_retry_attempts         integer      NOT NULL DEFAULT 3 CHECK (max_retry_attempts BETWEEN 0 AND 10),
    circuit_breaker_threshold  integer      NOT NULL DEFAULT 5 CHECK (circuit_breaker_threshold > 0),
    fallback_endpoint          varchar(200),
    fallback_data              jsonb,
    is_enabled                 boolean      NOT NULL DEFAULT true,
    created_at                 timestamptz  NOT NULL DEFAULT now()
);
COMMENT ON COLUMN error_recovery_strategies.recovery_config IS
    'retry: {"multiplier", "max_delay_ms"}; circuit_breaker: {"open_ms"}; fallback: {"max_age_s"}.';
COMMENT ON COLUMN error_recovery_strategies.fallback_endpoint IS 'Only this endpoint falls back; null: every endpoint that has a kept answer.';
COMMENT ON COLUMN error_recovery_strategies.fallback_data IS 'Not answered to anybody: made-up counts would be worse than none.';

INSERT INTO error_recovery_strategies
    (error_pattern_id, strategy_name, priority, recovery_action, recovery_config, retry_delay_ms, max_retry_attempts)
SELECT p.id, s.name, s.priority, s.action, s.config::jsonb, s.delay_ms, p.max_retries
FROM (VALUES
    ('connection to server at .* failed', 'connection_retry', 1, 'retry', '{"multiplier": 2, "max_delay_ms": 1000}', 100),
    ('connection to server at .* failed', 'connection_breaker', 2, 'circuit_breaker', '{"open_ms": 2000}', 0),
    ('connection to server at .* failed', 'connection_fallback', 3, 'fallback', '{"max_age_s": 3600}', 0),
    ('query execution timeout', 'timeout_fallback', 1, 'fallback', '{"max_age_s": 3600}', 0),
    ('insufficient memory', 'resource_retry', 1, 'retry', '{"multiplier": 3, "max_delay_ms": 2000}', 200),
    ('insufficient memory', 'resource_breaker', 2, 'circuit_breaker', '{"open_ms": 5000}', 0),
    ('insufficient memory', 'resource_fallback', 3, 'fallback', '{"max_age_s": 3600}', 0),
    ('table .* does not exist', 'schema_intervention', 1, 'manual_intervention', '{}', 0),
    ('could not serialize access', 'conflict_retry', 1, 'retry', '{"multiplier": 2, "max_delay_ms": 200}', 10)
) AS s (pattern, name, priority, action, config, delay_ms)
JOIN database_error_patterns AS p ON p.error_pattern = s.pattern;

CREATE TABLE api_error_logs (
    id                    bigserial    PRIMARY KEY,
    request_id            varchar(100) NOT NULL,
    trace_id              varchar(32),
    tenant_id             text,
    endpoint_path         varchar(200) NOT NULL,
    http_method           varchar(10)  NOT NULL,
    error_code            varchar(64)  REFERENCES api_error_codes (error_code) ON UPDATE CASCADE ON DELETE SET NULL,
    error_message         text,
    error_stack_trace     text,
    error_category        varchar(50),
    request_headers       jsonb,
    request_body          text,
    request_params        jsonb,
    user_id               text,
    response_status_code  integer,
    response_body         text,
    response_time_ms      integer,
    database_operation    varchar(50),
    database_error        text,
    database_sqlstate     varchar(5),
    error_pattern_id      integer      REFERENCES database_error_patterns (id) ON DELETE SET NULL,
    affected_tables       text[],
    error_timestamp       timestamptz  NOT NULL DEFAULT now(),
    created_at            timestamptz  NOT NULL DEFAULT now()
);
COMMENT ON TABLE api_error_logs IS 'Answers that were problems. Headers, parameters and bodies only as far as a list allows.';
COMMENT ON COLUMN api_error_logs.endpoint_path IS 'As declared, with {id} in braces, or `unmatched`.';
COMMENT ON COLUMN api_error_logs.tenant_id IS 'Null while the caller is unknown.';
COMMENT ON COLUMN api_error_logs.user_id IS 'Whoever asked, as the caller''s token names them; no reference, so that users can be removed.';
CREATE INDEX idx_api_error_logs_timestamp ON api_error_logs (error_timestamp DESC);
CREATE INDEX idx_api_error_logs_error_code ON api_error_logs (error_code);
CREATE INDEX idx_api_error_logs_user_id ON api_error_logs (user_id);
CREATE INDEX idx_api_error_logs_tenant ON api_error_logs (tenant_id, id DESC);
CREATE INDEX idx_api_error_logs_pattern ON api_error_logs (error_pattern_id, error_timestamp DESC) WHERE error_pattern_id IS NOT NULL;

CREATE TABLE system_alerts (
    id                bigserial    PRIMARY KEY,
    tenant_id         text,
    alert_type        varchar(100) NOT NULL,
    alert_message     text         NOT NULL,
    alert_severity    varchar(20)  NOT NULL CHECK (alert_severity IN ('info', 'warning', 'error', 'critical')),
    alert_data        jsonb        NOT NULL DEFAULT '{}',
    dedup_key         text         NOT NULL,
    occurrences       bigint       NOT NULL DEFAULT 1,
    first_seen_at     timestamptz  NOT NULL DEFAULT now(),
    last_seen_at      timestamptz  NOT NULL DEFAULT now(),
    acknowledged_at   timestamptz,
    acknowledged_by   text,
    resolved_at       timestamptz,
    notified_at       timestamptz,
    notify_attempts   integer      NOT NULL DEFAULT 0,
    next_notify_at    timestamptz  NOT NULL DEFAULT now(),
    notify_error      text,
    created_at        timestamptz  NOT NULL DEFAULT now()
);
COMMENT ON TABLE system_alerts IS 'What somebody must look at, once per cause as long as it lasts.';
COMMENT ON COLUMN system_alerts.tenant_id IS 'Null: about the service itself.';
COMMENT ON COLUMN system_alerts.dedup_key IS 'Names the cause: one alert of it is open at a time.';
COMMENT ON COLUMN system_alerts.resolved_at IS 'When it had not been seen for an hour; the cause may raise a new one.';
CREATE UNIQUE INDEX system_alerts_open ON system_alerts (dedup_key) WHERE resolved_at IS NULL;
CREATE INDEX system_alerts_by_tenant ON system_alerts (tenant_id, id DESC);
CREATE INDEX system_alerts_to_notify ON system_alerts (next_notify_at) WHERE notified_at IS NULL AND resolved_at IS NULL;

-- Raises an alert, or counts one more occurrence of one that is open. Returns its id.
CREATE FUNCTION raise_system_alert(
    p_dedup_key      text,
    p_alert_type     varchar(100),
    p_alert_message  text,
    p_alert_severity varchar(20),
    p_alert_data     jsonb DEFAULT '{}',
    p_tenant_id      text DEFAULT NULL
) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO system_alerts (dedup_key, alert_type, alert_message, alert_severity, alert_data, tenant_id)
    VALUES (p_dedup_key, p_alert_type, p_alert_message, p_alert_severity, coalesce(p_alert_data, '{}'), p_tenant_id)
    ON CONFLICT (dedup_key) WHERE resolved_at IS NULL DO UPDATE
    SET occurrences = system_alerts.occurrences + 1, last_seen_at = now(),
        alert_message = excluded.alert_message, alert_data = excluded.alert_data
    RETURNING id;
$$;

-- Which pattern an error of the database has; null for none. Its SQLSTATE decides where there is one.
CREATE FUNCTION match_error_pattern(p_error_message text, p_sqlstate text DEFAULT NULL)
RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT p.id
    FROM database_error_patterns AS p
    LEFT JOIN LATERAL (SELECT max(length(s)) AS length FROM unnest(p.sqlstates) AS s
                       WHERE left(p_sqlstate, length(s)) = s) AS by_state ON true
    WHERE CASE WHEN p_sqlstate IS NULL THEN p_error_message ~ p.pattern_regex ELSE by_state.length IS NOT NULL END
    ORDER BY by_state.length DESC NULLS LAST, p.id
    LIMIT 1;
$$;

-- Raises an alert when errors of this one's kind reach the threshold of their pattern within an hour.
CREATE FUNCTION check_error_patterns(p_error_message text, p_sqlstate text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_pattern     database_error_patterns%ROWTYPE;
    v_error_count bigint;
BEGIN
    SELECT p.* INTO v_pattern FROM database_error_patterns AS p
    WHERE p.id = match_error_pattern(p_error_message, p_sqlstate);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- No further than the threshold: an hour of an outage is many rows.
    SELECT count(*) INTO v_error_count FROM (
        SELECT FROM api_error_logs
        WHERE error_pattern_id = v_pattern.id AND error_timestamp > now() - INTERVAL '1 hour'
        LIMIT v_pattern.alert_threshold
    ) AS recent;
    IF v_error_count >= v_pattern.alert_threshold THEN
        PERFORM raise_system_alert(
            'database_error_pattern/' || v_pattern.id,
            'database_error_pattern',
            'Database error pattern detected: ' || v_pattern.error_pattern,
            v_pattern.alert_severity,
            jsonb_build_object(
                'pattern_id', v_pattern.id,
                'threshold_per_hour', v_pattern.alert_threshold,
                'suggested_action', v_pattern.suggested_action));
    END IF;
END;
$$;

-- Logs one answered error; alerts when its kind has become frequent. Returns the row's id.
CREATE FUNCTION log_api_error(
    p_request_id           varchar(100),
    p_endpoint_path        varchar(200),
    p_http_method          varchar(10),
    p_error_code           varchar(64),
    p_error_message        text,
    p_error_stack_trace    text DEFAULT NULL,
    p_request_body         text DEFAULT NULL,
    p_user_id              text DEFAULT NULL,
    p_database_operation   varchar(50) DEFAULT NULL,
    p_database_error       text DEFAULT NULL,
    p_database_sqlstate    varchar(5) DEFAULT NULL,
    p_affected_tables      text[] DEFAULT NULL,
    p_trace_id             varchar(32) DEFAULT NULL,
    p_tenant_id            text DEFAULT NULL,
    p_request_headers      jsonb DEFAULT NULL,
    p_request_params       jsonb DEFAULT NULL,
    p_response_status_code integer DEFAULT NULL,
    p_response_body        text DEFAULT NULL,
    p_response_time_ms     integer DEFAULT NULL,
    p_error_timestamp      timestamptz DEFAULT now()
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_error_log_id bigint;
    v_code         api_error_codes%ROWTYPE;
    v_from_database boolean := p_database_error IS NOT NULL OR p_database_sqlstate IS NOT NULL;
    v_pattern_id   integer;
BEGIN
    SELECT * INTO v_code FROM api_error_codes WHERE error_code = p_error_code;
    IF v_from_database THEN
        v_pattern_id := match_error_pattern(p_database_error, p_database_sqlstate);
    END IF;
    INSERT INTO api_error_logs (
        request_id, trace_id, tenant_id, endpoint_path, http_method, error_code, error_message,
        error_stack_trace, error_category, request_headers, request_body, request_params, user_id,
        response_status_code, response_body, response_time_ms, database_operation, database_error,
        database_sqlstate, error_pattern_id, affected_tables, error_timestamp
    ) VALUES (
        p_request_id, p_trace_id, p_tenant_id, p_endpoint_path, p_http_method,
        -- A code that nobody has entered yet loses no log row.
        v_code.error_code,
        CASE WHEN v_code.error_code IS NULL THEN concat_ws(': ', p_error_code, p_error_message) ELSE p_error_message END,
        p_error_stack_trace, v_code.error_category, p_request_headers, p_request_body, p_request_params, p_user_id,
        coalesce(p_response_status_code, v_code.http_status_code), p_response_body, p_response_time_ms,
        p_database_operation, p_database_error, p_database_sqlstate, v_pattern_id, p_affected_tables, p_error_timestamp
    ) RETURNING id INTO v_error_log_id;
    IF v_from_database THEN
        PERFORM check_error_patterns(p_database_error, p_database_sqlstate);
    END IF;
    RETURN v_error_log_id;
END;
$$;
