-- Puts the join keys of records on the pending stream again.
--
-- KEYS  1 pending   2 stats   3.. record keys   ARGV  1 length in bytes of the record prefix
--       2 buffer TTL (s)   3 stats TTL (s)
--
-- Each entry is counted as received, so that the books balance: the drain counts it in rows once more. A key that is
-- not a hash, or does not exist any more, is skipped. Returns how many were queued, and how many fields they have.

local pending, stats = KEYS[1], KEYS[2]
local prefix_length, buffer_ttl_s, stats_ttl_s = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function keep_for(key, ttl_s)
  if redis.call('TTL', key) < ttl_s then redis.call('EXPIRE', key, ttl_s) end
end

local queued, fields = 0, 0
for i = 3, #KEYS do
  local length = redis.pcall('HLEN', KEYS[i])
  if type(length) == 'number' and length > 0 then
    -- Counted first: a full Redis refuses this, before anything else is done.
    redis.call('HINCRBY', stats, 'received:requeued', 1)
    redis.call('XADD', pending, '*', 'key', string.sub(KEYS[i], prefix_length + 1), 'kind', 'requeued')
    -- The TTL of a settled record is short: it could expire before it is drained.
    keep_for(KEYS[i], buffer_ttl_s)
    queued = queued + 1
    fields = fields + length
  end
end
if queued > 0 then
  keep_for(pending, stats_ttl_s)
  keep_for(stats, stats_ttl_s)
end
return {queued, fields}
