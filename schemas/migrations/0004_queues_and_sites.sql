-- What the views say about queues and sites from this version on (the views are in storage/, and are
-- made anew by every migration).
COMMENT ON COLUMN zone_occupancy.queue_length IS 'People waiting, for a zone that is a queue; else 0.';
COMMENT ON COLUMN zone_occupancy.drift IS
    'For a site, corrections since its last reset: above zero, entries were missed; below, exits. Else 0.';
COMMENT ON COLUMN zone_visits.kind IS
    'entered; left (a queue: was served); abandoned: left a queue before it could have been served; lost: the track ended inside, which is no exit.';
