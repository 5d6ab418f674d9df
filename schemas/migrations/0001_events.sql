-- Tables of the events, one row per record of the topic (see docs/decisions/0003-tables.md).
-- The same on TimescaleDB, which turns them into hypertables, and on plain PostgreSQL.
--
-- The key starts with tenant, camera and time: one index serves the reads of a camera's time range,
-- the keyset pages of the API and the uniqueness of the event. `event_id` is deterministic, and so
-- is every other column of the key: a record that is written again meets its own row.

CREATE TABLE counting_events (
    tenant_id         text             NOT NULL,
    camera_id         text             NOT NULL,
    event_timestamp   timestamptz      NOT NULL,
    event_id          uuid             NOT NULL,
    epoch             bigint           NOT NULL,
    sequence          bigint           NOT NULL,
    line_name         text             NOT NULL,
    direction         text             NOT NULL CHECK (direction IN ('in', 'out')),
    track_id          bigint           NOT NULL,
    x                 double precision NOT NULL,
    y                 double precision NOT NULL,
    confidence        real             NOT NULL,
    total_in          bigint           NOT NULL,
    total_out         bigint           NOT NULL,
    geometry_version  bigint           NOT NULL,
    model             text             NOT NULL,
    tracker           text             NOT NULL,
    PRIMARY KEY (tenant_id, camera_id, event_timestamp, event_id)
);
COMMENT ON TABLE counting_events IS 'One person crossed one line.';
COMMENT ON COLUMN counting_events.event_timestamp IS 'Capture time at which the anchor met the line.';
COMMENT ON COLUMN counting_events.epoch IS 'Stream epoch: Unix milliseconds of the stream''s first picture.';
COMMENT ON COLUMN counting_events.x IS '0 to 1 of the frame''s width.';
COMMENT ON COLUMN counting_events.y IS '0 to 1 of the frame''s height, downwards.';
COMMENT ON COLUMN counting_events.total_in IS 'Crossings inwards in this epoch, this one included.';

CREATE TABLE zone_occupancy (
    tenant_id         text             NOT NULL,
    camera_id         text             NOT NULL,
    event_timestamp   timestamptz      NOT NULL,
    event_id          uuid             NOT NULL,
    epoch             bigint           NOT NULL,
    sequence          bigint           NOT NULL,
    scope             text             NOT NULL CHECK (scope IN ('zone', 'site')),
    zone_name         text             NOT NULL,
    reason            text             NOT NULL CHECK (reason IN ('change', 'heartbeat', 'reset', 'end')),
    people            integer          NOT NULL,
    queue_length      integer          NOT NULL,
    drift             integer          NOT NULL,
    geometry_version  bigint           NOT NULL,
    model             text             NOT NULL,
    tracker           text             NOT NULL,
    PRIMARY KEY (tenant_id, camera_id, event_timestamp, event_id)
);
COMMENT ON TABLE zone_occupancy IS
    'How many people are in a zone or site from event_timestamp on, until the next row of the same epoch.';

CREATE TABLE zone_visits (
    tenant_id         text             NOT NULL,
    camera_id         text             NOT NULL,
    event_timestamp   timestamptz      NOT NULL,
    event_id          uuid             NOT NULL,
    epoch             bigint           NOT NULL,
    sequence          bigint           NOT NULL,
    zone_name         text             NOT NULL,
    kind              text             NOT NULL CHECK (kind IN ('entered', 'left', 'lost', 'abandoned')),
    track_id          bigint           NOT NULL,
    entered_at        timestamptz      NOT NULL,
    dwell_s           double precision,
    confidence        real             NOT NULL,
    geometry_version  bigint           NOT NULL,
    model             text             NOT NULL,
    tracker           text             NOT NULL,
    PRIMARY KEY (tenant_id, camera_id, event_timestamp, event_id)
);
COMMENT ON TABLE zone_visits IS
    'One person entered a zone, left it, abandoned its queue, or was lost in it (which is no exit).';

CREATE TABLE person_tracks (
    tenant_id         text             NOT NULL,
    camera_id         text             NOT NULL,
    ended_at          timestamptz      NOT NULL,
    event_id          uuid             NOT NULL,
    started_at        timestamptz      NOT NULL,
    epoch             bigint           NOT NULL,
    sequence          bigint           NOT NULL,
    track_id          bigint           NOT NULL,
    frames            integer          NOT NULL,
    mean_score        real             NOT NULL,
    path_at           timestamptz[]    NOT NULL,
    path_x            double precision[] NOT NULL,
    path_y            double precision[] NOT NULL,
    path_box_height   double precision[] NOT NULL,
    geometry_version  bigint           NOT NULL,
    model             text             NOT NULL,
    tracker           text             NOT NULL,
    PRIMARY KEY (tenant_id, camera_id, ended_at, event_id)
);
COMMENT ON TABLE person_tracks IS
    'One finished track with its simplified path; the four path columns have one element per point.';

CREATE TABLE coverage_spans (
    tenant_id         text             NOT NULL,
    camera_id         text             NOT NULL,
    from_timestamp    timestamptz      NOT NULL,
    event_id          uuid             NOT NULL,
    until_timestamp   timestamptz      NOT NULL,
    epoch             bigint           NOT NULL,
    sequence          bigint           NOT NULL,
    frames            integer          NOT NULL,
    geometry_version  bigint           NOT NULL,
    model             text             NOT NULL,
    tracker           text             NOT NULL,
    PRIMARY KEY (tenant_id, camera_id, from_timestamp, event_id)
);
COMMENT ON TABLE coverage_spans IS
    'A span of capture time in which the camera was really watched; never crosses a minute.';

CREATE TABLE camera_health (
    tenant_id         text             NOT NULL,
    camera_id         text             NOT NULL,
    event_timestamp   timestamptz      NOT NULL,
    event_id          uuid             NOT NULL,
    epoch             bigint,
    status            text             NOT NULL
        CHECK (status IN ('up', 'running', 'stalled', 'resized', 'ended', 'down')),
    reason            text,
    width             integer          NOT NULL,
    height            integer          NOT NULL,
    measured_fps      double precision NOT NULL,
    lag_ms            bigint           NOT NULL,
    frames_total      bigint           NOT NULL,
    dropped_total     bigint           NOT NULL,
    PRIMARY KEY (tenant_id, camera_id, event_timestamp, event_id)
);
COMMENT ON TABLE camera_health IS 'A camera came up, changed, stalled, ended or went down; heartbeats between.';

-- One row per analysed picture, also of those that show nobody. At ten pictures a second, a
-- row per person would multiply keys and index entries; `person_detections` is the view with one.
CREATE TABLE frame_detections (
    tenant_id         text             NOT NULL,
    camera_id         text             NOT NULL,
    frame_timestamp   timestamptz      NOT NULL,
    epoch             bigint           NOT NULL,
    sequence          bigint           NOT NULL,
    width             integer          NOT NULL,
    height            integer          NOT NULL,
    config_version    bigint           NOT NULL,
    model             text             NOT NULL,
    inference_us      integer          NOT NULL,
    x1                real[]           NOT NULL,
    y1                real[]           NOT NULL,
    x2                real[]           NOT NULL,
    y2                real[]           NOT NULL,
    score             real[]           NOT NULL,
    class             integer[]        NOT NULL,
    PRIMARY KEY (tenant_id, camera_id, frame_timestamp, epoch, sequence)
);
COMMENT ON TABLE frame_detections IS
    'What one picture showed: boxes in pixels of the analysed picture (width x height), one array element each.';

CREATE VIEW person_detections AS
SELECT f.tenant_id,
       f.camera_id,
       f.frame_timestamp,
       f.epoch || '-' || f.sequence || '-' || b.number AS detection_id,
       f.epoch,
       f.sequence,
       b.x1               AS bbox_x,
       b.y1               AS bbox_y,
       b.x2 - b.x1        AS bbox_width,
       b.y2 - b.y1        AS bbox_height,
       b.score            AS confidence_score,
       b.class,
       f.width            AS frame_width,
       f.height           AS frame_height,
       f.config_version,
       f.model
FROM frame_detections f
CROSS JOIN LATERAL unnest(f.x1, f.y1, f.x2, f.y2, f.score, f.class)
    WITH ORDINALITY AS b (x1, y1, x2, y2, score, class, number);
COMMENT ON VIEW person_detections IS 'One person in one picture; pixels of the analysed picture, origin top left.';

-- Where the sink goes on reading. Rows and offsets change in one transaction.
CREATE TABLE stream_offsets (
    topic        text        NOT NULL,
    partition    integer     NOT NULL,
    next_offset  bigint      NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);
COMMENT ON TABLE stream_offsets IS 'Everything of a partition below next_offset is in the tables.';
