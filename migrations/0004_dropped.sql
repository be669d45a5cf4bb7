-- Events of other portals that were answered and dropped since the daemon's start.
ALTER TABLE sync_daemon ADD COLUMN webhooks_dropped INTEGER NOT NULL DEFAULT 0;
