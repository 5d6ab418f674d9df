-- The answers at one granularity, the same on both flavours. {suffix} is 1m, 1h or 1d, {width} the
-- bucket's interval, {seconds} its length.
--
-- A line or zone has a row in every bucket in which a version of the configuration that has it was
-- watched for any time: zeros in such a row are real. Where nobody watched there is no row.
-- `coverage` is the share of the bucket that was watched; below 1 the counts are a lower bound.

CREATE OR REPLACE VIEW line_results_{suffix} AS
SELECT tenant_id, camera_id, line_name, bucket,
       sum(in_count)::bigint  AS in_count,
       sum(out_count)::bigint AS out_count,
       least(sum(covered_s) / {seconds}, 1) AS coverage
FROM (
    SELECT c.tenant_id, c.camera_id, l.line_name, c.bucket,
           0::bigint AS in_count, 0::bigint AS out_count, c.covered_s
    FROM coverage_{suffix} c
    JOIN camera_lines l USING (tenant_id, camera_id, geometry_version)
    UNION ALL
    SELECT tenant_id, camera_id, line_name, bucket, in_count, out_count, 0
    FROM crossings_{suffix}
) AS parts
GROUP BY tenant_id, camera_id, line_name, bucket;

-- The mean occupancy is over the time from the bucket's first record to its end, or to the end of
-- the stream: what was there before the first record is not known from this bucket alone. Who is in a
-- queue waits in it, so its length is its occupancy. A site's `drift` is as last told in the bucket,
-- `reset_drift` what its resets in the bucket had to correct.
CREATE OR REPLACE VIEW zone_results_{suffix} AS
SELECT tenant_id, camera_id, scope, zone_name, bucket,
       least(sum(covered_s) / {seconds}, 1) AS coverage,
       min(min_people) AS occupancy_min,
       max(max_people) AS occupancy_max,
       sum(person_s) / nullif(sum(known_s), 0) AS occupancy_mean,
       CASE scope WHEN 'zone' THEN coalesce(sum(entries), 0)::bigint END   AS entries,
       CASE scope WHEN 'zone' THEN coalesce(sum(exits), 0)::bigint END     AS exits,
       CASE scope WHEN 'zone' THEN coalesce(sum(lost), 0)::bigint END      AS lost,
       CASE scope WHEN 'zone' THEN coalesce(sum(abandoned), 0)::bigint END AS abandoned,
       max(dwell_mean_s) AS dwell_mean_s,
       max(dwell_p50_s)  AS dwell_p50_s,
       max(dwell_p95_s)  AS dwell_p95_s,
       CASE WHEN bool_or(is_queue) THEN sum(person_s) / nullif(sum(known_s), 0) END AS queue_length_mean,
       CASE WHEN bool_or(is_queue) THEN max(max_people) END AS queue_length_max,
       max(last_drift)  AS drift,
       max(reset_drift) AS reset_drift
FROM (
    SELECT c.tenant_id, c.camera_id, z.scope, z.zone_name, c.bucket, c.covered_s,
           NULL::integer AS min_people, NULL::integer AS max_people,
           NULL::double precision AS person_s, NULL::double precision AS known_s,
           NULL::bigint AS entries, NULL::bigint AS exits, NULL::bigint AS lost, NULL::bigint AS abandoned,
           NULL::double precision AS dwell_mean_s, NULL::double precision AS dwell_p50_s,
           NULL::double precision AS dwell_p95_s,
           z.definition ->> 'queue' IS NOT NULL AS is_queue,
           NULL::integer AS last_drift, NULL::bigint AS reset_drift
    FROM coverage_{suffix} c
    JOIN camera_zones z USING (tenant_id, camera_id, geometry_version)
    UNION ALL
    SELECT tenant_id, camera_id, 'zone', zone_name, bucket, 0, NULL, NULL, NULL, NULL,
           entries, exits, lost, abandoned, dwell_mean_s, dwell_p50_s, dwell_p95_s, NULL, NULL, NULL
    FROM visits_{suffix}
    UNION ALL
    SELECT tenant_id, camera_id, 'site', zone_name, bucket, 0, NULL, NULL, NULL, NULL,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, last_drift, reset_drift
    FROM drift_{suffix}
    UNION ALL
    SELECT tenant_id, camera_id, scope, zone_name, bucket, 0, min_people, max_people,
           person_s + last_people * tail_s, extract(epoch FROM last_at - first_at) + tail_s,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM (
        SELECT *, CASE WHEN ended THEN 0 ELSE
                      extract(epoch FROM bucket + INTERVAL '{width}' - last_at)::double precision
                  END AS tail_s
        FROM occupancy_{suffix}
    ) AS occupancy
) AS parts
GROUP BY tenant_id, camera_id, scope, zone_name, bucket;

CREATE OR REPLACE VIEW analytics_{suffix} AS
SELECT tenant_id, camera_id, bucket, 'camera'::text AS scope, camera_id AS name,
       least(sum(covered_s) / {seconds}, 1) AS coverage, sum(frames)::bigint AS frames,
       NULL::bigint AS in_count, NULL::bigint AS out_count,
       NULL::integer AS occupancy_min, NULL::integer AS occupancy_max, NULL::double precision AS occupancy_mean,
       NULL::bigint AS entries, NULL::bigint AS exits, NULL::bigint AS lost, NULL::bigint AS abandoned,
       NULL::double precision AS dwell_mean_s, NULL::double precision AS dwell_p50_s,
       NULL::double precision AS dwell_p95_s,
       NULL::double precision AS queue_length_mean, NULL::integer AS queue_length_max,
       NULL::integer AS drift, NULL::bigint AS reset_drift
FROM coverage_{suffix}
GROUP BY tenant_id, camera_id, bucket
UNION ALL
SELECT tenant_id, camera_id, bucket, 'line', line_name, coverage, NULL, in_count, out_count,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM line_results_{suffix}
UNION ALL
SELECT tenant_id, camera_id, bucket, scope, zone_name, coverage, NULL, NULL, NULL,
       occupancy_min, occupancy_max, occupancy_mean, entries, exits, lost, abandoned,
       dwell_mean_s, dwell_p50_s, dwell_p95_s, queue_length_mean, queue_length_max, drift, reset_drift
FROM zone_results_{suffix};
