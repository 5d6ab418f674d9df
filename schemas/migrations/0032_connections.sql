-- The connections of the API's processes to the databases, and how they share the work.

CREATE TABLE database_connection_pool (
    id                          bigserial        PRIMARY KEY,
    instance                    text             NOT NULL DEFAULT '',
    pool_name                   varchar(100)     NOT NULL,
    metric_timestamp            timestamptz      NOT NULL DEFAULT now(),
    total_connections           integer          NOT NULL,
    active_connections          integer          NOT NULL,
    idle_connections            integer          NOT NULL,
    waiting_connections         integer          NOT NULL,
    avg_connection_time_ms      double precision,
    avg_query_time_ms           double precision,
    connection_errors           integer          NOT NULL DEFAULT 0,
    max_connections             integer          NOT NULL,
    min_connections             integer          NOT NULL,
    connection_timeout_seconds  double precision NOT NULL,
    idle_timeout_seconds        double precision,
    circuit_state               varchar(10)      NOT NULL DEFAULT 'closed' CHECK (circuit_state IN ('closed', 'open', 'half_open')),
    node_role                   varchar(10)      NOT NULL DEFAULT 'unknown' CHECK (node_role IN ('primary', 'replica', 'unknown')),
    replica_lag_ms              double precision,
    created_at                  timestamptz      NOT NULL DEFAULT now()
);
COMMENT ON TABLE database_connection_pool IS 'One row per pool, process and few seconds.';
COMMENT ON COLUMN database_connection_pool.waiting_connections IS 'Requests that waited for a connection.';
COMMENT ON COLUMN database_connection_pool.avg_connection_time_ms IS 'Until a connection could be used, since the row before; null where none was wanted.';
COMMENT ON COLUMN database_connection_pool.connection_errors IS 'Since the row before.';
COMMENT ON COLUMN database_connection_pool.node_role IS 'What the server behind it was found to be: that changes when a replica is promoted.';
CREATE INDEX idx_database_connection_pool_timestamp ON database_connection_pool (metric_timestamp DESC);
CREATE INDEX database_connection_pool_newest ON database_connection_pool (pool_name, instance, metric_timestamp DESC);

CREATE TABLE database_connection_health (
    id                     bigserial        PRIMARY KEY,
    connection_id          varchar(100)     UNIQUE NOT NULL,
    pool_name              varchar(100)     NOT NULL,
    instance               text             NOT NULL DEFAULT '',
    connection_status      varchar(20)      NOT NULL DEFAULT 'active' CHECK (connection_status IN ('active', 'idle', 'error', 'closed')),
    connection_start_time  timestamptz      NOT NULL DEFAULT now(),
    last_activity_time     timestamptz      NOT NULL DEFAULT now(),
    query_count            bigint           NOT NULL DEFAULT 0,
    total_query_time_ms    double precision NOT NULL DEFAULT 0,
    error_count            bigint           NOT NULL DEFAULT 0,
    client_host            varchar(100),
    client_port            integer,
    database_name          varchar(100),
    created_at             timestamptz      NOT NULL DEFAULT now(),
    updated_at             timestamptz      NOT NULL DEFAULT now()
);
COMMENT ON COLUMN database_connection_health.connection_id IS 'Process, pool, server process id and when it began.';
CREATE INDEX idx_database_connection_health_status ON database_connection_health (connection_status);
CREATE INDEX idx_database_connection_health_last_activity ON database_connection_health (last_activity_time DESC);

CREATE TABLE database_failover_config (
    id                             serial       PRIMARY KEY,
    primary_database               varchar(100) NOT NULL,
    replica_database               varchar(100) NOT NULL,
    failover_enabled               boolean      NOT NULL DEFAULT true,
    health_check_interval_seconds  integer      NOT NULL DEFAULT 30 CHECK (health_check_interval_seconds BETWEEN 1 AND 3600),
    failover_threshold             integer      NOT NULL DEFAULT 3 CHECK (failover_threshold BETWEEN 1 AND 100),
    connection_timeout_seconds     integer      NOT NULL DEFAULT 10 CHECK (connection_timeout_seconds BETWEEN 1 AND 60),
    read_timeout_seconds           integer      NOT NULL DEFAULT 30 CHECK (read_timeout_seconds BETWEEN 1 AND 3600),
    write_timeout_seconds          integer      NOT NULL DEFAULT 30 CHECK (write_timeout_seconds BETWEEN 1 AND 3600),
    read_distribution_percent      integer      NOT NULL DEFAULT 80 CHECK (read_distribution_percent BETWEEN 0 AND 100),
    write_distribution_percent     integer      NOT NULL DEFAULT 100 CHECK (write_distribution_percent = 100),
    max_replica_lag_ms             integer      NOT NULL DEFAULT 5000 CHECK (max_replica_lag_ms >= 0),
    created_at                     timestamptz  NOT NULL DEFAULT now(),
    updated_at                     timestamptz  NOT NULL DEFAULT now(),
    UNIQUE (primary_database, replica_database)
);
COMMENT ON COLUMN database_failover_config.primary_database IS 'Name of the pool, not an address: addresses and passwords are in the configuration.';
COMMENT ON COLUMN database_failover_config.read_distribution_percent IS 'Percentage of the reads that go to the replica.';
COMMENT ON COLUMN database_failover_config.write_distribution_percent IS 'A replica takes no writes, so it can only be 100.';
COMMENT ON COLUMN database_failover_config.max_replica_lag_ms IS 'A replica that is further behind is not read from.';

INSERT INTO database_failover_config
    (primary_database, replica_database, health_check_interval_seconds, connection_timeout_seconds, read_timeout_seconds, write_timeout_seconds)
VALUES ('primary', 'replica', 1, 3, 10, 10);

-- The pools as they were last seen within five minutes, the most used first. A pool without connections uses none
-- of them and is healthy; one whose circuit is open is not, however idle it is.
CREATE FUNCTION check_database_health()
RETURNS TABLE (
    pool_name                      varchar(100),
    health_status                  varchar(20),
    active_connections             integer,
    total_connections              integer,
    connection_utilization_percent numeric(5,2)
) LANGUAGE sql STABLE AS $$
    SELECT newest.pool_name,
           (CASE WHEN newest.circuit_state = 'open' OR newest.used > 80 THEN 'critical'
                 WHEN newest.circuit_state = 'half_open' OR newest.used > 60 OR newest.waiting > 0 THEN 'warning'
                 ELSE 'healthy' END)::varchar(20),
           newest.active::integer, newest.total::integer, newest.used
    FROM (
        SELECT latest.pool_name,
               sum(latest.active_connections) AS active,
               sum(latest.total_connections) AS total,
               sum(latest.waiting_connections) AS waiting,
               -- Of what the pool may have: one that has opened two connections and uses both is not full.
               least(coalesce(100.0 * sum(latest.active_connections) / nullif(sum(latest.max_connections), 0), 0), 100)::numeric(5,2) AS used,
               -- The worst of all processes.
               (array_agg(latest.circuit_state ORDER BY array_position('{open,half_open,closed}', latest.circuit_state::text)))[1] AS circuit_state
        FROM (
            SELECT DISTINCT ON (dcp.pool_name, dcp.instance) dcp.*
            FROM database_connection_pool AS dcp
            WHERE dcp.metric_timestamp > now() - INTERVAL '5 minutes'
            ORDER BY dcp.pool_name, dcp.instance, dcp.metric_timestamp DESC
        ) AS latest
        GROUP BY latest.pool_name
    ) AS newest
    ORDER BY newest.used DESC, newest.pool_name;
$$;

-- What a pool's size should be, by its busiest moment of the last hour; null for a pool that nobody knows.
CREATE FUNCTION optimize_connection_pool(p_pool_name varchar(100))
RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_utilization     numeric(5,2);
    v_busiest         integer;
    v_waited          boolean;
    v_max_connections integer;
    v_recommended     integer;
    v_reason          text;
BEGIN
    SELECT dcp.max_connections,
           least(coalesce(100.0 * dcp.active_connections / nullif(dcp.max_connections, 0), 0), 100)
    INTO v_max_connections, v_utilization
    FROM database_connection_pool AS dcp
    WHERE dcp.pool_name = p_pool_name
    ORDER BY dcp.metric_timestamp DESC, dcp.id DESC
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT coalesce(max(dcp.active_connections), 0), coalesce(bool_or(dcp.waiting_connections > 0), false)
    INTO v_busiest, v_waited
    FROM database_connection_pool AS dcp
    WHERE dcp.pool_name = p_pool_name AND dcp.metric_timestamp > now() - INTERVAL '1 hour';
    IF v_waited OR v_busiest > 0.8 * v_max_connections THEN
        v_recommended := ceil(v_max_connections * 1.5);
        v_reason := 'High utilization detected';
    ELSIF v_busiest < 0.3 * v_max_connections THEN
        -- Never below what was needed.
        v_recommended := greatest(floor(v_max_connections * 0.8), v_busiest, 1);
        v_reason := 'Low utilization detected';
    ELSE
        v_recommended := v_max_connections;
        v_reason := 'Optimal utilization';
    END IF;
    RETURN jsonb_build_object(
        'pool_name', p_pool_name,
        'current_utilization_percent', v_utilization,
        'busiest_connections', v_busiest,
        'requests_waited', v_waited,
        'max_connections', v_max_connections,
        'recommended_max_connections', v_recommended,
        'recommended_min_connections', greatest(1, floor(v_recommended * 0.25))::integer,
        'optimization_reason', v_reason);
END;
$$;
