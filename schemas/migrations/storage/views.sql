-- The names that clients meet.

CREATE OR REPLACE VIEW counting_results AS
SELECT tenant_id, camera_id, line_name, bucket AS result_timestamp,
       in_count, out_count, in_count - out_count AS net_count, coverage
FROM line_results_1m;
COMMENT ON VIEW counting_results IS
    'Crossings per line and minute. No row: nobody watched. Coverage below 1: a lower bound.';

CREATE OR REPLACE VIEW realtime_analytics AS
SELECT tenant_id, camera_id, bucket AS metric_timestamp, scope, name, coverage, frames, in_count, out_count,
       occupancy_min, occupancy_max, occupancy_mean, entries, exits, lost, abandoned,
       dwell_mean_s, dwell_p50_s, dwell_p95_s, queue_length_mean, queue_length_max, drift, reset_drift
FROM analytics_1m;
COMMENT ON VIEW realtime_analytics IS
    'Minutes of each camera, line, zone and site. No row: nobody watched. Null: does not apply or unknown.';

CREATE OR REPLACE VIEW historical_analytics AS
SELECT tenant_id, camera_id, 'hour'::text AS granularity, bucket AS metric_timestamp,
       (bucket AT TIME ZONE 'UTC')::date AS data_date, scope, name, coverage, frames, in_count, out_count,
       occupancy_min, occupancy_max, occupancy_mean, entries, exits, lost, abandoned,
       dwell_mean_s, dwell_p50_s, dwell_p95_s, queue_length_mean, queue_length_max, drift, reset_drift
FROM analytics_1h
UNION ALL
SELECT tenant_id, camera_id, 'day', bucket,
       (bucket AT TIME ZONE 'UTC')::date, scope, name, coverage, frames, in_count, out_count,
       occupancy_min, occupancy_max, occupancy_mean, entries, exits, lost, abandoned,
       dwell_mean_s, dwell_p50_s, dwell_p95_s, queue_length_mean, queue_length_max, drift, reset_drift
FROM analytics_1d;
COMMENT ON VIEW historical_analytics IS
    'Hours and days (UTC) of each camera, line, zone and site; granularity is hour or day.';
