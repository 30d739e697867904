"""The journal's tables, as the steps by which each version comes from the one before it."""

from __future__ import annotations

from so8t.journal.schema import DatabaseForm

# Every row but `run` and `head` is a link of one chain: `seq` counts through all tables, `chain`
# is the digest of the row and of the link before it. Rows are added, never changed or removed.
_V1 = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created TEXT NOT NULL,
    version TEXT NOT NULL,
    config TEXT NOT NULL,
    config_digest TEXT NOT NULL
) STRICT;

CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    chain TEXT NOT NULL
) STRICT;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    monotonic REAL NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    chain TEXT NOT NULL
) STRICT;
CREATE INDEX event_kind ON event (kind, seq);

CREATE TABLE phase (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    phase TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('started', 'done', 'failed')),
    inputs TEXT NOT NULL,
    result TEXT NOT NULL,
    chain TEXT NOT NULL
) STRICT;

CREATE TABLE settings (
    seq INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    chain TEXT NOT NULL
) STRICT;

CREATE TABLE sample (
    seq INTEGER PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    id TEXT NOT NULL UNIQUE,
    task TEXT NOT NULL,
    category TEXT NOT NULL,
    origin TEXT NOT NULL,
    cluster TEXT,
    digest TEXT NOT NULL,
    body TEXT NOT NULL,
    chain TEXT NOT NULL
) STRICT;

CREATE TABLE answer (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    arm TEXT NOT NULL CHECK (arm IN ('a', 'b')),
    position INTEGER NOT NULL REFERENCES sample (position),
    repeat INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('completed', 'truncated', 'failed')),
    text TEXT NOT NULL,
    reason TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    seconds REAL,
    settings TEXT NOT NULL REFERENCES settings (digest),
    reused_from TEXT,
    chain TEXT NOT NULL
) STRICT;
-- Exactly one answer counts; a failed one leaves room for the retry that replaces it.
CREATE UNIQUE INDEX answer_once ON answer (arm, repeat, position) WHERE status <> 'failed';
CREATE INDEX answer_place ON answer (arm, repeat, position);

CREATE TABLE score (
    seq INTEGER PRIMARY KEY,
    answer INTEGER NOT NULL REFERENCES answer (seq),
    grader TEXT NOT NULL,
    grade TEXT NOT NULL CHECK (grade IN ('scored', 'unscored')),
    value REAL,
    reason TEXT,
    valid INTEGER NOT NULL CHECK (valid IN (0, 1)),
    chain TEXT NOT NULL,
    CHECK ((grade = 'scored') = (value IS NOT NULL))
) STRICT;
CREATE INDEX score_answer ON score (answer, seq);
"""

# Answers under changed settings stand beside the earlier ones; and what a start asks of a million
# answers is read from indexes alone, without touching their texts.
_V2 = """
DROP INDEX answer_once;
DROP INDEX answer_place;
CREATE UNIQUE INDEX answer_once ON answer (arm, repeat, position, substr(settings, -16))
 WHERE status <> 'failed';
CREATE INDEX answer_place ON answer (arm, repeat, position, status);
CREATE INDEX answer_failed ON answer (arm, repeat, position) WHERE status = 'failed';
"""

# Under how many answers in flight each answer was given; and what the machine looked like, which
# is thinned after a day and so stands outside the chain.
_V3 = """
CREATE TABLE load (
    seq INTEGER PRIMARY KEY,
    answer INTEGER NOT NULL UNIQUE REFERENCES answer (seq),
    in_flight INTEGER NOT NULL,
    chain TEXT NOT NULL
) STRICT;

CREATE TABLE resource_sample (
    at REAL PRIMARY KEY,
    seconds REAL NOT NULL,
    data TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

#: "SO8T" as SQLite's application_id, so that no other program's database is taken for a journal.
JOURNAL = DatabaseForm(0x534F3854, (_V1, _V2, _V3))
VERSION = len(JOURNAL.steps)

#: What the run itself asks for. Its row is no link of the chain; the event `run_created` is, and
#: holds the digest of the row.
RUN_COLUMNS = ("run_id", "name", "created", "version", "config", "config_digest")

#: Columns of each chained table in the order in which they enter the digest, `chain` left out.
CHAINED = {
    "event": ("seq", "at", "monotonic", "kind", "data"),
    "phase": ("seq", "at", "phase", "attempt", "state", "inputs", "result"),
    "settings": ("seq", "digest", "body"),
    "sample": (
        "seq",
        "position",
        "id",
        "task",
        "category",
        "origin",
        "cluster",
        "digest",
        "body",
    ),
    "answer": (
        "seq",
        "at",
        "arm",
        "position",
        "repeat",
        "status",
        "text",
        "reason",
        "prompt_tokens",
        "completion_tokens",
        "seconds",
        "settings",
        "reused_from",
    ),
    "score": ("seq", "answer", "grader", "grade", "value", "reason", "valid"),
    "load": ("seq", "answer", "in_flight"),
}
