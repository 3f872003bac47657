CREATE TABLE node (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE workspace (
    id             TEXT PRIMARY KEY,
    -- The folder's name in the watched directory, and the folder's identity there; a rename changes the first only.
    folder         TEXT NOT NULL UNIQUE,
    device         INTEGER NOT NULL,
    inode          INTEGER NOT NULL,
    -- run | stop | remove | removed
    desired        TEXT NOT NULL,
    -- Containers started before this moment are restarted once.
    restart_at_ms  INTEGER NOT NULL DEFAULT 0,
    -- Where the folder went when the workspace was removed.
    trash          TEXT,
    created_at_ms  INTEGER NOT NULL,
    updated_at_ms  INTEGER NOT NULL
) STRICT;
