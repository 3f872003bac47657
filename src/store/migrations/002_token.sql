CREATE TABLE token (
    -- The public half: shown in lists, and how a token is looked up.
    id               TEXT PRIMARY KEY,
    label            TEXT NOT NULL,
    -- read | write | admin
    scope            TEXT NOT NULL,
    -- SHA-256 of the whole token; the token itself is kept nowhere.
    hash             BLOB NOT NULL,
    created_at_ms    INTEGER NOT NULL,
    expires_at_ms    INTEGER,
    last_used_at_ms  INTEGER
) STRICT;

-- The one-time claim that gives the first token. At most one row.
CREATE TABLE claim (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    -- SHA-256 of the code; the code itself is in a file only its owner can read, until it is used.
    hash           BLOB NOT NULL,
    created_at_ms  INTEGER NOT NULL,
    used_at_ms     INTEGER
) STRICT;
