-- What the API may see. Its sessions run as the role `headcount_api`, which can read no table: only the
-- views in the schema `tenant`, each of the name of the table or view beneath it. A view shows the rows
-- of the tenant in `headcount.tenant`, and of those only what `headcount.grants` names; both are set for one
-- transaction. Without them there are no rows. Row-level security would exclude compression; views do
-- not, and hold for aggregates just as well.
--
-- `headcount.grants` is a text array. `*` is everything of the tenant. Else: `camera` for a camera as a whole,
-- `camera/` for the mere existence of a camera of which only parts may be seen, and `camera/line/name`,
-- `camera/zone/name`, `camera/site/name` for those parts.
--
-- Repeatable. A table or view that the API is to see needs its row here; its second column says what of a
-- tenant's rows a caller with grants sees of it:
--   all     every row (nothing about single cameras is in it)
--   camera  rows of cameras that are granted as a whole
--   partly  rows of cameras of which anything is granted
--   line    also those of granted lines     (line_name)
--   zone    also those of granted zones     (zone_name)
--   place   also those of granted zones and sites   (scope, zone_name)
--   named   also those of granted lines, zones and sites   (scope, name)
-- The last says whether the view is a security barrier, behind which no function that a query calls sees a row that
-- the view does not show. A barrier also hides the order of an index: a page of a million rows would be sorted
-- from all of them. So the tables that are read in pages go without. Their views show no row more; only functions
-- of a caller's own making could peek, and callers make none.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'headcount_api') THEN
        CREATE ROLE headcount_api NOLOGIN NOINHERIT;
    END IF;
EXCEPTION
    -- Roles belong to the whole server; another database of it may be migrated at the same time.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role headcount_api is missing and % may not create it', current_user
            USING HINT = 'As a superuser: CREATE ROLE headcount_api NOLOGIN NOINHERIT; GRANT headcount_api TO '
                         || current_user;
END $$;

DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'headcount_api', 'MEMBER') THEN
        EXECUTE format('GRANT headcount_api TO %I', current_user);
    END IF;
END $$;

CREATE SCHEMA IF NOT EXISTS tenant;

DO $$
DECLARE
    of_tenant CONSTANT text := 'tenant_id = current_setting(''headcount.tenant'', true)';
    -- Each asked once per query, not once per row.
    granted CONSTANT text := 'ANY ((SELECT nullif(current_setting(''headcount.grants'', true), ''''))::text[])';
    target record;
    visible text;
BEGIN
    FOR target IN
        SELECT * FROM (VALUES
            ('counting_events', 'line', 'SELECT', false),
            ('zone_occupancy', 'place', 'SELECT', false),
            ('zone_visits', 'zone', 'SELECT', false),
            ('person_tracks', 'camera', 'SELECT', false),
            ('coverage_spans', 'partly', 'SELECT', false),
            ('camera_health', 'partly', 'SELECT', false),
            ('frame_detections', 'camera', 'SELECT', false),
            ('person_detections', 'camera', 'SELECT', false),
            ('video_streams', 'partly', 'SELECT', false),
            ('camera_lines', 'line', 'SELECT', true),
            ('camera_zones', 'place', 'SELECT', true),
            ('counting_results', 'line', 'SELECT', true),
            ('realtime_analytics', 'named', 'SELECT', true),
            ('historical_analytics', 'named', 'SELECT', true),
            ('camera_configurations', 'partly', 'SELECT, INSERT, UPDATE', true),
            ('users', 'all', '', true),
            ('auth_sessions', 'all', '', true),
            ('api_keys', 'all', '', true),
            ('audit_log', 'all', 'SELECT, INSERT', false),
            ('config_outbox', 'camera', 'INSERT', true),
            ('idempotency_keys', 'all', 'SELECT, INSERT, UPDATE, DELETE', true)
        ) AS listed (name, sees, allowed, barrier)
        UNION ALL
        SELECT name || '_' || suffix, sees, 'SELECT', true
        FROM (VALUES
            ('crossings', 'line'), ('coverage', 'partly'), ('occupancy', 'place'), ('visits', 'zone'), ('drift', 'camera'),
            ('line_results', 'line'), ('zone_results', 'place'), ('analytics', 'named')
        ) AS aggregates (name, sees), unnest(ARRAY['1m', '1h', '1d']) AS suffix
    LOOP
        visible := of_tenant;
        IF target.sees <> 'all' THEN
            visible := visible || format(' AND (''*'' = %1$s OR camera_id = %1$s', granted)
                || CASE target.sees
                       WHEN 'camera' THEN ''
                       WHEN 'partly' THEN ' OR camera_id || ''/'' = '
                       WHEN 'line' THEN ' OR camera_id || ''/line/'' || line_name = '
                       WHEN 'zone' THEN ' OR camera_id || ''/zone/'' || zone_name = '
                       WHEN 'place' THEN ' OR camera_id || ''/'' || scope || ''/'' || zone_name = '
                       WHEN 'named' THEN ' OR camera_id || ''/'' || scope || ''/'' || name = '
                   END
                || CASE target.sees WHEN 'camera' THEN '' ELSE granted END || ')';
        END IF;
        EXECUTE format(
            'CREATE OR REPLACE VIEW tenant.%1$I WITH (security_barrier = %4$s) AS SELECT * FROM public.%1$I WHERE %2$s %3$s',
            target.name, visible,
            -- What is written must be the tenant's own, too.
            CASE WHEN target.allowed = 'SELECT' THEN '' ELSE 'WITH CASCADED CHECK OPTION' END,
            target.barrier);
        EXECUTE format('REVOKE ALL ON tenant.%I FROM headcount_api', target.name);
        IF target.allowed <> '' THEN
            EXECUTE format('GRANT %s ON tenant.%I TO headcount_api', target.allowed, target.name);
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA tenant TO headcount_api;
-- Hashes can be set, and never be read.
GRANT SELECT (tenant_id, user_id, username, display_name, email, role, permissions, grants, settings, is_active,
              version, created_at, updated_at),
      INSERT, UPDATE, DELETE ON tenant.users TO headcount_api;
GRANT SELECT (tenant_id, session_id, user_id, revoked_at), UPDATE (revoked_at), DELETE
    ON tenant.auth_sessions TO headcount_api;
GRANT SELECT (tenant_id, key_id, name, role, permissions, grants, created_by, created_at, expires_at, revoked_at,
              last_used_at),
      INSERT, UPDATE (name, revoked_at) ON tenant.api_keys TO headcount_api;
