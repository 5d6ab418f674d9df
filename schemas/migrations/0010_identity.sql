-- Who may use the API, and what administrators did.

CREATE TABLE users (
    tenant_id      text        NOT NULL,
    user_id        uuid        NOT NULL,
    username       text        NOT NULL,
    display_name   text        NOT NULL DEFAULT '',
    email          text,
    role           text        NOT NULL CHECK (role IN ('viewer', 'analyst', 'operator', 'admin')),
    permissions    text[]      NOT NULL DEFAULT '{}',
    grants         jsonb,
    settings       jsonb       NOT NULL DEFAULT '{}',
    is_active      boolean     NOT NULL DEFAULT true,
    password_hash  text,
    version        bigint      NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id)
);
CREATE UNIQUE INDEX users_username ON users (tenant_id, lower(username));
COMMENT ON COLUMN users.permissions IS 'What the user may do beyond what the role allows.';
COMMENT ON COLUMN users.grants IS
    'Cameras, or single sites of cameras, that the user sees: [{"camera_id": …, "site": …}]; null means all.';
COMMENT ON COLUMN users.password_hash IS 'Argon2id in the PHC string format; null: no password opens this account.';

-- One row per login. A refresh token is used once; the one that follows is in the same session.
CREATE TABLE auth_sessions (
    session_id    uuid        NOT NULL PRIMARY KEY,
    tenant_id     text        NOT NULL,
    user_id       uuid        NOT NULL,
    token_hash    bytea       NOT NULL,
    used_hashes   bytea[]     NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    FOREIGN KEY (tenant_id, user_id) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX auth_sessions_user ON auth_sessions (tenant_id, user_id);
CREATE INDEX auth_sessions_expiry ON auth_sessions (expires_at);
COMMENT ON COLUMN auth_sessions.token_hash IS 'SHA-256 of the refresh token that may be used next.';
COMMENT ON COLUMN auth_sessions.used_hashes IS 'The newest of those that were used: one that comes again was stolen.';

CREATE TABLE api_keys (
    tenant_id     text        NOT NULL,
    key_id        text        NOT NULL PRIMARY KEY,
    name          text        NOT NULL,
    role          text        NOT NULL CHECK (role IN ('viewer', 'analyst', 'operator', 'admin')),
    permissions   text[]      NOT NULL DEFAULT '{}',
    grants        jsonb,
    secret_hash   bytea       NOT NULL,
    created_by    text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz
);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, key_id);
COMMENT ON COLUMN api_keys.key_id IS 'The part of the key that may be shown.';
COMMENT ON COLUMN api_keys.secret_hash IS
    'SHA-256 of the whole key. Its secret is 256 random bits: nothing slower is needed to keep it from being guessed.';

CREATE TABLE auth_signing_keys (
    key_id       text        NOT NULL PRIMARY KEY,
    private_key  bytea       NOT NULL,
    public_key   bytea       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE auth_signing_keys IS
    'Ed25519 keys of this service''s own tokens. The newest signs; older ones still verify what they signed.';
COMMENT ON COLUMN auth_signing_keys.private_key IS 'PKCS#8. Whoever reads it can be anybody.';

CREATE TABLE audit_log (
    tenant_id   text        NOT NULL,
    audit_id    uuid        NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text        NOT NULL,
    action      text        NOT NULL,
    target      text        NOT NULL,
    details     jsonb       NOT NULL DEFAULT '{}',
    request_id  text        NOT NULL,
    PRIMARY KEY (tenant_id, at, audit_id)
);
COMMENT ON TABLE audit_log IS
    'What was changed through the API or the command line, by whom; written with the change itself.';
COMMENT ON COLUMN audit_log.actor IS 'user:<id>, key:<id>, external:<issuer>#<subject>, anonymous or command-line.';
