-- Setting up cameras through the API: who owns a camera, what is on its way to the topic, and answers that
-- must be repeated.

ALTER TABLE camera_configurations ADD COLUMN managed_by text NOT NULL DEFAULT 'file'
    CHECK (managed_by IN ('file', 'api'));
COMMENT ON COLUMN camera_configurations.managed_by IS
    'file: this row follows the topic. api: the topic follows this row.';
COMMENT ON COLUMN camera_configurations.camera_type IS
    'FILE, USB, RTSP, HTTP or OTHER, by the URL; as given, IP and WEBRTC too, where the API manages it.';

ALTER TABLE camera_lines ADD COLUMN definition jsonb;
COMMENT ON COLUMN camera_lines.definition IS 'The line as configured; null for versions from before this column.';

-- Written with a camera's row, removed when Kafka has it. A crash between the two repeats a record, which
-- changes nothing.
CREATE TABLE config_outbox (
    outbox_id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id      text        NOT NULL,
    camera_id      text        NOT NULL,
    configuration  jsonb,
    created_at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN config_outbox.configuration IS 'The record for the topic `cameras`; null for a tombstone.';

CREATE TABLE idempotency_keys (
    tenant_id     text        NOT NULL,
    caller        text        NOT NULL,
    key_hash      bytea       NOT NULL,
    request_hash  bytea       NOT NULL,
    claimed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at    timestamptz NOT NULL,
    answer        bytea,
    PRIMARY KEY (tenant_id, caller, key_hash)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);
COMMENT ON COLUMN idempotency_keys.answer IS
    'The first answer, sealed with the key that only the client has; null while it is being made.';
