-- What HubSpot forbids to the token: of each object, and all of it.
ALTER TABLE sync_cursors ADD COLUMN forbidden TEXT;
ALTER TABLE sync_daemon ADD COLUMN forbidden TEXT;
