/** In the file's header, so that a database of something else is known as such: `fchn`. */
export const APPLICATION_ID = 0x6663686e
/** Raised whenever what older versions would read wrongly changes. */
export const FORMAT = 1

/**
 * Rows of a log are `base < offset <= head` of its channel. Entries and results have a sequence number as their key: what
 * one commit appends lies together, whichever channels and sessions it belongs to, and the oldest are at one end. What is
 * asked of without its text comes before the text, so that no page of the text is read for it. Results have no index but that in memory.
 */
export const SCHEMA = `
CREATE TABLE meta (epoch TEXT NOT NULL);
CREATE TABLE channel (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL,
  head INTEGER NOT NULL, tag TEXT NOT NULL, base INTEGER NOT NULL, base_tag TEXT NOT NULL, bytes INTEGER NOT NULL,
  used INTEGER NOT NULL, max_entries INTEGER NOT NULL, max_age INTEGER NOT NULL, max_bytes INTEGER NOT NULL
);
CREATE INDEX channel_used ON channel (used);
CREATE TABLE forgotten (channel INTEGER PRIMARY KEY);
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY, channel INTEGER NOT NULL, offset INTEGER NOT NULL, tag TEXT NOT NULL,
  at INTEGER NOT NULL, bytes INTEGER NOT NULL, except_for TEXT NOT NULL, text TEXT NOT NULL
);
CREATE UNIQUE INDEX entry_place ON entry (channel, offset);
CREATE TABLE session (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, fence INTEGER NOT NULL, highest INTEGER NOT NULL,
  holes TEXT NOT NULL, used INTEGER NOT NULL
);
CREATE INDEX session_used ON session (used);
CREATE TABLE result (
  seq INTEGER PRIMARY KEY, session INTEGER NOT NULL, id INTEGER NOT NULL, at INTEGER NOT NULL, size INTEGER NOT NULL,
  epoch TEXT NOT NULL, offset INTEGER NOT NULL, tag TEXT NOT NULL, reply TEXT NOT NULL
);
`
