//! When rows arrive in the database.
//!
//! A trigger on each table notifies of every row, under a name of its own: in a hypertable the
//! trigger's table is a chunk. PostgreSQL delivers notifications when the
//! transaction that made them has committed, never before, so the time at which one is received is
//! that of the row being there for everybody, late by the notification's own way (well under a
//! millisecond on an idle machine). Capture times are of the same machine's clock, so the difference
//! of both bounds the latency from above.

use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::BenchError;

const CHANNEL: &str = "bench_rows";
const TRIGGERS: &str = "
CREATE FUNCTION bench_arrived() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('bench_rows', TG_ARGV[1] || ' ' || NEW.camera_id || ' ' || NEW.epoch || ' '
        || NEW.sequence || ' ' || ((extract(epoch FROM (to_jsonb(NEW) ->> TG_ARGV[0])::timestamptz) * 1000000)::bigint));
    RETURN NULL;
END $$;
CREATE TRIGGER bench_frames AFTER INSERT ON frame_detections
    FOR EACH ROW EXECUTE FUNCTION bench_arrived('frame_timestamp', 'frame');
CREATE TRIGGER bench_occupancy AFTER INSERT ON zone_occupancy
    FOR EACH ROW EXECUTE FUNCTION bench_arrived('event_timestamp', 'occupancy');
";

/// Which row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// What `detect` saw in one picture.
    Frame,
    /// What `count` made of it: how many people are in the zone.
    Occupancy,
}

/// A row that has just been committed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    pub kind: RowKind,
    /// From the row's capture time to its being there, in milliseconds.
    pub latency_ms: f64,
}

/// Notices rows from now on. The channel is as long as what one run writes.
pub async fn watch(pool: &PgPool) -> Result<UnboundedReceiver<Arrival>, BenchError> {
    sqlx::raw_sql(TRIGGERS).execute(pool).await?;
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok(notification) = listener.recv().await {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            if let Some(arrival) = arrival(notification.payload(), now.as_micros() as i64)
                && sender.send(arrival).is_err()
            {
                return;
            }
        }
    });
    Ok(receiver)
}

fn arrival(payload: &str, now_us: i64) -> Option<Arrival> {
    let kind = match payload.split(' ').next()? {
        "frame" => RowKind::Frame,
        "occupancy" => RowKind::Occupancy,
        _ => return None,
    };
    let capture_us: i64 = payload.rsplit(' ').next()?.parse().ok()?;
    Some(Arrival { kind, latency_ms: (now_us - capture_us) as f64 / 1e3 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads() {
        let frame = Arrival { kind: RowKind::Frame, latency_ms: 1.5 };
        assert_eq!(arrival("frame door 7 0 1000000", 1_001_500), Some(frame));
        assert_eq!(arrival("occupancy door 7 0 x", 0), None);
        assert_eq!(arrival("something else", 0), None);
    }
}
