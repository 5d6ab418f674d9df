-- The id of an endpoint's row, for tables that name endpoints by it; null where there is none.
CREATE FUNCTION api_endpoint_mapping_id(p_endpoint_path text, p_http_method text)
RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT id FROM public.api_endpoint_mappings
    WHERE endpoint_path = p_endpoint_path AND http_method = p_http_method
$$;
