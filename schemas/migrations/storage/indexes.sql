-- How the rows of one camera are found in each aggregate: by one index that has all of what is asked for. Those that
-- TimescaleDB makes by itself know the tenant or the camera, not both.
DO $$
DECLARE
    aggregate text;
BEGIN
    FOR aggregate IN
        SELECT name || '_' || suffix
        FROM unnest(ARRAY['crossings', 'coverage', 'occupancy', 'visits', 'drift']) AS name,
             unnest(ARRAY['1m', '1h', '1d']) AS suffix
    LOOP
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (tenant_id, camera_id, bucket)',
                       aggregate || '_camera', aggregate);
    END LOOP;
END $$;
