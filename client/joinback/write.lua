-- Joinback's one write path: a batch of events of one tag, all or nothing.
--
-- KEYS  1 pending stream   2 stats hash   3 dead stream   4.. the record key of each event, in order
-- ARGV  1 length in bytes of the record prefix "joinback:{tag}:record:"
--       2 buffer TTL (s)   3 stats TTL (s)   4 dead letters' TTL (s)   5 dead letters at most
--       6 events of one record at most (a prediction is let in up to twice as many: the others wait for it)
--       7.. for each event its field "<kind>:<event_id>" and its JSON
--
-- Returns {accepted, duplicates, overflowed, is_new, failed_1, failed_2, ...}.
-- is_new is 1 if there was no pending stream. Then joinback:applications may not have the application either, and the
-- producer announces it: a field of that hash, {"shards":1,"sample_rate":1.0}.
-- failed_n is the index, from 1, of an event that was not stored: its record key is not a hash, or its record is full
-- and the key of the dead letters is not a stream. The other events are stored all the same.
--
-- Besides counters the stats hash holds `buffer_ttl_s`: the longest buffer TTL that any client ever sent. Pending
-- entries are trimmed by that one, so that a client with a short TTL trims nobody else's. HDEL it to forget a mistake.
--
-- A batch that is sent twice changes nothing the second time: HSETNX stores an event once, and only a new event becomes
-- pending. (It is counted as received, and as a duplicate.)

local pending, stats, dead = KEYS[1], KEYS[2], KEYS[3]
local prefix_length = tonumber(ARGV[1])
local buffer_ttl_s, stats_ttl_s, dead_ttl_s = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local dead_letters_max, record_events_max = ARGV[5], tonumber(ARGV[6])

-- A client with a short TTL must not shorten the life that another client gave a key.
local function keep_for(key, ttl_s)
  if redis.call('TTL', key) < ttl_s then redis.call('EXPIRE', key, ttl_s) end
end

-- If somebody altered a counter so that it cannot be counted on, the events are stored all the same.
local function count(name, number)
  redis.pcall('HINCRBY', stats, name, number)
end

-- What can refuse the whole batch comes before anything is written: a wrong type of pending here; a wrong type of
-- stats, or a full, read-only or stopped server, at the HGET and HSET that follow.
local pending_type = redis.call('TYPE', pending).ok
if pending_type ~= 'stream' and pending_type ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. pending .. ' is a ' .. pending_type .. ', not a stream')
end
local known_ttl_s = tonumber(redis.call('HGET', stats, 'buffer_ttl_s') or 0) or 0
-- More than a year, or not a number: then no client wrote it.
if not (known_ttl_s <= 31536000) then known_ttl_s = 0 end
local longest_ttl_s = math.max(buffer_ttl_s, known_ttl_s)
redis.call('HSET', stats, 'buffer_ttl_s', string.format('%.0f', longest_ttl_s))
count('batches', 1)
if pending_type == 'none' then redis.call('XGROUP', 'CREATE', pending, 'worker', '0', 'MKSTREAM') end

local accepted, duplicates, overflowed = 0, 0, 0
local received = {}
local reply = {0, 0, 0, pending_type == 'none' and 1 or 0}

for i = 4, #KEYS do
  local record = KEYS[i]
  local field, event = ARGV[2 * i - 1], ARGV[2 * i]
  local kind = string.match(field, '^[^:]*')
  local length = redis.pcall('HLEN', record)
  local counted = true
  if type(length) == 'table' then
    reply[#reply + 1] = i - 3
    counted = false
  elseif length >= (kind == 'prediction' and 2 or 1) * record_events_max and redis.call('HEXISTS', record, field) == 0 then
    local letter = redis.pcall('XADD', dead, 'MAXLEN', '~', dead_letters_max, '*', 'key',
      string.sub(record, prefix_length + 1), 'event', field, 'reason', kind .. '_overflow',
      'detail', 'the record holds ' .. length .. ' events already', 'bytes', event)
    if type(letter) == 'table' then
      -- The key of the dead letters is not a stream.
      reply[#reply + 1] = i - 3
      counted = false
    else
      count('dead:' .. kind .. '_overflow', 1)
      overflowed = overflowed + 1
    end
  elseif redis.call('HSETNX', record, field, event) == 1 then
    -- With the id the worker can ask the sink for the event when Redis has let the record go.
    redis.call('XADD', pending, '*', 'key', string.sub(record, prefix_length + 1), 'kind', kind,
      'id', string.sub(field, #kind + 2))
    keep_for(record, buffer_ttl_s)
    accepted = accepted + 1
  else
    duplicates = duplicates + 1
  end
  if counted then received[kind] = (received[kind] or 0) + 1 end
end

for kind, number in pairs(received) do count('received:' .. kind, number) end
if duplicates > 0 then count('duplicates', duplicates) end
if overflowed > 0 then keep_for(dead, dead_ttl_s) end

-- Entries older than the buffer TTL belong to records that Redis has let go. They are trimmed, and counted.
local oldest_ms = (tonumber(redis.call('TIME')[1]) - longest_ttl_s) * 1000
if oldest_ms > 0 then
  local expired = redis.call('XTRIM', pending, 'MINID', '~', string.format('%.0f', oldest_ms))
  if expired > 0 then count('dead:pending_expired', expired) end
end
-- The stream lives longer than the records: a worker that comes back late finds what it missed, and counts it.
keep_for(pending, stats_ttl_s)
keep_for(stats, stats_ttl_s)

reply[1], reply[2], reply[3] = accepted, duplicates, overflowed
return reply
