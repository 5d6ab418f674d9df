-- What plain PostgreSQL needs for its views: the newest minutes of a camera are asked for again and
-- again, and a condition on a minute finds its rows only through an index on just that expression.
CREATE INDEX IF NOT EXISTS counting_events_minute ON counting_events
    (tenant_id, camera_id, date_bin(INTERVAL '1 minute', event_timestamp, TIMESTAMPTZ '2000-01-03 00:00:00+00'));
CREATE INDEX IF NOT EXISTS zone_occupancy_minute ON zone_occupancy
    (tenant_id, camera_id, date_bin(INTERVAL '1 minute', event_timestamp, TIMESTAMPTZ '2000-01-03 00:00:00+00'));
CREATE INDEX IF NOT EXISTS zone_visits_minute ON zone_visits
    (tenant_id, camera_id, date_bin(INTERVAL '1 minute', event_timestamp, TIMESTAMPTZ '2000-01-03 00:00:00+00'));
CREATE INDEX IF NOT EXISTS coverage_spans_minute ON coverage_spans
    (tenant_id, camera_id, date_bin(INTERVAL '1 minute', from_timestamp, TIMESTAMPTZ '2000-01-03 00:00:00+00'));
