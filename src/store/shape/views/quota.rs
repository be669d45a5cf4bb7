//! `sync_quota`: what may be asked of HubSpot, what was, and when the day is spent (`contract-operations.md`, section 3).

use crate::store::shape::triggers::Made;
use crate::store::shape::views::NOW;

/// What we sent in the account's day, of `_sync_quota AS q`: by whole hours, which is where an account's midnight falls.
pub(crate) const SENT_TODAY: &str = "(SELECT coalesce(sum(r.requests), 0) FROM sync_requests AS r
        WHERE r.class <> 'webhooks'
          AND r.hour >= strftime('%Y-%m-%dT%H:00:00.000Z', coalesce(q.day_resets_at, date('now', '+1 day')), '-24 hours'))";

/// The view.
pub(super) fn quota() -> Made {
    let since = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-60 minutes')";
    let empty_at = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now',
                '+' || CAST(max(u.daily_limit - u.daily_used, 0) * 3600.0 / (u.per_hour + u.others_per_hour) AS INTEGER) || ' seconds')";
    // Two counts, each by an index of its own.
    let sql = format!(
        "CREATE VIEW \"sync_quota\" AS
SELECT u.burst_limit, u.search_limit, u.daily_limit, u.daily_used, u.used_by_others, u.per_hour,
       CASE WHEN u.daily_limit IS NOT NULL AND u.per_hour + u.others_per_hour > 0 AND {empty_at} < u.resets_at THEN {empty_at} END
           AS empty_at,
       iif(u.daily_limit IS NULL, NULL, u.resets_at) AS resets_at
FROM (
    SELECT q.burst_limit, q.search_limit, q.day_limit AS daily_limit, q.day_others + {SENT_TODAY} AS daily_used,
           q.day_others AS used_by_others,
           (SELECT count(*) FROM sync_calls WHERE code IS NULL AND at >= {since})
               + (SELECT count(*) FROM sync_calls WHERE code IS NOT NULL AND at >= {since}) AS per_hour,
           q.day_others - coalesce((SELECT o.others FROM _sync_quota_others AS o
                                    WHERE o.at >= {since} AND o.at <= {NOW} AND o.others <= q.day_others
                                    ORDER BY o.at LIMIT 1), q.day_others) AS others_per_hour,
           q.day_resets_at AS resets_at
    FROM _sync_quota AS q
    WHERE q.id = 1
) AS u"
    );
    Made {
        name: "sync_quota".to_owned(),
        sql,
    }
}
