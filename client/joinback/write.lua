-- Joinback's one write path: a batch of events of one tag, all or nothing.
--
-- KEYS  1 pending stream   2 stats hash   3 dead stream   4.. the record key of each event, in order
-- ARGV  1 length in bytes of the record prefix "joinback:{tag}:record:"
--       2 buffer TTL (s)   3 stats TTL (s)   4 dead letters' TTL (s)   5 dead letters at most
--       6 events of one record at most (twice as many if it is a prediction: late, but what the others wait for)
--       7.. for each event its field "<kind>:<event_id>" and its JSON
--
-- Returns {accepted, duplicates, overflowed, is_new, failed_1, failed_2, ...}; is_new is 1 if there was no pending
-- stream: then joinback:applications may not name the application either, and whoever writes tells it (announce.lua).
-- failed_n is the index, from 1, of an event whose record key holds something that is not a hash (or which finds its
-- record full, and no stream of dead letters where it should be). It does not stop the others.
--
-- The stats hash holds, besides counters, `buffer_ttl_s`: the longest buffer TTL that anybody ever told. Entries are
-- let go by that one, so that a client with a short TTL lets go of nobody else's; HDEL it to forget a mistake.
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

-- A counter that somebody altered is left as it is: no event fails for it.
local function count(name, number)
  redis.pcall('HINCRBY', stats, name, number)
end

-- Everything that can refuse the batch comes before anything is written: a wrong type at pending or at stats here,
-- and a full, read-only or stopped server at the first write, which is HSET for that.
local pending_type = redis.call('TYPE', pending).ok
if pending_type ~= 'stream' and pending_type ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. pending .. ' is a ' .. pending_type .. ', not a stream')
end
local told_ttl_s = tonumber(redis.call('HGET', stats, 'buffer_ttl_s') or 0) or 0
-- Not a year's? Then no client wrote it.
if not (told_ttl_s <= 31536000) then told_ttl_s = 0 end
local longest_ttl_s = math.max(buffer_ttl_s, told_ttl_s)
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
      -- Something else stands where the dead letters do.
      reply[#reply + 1] = i - 3
      counted = false
    else
      count('dead:' .. kind .. '_overflow', 1)
      overflowed = overflowed + 1
    end
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

for kind, number in pairs(received) do count('received:' .. kind, number) end
if duplicates > 0 then count('duplicates', duplicates) end
if overflowed > 0 then keep_for(dead, dead_ttl_s) end

-- An entry older than the buffer TTL speaks of a record that Redis has let go: bounded, and counted.
local oldest_ms = (tonumber(redis.call('TIME')[1]) - longest_ttl_s) * 1000
if oldest_ms > 0 then
  local expired = redis.call('XTRIM', pending, 'MINID', '~', string.format('%.0f', oldest_ms))
  if expired > 0 then count('dead:pending_expired', expired) end
end
-- Longer than the records: a worker that comes back late finds what it missed, and counts it.
keep_for(pending, stats_ttl_s)
keep_for(stats, stats_ttl_s)

reply[1], reply[2], reply[3] = accepted, duplicates, overflowed
return reply
