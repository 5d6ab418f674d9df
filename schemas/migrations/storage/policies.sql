-- When TimescaleDB refreshes and drops the aggregates. Every refresh window starts inside the
-- retention of what it reads (90 days of rows and minutes): a refresh over dropped chunks would empty
-- the buckets that were made from them. It ends soon after a bucket has: what is not refreshed yet is made
-- from rows whenever it is asked for.
SELECT add_continuous_aggregate_policy(name, start_offset => INTERVAL '80 days', end_offset => INTERVAL '2 minutes',
    schedule_interval => INTERVAL '1 minute', if_not_exists => true)
FROM unnest(ARRAY['crossings_1m', 'coverage_1m', 'occupancy_1m', 'visits_1m', 'drift_1m']::regclass[]) AS name;
SELECT add_continuous_aggregate_policy(name, start_offset => INTERVAL '80 days', end_offset => INTERVAL '10 minutes',
    schedule_interval => INTERVAL '10 minutes', if_not_exists => true)
FROM unnest(ARRAY['crossings_1h', 'coverage_1h', 'occupancy_1h', 'visits_1h', 'drift_1h']::regclass[]) AS name;
SELECT add_continuous_aggregate_policy(name, start_offset => INTERVAL '80 days', end_offset => INTERVAL '1 hour',
    schedule_interval => INTERVAL '10 minutes', if_not_exists => true)
FROM unnest(ARRAY['crossings_1d', 'coverage_1d', 'occupancy_1d', 'visits_1d', 'drift_1d']::regclass[]) AS name;

SELECT add_retention_policy(name, INTERVAL '90 days', if_not_exists => true)
FROM unnest(ARRAY['crossings_1m', 'coverage_1m', 'occupancy_1m', 'visits_1m', 'drift_1m']::regclass[]) AS name;
SELECT add_retention_policy(name, INTERVAL '730 days', if_not_exists => true)
FROM unnest(ARRAY['crossings_1h', 'coverage_1h', 'occupancy_1h', 'visits_1h', 'drift_1h']::regclass[]) AS name;
