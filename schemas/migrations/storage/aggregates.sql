-- What both flavours count from: continuous aggregates on TimescaleDB, views on plain PostgreSQL.
-- Each starts with a line `-- aggregate: <name>`; {<width>|<column>} is the start of the column's
-- time bucket (UTC). Hours are made from minutes and days from hours, except dwell: quantiles
-- cannot be combined.

-- aggregate: crossings_1m
SELECT tenant_id, camera_id, line_name,
       {1 minute|event_timestamp} AS bucket,
       count(*) FILTER (WHERE direction = 'in')  AS in_count,
       count(*) FILTER (WHERE direction = 'out') AS out_count
FROM counting_events
GROUP BY 1, 2, 3, 4

-- aggregate: crossings_1h
SELECT tenant_id, camera_id, line_name,
       {1 hour|bucket} AS bucket,
       sum(in_count)::bigint  AS in_count,
       sum(out_count)::bigint AS out_count
FROM crossings_1m
GROUP BY 1, 2, 3, 4

-- aggregate: crossings_1d
SELECT tenant_id, camera_id, line_name,
       {1 day|bucket} AS bucket,
       sum(in_count)::bigint  AS in_count,
       sum(out_count)::bigint AS out_count
FROM crossings_1h
GROUP BY 1, 2, 3, 4

-- aggregate: coverage_1m
SELECT tenant_id, camera_id, geometry_version,
       {1 minute|from_timestamp} AS bucket,
       sum(extract(epoch FROM until_timestamp - from_timestamp))::double precision AS covered_s,
       sum(frames)::bigint AS frames
FROM coverage_spans
GROUP BY 1, 2, 3, 4

-- aggregate: coverage_1h
SELECT tenant_id, camera_id, geometry_version,
       {1 hour|bucket} AS bucket,
       sum(covered_s) AS covered_s,
       sum(frames)::bigint AS frames
FROM coverage_1m
GROUP BY 1, 2, 3, 4

-- aggregate: coverage_1d
SELECT tenant_id, camera_id, geometry_version,
       {1 day|bucket} AS bucket,
       sum(covered_s) AS covered_s,
       sum(frames)::bigint AS frames
FROM coverage_1h
GROUP BY 1, 2, 3, 4

-- aggregate: occupancy_1m
SELECT tenant_id, camera_id, scope, zone_name, epoch,
       {1 minute|event_timestamp} AS bucket,
       min(people) AS min_people,
       max(people) AS max_people,
       min(event_timestamp) AS first_at,
       max(event_timestamp) AS last_at,
       (array_agg(people ORDER BY event_timestamp DESC, sequence DESC))[1] AS last_people,
       bool_or(reason = 'end') AS ended,
       person_seconds_between(
           array_agg(event_timestamp ORDER BY event_timestamp, sequence),
           array_agg(event_timestamp ORDER BY event_timestamp, sequence),
           array_agg(people ORDER BY event_timestamp, sequence)) AS person_s
FROM zone_occupancy
GROUP BY 1, 2, 3, 4, 5, 6

-- aggregate: occupancy_1h
SELECT tenant_id, camera_id, scope, zone_name, epoch,
       {1 hour|bucket} AS bucket,
       min(min_people) AS min_people,
       max(max_people) AS max_people,
       min(first_at) AS first_at,
       max(last_at) AS last_at,
       (array_agg(last_people ORDER BY last_at DESC))[1] AS last_people,
       bool_or(ended) AS ended,
       sum(person_s) + person_seconds_between(
           array_agg(first_at ORDER BY first_at),
           array_agg(last_at ORDER BY first_at),
           array_agg(last_people ORDER BY first_at)) AS person_s
FROM occupancy_1m
GROUP BY 1, 2, 3, 4, 5, 6

-- aggregate: occupancy_1d
SELECT tenant_id, camera_id, scope, zone_name, epoch,
       {1 day|bucket} AS bucket,
       min(min_people) AS min_people,
       max(max_people) AS max_people,
       min(first_at) AS first_at,
       max(last_at) AS last_at,
       (array_agg(last_people ORDER BY last_at DESC))[1] AS last_people,
       bool_or(ended) AS ended,
       sum(person_s) + person_seconds_between(
           array_agg(first_at ORDER BY first_at),
           array_agg(last_at ORDER BY first_at),
           array_agg(last_people ORDER BY first_at)) AS person_s
FROM occupancy_1h
GROUP BY 1, 2, 3, 4, 5, 6

-- aggregate: visits_1m
SELECT tenant_id, camera_id, zone_name,
       {1 minute|event_timestamp} AS bucket,
       count(*) FILTER (WHERE kind = 'entered')   AS entries,
       count(*) FILTER (WHERE kind = 'left')      AS exits,
       count(*) FILTER (WHERE kind = 'lost')      AS lost,
       count(*) FILTER (WHERE kind = 'abandoned') AS abandoned,
       avg(dwell_s) FILTER (WHERE kind IN ('left', 'abandoned')) AS dwell_mean_s,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY dwell_s)
           FILTER (WHERE kind IN ('left', 'abandoned')) AS dwell_p50_s,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY dwell_s)
           FILTER (WHERE kind IN ('left', 'abandoned')) AS dwell_p95_s
FROM zone_visits
GROUP BY 1, 2, 3, 4

-- aggregate: visits_1h
SELECT tenant_id, camera_id, zone_name,
       {1 hour|event_timestamp} AS bucket,
       count(*) FILTER (WHERE kind = 'entered')   AS entries,
       count(*) FILTER (WHERE kind = 'left')      AS exits,
       count(*) FILTER (WHERE kind = 'lost')      AS lost,
       count(*) FILTER (WHERE kind = 'abandoned') AS abandoned,
       avg(dwell_s) FILTER (WHERE kind IN ('left', 'abandoned')) AS dwell_mean_s,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY dwell_s)
           FILTER (WHERE kind IN ('left', 'abandoned')) AS dwell_p50_s,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY dwell_s)
           FILTER (WHERE kind IN ('left', 'abandoned')) AS dwell_p95_s
FROM zone_visits
GROUP BY 1, 2, 3, 4

-- aggregate: visits_1d
SELECT tenant_id, camera_id, zone_name,
       {1 day|event_timestamp} AS bucket,
       count(*) FILTER (WHERE kind = 'entered')   AS entries,
       count(*) FILTER (WHERE kind = 'left')      AS exits,
       count(*) FILTER (WHERE kind = 'lost')      AS lost,
       count(*) FILTER (WHERE kind = 'abandoned') AS abandoned,
       avg(dwell_s) FILTER (WHERE kind IN ('left', 'abandoned')) AS dwell_mean_s,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY dwell_s)
           FILTER (WHERE kind IN ('left', 'abandoned')) AS dwell_p50_s,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY dwell_s)
           FILTER (WHERE kind IN ('left', 'abandoned')) AS dwell_p95_s
FROM zone_visits
GROUP BY 1, 2, 3, 4

-- aggregate: drift_1m
SELECT tenant_id, camera_id, zone_name,
       {1 minute|event_timestamp} AS bucket,
       max(event_timestamp) AS last_at,
       (array_agg(drift ORDER BY event_timestamp DESC, sequence DESC))[1] AS last_drift,
       sum(drift) FILTER (WHERE reason = 'reset') AS reset_drift
FROM zone_occupancy
WHERE scope = 'site'
GROUP BY 1, 2, 3, 4

-- aggregate: drift_1h
SELECT tenant_id, camera_id, zone_name,
       {1 hour|bucket} AS bucket,
       max(last_at) AS last_at,
       (array_agg(last_drift ORDER BY last_at DESC))[1] AS last_drift,
       sum(reset_drift)::bigint AS reset_drift
FROM drift_1m
GROUP BY 1, 2, 3, 4

-- aggregate: drift_1d
SELECT tenant_id, camera_id, zone_name,
       {1 day|bucket} AS bucket,
       max(last_at) AS last_at,
       (array_agg(last_drift ORDER BY last_at DESC))[1] AS last_drift,
       sum(reset_drift)::bigint AS reset_drift
FROM drift_1h
GROUP BY 1, 2, 3, 4
