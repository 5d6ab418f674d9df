-- Person-seconds of a step function between its records. Record i says that `people[i]` were there
-- from `last_at[i]` on, which holds until `first_at[i + 1]`. For single records
-- both times are the same; for rows that summarise several they are the first and the last.
CREATE FUNCTION person_seconds_between(first_at timestamptz[], last_at timestamptz[], people integer[])
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(sum(people[i] * extract(epoch FROM first_at[i + 1] - last_at[i])), 0)::double precision
    FROM generate_series(1, cardinality(people) - 1) AS i
$$;
