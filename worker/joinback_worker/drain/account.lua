-- Reads a tag's books in one step, so that they are consistent.
-- KEYS  1 pending   2 stats
-- Returns {entries pending, age in ms of the oldest, {counter, value, ...}}. Where something else than a stream or a
-- hash stands at a key, the name of its type is in the place of the entries or the counters.
local function kept(key, wanted)
  local kind = redis.call('TYPE', key).ok
  return kind == wanted or kind == 'none', kind
end

local entries, age_ms = 0, 0
local is_stream, pending_kind = kept(KEYS[1], 'stream')
if is_stream then
  entries = redis.call('XLEN', KEYS[1])
  if entries > 0 then
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
    local now = redis.call('TIME')
    age_ms = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(string.match(oldest, '^%d+'))
  end
else
  entries = pending_kind
end
local is_hash, stats_kind = kept(KEYS[2], 'hash')
return {entries, age_ms, is_hash and redis.call('HGETALL', KEYS[2]) or stats_kind}
