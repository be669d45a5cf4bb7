-- What HubSpot forbids to the token: of each object, and all of it.
ALTER TABLE sync_cursors ADD COLUMN forbidden TEXT;
ALTER TABLE sync_daemon ADD COLUMN forbidden TEXT;
-- HubSpot's time of the record's version that the last attempt, or a lost one, went over: what it brings is later.
ALTER TABLE sync_outbox ADD COLUMN sent_over TEXT;
ALTER TABLE sync_sent ADD COLUMN sent_over TEXT;
