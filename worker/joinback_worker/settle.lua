-- Ends claimed entries: acknowledges, deletes and counts them, with their dead letters, in one step.
--
-- KEYS  1 pending   2 stats   3 dead   4.. the record key of each rejected event
-- ARGV  1 stats TTL (s)   2 dead letters' TTL (s)   3 dead letters at most   4 a late mark's TTL (s)
--       then four lists, each preceded by its length:
--       counters: name, amount      settled entries: outcome, id
--       dead entries: id, join key, reason, detail
--       rejected events: join key, field, reason, detail, bytes, and the field that marks it, if it stays
--
-- The first write (XACK) is one that a full Redis allows, and a script that has begun may go on: so a drain
-- works at maxmemory, when it matters most. Deleting decides who counts: an entry that another worker has
-- ended already is not counted again.
--
-- Returns the number of dead letters written.

local pending, stats, dead = KEYS[1], KEYS[2], KEYS[3]
local stats_ttl_s, dead_ttl_s, dead_letters_max, late_mark_ttl_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local position = 4

local function next_argument()
  position = position + 1
  return ARGV[position]
end

local function bury(join_key, event, reason, detail, bytes)
  redis.call('XADD', dead, 'MAXLEN', '~', dead_letters_max, '*', 'key', join_key, 'event', event,
    'reason', reason, 'detail', detail, 'bytes', bytes)
  redis.call('HINCRBY', stats, 'dead:' .. reason, 1)
end

local counters = {}
for _ = 1, tonumber(next_argument()) do
  local name = next_argument()
  counters[name] = tonumber(next_argument())
end

local settled = 0
for _ = 1, tonumber(next_argument()) do
  local outcome, id = next_argument(), next_argument()
  redis.call('XACK', pending, 'worker', id)
  if redis.call('XDEL', pending, id) == 1 then
    settled = settled + 1
    counters[outcome] = (counters[outcome] or 0) + 1
  end
end

local buried = 0
for _ = 1, tonumber(next_argument()) do
  local id, join_key, reason, detail = next_argument(), next_argument(), next_argument(), next_argument()
  redis.call('XACK', pending, 'worker', id)
  if redis.call('XDEL', pending, id) == 1 then
    bury(join_key, '', reason, detail, '')
    buried = buried + 1
  end
end

-- Each event has one entry, and that entry is settled as if its event were in the row: take it back.
for i = 1, tonumber(next_argument()) do
  local join_key, field, reason, detail, bytes = next_argument(), next_argument(), next_argument(), next_argument(), next_argument()
  local record, mark = KEYS[3 + i], next_argument()
  local done
  if mark == '' then
    done = redis.pcall('HDEL', record, field)
  else
    done = redis.pcall('HSETNX', record, mark, detail)
    if redis.call('TTL', record) == -1 then redis.call('EXPIRE', record, late_mark_ttl_s) end
  end
  if done == 1 then
    bury(join_key, field, reason, detail, bytes)
    counters['in_rows'] = (counters['in_rows'] or 0) - 1
    buried = buried + 1
  end
end

for name, amount in pairs(counters) do
  if amount ~= 0 then redis.call('HINCRBY', stats, name, amount) end
end
redis.call('EXPIRE', stats, stats_ttl_s)
if buried > 0 then redis.call('EXPIRE', dead, dead_ttl_s) end
return buried
