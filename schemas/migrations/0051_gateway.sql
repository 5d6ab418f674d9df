-- What the gateway does before and after every endpoint. `headcount migrate` writes what the program
-- declares; an operator may change it, and the API takes the change up while it runs. A row that cannot be
-- obeyed is refused with the reason (`/api/v1/admin/endpoints`), and what was in force stays in force.

CREATE TABLE api_endpoint_mappings (
    id                    serial      PRIMARY KEY,
    operation_id          text        NOT NULL UNIQUE,
    endpoint_path         text        NOT NULL,
    http_method           text        NOT NULL CHECK (http_method IN ('GET', 'POST', 'PUT', 'PATCH', 'DELETE')),
    service_name          text        NOT NULL,
    database_operation    text        CHECK (database_operation IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')),
    target_table          text,
    target_tables         text[]      NOT NULL DEFAULT '{}',
    query_parameters      jsonb       NOT NULL DEFAULT '[]',
    is_enabled            boolean     NOT NULL DEFAULT true,
    cache_enabled         boolean     NOT NULL,
    cache_ttl_seconds     integer     NOT NULL,
    rate_limit_per_minute integer,
    rate_limit_burst      integer,
    daily_quota           integer,
    requires_auth         boolean     NOT NULL,
    required_roles        text[]      NOT NULL DEFAULT '{}',
    required_permissions  text[]      NOT NULL DEFAULT '{}',
    declared              jsonb       NOT NULL,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idx_api_endpoint_mappings_path_method UNIQUE (endpoint_path, http_method)
);
COMMENT ON COLUMN api_endpoint_mappings.database_operation IS 'Null: it does not touch the database.';
COMMENT ON COLUMN api_endpoint_mappings.target_table IS 'The first of target_tables.';
COMMENT ON COLUMN api_endpoint_mappings.is_enabled IS 'Operators: false answers 503 ENDPOINT_DISABLED.';
COMMENT ON COLUMN api_endpoint_mappings.cache_ttl_seconds IS
    'Operators: how long a client may use an answer again (Cache-Control). The service''s own cache is in api_cache_config.';
COMMENT ON COLUMN api_endpoint_mappings.rate_limit_per_minute IS 'Operators: sustained requests of one caller; null is no limit.';
COMMENT ON COLUMN api_endpoint_mappings.rate_limit_burst IS 'Operators: requests of one caller at once.';
COMMENT ON COLUMN api_endpoint_mappings.daily_quota IS 'Operators: requests of one caller a day (UTC); null is no quota.';
COMMENT ON COLUMN api_endpoint_mappings.required_roles IS 'Operators: may only be narrower than what is declared.';
COMMENT ON COLUMN api_endpoint_mappings.required_permissions IS
    'What opens the endpoint to other roles. Operators: may only be narrower than what is declared.';
COMMENT ON COLUMN api_endpoint_mappings.declared IS
    'What the program declared when it last wrote the row: columns that differ from it are an operator''s.';

CREATE TABLE api_cache_config (
    id                       serial       PRIMARY KEY,
    endpoint_mapping_id      integer      NOT NULL UNIQUE REFERENCES api_endpoint_mappings ON DELETE CASCADE,
    cache_enabled            boolean      NOT NULL,
    cache_ttl_seconds        integer      NOT NULL,
    cache_distribution       boolean      NOT NULL DEFAULT true,
    cache_invalidation_rules jsonb        NOT NULL,
    cache_hit_ratio          numeric(5,2),
    declared                 jsonb        NOT NULL,
    created_at               timestamptz  NOT NULL DEFAULT now(),
    updated_at               timestamptz  NOT NULL DEFAULT now()
);
COMMENT ON COLUMN api_cache_config.cache_ttl_seconds IS
    'Operators: the service uses an answer again for this long, unless what it was made of changes before.';
COMMENT ON COLUMN api_cache_config.cache_distribution IS
    'Operators: whether the answer is also kept in Redis, where one is configured.';
COMMENT ON COLUMN api_cache_config.cache_invalidation_rules IS
    '{"tables": […]}: a change of one of these ends an answer. Operators: may hold more than what is declared, never less.';
COMMENT ON COLUMN api_cache_config.cache_hit_ratio IS 'Percent, by calculate_cache_hit_ratio.';

CREATE TABLE api_validation_schemas (
    id                   serial      PRIMARY KEY,
    endpoint_mapping_id  integer     NOT NULL REFERENCES api_endpoint_mappings ON DELETE CASCADE,
    schema_name          text        NOT NULL,
    validation_schema    jsonb       NOT NULL,
    validation_rules     jsonb       NOT NULL DEFAULT '{}',
    allow_unknown_fields boolean     NOT NULL DEFAULT false,
    sanitize_input       boolean     NOT NULL DEFAULT true,
    declared             jsonb       NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    UNIQUE (endpoint_mapping_id, schema_name)
);
COMMENT ON COLUMN api_validation_schemas.validation_schema IS
    'Operators: JSON Schema 2020-12 of the body. It can only refuse more than the program itself does.';
COMMENT ON COLUMN api_validation_schemas.validation_rules IS
    'Field of the body to field_name of data_sanitization_rules.';
COMMENT ON COLUMN api_validation_schemas.allow_unknown_fields IS
    'Operators: true drops fields that the schema does not name instead of refusing the body.';

CREATE TABLE api_response_templates (
    id                   serial      PRIMARY KEY,
    endpoint_mapping_id  integer     NOT NULL REFERENCES api_endpoint_mappings ON DELETE CASCADE,
    response_type        text        NOT NULL CHECK (response_type IN ('success', 'paginated')),
    response_schema      jsonb       NOT NULL,
    response_example     jsonb,
    response_headers     jsonb       NOT NULL DEFAULT '{}',
    include_metadata     boolean     NOT NULL,
    include_pagination   boolean     NOT NULL,
    declared             jsonb       NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    UNIQUE (endpoint_mapping_id)
);
COMMENT ON COLUMN api_response_templates.response_schema IS 'As in the OpenAPI document; follows from the program.';
COMMENT ON COLUMN api_response_templates.response_example IS 'Operators: shown in the OpenAPI document.';
COMMENT ON COLUMN api_response_templates.response_headers IS 'Operators: {"name": "value"} added to good answers.';
COMMENT ON COLUMN api_response_templates.include_metadata IS 'Operators: false leaves `metadata` out of the answer.';
COMMENT ON COLUMN api_response_templates.include_pagination IS
    'Operators: false leaves `pagination` out of the answer; the Link header stays.';

CREATE TABLE data_sanitization_rules (
    id                   serial      PRIMARY KEY,
    field_name           text        NOT NULL UNIQUE,
    field_type           text        NOT NULL CHECK (field_type IN ('string', 'integer', 'float', 'boolean', 'json')),
    sanitization_type    text        NOT NULL CHECK (sanitization_type IN ('trim', 'escape', 'validate')),
    sanitization_config  jsonb       NOT NULL,
    error_message        text        NOT NULL,
    declared             jsonb       NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now()
);

-- Whoever listens to `headcount_gateway` reads the rows again. One word per statement, however many rows.
CREATE FUNCTION notify_gateway_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('headcount_gateway', TG_TABLE_NAME);
    RETURN NULL;
END $$;

CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['api_endpoint_mappings', 'api_cache_config', 'api_validation_schemas',
                                'api_response_templates', 'data_sanitization_rules'] LOOP
        EXECUTE format('CREATE TRIGGER touch BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION touch_updated_at()', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['api_endpoint_mappings', 'api_validation_schemas', 'api_response_templates',
                                'data_sanitization_rules'] LOOP
        EXECUTE format('CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION notify_gateway_change()', name);
    END LOOP;
END $$;
-- Not for the measured cache_hit_ratio, which changes all the time.
CREATE TRIGGER notify AFTER INSERT OR DELETE OR TRUNCATE
    OR UPDATE OF cache_enabled, cache_ttl_seconds, cache_distribution, cache_invalidation_rules ON api_cache_config
    FOR EACH STATEMENT EXECUTE FUNCTION notify_gateway_change();

-- Whoever listens to `headcount_changes` drops the answers that were made of what changed: the payload is
-- tenant/camera/table. The sink says so itself for the tables of events; these are written by several.
CREATE FUNCTION notify_camera_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('headcount_changes', tenant_id || '/' || camera_id || '/' || TG_TABLE_NAME)
    FROM (SELECT DISTINCT tenant_id, camera_id FROM changed) AS cameras;
    RETURN NULL;
END $$;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['camera_configurations', 'video_streams'] LOOP
        EXECUTE format('CREATE TRIGGER changed_by_insert AFTER INSERT ON %I REFERENCING NEW TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION notify_camera_change()', name);
        EXECUTE format('CREATE TRIGGER changed_by_update AFTER UPDATE ON %I REFERENCING NEW TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION notify_camera_change()', name);
        EXECUTE format('CREATE TRIGGER changed_by_delete AFTER DELETE ON %I REFERENCING OLD TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION notify_camera_change()', name);
    END LOOP;
END $$;
