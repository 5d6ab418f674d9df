-- How fast endpoints answer, minute by minute, and which queries are slow.

CREATE TABLE api_performance_metrics (
    id                         bigserial        PRIMARY KEY,
    instance                   text             NOT NULL DEFAULT '',
    endpoint_path              varchar(200)     NOT NULL,
    http_method                varchar(10)      NOT NULL,
    metric_timestamp           timestamptz      NOT NULL DEFAULT now(),
    avg_response_time_ms       double precision NOT NULL,
    min_response_time_ms       double precision NOT NULL,
    max_response_time_ms       double precision NOT NULL,
    p95_response_time_ms       double precision NOT NULL,
    p99_response_time_ms       double precision NOT NULL,
    request_count              bigint           NOT NULL CHECK (request_count > 0),
    success_count              bigint           NOT NULL,
    error_count                bigint           NOT NULL,
    requests_per_second        numeric(12,2)    NOT NULL,
    database_query_count       bigint           NOT NULL,
    database_query_time_ms     double precision NOT NULL,
    database_connection_count  integer,
    cache_hits                 bigint           NOT NULL DEFAULT 0,
    cache_misses               bigint           NOT NULL DEFAULT 0,
    cache_hit_ratio            numeric(5,2)     GENERATED ALWAYS AS
        (CASE WHEN cache_hits + cache_misses > 0 THEN 100.0 * cache_hits / (cache_hits + cache_misses) END) STORED,
    cpu_usage_percent          numeric(7,2),
    memory_usage_mb            numeric(12,2),
    network_bandwidth_mbps     numeric(12,4),
    created_at                 timestamptz      NOT NULL DEFAULT now(),
    UNIQUE (endpoint_path, http_method, metric_timestamp, instance)
);
COMMENT ON TABLE api_performance_metrics IS 'One row per endpoint, minute and process, where there was a request.';
COMMENT ON COLUMN api_performance_metrics.metric_timestamp IS 'Start of the minute.';
COMMENT ON COLUMN api_performance_metrics.cache_hit_ratio IS 'In percent; null where no cache was asked.';
COMMENT ON COLUMN api_performance_metrics.cpu_usage_percent IS 'Of the process, of one core; the same for every endpoint of a minute.';
COMMENT ON COLUMN api_performance_metrics.memory_usage_mb IS 'Of the process, resident.';
COMMENT ON COLUMN api_performance_metrics.network_bandwidth_mbps IS 'Megabits a second of request and response bodies.';
COMMENT ON COLUMN api_performance_metrics.database_connection_count IS 'Connections of the process when the minute ended.';
CREATE INDEX idx_api_performance_metrics_endpoint_timestamp ON api_performance_metrics (endpoint_path, metric_timestamp DESC);
CREATE INDEX idx_api_performance_metrics_response_time ON api_performance_metrics (avg_response_time_ms DESC);
CREATE INDEX idx_api_performance_metrics_timestamp ON api_performance_metrics (metric_timestamp DESC, id DESC);

CREATE TABLE query_optimization_tracking (
    id                               bigserial     PRIMARY KEY,
    endpoint_mapping_id              integer,
    query_hash                       varchar(64)   NOT NULL,
    original_query                   text,
    optimized_query                  text,
    query_plan                       jsonb,
    original_execution_time_ms       integer       NOT NULL,
    optimized_execution_time_ms      integer,
    performance_improvement_percent  numeric(14,2) GENERATED ALWAYS AS
        (100.0 * (original_execution_time_ms - optimized_execution_time_ms) / nullif(original_execution_time_ms, 0)) STORED,
    optimization_type                varchar(50),
    optimization_reason              text,
    optimization_applied_at          timestamptz,
    occurrences                      bigint        NOT NULL DEFAULT 1,
    max_execution_time_ms            integer       NOT NULL,
    last_seen_at                     timestamptz   NOT NULL DEFAULT now(),
    created_at                       timestamptz   NOT NULL DEFAULT now()
);
COMMENT ON TABLE query_optimization_tracking IS 'One row per query that was ever slow, and endpoint.';
COMMENT ON COLUMN query_optimization_tracking.original_query IS 'With placeholders: values are never in it.';
COMMENT ON COLUMN query_optimization_tracking.query_plan IS 'Of its generic form: no parameter values are in it.';
COMMENT ON COLUMN query_optimization_tracking.original_execution_time_ms IS 'Mean of the times it was slow, until optimization_applied_at is set.';
COMMENT ON COLUMN query_optimization_tracking.optimized_execution_time_ms IS 'The newest time since optimization_applied_at was set.';
CREATE UNIQUE INDEX query_optimization_tracking_query ON query_optimization_tracking (query_hash, coalesce(endpoint_mapping_id, 0));
CREATE INDEX idx_query_optimization_tracking_endpoint ON query_optimization_tracking (endpoint_mapping_id);
CREATE INDEX idx_query_optimization_tracking_hash ON query_optimization_tracking (query_hash);

-- Takes one execution of a query. A slow one (over a second) is tracked and raises an alert; one that is tracked
-- and for which `optimization_applied_at` has been set tells how much the optimisation gained.
CREATE FUNCTION monitor_query_performance(
    p_endpoint_mapping_id integer,
    p_query_hash          varchar(64),
    p_execution_time_ms   integer,
    p_query_plan          jsonb DEFAULT NULL,
    p_query               text DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c_threshold_ms CONSTANT integer := 1000;
    v_mean_ms integer;
BEGIN
    UPDATE query_optimization_tracking
    SET optimized_execution_time_ms = p_execution_time_ms, last_seen_at = now()
    WHERE query_hash = p_query_hash AND coalesce(endpoint_mapping_id, 0) = coalesce(p_endpoint_mapping_id, 0)
      AND optimization_applied_at IS NOT NULL;
    IF p_execution_time_ms <= c_threshold_ms THEN
        RETURN;
    END IF;
    INSERT INTO query_optimization_tracking AS tracked (
        endpoint_mapping_id, query_hash, original_query, query_plan, original_execution_time_ms, max_execution_time_ms
    ) VALUES (
        p_endpoint_mapping_id, p_query_hash, p_query, p_query_plan, p_execution_time_ms, p_execution_time_ms
    )
    ON CONFLICT (query_hash, coalesce(endpoint_mapping_id, 0)) DO UPDATE
    SET original_execution_time_ms = CASE
            WHEN tracked.optimization_applied_at IS NULL
            THEN ((tracked.original_execution_time_ms::bigint * tracked.occurrences + p_execution_time_ms)
                  / (tracked.occurrences + 1))::integer
            ELSE tracked.original_execution_time_ms END,
        occurrences = tracked.occurrences + 1,
        max_execution_time_ms = greatest(tracked.max_execution_time_ms, p_execution_time_ms),
        original_query = coalesce(p_query, tracked.original_query),
        query_plan = coalesce(p_query_plan, tracked.query_plan),
        last_seen_at = now()
    RETURNING original_execution_time_ms INTO v_mean_ms;
    PERFORM raise_system_alert(
        concat_ws('/', 'slow_query', p_query_hash, p_endpoint_mapping_id),
        'slow_query_detected',
        'Slow query detected for endpoint mapping ID: ' || coalesce(p_endpoint_mapping_id::text, 'none'),
        'warning',
        jsonb_build_object(
            'endpoint_mapping_id', p_endpoint_mapping_id,
            'query_hash', p_query_hash,
            'execution_time_ms', p_execution_time_ms,
            'mean_execution_time_ms', v_mean_ms,
            'threshold_ms', c_threshold_ms));
END;
$$;

-- Share of answers from the cache, in percent, of the newest minutes of an endpoint; null where the cache was not
-- asked, which is not the same as zero. Written into the endpoint's cache configuration, too.
CREATE FUNCTION calculate_cache_hit_ratio(
    p_endpoint_mapping_id integer,
    p_time_window_minutes integer DEFAULT 60
) RETURNS numeric(5,2) LANGUAGE plpgsql AS $$
DECLARE
    v_hit_ratio numeric(5,2);
BEGIN
    SELECT 100.0 * sum(m.cache_hits) / nullif(sum(m.cache_hits + m.cache_misses), 0) INTO v_hit_ratio
    FROM api_performance_metrics AS m
    JOIN api_endpoint_mappings AS e USING (endpoint_path, http_method)
    WHERE e.id = p_endpoint_mapping_id
      AND m.metric_timestamp > now() - make_interval(mins => p_time_window_minutes);
    UPDATE api_cache_config
    SET cache_hit_ratio = v_hit_ratio
    WHERE endpoint_mapping_id = p_endpoint_mapping_id AND cache_hit_ratio IS DISTINCT FROM v_hit_ratio;
    RETURN v_hit_ratio;
END;
$$;
