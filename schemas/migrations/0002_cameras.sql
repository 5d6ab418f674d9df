-- Cameras: their configuration as it is, the geometry of every version (a count names the version
-- that made it), and their streams.

CREATE TABLE camera_configurations (
    tenant_id             text             NOT NULL,
    camera_id             text             NOT NULL,
    camera_name           text             NOT NULL,
    camera_type           text             NOT NULL,
    stream_url            text             NOT NULL,
    frame_rate            double precision,
    confidence_threshold  double precision,
    is_active             boolean          NOT NULL,
    version               bigint           NOT NULL,
    configuration         jsonb            NOT NULL,
    created_at            timestamptz      NOT NULL DEFAULT now(),
    updated_at            timestamptz      NOT NULL DEFAULT now(),
    deleted_at            timestamptz,
    PRIMARY KEY (tenant_id, camera_id)
);
COMMENT ON COLUMN camera_configurations.camera_type IS 'FILE, USB, RTSP, HTTP or OTHER, by the URL.';
COMMENT ON COLUMN camera_configurations.stream_url IS 'As configured: may hold credentials.';
COMMENT ON COLUMN camera_configurations.frame_rate IS 'Pictures beyond this rate are skipped; null means none are.';
COMMENT ON COLUMN camera_configurations.is_active IS 'Enabled and not removed.';
COMMENT ON COLUMN camera_configurations.configuration IS 'The whole configuration, as on the topic.';
COMMENT ON COLUMN camera_configurations.deleted_at IS 'When its tombstone was read.';

CREATE TABLE camera_lines (
    tenant_id         text             NOT NULL,
    camera_id         text             NOT NULL,
    geometry_version  bigint           NOT NULL,
    line_name         text             NOT NULL,
    from_x            double precision NOT NULL,
    from_y            double precision NOT NULL,
    to_x              double precision NOT NULL,
    to_y              double precision NOT NULL,
    PRIMARY KEY (tenant_id, camera_id, geometry_version, line_name)
);
COMMENT ON TABLE camera_lines IS 'The lines that each version of a camera''s configuration counts at.';

CREATE TABLE camera_zones (
    tenant_id         text   NOT NULL,
    camera_id         text   NOT NULL,
    geometry_version  bigint NOT NULL,
    scope             text   NOT NULL CHECK (scope IN ('zone', 'site')),
    zone_name         text   NOT NULL,
    definition        jsonb  NOT NULL,
    PRIMARY KEY (tenant_id, camera_id, geometry_version, scope, zone_name)
);
COMMENT ON TABLE camera_zones IS 'The zones and sites that each version of a camera''s configuration watches.';

CREATE TABLE video_streams (
    tenant_id      text             NOT NULL,
    camera_id      text             NOT NULL,
    stream_id      text             NOT NULL,
    epoch          bigint           NOT NULL,
    status         text             NOT NULL,
    reason         text,
    started_at     timestamptz      NOT NULL,
    last_seen_at   timestamptz      NOT NULL,
    ended_at       timestamptz,
    width          integer          NOT NULL,
    height         integer          NOT NULL,
    measured_fps   double precision NOT NULL,
    frames_total   bigint           NOT NULL,
    dropped_total  bigint           NOT NULL,
    PRIMARY KEY (tenant_id, camera_id, stream_id)
);
COMMENT ON TABLE video_streams IS 'One stream (epoch) of a camera, as its newest health record left it.';
COMMENT ON COLUMN video_streams.stream_id IS 'The epoch as text.';
