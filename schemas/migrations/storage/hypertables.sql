-- What TimescaleDB adds to the tables. Repeatable; an operator's change to a policy stays.
DROP INDEX IF EXISTS counting_events_minute, zone_occupancy_minute, zone_visits_minute, coverage_spans_minute;
SELECT create_hypertable('counting_events', by_range('event_timestamp', INTERVAL '7 days'), if_not_exists => true, migrate_data => true);
SELECT create_hypertable('zone_occupancy', by_range('event_timestamp', INTERVAL '7 days'), if_not_exists => true, migrate_data => true);
SELECT create_hypertable('zone_visits', by_range('event_timestamp', INTERVAL '7 days'), if_not_exists => true, migrate_data => true);
SELECT create_hypertable('person_tracks', by_range('ended_at', INTERVAL '7 days'), if_not_exists => true, migrate_data => true);
SELECT create_hypertable('coverage_spans', by_range('from_timestamp', INTERVAL '7 days'), if_not_exists => true, migrate_data => true);
SELECT create_hypertable('camera_health', by_range('event_timestamp', INTERVAL '7 days'), if_not_exists => true, migrate_data => true);
SELECT create_hypertable('frame_detections', by_range('frame_timestamp', INTERVAL '1 day'), if_not_exists => true, migrate_data => true);

ALTER TABLE counting_events SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant_id, camera_id', timescaledb.compress_orderby = 'event_timestamp DESC, event_id');
ALTER TABLE zone_occupancy SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant_id, camera_id', timescaledb.compress_orderby = 'event_timestamp DESC, event_id');
ALTER TABLE zone_visits SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant_id, camera_id', timescaledb.compress_orderby = 'event_timestamp DESC, event_id');
ALTER TABLE person_tracks SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant_id, camera_id', timescaledb.compress_orderby = 'ended_at DESC, event_id');
ALTER TABLE coverage_spans SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant_id, camera_id', timescaledb.compress_orderby = 'from_timestamp DESC, event_id');
ALTER TABLE camera_health SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant_id, camera_id', timescaledb.compress_orderby = 'event_timestamp DESC, event_id');
ALTER TABLE frame_detections SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant_id, camera_id', timescaledb.compress_orderby = 'frame_timestamp DESC, epoch, sequence');

SELECT add_compression_policy(name, INTERVAL '7 days', if_not_exists => true)
FROM unnest(ARRAY['counting_events', 'zone_occupancy', 'zone_visits', 'person_tracks', 'coverage_spans', 'camera_health']::regclass[]) AS name;
SELECT add_compression_policy('frame_detections', INTERVAL '1 day', if_not_exists => true);

-- Tracks stay longest of the rows: a line drawn today can be counted over them.
SELECT add_retention_policy(name, INTERVAL '90 days', if_not_exists => true)
FROM unnest(ARRAY['counting_events', 'zone_occupancy', 'zone_visits', 'coverage_spans', 'camera_health']::regclass[]) AS name;
SELECT add_retention_policy('person_tracks', INTERVAL '400 days', if_not_exists => true);
SELECT add_retention_policy('frame_detections', INTERVAL '7 days', if_not_exists => true);
