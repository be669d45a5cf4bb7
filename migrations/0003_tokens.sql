-- OAuth installations, a row a portal. Both tokens are sealed; the key is not in this file.

CREATE TABLE sync_tokens (
    portal_id INTEGER PRIMARY KEY,
    -- Counts logins and renewals: who holds an older one must read again.
    generation INTEGER NOT NULL,
    refresh_token TEXT NOT NULL,
    access_token TEXT NOT NULL,
    issued_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    scopes TEXT,
    logged_in_at TEXT NOT NULL,
    -- When HubSpot refused the refresh token for good, and its words.
    revoked_at TEXT,
    problem TEXT
) STRICT;
