-- Joinback's one write path: a batch of events of one tag, all or nothing.
--
-- KEYS  1 pending stream   2 stats hash   3 dead stream   4.. the record key of each event, in order
-- ARGV  1 length in bytes of the record prefix "joinback:{tag}:record:"
--       2 buffer TTL (s)   3 stats TTL (s)   4 dead letters' TTL (s)   5 dead letters at most
--       6 events of one record at most (twice as many if it is a prediction: late, but what the others wait for)
--       7.. for each event its field "<kind>:<event_id>" and its JSON
--
-- Returns {accepted, duplicates, overflowed, failed_1, failed_2, ...}; failed_n is the index, from 1, of an
-- event whose record key holds something that is not a hash. It does not stop the others.
--
-- Sent twice, it changes nothing the second time: HSETNX decides, and only a new event becomes pending.

local pending, stats, dead = KEYS[1], KEYS[2], KEYS[3]
local prefix_length = tonumber(ARGV[1])
local buffer_ttl_s, stats_ttl_s, dead_ttl_s = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local dead_letters_max, record_events_max = ARGV[5], tonumber(ARGV[6])

-- A client with a short TTL must not shorten what another one promised.
local function keep_for(key, ttl_s)
  if redis.call('TTL', key) < ttl_s then redis.call('EXPIRE', key, ttl_s) end
end

-- Everything that can refuse the batch comes before anything is written: a wrong type at pending here, and
-- a full, read-only or stopped server at the first write.
local pending_type = redis.call('TYPE', pending).ok
if pending_type ~= 'stream' and pending_type ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. pending .. ' is a ' .. pending_type .. ', not a stream')
end
redis.call('HINCRBY', stats, 'batches', 1)
if pending_type == 'none' then redis.call('XGROUP', 'CREATE', pending, 'worker', '0', 'MKSTREAM') end

local accepted, duplicates, overflowed = 0, 0, 0
local received = {}
local reply = {0, 0, 0}

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
    redis.call('XADD', dead, 'MAXLEN', '~', dead_letters_max, '*', 'key', string.sub(record, prefix_length + 1),
      'event', field, 'reason', kind .. '_overflow',
      'detail', 'the record holds ' .. length .. ' events already', 'bytes', event)
    redis.call('HINCRBY', stats, 'dead:' .. kind .. '_overflow', 1)
    overflowed = overflowed + 1
  elseif redis.call('HSETNX', record, field, event) == 1 then
    -- The id: when the record is gone, the sink can still be asked for the event.
    redis.call('XADD', pending, '*', 'key', string.sub(record, prefix_length + 1), 'kind', kind,
      'id', string.sub(field, #kind + 2))
    keep_for(record, buffer_ttl_s)
    accepted = accepted + 1
  else
    duplicates = duplicates + 1
  end
  if counted then received[kind] = (received[kind] or 0) + 1 end
end

for kind, count in pairs(received) do redis.call('HINCRBY', stats, 'received:' .. kind, count) end
if duplicates > 0 then redis.call('HINCRBY', stats, 'duplicates', duplicates) end
if overflowed > 0 then keep_for(dead, dead_ttl_s) end

-- An entry older than the buffer TTL speaks of a record that Redis has let go: bounded, and counted.
local oldest_ms = (tonumber(redis.call('TIME')[1]) - buffer_ttl_s) * 1000
if oldest_ms > 0 then
  local expired = redis.call('XTRIM', pending, 'MINID', '~', string.format('%.0f', oldest_ms))
  if expired > 0 then redis.call('HINCRBY', stats, 'dead:pending_expired', expired) end
end
-- Longer than the records: a worker that comes back late finds what it missed, and counts it.
keep_for(pending, stats_ttl_s)
keep_for(stats, stats_ttl_s)

reply[1], reply[2], reply[3] = accepted, duplicates, overflowed
return reply
